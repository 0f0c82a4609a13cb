"""A real vLLM server answers as the engine in this process does."""

import asyncio
import json

import pytest

from pipeline.engines import openai
from schemas import messages
from schemas.records import Part
from schemas.requests import Form, Generate, Likelihood, Likely, Score
from tests.support.media_files import mp4

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
    found = [(ours, theirs) for k, request, ours, theirs in zip(*both, strict=True) if k == kind and wanted(request)]
    assert found
    return found


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


@pytest.fixture(scope="module")
def ask_both(starting, runner, vllm_engine, served_tiny, media_store):
    """The engine's results and the server's."""

    async def ask(requests):
        server = await openai.connect(openai.Settings(base_url=served_tiny, model="tiny"), media_store)
        theirs = await asyncio.gather(*map(server.ask, requests))
        await server.close()
        return list(zip(await asyncio.gather(*map(vllm_engine.ask, requests)), theirs, strict=True)), server.can

    return lambda *requests: runner.run(ask(requests))


SCHEMA = json.dumps({
    "type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 5}}, "required": ["n"], "additionalProperties": False,
})  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_are_those_of_the_engine(ask_both, asked, kind):
    told = [
        (*a.prompt, messages.assistant(text)) for a in asked[kind][:2] for text in ("a red circle .", " naïve\nсловo")
    ]
    found, can = ask_both(*map(Likelihood, told))
    assert "Likelihood" in can
    for ours, theirs in found:
        assert isinstance(theirs, Likely)
        assert theirs.prompt_tokens == ours.prompt_tokens
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-3)


def test_forms_stops_and_top_k_are_those_of_the_engine(ask_both, asked):
    prompt = asked["image"][0].prompt
    forms = Form(choice=("both", "none")), Form(schema=SCHEMA), Form(regex="(red|blue) cup")
    found, _ = ask_both(
        *(Generate(prompt, temperature=0.0, max_tokens=32, form=form) for form in forms),
        Generate(prompt, temperature=0.0, max_tokens=32, stop=(" a",)),
        Generate(prompt, n=3, temperature=2.0, top_k=1, max_tokens=32),
        Generate(prompt, n=3, temperature=2.0, top_k=3, max_tokens=32),
    )
    for ours, theirs in found:
        assert [a.text for a in theirs.answers] == [a.text for a in ours.answers]
        assert [a.finish for a in theirs.answers] == [a.finish for a in ours.answers]
    texts = [[a.text for a in theirs.answers] for _, theirs in found]
    assert texts[0][0] in ("both", "none")
    assert texts[1][0].startswith("{")  # no tiny model's JSON ends
    assert texts[2][0] in ("red cup", "blue cup")
    assert len(set(texts[4])) == 1
    assert len(set(texts[5])) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_of_tokens_are_those_of_the_engine(ask_both, asked, kind):
    found, _ = ask_both(*(Generate(a.prompt, n=2, seed=3, max_tokens=24, logprobs=True) for a in asked[kind][:2]))
    for ours, theirs in found:
        for mine, answer in zip(ours.answers, theirs.answers, strict=True):
            assert (answer.text, answer.tokens) == (mine.text, mine.tokens)
            assert answer.token_logprobs == pytest.approx(mine.token_logprobs, abs=1e-3)
            assert answer.logprob == pytest.approx(mine.logprob, abs=1e-2)


def test_a_video_is_shown_together_with_its_sound(ask_both, media_store):
    clip = media_store.add(mp4(sound=True))
    video, sound = Part("video", media=clip), Part("audio", media=clip)
    asked = [(messages.user(*parts, "what moves ?"),) for parts in ((video, sound), (video,))]
    found, _ = ask_both(
        *(Generate(prompt, max_tokens=8) for prompt in asked), Likelihood((*asked[0], messages.assistant("a cup .")))
    )
    # a server takes the frames that it is told to at its start; the sound is a second of 440 Hz to both
    ours, theirs = ([result.prompt_tokens for result in side[:2]] for side in zip(*found, strict=True))
    assert theirs[0] - theirs[1] == ours[0] - ours[1] > 10
    assert isinstance(found[2][1], Likely)
