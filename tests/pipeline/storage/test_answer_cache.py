"""What is counted of what a model is asked, against a stand-in engine whose answers take as long as a test says."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from pipeline.storage.answer_cache import AnswerCache, CacheOnlyEngine, Clock, Measured, RequestKind, Usage, total_usage
from schemas.errors import RowError, StoreError
from schemas.messages import assistant, user
from schemas.records import MEDIA_KINDS, Part, Reason
from schemas.requests import Answer, Failure, Generate, Generated, Likelihood, Likely, Score, Scored

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


def both(tmp_path, *each) -> list[Usage]:
    """What two builds count that ask these at the same time, each with an engine of its own."""
    caches, usages = [AnswerCache(tmp_path / "answers.sqlite") for _ in each], [Usage() for _ in each]

    async def build(cache, usage, requests):
        engine = cache.engine(Slow(), usage)
        await asyncio.gather(*map(engine.ask, requests))
        cache.close()

    async def builds():
        await asyncio.gather(*map(build, caches, usages, each))

    asyncio.run(asyncio.wait_for(builds(), 30))
    return usages


def test_two_builds_at_once_ask_nothing_twice(tmp_path):
    questions = [ASKED._replace(seed=seed) for seed in range(8)]
    one, two = both(tmp_path, questions, [*reversed(questions), LIKELY])
    assert (one.asked + two.asked, one.cached + two.cached) == (9, 8)


def test_two_builds_that_wait_for_each_other_come_to_an_end(tmp_path):
    first, second = ASKED._replace(seed=1), ASKED._replace(seed=2)
    one, two = both(tmp_path, [first, second], [second, first])
    assert (one.asked + two.asked, one.cached + two.cached) == (2, 2)


def test_what_another_build_is_asking_and_fails_at_is_asked_here(tmp_path):
    failing = ASKED._replace(seed=-1)
    one, two = both(tmp_path, [failing], [failing])
    assert (one.asked, two.asked, one.failed, two.failed) == (1, 1, 1, 1)


def test_an_answer_of_another_build_is_there_although_it_was_looked_for_before(cache, tmp_path):
    asked(cache, ASKED)
    cache.commit()
    assert cache.get(bytes(16)) is None  # from now on it sees the file as it is
    other = AnswerCache(tmp_path / "answers.sqlite")
    asked(other, LIKELY)
    other.close()
    assert asked(cache, LIKELY).cached == 1


def test_a_build_that_is_stopped_is_not_waited_for_for_ever(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.storage.answer_cache.LEASE", 0.2)
    asked(cache, ASKED)  # not committed, and nobody is at work there who would
    other = AnswerCache(tmp_path / "answers.sqlite")
    assert asked(other, ASKED).asked == 1
    other.close()


def test_a_disk_that_takes_no_claim_ends_all_that_wait_for_the_answer(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    (tmp_path / "asking").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"cannot write to .*asking"):
        asked(cache, ASKED, ASKED)
    assert cache.in_flight == {}
    cache.close()


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
    assert sort == RequestKind("slow@1", "Generate", 10, 1.0)
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
    assert total_usage([one.figures(), one.figures()]) == Usage(asked=2, prompt_tokens=10, seconds=1.0)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"garbage" * 1000), "it is damaged: SQLite cannot read it; move it away"),
        (lambda path: path.mkdir(), "cannot be opened or created; check"),
    ],
)
def test_a_file_that_is_no_cache_is_one_line_that_names_it(tmp_path, damage, said):
    damage(tmp_path / "answers.sqlite")
    with pytest.raises(StoreError, match=rf"answers\.sqlite: .*{said}"):
        AnswerCache(tmp_path / "answers.sqlite")


def test_a_file_that_another_process_holds_is_one_line_when_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("schemas.disk.PATIENCE", 0.1)
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        cache.put(b"k", Scored((-0.5,), 1))
        with pytest.raises(StoreError, match=r"answers\.sqlite: another process has locked it; wait for it"):
            cache.commit()
        other.execute("rollback")
    cache.commit()  # nothing of it is lost
    assert cache.get(b"k") == Scored((-0.5,), 1)
    cache.close()


def test_how_an_answer_ended_and_what_was_thought_before_it_are_kept(cache, tmp_path):
    """An older version cached a server's own word, and five fields."""
    answers = (
        Answer("a", 1, "length"),
        Answer("", 9, "length", thought="why?"),
        Answer("b", 1, "tool_calls", -0.5, (-0.5,), ""),
    )
    cache.put(b"k" * 16, Generated(answers, 3))
    cache.put(b"o" * 16, Generated((Answer("a", 1, "stop"),), 3))
    cache.commit()
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as other:
        assert other.get(b"k" * 16) == Generated(answers, 3)
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as db:
        (value,) = db.execute("select v from answers where k = ?", (b"o" * 16,)).fetchone()
        assert value.startswith(b'["g",[["a",1,"stop",null,null]],3]')  # as older versions write it
        old = [("SAFETY", "content_filter"), ("function_call", "tool_calls"), ("COMPLETE", "stop"), ("abort", "abort")]
        for word, _ in old:
            db.execute(
                "insert into answers values (?, ?)", (word.encode(), f'["g",[["a",1,"{word}",null,null]],3]'.encode())
            )
        db.commit()
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as other:
        for word, name in old:
            assert other.get(word.encode()).answers[0].finish == name


class Sender(Slow):
    sends_files = True


def test_an_answer_is_kept_under_the_media_as_they_were_sent(tmp_path):
    """A picture that is sent in another form than it is stored in: what an older version, which sent it as it is stored, was answered is not
    taken for the answer to it. A picture that is sent as it is stored keeps its answers."""
    turned, plain = "a" * 64, "c" * 64
    forms = {(turned, "image"): "b" * 64, (plain, "image"): plain}
    requests = [Generate((user(Part("image", media=sha), "what ?"),), n=2, max_tokens=10) for sha in (turned, plain)]

    async def ask(cache, usage):
        engine = cache.engine(Sender(), usage)
        return [await engine.ask(request) for request in requests]

    usages = []
    for portable in (None, lambda *part: forms[part], lambda *part: forms[part]):
        with closing(AnswerCache(tmp_path / "answers.sqlite", portable=portable)) as cache:
            usages.append(Usage())
            asyncio.run(ask(cache, usages[-1]))
    # an older version asks both; now the turned one is asked again, the plain one is not; then none
    assert [usage.asked for usage in usages] == [2, 1, 0]


def test_an_engine_in_this_process_keeps_its_answers_under_the_stored_media(tmp_path):
    with closing(AnswerCache(tmp_path / "answers.sqlite", portable=lambda sha, kind: "b" * 64)) as cache:
        asked(cache, ASKED)
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as cache:
        assert asked(cache, ASKED).asked == 0


def test_a_picture_that_cannot_be_sent_is_a_failure_of_its_requests(tmp_path):
    def broken(sha, kind):
        raise RowError(Reason.UNDECODABLE, "the image is broken")

    with closing(AnswerCache(tmp_path / "answers.sqlite", portable=broken)) as cache:
        engine = cache.engine(Sender(), Usage())
        assert asyncio.run(engine.ask(ASKED)) == Failure(Reason.UNDECODABLE, "the image is broken")


def test_a_run_is_judged_again_from_what_it_was_answered_under_either_name(tmp_path):
    """Cached replies: those of an older version under the stored media, those of this one under the media as sent."""
    for portable in (None, lambda sha, kind: "b" * 64):
        path = tmp_path / ("old.sqlite" if portable is None else "new.sqlite")
        with closing(AnswerCache(path, portable=portable)) as cache:
            asyncio.run(cache.engine(Sender(), Usage()).ask(ASKED))
        with closing(AnswerCache(path, portable=lambda sha, kind: "b" * 64)) as cache:
            engine = cache.engine(CacheOnlyEngine(cache, "slow@1", {"Generate"}, MEDIA_KINDS, 4), Usage())
            assert asyncio.run(engine.ask(ASKED)).answers[0].text == "one"
