"""Engines that are not there, behind the cache of what the real ones said."""

import asyncio

import pytest

from pipeline.engines import openai
from pipeline.storage.answer_cache import AnswerCache, CachedEngine, CacheOnlyEngine, Usage
from schemas.errors import NotAsked
from schemas.messages import user
from schemas.records import Reason
from schemas.requests import Failure, Generate, Generated
from tests.support.endpoint import Endpoint, served


def question(text: str) -> Generate:
    return Generate((user(text),), max_tokens=8)


@pytest.fixture
def asked(tmp_path, media_store):
    """Asks a server that fails at the word "poison"; a new one each time, with the same cache."""

    def ask(*texts: str):
        async def work(url):
            engine = await openai.connect(openai.Settings(base_url=url, model="m", retries=0), media_store)
            cache, usage = AnswerCache(tmp_path / "answers.sqlite"), Usage()
            try:
                return [await CachedEngine(engine, cache, usage).ask(question(t)) for t in texts], usage
            finally:
                cache.close()
                await engine.close()

        with served(Endpoint(poison="poison", status=400, message="no")) as url:
            return asyncio.run(work(url))

    return ask


def test_it_says_and_fails_as_the_real_one_did_and_knows_no_more(tmp_path, asked):
    said, _ = asked("hello", "poison")
    assert isinstance(said[0], Generated)
    assert isinstance(said[1], Failure)
    assert said[1].reason == Reason.ENGINE_REFUSED
    cache = AnswerCache(tmp_path / "answers.sqlite")
    engine = CachedEngine(CacheOnlyEngine(cache, "m", ["Generate"], [], 4), cache, Usage())

    async def work():
        assert [await engine.ask(question(t)) for t in ("hello", "poison")] == said
        with pytest.raises(NotAsked, match="was never sent"):
            await engine.ask(question("something else"))

    asyncio.run(work())
    assert (engine.identity, engine.can, engine.slots) == ("m", {"Generate"}, 4)
    cache.close()


def test_a_failure_that_is_kept_spares_no_question(asked):
    asked("poison")
    _, usage = asked("poison")
    assert (usage.asked, usage.cached, usage.failed) == (1, 0, 1)
