import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoProcessor
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from pipeline.scenes.model.__main__ import make
from pipeline.scenes.model.features import features, log_mel, patchify
from pipeline.scenes.model.habits import habitual_answer
from pipeline.scenes.model.judging import judge_questions, quality
from pipeline.scenes.model.measure import items, measure, sample, yes_minus_no
from pipeline.scenes.model.model import load, new_model, new_processor, new_tokenizer, with_judging_layers
from pipeline.scenes.model.pack import IGNORED, AnsweredQuestion, Prompter, collate, hidden_states, pack
from pipeline.scenes.model.pretrain import CYCLES, corpus, learn_to_judge, pretrain, scene_questions
from pipeline.scenes.model.warmup import warm_up_audio, warm_up_vision
from pipeline.scenes.world import SCENES, draw, load_world

CHECKPOINT = Path(__file__).parents[3] / "data" / "models" / "tiny"
PARAMETERS = 1_610_144
WORLD = load_world()
EACH_KIND = pytest.mark.parametrize("kind", sorted(SCENES))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(corpus(WORLD, 300, judging=True))


@pytest.fixture(scope="module")
def prompter(tokenizer):
    return Prompter(tokenizer)


@pytest.fixture(scope="module")
def checkpoint():
    model, tokenizer = load(CHECKPOINT)
    return model, Prompter(tokenizer)


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(CHECKPOINT)


def chat(scene, question):
    """A scene's prompt as transformers takes it: messages and the media by kind."""
    content, media = [], {"images": [], "videos": [], "audio": []}
    for kind, value in scene.parts():
        content.append({"type": kind, "text": value} if kind == "text" else {"type": kind})
        if kind != "text":
            media["audio" if kind == "audio" else f"{kind}s"].append(np.stack(value) if kind == "video" else value)
    content.append({"type": "text", "text": question})
    return [{"role": "user", "content": content}], {kind: found for kind, found in media.items() if found}


def processed(processor, scene, question):
    messages, media = chat(scene, question)
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(text=text, **media, return_tensors="pt", padding=True)


def loss_on(model, prompter, kinds=("image", "audio")):
    """Mean loss a token of some true answers."""
    total = 0.0
    for kind in kinds:
        rows = []
        for seed in range(4):
            scene = draw(WORLD, kind, seed)
            rows.append(
                (features(scene.parts()), [AnsweredQuestion(task.question, task.answer) for task in scene.tasks()])
            )
        batch, labels, *_ = pack(prompter, rows)
        with torch.no_grad():
            scores = model.lm_head(hidden_states(model, **batch, use_cache=False).last_hidden_state[:, :-1])
        total += cross_entropy(scores.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED).item()
    return total / len(kinds)


def trained(tokenizer, prompter, towers, language):
    model = new_model(tokenizer, 1)
    before = loss_on(model, prompter)
    warm_up_vision(model, WORLD, towers, 1)
    warm_up_audio(model, WORLD, towers, 1)
    freeze_towers(model)
    pretrain(model, prompter, WORLD, language, 1)
    return model, before


def freeze_towers(model):
    for tower in (model.visual, model.audio_tower):
        tower.requires_grad_(False)


def test_a_few_steps_lower_the_loss(tokenizer, prompter, monkeypatch):
    monkeypatch.setattr("pipeline.scenes.model.pretrain.RISE", 4)
    model, before = trained(tokenizer, prompter, 1, 16)
    assert loss_on(model, prompter) < 0.8 * before


def test_the_same_seed_gives_the_same_weights(tokenizer, prompter):
    one, two = (trained(tokenizer, prompter, 1, 1)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_grown_model_answers_as_before(tokenizer, prompter):
    """The new layers pass on what they get, and old words are found under their new numbers."""
    few = new_tokenizer(corpus(WORLD, 300))
    model = new_model(few, 3).eval()
    larger = with_judging_layers(model, few, tokenizer, 4, torch.float32).eval()
    assert len(larger.model.layers) > len(model.model.layers)
    scene = draw(WORLD, "image", 5)
    scores = []
    for asked, answers in ((model, Prompter(few)), (larger, prompter)):
        batch = collate([answers.prompt(features(scene.parts()), scene.tasks()[0].question)])
        with torch.no_grad():
            said = asked.lm_head(hidden_states(asked, **batch, use_cache=False).last_hidden_state[0, -1])
        scores.append(said[[int(answers.encode(word)[0]) for word in ("yes", "no", "there", " circle")]])
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-5)


def test_a_few_steps_lower_the_losses_of_judging(tokenizer, prompter, monkeypatch):
    monkeypatch.setattr("pipeline.scenes.model.pretrain.RISE", 4)
    few = new_tokenizer(corpus(WORLD, 300))
    losses = []
    for steps in (2, 20):  # the first two steps are of other kinds than the rest
        model = with_judging_layers(new_model(few, 1), few, tokenizer, 1)
        freeze_towers(model)
        found = learn_to_judge(model, prompter, WORLD, steps, 1, CYCLES["judging"])
        losses.append([found[f"image {what}"] for what in ("judged", "amiss", "rated")])
    assert all(after < before for before, after in zip(*losses))


def test_every_word_is_one_token(prompter):
    for text in (" circle", " orange", " beeps", " five", "yes", "no", "describe"):
        assert prompter.encode(text).size == 1


@EACH_KIND
def test_a_packed_question_is_answered_as_if_it_were_alone(tokenizer, prompter, kind):
    model = new_model(tokenizer, 3).eval()
    scene = draw(WORLD, kind, 5)
    asked = [AnsweredQuestion(*found[:2], marks=found.marks) for found in judge_questions(scene, random.Random(0))]
    seen, questions = features(scene.parts()), scene_questions(scene, random.Random(0), 0.0)[:3] + asked
    batch, labels, *_ = pack(prompter, [(seen, questions)])
    with torch.no_grad():
        packed = model.lm_head(hidden_states(model, **batch, use_cache=False).last_hidden_state[0])
        starts = [i for i in range(1, labels.shape[1]) if labels[0, i] != IGNORED and labels[0, i - 1] == IGNORED]
        for start, (question, *_) in zip(starts, questions, strict=True):
            alone = collate([prompter.prompt(seen, question)])
            scores = model.lm_head(hidden_states(model, **alone, use_cache=False).last_hidden_state[0, -1])
            torch.testing.assert_close(packed[start - 1], scores, atol=1e-4, rtol=1e-4)


def test_our_features_are_those_of_transformers(tokenizer):
    processor = new_processor(tokenizer)
    ((_, image),) = draw(WORLD, "image", 3).parts()
    theirs = processor.image_processor(image, return_tensors="np")
    values, grid = patchify([image])
    np.testing.assert_allclose(values, theirs["pixel_values"], atol=1e-5)
    assert [list(grid)] == theirs["image_grid_thw"].tolist()
    ((_, wave),) = draw(WORLD, "audio", 3).parts()
    theirs = processor.feature_extractor(wave, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    np.testing.assert_allclose(log_mel(wave), theirs, atol=1e-4)


@EACH_KIND
def test_habits_are_well_formed_and_never_name_a_held_out_combination(kind):
    rng = random.Random(0)
    changed = 0
    for seed in range(200):
        scene = draw(WORLD, kind, seed)
        for task in scene.tasks():
            answer = habitual_answer(scene, task, rng, 1.0)
            assert not quality(scene, task, answer).malformed
            assert not any(f"{colour} {shape}" in answer for colour, shape in WORLD.held_pictures)
            changed += answer != task.answer
    assert changed > 60


def test_the_committed_checkpoint_is_the_model_that_this_package_makes(checkpoint):
    model, prompter = checkpoint
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS
    fresh = new_tokenizer(corpus(WORLD, judging=True))
    assert fresh.get_vocab() == prompter.tokenizer.get_vocab()
    assert (CHECKPOINT / "model.safetensors").stat().st_size < 3.4e6


def test_the_committed_checkpoint_keeps_what_vllm_needs():
    def read(name):
        return json.loads((CHECKPOINT / name).read_text())

    assert read("tokenizer_config.json")["size"] == {"shortest_edge": 32 * 32, "longest_edge": 512 * 512}
    assert read("config.json")["thinker_config"]["vision_config"]["tokens_per_second"] == 2
    both = read("preprocessor_config.json")
    assert both["feature_size"] == 32
    assert both["patch_size"] == 16


@EACH_KIND
def test_transformers_reads_the_checkpoint_and_answers_as_our_sampler_does(checkpoint, processor, kind):
    model, prompter = checkpoint
    theirs = Thinker.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    for item in items(WORLD, prompter, kind, 3, seed=5):
        inputs = processed(processor, item.scene, item.task.question)
        assert inputs["input_ids"][0].tolist() == item.prompt.ids.tolist()
        out = theirs.generate(**inputs, max_new_tokens=64, do_sample=False)
        ours = sample(model, prompter, [item.prompt])[0][0]
        assert out[0, inputs["input_ids"].shape[1] :].tolist() == ours
        assert not quality(item.scene, item.task, prompter.decode(ours)).malformed


@EACH_KIND
def test_the_checkpoint_knows_what_it_sees_and_says_more(checkpoint, kind):
    model, prompter = checkpoint
    figures = measure(model, prompter, WORLD, kind, n=60, seed=3)
    assert figures["yes_no"]["all"] > 0.85
    assert figures["greedy"]["recall"] > 0.7
    assert 0.1 < figures["greedy"]["hallucinated"] < 0.75


def test_yes_and_no_depend_on_the_picture(checkpoint):
    model, prompter = checkpoint
    scenes = [draw(WORLD, "image", seed, "eval") for seed in range(40)]
    question = "is there a red circle ?"
    found = yes_minus_no(model, prompter, [prompter.prompt(features(s.parts()), question) for s in scenes])
    assert ((found > 0) == [question in s.truths() for s in scenes]).mean() > 0.9


@pytest.mark.engine
def test_the_whole_training_runs_and_saves_what_can_be_loaded(tmp_path):
    make(tmp_path, seed=1, steps_scale=0.001, prompts=2)
    model, tokenizer = load(tmp_path)
    log = json.loads((tmp_path / "training.json").read_text())
    # a thousandth of each part's steps, at least two
    assert log["steps"] == {"vision": 2, "audio": 2, "language": 6, "judging": 2, "refining": 2, "hardening": 2}
    assert log["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert set(log["eval"]) == set(SCENES)
    assert tokenizer.model_max_length == model.config.text_config.max_position_embeddings == 4096
