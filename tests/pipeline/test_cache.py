"""What is counted of what a model is asked, against a stand-in engine whose answers take as long as a test says."""

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from pipeline.cache import AnswerCache, Clock, Measured, Sort, Usage, total
from schemas.chat import assistant, user
from schemas.ports import Answer, Failure, Generate, Generated, Likelihood, Likely, Score, Scored
from schemas.records import MEDIA_KINDS, Part, Reason

ASKED = Generate((user(Part("image", media="a" * 64), "what is this ?"),), n=2, max_tokens=10)
LIKELY = Likelihood((user("why ?"), assistant("because of it")))


class Slow:
    """Answers each request after the seconds that its seed says; a seed of -1 fails."""

    identity, can, media, slots = "slow@1", frozenset({"Generate"}), frozenset(MEDIA_KINDS), 4

    async def ask(self, request):
        if isinstance(request, Score):
            return Scored((-0.1, None), 7)
        if isinstance(request, Likelihood):
            return Likely((-1.0, -2.0, -3.0), 5)
        if request.seed < 0:
            return Failure(Reason.TOO_LONG, "too long")
        await asyncio.sleep(request.seed / 10)
        return Generated((Answer("one", 3, "stop"), Answer("two", 4, "stop")), 12)


@pytest.fixture
def cache(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    yield cache
    cache.close()


def asked(cache, *requests) -> Usage:
    """What asking these at once counts."""
    usage = Usage()
    engine = cache.engine(Slow(), usage)

    async def all_of_them():
        await asyncio.gather(*map(engine.ask, requests))

    asyncio.run(all_of_them())
    return usage


def test_tokens_of_the_prompt_count_once_and_of_all_answers_and_media_as_they_are_shown(cache):
    usage = replace(asked(cache, ASKED), seconds=0)
    # two answers of 3 and 4 tokens, of at most 10 each, to a prompt of 12 that shows one picture
    assert usage == Usage(asked=1, media=1, prompt_tokens=12, answer_tokens=7, most_answer_tokens=20)


def test_what_is_known_already_is_spared_not_spent(cache):
    asked(cache, ASKED)
    assert asked(cache, ASKED, ASKED) == Usage(cached=2, cached_prompt_tokens=24, cached_answer_tokens=14)


def test_the_same_request_in_flight_is_asked_once(cache):
    usage = asked(cache, ASKED, ASKED)
    assert (usage.asked, usage.cached, usage.prompt_tokens, usage.cached_prompt_tokens) == (1, 1, 12, 12)


def test_a_score_writes_one_token_and_a_given_answer_is_read_like_a_prompt(cache):
    score = replace(asked(cache, Score((user("is it ?"),), ("yes", "no"))), seconds=0)
    assert score == Usage(asked=1, prompt_tokens=7, answer_tokens=1, most_answer_tokens=1)
    # 5 tokens of the prompt and the 3 whose likelihood was asked for
    assert replace(asked(cache, LIKELY), seconds=0) == Usage(asked=1, prompt_tokens=8)


def test_a_failure_is_asked_and_failed_and_has_no_tokens(cache):
    usage = asked(cache, ASKED._replace(seed=-1))
    assert (usage.asked, usage.failed, usage.prompt_tokens) == (1, 1, 0)
    cache.commit()
    assert cache.measured() == {}


def test_engine_seconds_are_divided_among_requests_in_flight(cache):
    quick, slow = Usage(), Usage()
    engines = [cache.engine(Slow(), usage) for usage in (quick, slow)]

    async def both():
        await asyncio.gather(engines[0].ask(ASKED._replace(seed=2)), engines[1].ask(ASKED._replace(seed=6)))

    asyncio.run(both())
    # together for 0.2 s: 0.1 each; then 0.4 s of the slow one alone
    assert quick.seconds == pytest.approx(0.1, abs=0.04)
    assert slow.seconds == pytest.approx(0.5, abs=0.04)


def test_the_clock_stands_still_while_nothing_is_in_flight(monkeypatch):
    now = iter([0.0, 4.0, 10.0, 11.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    clock = Clock()
    assert [clock.change(by) for by in (1, -1, 1, -1)] == [0.0, 4.0, 4.0, 5.0]


def test_what_answers_took_is_kept_and_added_up_over_processes(cache, tmp_path):
    asked(cache, ASKED, ASKED._replace(seed=1))
    cache.commit()
    other = AnswerCache(tmp_path / "answers.sqlite")
    asked(other, ASKED._replace(seed=2))
    other.commit()
    (found,) = other.measured().items()
    other.close()
    sort, measured = found
    assert sort == Sort("slow@1", "Generate", 10, 1.0)
    assert replace(measured, seconds=0) == Measured(requests=3, answers=6, answer_tokens=21)
    assert 0.2 < measured.seconds < 1


def test_a_damaged_answer_is_asked_again_and_replaced_and_an_older_one_without_a_checksum_is_taken(cache, tmp_path):
    asked(cache, ASKED)
    cache.commit()
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        ((value,),) = db.execute("select v from answers").fetchall()
        db.execute("update answers set v = ?", (value.replace(b"one", b"ond"),))
    assert asked(cache, ASKED).asked == 1
    assert len(cache.damaged) == 1
    cache.commit()
    assert asked(cache, ASKED).cached == 1
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        assert db.execute("select v from answers").fetchall() == [(value,)]
        db.execute("update answers set v = ?", (value.strip(),))
    assert asked(cache, ASKED).cached == 1


def test_recorded_usages_add_up():
    one = Usage(asked=1, prompt_tokens=5, seconds=0.5)
    assert total([one.figures(), one.figures()]) == Usage(asked=2, prompt_tokens=10, seconds=1.0)
