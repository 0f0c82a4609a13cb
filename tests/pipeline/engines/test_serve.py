"""A real vLLM server answers as the engine in this process does."""

import asyncio

import pytest

from pipeline.engines import openai
from schemas.ports import Generate, Score

KINDS = ("text", "image", "multi_image", "video", "audio")


@pytest.fixture(scope="module")
def both(starting, runner, asked, vllm_engine, served_tiny, media_store):
    """kinds, requests, the engine's results, the server's. The server starts while the engine loads."""
    cases = [(kind, a) for kind in KINDS for a in asked[kind]]
    requests = [Generate(a.prompt, temperature=0.0, max_tokens=32) for _, a in cases]
    requests += [Score(a.true, ("yes", "no")) for _, a in cases]
    requests += [Generate(a.prompt, n=4, seed=5, max_tokens=32) for _, a in cases]

    async def run():
        server = await openai.connect(openai.Settings(base_url=served_tiny, model="tiny"), media_store)
        theirs = await asyncio.gather(*map(server.ask, requests))
        await server.close()
        return await asyncio.gather(*map(vllm_engine.ask, requests)), theirs

    ours, theirs = runner.run(run())
    return [kind for kind, _ in cases] * 3, requests, ours, theirs


def pick(both, kind: str, wanted) -> list[tuple]:
    return [(ours, theirs) for k, request, ours, theirs in zip(*both) if k == kind and wanted(request)]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_the_engine(both, kind):
    for ours, theirs in pick(both, kind, lambda r: isinstance(r, Generate) and r.n == 1):
        assert theirs == ours


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_answers_are_those_of_the_engine(both, kind):
    for ours, theirs in pick(both, kind, lambda r: isinstance(r, Generate) and r.n > 1):
        assert [a.text for a in theirs.answers] == [a.text for a in ours.answers]


@pytest.mark.parametrize("kind", KINDS[1:])  # to a text that is no question, yes and no are not among the 20 listed
def test_scores_are_those_of_the_engine(both, kind):
    for ours, theirs in pick(both, kind, lambda r: isinstance(r, Score)):
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=2e-4)
        assert theirs.prompt_tokens == ours.prompt_tokens
