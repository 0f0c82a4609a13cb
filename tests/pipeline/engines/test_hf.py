"""transformers in process: the same answers as vLLM, and what vLLM cannot tell."""

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.engines import hf
from pipeline.engines.local import forward
from pipeline.media.decode import decode_image, portable
from schemas import messages
from schemas.errors import EngineError
from schemas.records import Part, Reason
from schemas.requests import Attend, Beams, Embed, Failure, Form, Generate, Likelihood, Perturb, Rate, Score
from tests.support.media_files import mp4, png

KINDS = ("text", "image", "multi_image", "video", "audio")
TINY = "data/models/tiny"


@pytest.fixture(scope="module")
def engine(runner, media_store):
    engine = runner.run(hf.connect(hf.Settings(model=TINY), media_store))
    yield engine
    runner.run(engine.close())


@pytest.fixture(scope="module")
def ask(runner, engine):
    async def together(requests):
        return await asyncio.gather(*map(engine.ask, requests))

    return lambda *requests: runner.run(together(requests))


@pytest.fixture(scope="module")
def ask_vllm(runner, vllm_engine):
    async def together(requests):
        return await asyncio.gather(*map(vllm_engine.ask, requests))

    return lambda *requests: runner.run(together(requests))


@pytest.fixture(scope="module")
def clip_with_sound(media_store):
    clip, wave = media_store.add(mp4(sound=True)), media_store.add(portable(mp4(sound=True), "input_audio", "x"))
    return (messages.user(Part("video", media=clip), Part("audio", media=wave), "what moves ?"),)


def test_the_engine_says_what_it_can_and_what_it_takes(engine):
    assert engine.can == {"Generate", "Form", "Beams", "Score", "Likelihood", "Embed", "Attend", "Perturb"}
    assert engine.media == {"image", "video", "audio"}
    assert engine.identity.startswith("tiny@")
    assert engine.identity.endswith(" hf")  # its answers are kept apart from vLLM's


@pytest.mark.parametrize("kind", KINDS)
def test_answers_scores_and_likelihoods_are_vllms(ask, ask_vllm, asked, kind):
    for a in asked[kind][:2]:
        wanted = Generate(a.prompt, temperature=0.0, max_tokens=32)
        mine, theirs = ask(wanted)[0], ask_vllm(wanted)[0]
        assert mine.answers == theirs.answers
        assert mine.prompt_tokens == theirs.prompt_tokens
        told = (*a.prompt, messages.assistant(theirs.answers[0].text or "nothing"))
        for request in (Score(a.true, ("yes", "no")), Likelihood(told)):
            assert ask(request)[0].logprobs == pytest.approx(ask_vllm(request)[0].logprobs, abs=1e-3)


def test_a_video_and_its_sound_are_both_shown(ask, ask_vllm, clip_with_sound):
    wanted = Generate(clip_with_sound, temperature=0.0, max_tokens=32)
    assert ask(wanted)[0].answers == ask_vllm(wanted)[0].answers


def test_a_seed_repeats_its_answer_and_the_nth_answer_has_the_nth_seed(ask, asked):
    prompt = asked["image"][0].prompt
    many, again = ask(Generate(prompt, n=3, seed=5, max_tokens=16), Generate(prompt, n=3, seed=5, max_tokens=16))
    assert many == again
    singles = ask(*(Generate(prompt, seed=5 + i, max_tokens=16) for i in range(3)))
    assert many.answers == tuple(s.answers[0] for s in singles)


def test_probabilities_of_drawn_tokens_are_those_of_the_same_text(ask, asked):
    prompt = asked["image"][0].prompt
    answer = ask(Generate(prompt, seed=2, max_tokens=32, logprobs=True))[0].answers[0]
    assert len(answer.token_logprobs) == answer.tokens
    assert answer.logprob == pytest.approx(sum(answer.token_logprobs), abs=1e-3)
    told = ask(Likelihood((*prompt, messages.assistant(answer.text))))[0]
    assert answer.token_logprobs[: len(told.logprobs)] == pytest.approx(told.logprobs, abs=1e-3)


def test_an_answer_ends_before_a_stop_and_keeps_its_form(ask, asked):
    prompt = asked["image"][0].prompt
    schema = '{"type": "object", "properties": {"seen": {"enum": ["red", "blue"]}}, "required": ["seen"], "additionalProperties": false}'
    plain, stopped, held, formed = ask(
        Generate(prompt, temperature=0.0, max_tokens=32),
        Generate(prompt, temperature=0.0, max_tokens=32, stop=(" a",)),
        Generate(prompt, temperature=0.0, max_tokens=32, form=Form(choice=("both", "none"))),
        Generate(prompt, temperature=0.0, max_tokens=32, form=Form(schema=schema)),
    )
    text = plain.answers[0].text
    assert " a" in text
    assert (stopped.answers[0].text, stopped.answers[0].finish) == (text.partition(" a")[0], "stop")
    assert held.answers[0].text in ("both", "none")
    assert formed.answers[0].text in ('{"seen": "red"}', '{"seen": "blue"}')  # no white space between tokens
    assert text not in ("both", "none")


# beams


def test_groups_choose_in_turn_and_pay_for_what_was_chosen_before():
    # one beam a group, both begin alike: log-probabilities of tokens 0, 1, 2 are -0.5, -1.0, -3.0. The first group takes 0;
    # for the second 0 costs 0.5 + diversity: with 1.0 it is -1.5 and token 1 (-1.0) wins; with 0.3 it is -0.8 and 0 wins
    logps = torch.tensor([[-0.5, -1.0, -3.0]] * 2)
    total = torch.zeros(2)
    assert forward._choose(logps, total, 2, 1.0) == [(0, 0), (1, 1)]
    assert forward._choose(logps, total, 2, 0.3) == [(0, 0), (1, 0)]
    # two beams in one group, of which the second is not alive: the best two steps of the first
    assert forward._choose(logps, torch.tensor([0.0, -torch.inf]), 1, 3.0) == [(0, 0), (0, 1)]


def test_one_beam_is_the_greedy_answer_and_groups_differ(ask, asked):
    prompt = asked["image"][0].prompt
    (one,) = ask(Beams(prompt, beams=1, groups=1, max_tokens=32))
    (greedy,) = ask(Generate(prompt, temperature=0.0, max_tokens=32))
    assert one.answers[0].text == greedy.answers[0].text
    (five,) = ask(Beams(prompt, beams=5, groups=5, diversity=3.0, max_tokens=12))
    assert len({a.text for a in five.answers}) == 5
    means = [a.logprob / a.tokens for a in five.answers]
    assert means == sorted(means, reverse=True)


# hidden states and attention


def test_a_vector_has_length_one_and_tells_pictures_apart(ask, asked):
    first, same, other = ask(*(Embed(asked["image"][i].prompt) for i in (0, 0, 1)))
    assert np.linalg.norm(first.vector) == pytest.approx(1, abs=1e-4)
    assert first == same
    assert np.dot(first.vector, other.vector) < 0.9999


def test_attention_is_shared_out_between_places():
    # two tokens of the answer over five tokens; places 1-2 get .1 + .2 + .2 + .1 = .6, place 4 gets .1 + .1 = .2: .75 and .25
    paid = np.array([[0.5, 0.1, 0.2, 0.1, 0.1], [0.5, 0.2, 0.1, 0.1, 0.1]])
    assert forward.shares(paid, [range(1, 3), range(4, 5)]) == (0.75, 0.25)
    assert forward.shares(np.zeros((2, 5)), [range(1, 3), range(4, 5)]) == (0.5, 0.5)
    assert forward.runs([7, 9, 9, 7, 9, 8, 8], {9, 8}) == [range(1, 3), range(4, 5), range(5, 7)]


def test_attention_goes_to_the_picture_that_is_asked_about(ask, asked):
    share = []
    for a in asked["multi_image"][:6]:
        media = [p for m in a.prompt for p in m.parts if p.media]
        prompts = [(messages.user(*media, f"describe picture {place} ."),) for place in ("one", "two")]
        said = ask(*(Generate(prompt, temperature=0.0, max_tokens=32) for prompt in prompts))
        told = [(*prompt, messages.assistant(s.answers[0].text)) for prompt, s in zip(prompts, said, strict=True)]
        first, second = ask(*map(Attend, told))
        assert sum(first.shares) == pytest.approx(1, abs=1e-3)
        share.append((first.shares[0], second.shares[0]))
    assert np.mean([one for one, _ in share]) > np.mean([other for _, other in share])


# gradients


def test_a_perturbed_picture_keeps_its_bound_and_moves_its_features_more_than_noise(ask, engine, media_store):
    sha = media_store.add(png())
    made, again, other = (ask(Perturb(sha, 8, 2, 10, seed))[0].media for seed in (1, 1, 2))
    assert made == again != other
    clean = decode_image(media_store.read(sha), "clean")
    moved = decode_image(media_store.read(made), "moved")
    clean = clean.resize(moved.size, Image.Resampling.BICUBIC)
    change = np.asarray(moved, np.int16) - np.asarray(clean, np.int16)
    assert 0 < np.abs(change).max() <= 8
    noise = np.random.default_rng(0).choice((-8, 8), change.shape)
    noisy = Image.fromarray((np.asarray(clean, np.int16) + noise).clip(0, 255).astype(np.uint8))
    at = [_features(engine, picture) for picture in (clean, noisy, moved)]
    assert np.linalg.norm(at[2] - at[0]) > 2 * np.linalg.norm(at[1] - at[0])


@torch.no_grad()
def _features(engine, picture: Image.Image) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, "PNG")
    shown = engine._encoder.processor.image_processor(images=[picture], return_tensors="pt")
    found = engine._model.get_image_features(**shown)
    return torch.cat([t.flatten() for t in forward._tensors(found)]).numpy()


# what goes wrong


def test_each_bad_request_fails_alone(ask, asked, media_store):
    prompt = asked["image"][0].prompt
    lost, empty, unanswered, greedy, head, good = ask(
        Generate((messages.user(Part("image", media="ab" * 32), "what ?"),)), Generate((messages.user(" "),)),
        Likelihood(prompt), Generate(prompt, n=2, temperature=0.0), Rate(prompt), Score(prompt, ("yes", "no")),
    )  # fmt: skip
    assert [r.reason for r in (lost, empty, unanswered, greedy, head)] == [
        Reason.MISSING_FILE, Reason.EMPTY_PROMPT, Reason.EMPTY_ANSWER, Reason.ENGINE_REFUSED, Reason.ENGINE_REFUSED,
    ]  # fmt: skip
    assert not isinstance(good, Failure)


def test_a_folder_without_a_model_is_an_engine_error(runner, media_store, tmp_path):
    with pytest.raises(EngineError, match="transformers cannot load"):
        runner.run(hf.connect(hf.Settings(model=str(tmp_path)), media_store))


def test_a_reward_model_rates_a_conversation(runner, media_store, tmp_path):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.add_tokens(["[STOP]"], special_tokens=True)  # one of its own, which no other family has
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_labels=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = runner.run(hf.connect(hf.Settings(model=str(tmp_path)), media_store))
    talk = (messages.user("what is there ?"), messages.assistant("there is a red circle ."))
    rated, again = (runner.run(engine.ask(Rate(talk))) for _ in range(2))
    turns = [{"role": m.role, "content": m.parts[0].text} for m in talk]
    with torch.no_grad():
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        assert rated.value == pytest.approx(model(ids).logits.item(), abs=1e-4)
    assert rated == again
    sly, broken = (
        runner.run(engine.ask(Rate((messages.user("what ?"), messages.assistant(text)))))
        for text in ("[STOP]", "[\u2060STOP]")
    )
    assert sly == broken  # a text cannot hold the token itself
    picture = (messages.user(Part("image", media="ab" * 32), "what ?"), messages.assistant("a cup"))
    assert runner.run(engine.ask(Rate(picture))).reason == Reason.UNSUPPORTED_MEDIA
    assert runner.run(engine.ask(Generate(talk))).reason == Reason.ENGINE_REFUSED
    runner.run(engine.close())
