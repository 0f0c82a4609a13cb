"""Whether a refusal is a row's or the run's, by what came before and after it."""

import asyncio

import pytest

from pipeline.storage.answer_cache import AnswerCache, Usage
from schemas.errors import EngineError, NeverAnswered
from schemas.messages import user
from schemas.records import MEDIA_KINDS, Reason
from schemas.requests import Answer, Failure, Generate, Generated, Refused

REFUSED = Refused(Reason.ENGINE_REFUSED, "the server refused the request (400): your balance is too low (request 81ac)")
ANSWERED = Generated((Answer("one", 3, "stop"),), 12)


class Scripted:
    """Answers and refuses as it is told, in the order of asking; what it was asked."""

    identity, can, media, slots = "scripted@1", frozenset({"Generate"}), frozenset(MEDIA_KINDS), 4

    def __init__(self, *results):
        self.results, self.asked = iter(results), []

    async def ask(self, request):
        self.asked.append(request.seed)
        result = next(self.results)
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def cache(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    yield cache
    cache.close()


def asked(cache, engine, count: int, first: int = 0) -> list:
    """What so many questions come to, one after the other; and the shard is finished."""
    cached = cache.engine(engine, Usage(), step="rate")

    async def run():
        found = [await cached.ask(Generate((user("why ?"),), seed=seed)) for seed in range(first, first + count)]
        await cache.settle()
        return found

    return asyncio.run(run())


def test_one_refusal_among_answers_is_the_rows(cache):
    engine = Scripted(ANSWERED, REFUSED, ANSWERED)
    assert asked(cache, engine, 3) == [ANSWERED, REFUSED, ANSWERED]
    assert engine.asked == [0, 1, 2]


def test_all_of_a_few_refused_alike_are_the_runs_and_the_words_are_told(cache):
    with pytest.raises(
        EngineError,
        match=r"rate: scripted@1: the server refused the request \(400\): your balance is too low .* all requests are refused",
    ):
        asked(cache, Scripted(*[REFUSED] * 3), 3)


def test_all_refused_for_reasons_of_their_own_are_the_rows(cache):
    results = [
        Refused(Reason.ENGINE_REFUSED, f"the server refused the request (400): {word}")
        for word in ("a dog", "a cat", "a hen")
    ]
    assert asked(cache, Scripted(*results), 3) == results


def test_an_account_that_was_emptied_shows_when_an_answered_question_is_refused(cache):
    engine = Scripted(ANSWERED, ANSWERED, REFUSED, REFUSED)
    with pytest.raises(EngineError, match="all requests are now refused"):
        asked(cache, engine, 3)
    assert engine.asked == [0, 1, 2, 1]


def test_the_last_row_is_refused_and_an_answered_question_is_answered(cache):
    engine = Scripted(ANSWERED, REFUSED, ANSWERED)
    assert asked(cache, engine, 2) == [ANSWERED, REFUSED]
    assert engine.asked == [0, 1, 0]


def test_many_in_a_row_are_looked_at_before_the_end(cache):
    engine = Scripted(*[REFUSED] * 100)
    with pytest.raises(EngineError):
        asked(cache, engine, 100)
    assert len(engine.asked) == 32


def test_many_bad_rows_in_a_row_are_rows_all_the_same(cache):
    engine = Scripted(ANSWERED, *[REFUSED] * 32, ANSWERED, *[REFUSED] * 20, ANSWERED)
    assert asked(cache, engine, 53) == [ANSWERED] + [REFUSED] * 52
    assert engine.asked.count(0) == 3


def test_what_another_run_was_answered_speaks_for_the_server(cache):
    asked(cache, Scripted(ANSWERED), 1)
    cache.commit()
    again = AnswerCache.__new__(AnswerCache)
    again.__dict__ = {**cache.__dict__, "_refusals": {}}
    # nothing was answered in this one, so that there is nothing to ask again
    assert asked(again, Scripted(REFUSED), 1, first=7) == [REFUSED]


def test_a_cached_answer_is_as_good_a_question_to_ask_again(cache):
    asked(cache, Scripted(ANSWERED), 1)
    engine = Scripted(REFUSED, REFUSED)
    with pytest.raises(EngineError):
        asked(cache, engine, 2)
    assert engine.asked == [1, 0]


def test_a_server_that_never_answered_is_told_in_its_own_words(cache):
    error = NeverAnswered(
        "http://h/v1 answered 404: no such model; check base_url", "the server refused the request (404): no such model"
    )
    with pytest.raises(
        EngineError, match="http://h/v1 answered 404: no such model; check base_url; all requests are refused"
    ):
        asked(cache, Scripted(error, error), 2)


def test_it_is_one_row_where_the_model_is_known_to_answer(cache):
    error = NeverAnswered("http://h/v1 answered 403: no", "the server refused the request (403): no")
    assert asked(cache, Scripted(ANSWERED, error, ANSWERED), 3)[1] == Failure(Reason.ENGINE_REFUSED, error.detail)


def test_steps_are_looked_at_on_their_own(cache):
    """Makers are answered, judges of the same model are not."""
    engine = Scripted(ANSWERED, REFUSED, ANSWERED, REFUSED)
    maker, judge = (cache.engine(engine, Usage(), step=step) for step in ("make", "judge"))

    async def run():
        for seed in range(2):
            await maker.ask(Generate((user("why ?"),), seed=seed))
            await judge.ask(Generate((user("which ?"),), seed=seed))
        await cache.settle()

    with pytest.raises(EngineError, match="judge: scripted@1"):
        asyncio.run(run())
