"""Several servers of one model, and how many requests each gets, against scripted servers on loopback."""

import asyncio
import contextlib
import logging
import time

import pytest
from pydantic import ValidationError

from pipeline.engines import openai
from pipeline.engines.remote import endpoints
from schemas import messages
from schemas.errors import EngineError, RecipeError
from schemas.records import Reason
from schemas.requests import Failure, Generate, Generated
from tests.support.endpoint import NO_FAULTS, Endpoint, served, start

KEYS = {"PAIRWRIGHT_TEST_KEY": "sk-of-the-first", "PAIRWRIGHT_TEST_OTHER_KEY": "sk-of-the-second"}


@pytest.fixture
def pair():
    return Endpoint(), Endpoint()


@pytest.fixture
def urls(pair):
    with served(pair[0]) as first, served(pair[1]) as second:
        yield first, second


@pytest.fixture
def soon(monkeypatch):
    """Pauses take a hundredth of their time."""
    pause = endpoints.backoff_seconds
    monkeypatch.setattr(endpoints, "backoff_seconds", lambda times: pause(times) / 100)


def settings(urls, *more: dict, **rest) -> openai.Settings:
    named = [{"base_url": url} | extra for url, extra in zip(urls, more or ({},) * len(urls), strict=True)]
    return openai.Settings(**{"endpoints": named, "model": "scripted"} | rest)


def requests(count: int, first: int = 0) -> list[Generate]:
    return [Generate((messages.user(f"question {i}"),)) for i in range(first, first + count)]


def ask(settings: openai.Settings, media_store, asked: list[Generate]):
    """All requests at once of a fresh engine: the results in their order."""

    async def run():
        engine = await openai.connect(settings, media_store)
        try:
            return await asyncio.gather(*map(engine.ask, asked))
        finally:
            await engine.close()

    return asyncio.run(run())


# sharing


def test_endpoints_share_the_requests_by_weight_and_each_question_is_asked_once(pair, urls, media_store):
    for endpoint in pair:
        endpoint.faults["delay"] = 0.02
    found = ask(settings(urls, {"weight": 3}, {"weight": 1}, slots=20), media_store, requests(240))
    assert all(isinstance(result, Generated) for result in found)
    heavy, light = (endpoint.questions.total() for endpoint in pair)
    assert heavy + light == 240
    # of 20 in flight 15 are the heavy one's and 5 the light one's: 180 and 60 of 240, but for who happens to be first
    assert [endpoint.peak for endpoint in pair] == [15, 5]
    assert 150 <= heavy <= 210


def test_answers_are_the_same_whichever_endpoint_gave_them(urls, media_store):
    one = ask(openai.Settings(base_url=urls[0], model="scripted"), media_store, requests(20))
    assert ask(settings(urls), media_store, requests(20)) == one
    assert openai.identity_of(settings(urls)) == openai.identity_of(openai.Settings(base_url=urls[0], model="scripted"))


def test_slots_of_endpoints_add_up(pair, urls, media_store):
    for endpoint in pair:
        endpoint.faults["delay"] = 0.02

    async def run():
        engine = await openai.connect(settings(urls, {"slots": 2}, {"slots": 5}, slots=64), media_store)
        await asyncio.gather(*map(engine.ask, requests(40)))
        await engine.close()
        return engine.slots

    assert asyncio.run(run()) == 7
    assert [endpoint.peak for endpoint in pair] == [2, 5]


# failing over


def test_an_endpoint_that_is_not_there_at_the_start_is_done_without(pair, urls, media_store, caplog):
    with served(Endpoint()) as gone:
        pass
    found = ask(settings((gone, urls[0])), media_store, requests(20))
    assert all(isinstance(result, Generated) for result in found)
    assert pair[0].answered == 20
    assert f"{gone} is paused" in caplog.text


def test_one_that_answers_only_with_errors_is_left_alone_and_loses_nothing(pair, urls, media_store):
    pair[0].faults = NO_FAULTS | {"share": 1, "times": 10**6, "status": 502}
    found = ask(settings(urls, slots=8), media_store, requests(300))
    assert all(isinstance(result, Generated) for result in found)
    assert pair[1].answered == 300
    # what was in flight when it was left alone, and the few with which it was tried again
    assert pair[0].questions.total() < 40


def test_one_that_comes_back_is_asked_again(media_store, soon, caplog):
    caplog.set_level(logging.WARNING)
    lasting, dying = Endpoint(), Endpoint()
    for endpoint in (lasting, dying):
        endpoint.faults["delay"] = 0.005

    async def run():
        steady, port = await start(lasting)
        runner, other = await start(dying)
        urls = [f"http://127.0.0.1:{p}/v1" for p in (port, other)]
        engine = await openai.connect(settings(urls, slots=4), media_store)
        tasks = [asyncio.create_task(engine.ask(request)) for request in requests(600)]
        await until(lambda: dying.answered >= 50)
        await runner.cleanup()
        before = dying.answered, lasting.answered
        await until(lambda: lasting.answered >= before[1] + 50)
        assert dying.answered == before[0]
        runner, _ = await start(dying, other)
        found = await asyncio.gather(*tasks)
        await engine.close()
        await asyncio.gather(runner.cleanup(), steady.cleanup())
        return found, dying.answered - before[0]

    found, after = asyncio.run(run())
    assert all(isinstance(result, Generated) for result in found)
    assert after > 50
    assert lasting.answered + dying.answered == 600  # nothing was answered twice
    assert "is paused for" in caplog.text
    assert "answers again" in caplog.text


async def until(there) -> None:
    async with asyncio.timeout(20):
        while not there():
            await asyncio.sleep(0.001)


def test_the_run_ends_only_when_all_are_gone_and_says_what_became_of_each(media_store, soon):
    async def run():
        with served(Endpoint()) as first, served(Endpoint()) as second:
            engine = await openai.connect(settings((first, second), retries=2), media_store)
        try:
            await asyncio.gather(*map(engine.ask, requests(50)))
        finally:
            await engine.close()

    with pytest.raises(
        EngineError, match=r"no endpoint is left: no server answers at .*; no server answers at "
    ) as raised:
        asyncio.run(run())
    assert "\n" not in str(raised.value)


def test_a_server_that_answers_nothing_but_errors_ends_the_run_instead_of_failing_every_row(
    pair, urls, media_store, soon
):
    pair[0].faults = NO_FAULTS | {"share": 1, "times": 10**6, "status": 502, "message": "bad gateway"}
    with pytest.raises(EngineError, match="keeps answering 502: bad gateway; check the server's log"):
        ask(openai.Settings(base_url=urls[0], model="scripted"), media_store, requests(300))
    assert pair[0].questions.total() < 120


def test_a_request_that_no_server_survives_is_one_failure_and_the_rest_go_on(pair, urls, media_store, soon):
    poison = [Generate((messages.user("a poisonous question"),))]
    pair[0].faults["poison"] = "poisonous"
    failed, *found = ask(
        openai.Settings(base_url=urls[0], model="scripted", slots=1), media_store, poison + requests(20)
    )
    assert failed == Failure(Reason.ENGINE_FAILED, "the server answered 500 at every retry: scripted fault")
    assert all(isinstance(result, Generated) for result in found)
    assert pair[0].questions.total() == 6 + 20  # five retries


def test_an_endpoint_without_the_model_is_given_up_and_the_other_answers(pair, urls, media_store, caplog):
    pair[0].faults = NO_FAULTS | {"share": 1, "times": 10**6, "status": 404, "message": "no such model"}
    found = ask(settings(urls, slots=4), media_store, requests(60))
    assert all(isinstance(result, Generated) for result in found)
    assert pair[0].questions.total() <= 4
    assert "gets no more requests" in caplog.text


# how many at a time


def test_a_server_with_too_many_requests_gets_fewer_and_slowly_more(pair, urls, media_store, soon):
    pair[0].faults |= {"most": 4, "delay": 0.003}

    async def run():
        engine = await openai.connect(
            openai.Settings(base_url=urls[0], model="scripted", slots=32, retries=50), media_store
        )
        found = await asyncio.gather(*map(engine.ask, requests(600)))
        limit = engine._pool.servers[0].limit
        pair[0].faults["most"] = None
        pair[0].peak = 0
        more = await asyncio.gather(*map(engine.ask, requests(1200, 600)))
        await engine.close()
        return [*found, *more], limit

    found, limit = asyncio.run(run())
    assert all(isinstance(result, Generated) for result in found)
    # it halves where one more than 4 is refused and grows by one from there: between 2 and 5, and what was on its way
    assert limit < 8
    # at 32 in flight 28 of 32 would be refused, eight for each that is answered
    assert pair[0].refused < 600
    # the limit grows by one for as many answers as it is: from 4 to 32 takes 4 + 5 + ... + 31 = 490 answers
    assert 24 <= pair[0].peak <= 32


def test_a_server_that_grows_slow_gets_fewer(pair, urls, media_store):
    pair[0].faults["delay"] = 0.01

    async def run():
        engine = await openai.connect(openai.Settings(base_url=urls[0], model="scripted", slots=16), media_store)
        await asyncio.gather(*map(engine.ask, requests(160)))
        before = engine._pool.servers[0].limit
        pair[0].faults["delay"] = 0.2  # 20 times what it was: more than thrice
        await asyncio.gather(*map(engine.ask, requests(112, 160)))
        await engine.close()
        return before, engine._pool.servers[0].limit

    before, after = asyncio.run(run())
    assert before == 16
    assert 8 <= after < 16  # halved once, for what was asked before that says nothing new


def test_a_steady_server_keeps_all_its_slots_through_long_tails(pair, urls, media_store):
    tail = iter([0.001] * 9 + [0.05] for _ in range(10**6))
    delays = (delay for ten in tail for delay in ten)
    pair[0].faults["delays"] = delays

    async def run():
        engine = await openai.connect(openai.Settings(base_url=urls[0], model="scripted", slots=16), media_store)
        await asyncio.gather(*map(engine.ask, requests(600)))
        await engine.close()
        return engine._pool.servers[0].limit

    assert asyncio.run(run()) == 16


def test_one_endpoint_rests_as_long_as_it_asked_while_the_other_works(pair, urls, media_store):
    pair[0].faults = NO_FAULTS | {"share": 1, "times": 1, "status": 429, "retry_after": 30}
    started = time.monotonic()
    found = ask(settings(urls, slots=4), media_store, requests(40))
    assert all(isinstance(result, Generated) for result in found)
    assert time.monotonic() - started < 10
    assert pair[0].questions.total() <= 4


# no wait without an end


@pytest.mark.parametrize("ticks", range(6))
def test_a_rest_that_ends_while_the_pool_decides_wakes_who_waits(ticks, monkeypatch):
    """Readings of the clock stand still for some and then pass the end of the rest, one after the other."""

    async def run():
        loop = asyncio.get_running_loop()
        server = endpoints.Server(endpoints.Endpoint(base_url="http://127.0.0.1:9/v1"), 1, None, 5)
        pool = endpoints.Pool([server], 1)
        real, readings = loop.time, []

        def time():
            readings.append(1)
            return real() if len(readings) <= ticks else real() + 0.1

        server._until = real() + 0.05
        monkeypatch.setattr(loop, "time", time)
        async with asyncio.timeout(5):
            assert await pool.take() is server
        pool.close()

    asyncio.run(run())


def test_who_waits_for_what_can_never_come_is_told_so():
    async def run():
        server = endpoints.Server(endpoints.Endpoint(base_url="http://127.0.0.1:9/v1"), 1, None, 5)
        pool = endpoints.Pool([server], 1)
        server.limit = 0.0  # as no server's ever should be
        await asyncio.gather(pool.take(), pool.take())

    with pytest.raises(EngineError, match="requests are waiting, but none is in flight and no server is paused"):
        asyncio.run(run())


# keys


def test_each_endpoint_has_its_own_key_and_none_shows_anywhere(pair, urls, media_store, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    first, second = KEYS
    keys = list(KEYS.values())
    pair[0].key, pair[1].key = keys
    named = settings(urls, {"api_key_env": first}, {}, api_key_env=second, slots=4)
    assert all(isinstance(result, Generated) for result in ask(named, media_store, requests(30)))
    assert all(endpoint.answered for endpoint in pair)
    said = f"wrong: {keys[0]} and {keys[1]}"
    for endpoint in pair:
        endpoint.faults = NO_FAULTS | {"share": 1, "times": 99, "status": 400, "message": said}
    shown = [str(result) for result in ask(named, media_store, requests(30))]
    assert "wrong: *** and ***" in shown[0]
    for endpoint in pair:
        endpoint.faults = NO_FAULTS | {"share": 1, "times": 10**6, "status": 402, "message": said}
    with pytest.raises(EngineError) as raised:
        ask(named, media_store, requests(30))
    assert f"check the key in {first}" in str(raised.value)
    assert f"check the key in {second}" in str(raised.value)
    shown += [str(raised.value), caplog.text, repr(named), openai.identity_of(named)]
    assert [key for key in keys if key in "\n".join(shown)] == []


def test_a_key_of_one_endpoint_that_is_not_set_is_said_before_any_question(urls, media_store, monkeypatch):
    monkeypatch.delenv("PAIRWRIGHT_TEST_OTHER_KEY", raising=False)
    with pytest.raises(RecipeError, match="PAIRWRIGHT_TEST_OTHER_KEY, which is not set"):
        ask(settings(urls, {}, {"api_key_env": "PAIRWRIGHT_TEST_OTHER_KEY"}), media_store, requests(1))


def test_an_endpoints_address_holds_no_credentials():
    with pytest.raises(ValidationError, match="base_url must not contain credentials"):
        settings(("https://me:secret@host/v1",))


# giving up in the midst


def test_a_caller_that_goes_away_leaves_its_slot(pair, urls, media_store):
    pair[0].faults["delay"] = 0.05

    async def run():
        engine = await openai.connect(openai.Settings(base_url=urls[0], model="scripted", slots=2), media_store)
        tasks = [asyncio.create_task(engine.ask(request)) for request in requests(8)]
        await asyncio.sleep(0.02)
        for task in tasks[:6]:  # two in flight, four that wait
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        async with asyncio.timeout(5):
            found = await asyncio.gather(*tasks[6:])
        left = engine._pool.servers[0].in_flight
        await engine.close()
        return found, left

    found, left = asyncio.run(run())
    assert all(isinstance(result, Generated) for result in found)
    assert left == 0
