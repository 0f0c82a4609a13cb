"""A batch that is computed in parts is the batch: loss, gradient norm and weights after steps."""

import json
import random

import pytest
import torch

from pipeline.modeling.batch import parts
from pipeline.modeling.encode import Encoded, Prompt
from pipeline.modeling.load import adapt, load
from pipeline.modeling.logps import token_logps
from pipeline.train import _grpo, dpo, losses
from pipeline.train._loop import Optimizer, fit
from pipeline.train._plan import Plan, kept_per_token, plan
from pipeline.train._reference import reference
from pipeline.train.losses._side import Side
from schemas.errors import TrainError
from tests.pipeline.train.test_logps import both
from tests.support.text_model import VOCABULARY, make

silent = lambda *_: None
WHOLE = 100_000  # tokens: everything at once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("models") / "text")


@pytest.fixture(scope="module")
def drawn() -> list[Encoded]:
    """Pairs of 10 to 40 tokens."""
    rng = random.Random(0)
    ids = lambda low, high: [rng.randrange(6, len(VOCABULARY)) for _ in range(rng.randint(low, high))]
    return [Encoded(str(i), "text", Prompt(ids(4, 12), {}, {}), (ids(3, 14), ids(3, 14))) for i in range(24)]


def trained(model, pairs, folder, how: Plan, **settings):
    """(metrics, weights) after one epoch of two steps."""
    folder.mkdir()
    asked = dpo.Settings(model="m", lr=1e-3, warmup=1, batch_size=16, **settings)
    fit(model, pairs, reference(model, pairs, how, 1e-3, silent), asked, how, folder, silent)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    return lines, {name: w.detach() for name, w in model.named_parameters() if w.requires_grad}


@pytest.mark.parametrize("name", losses.NAMES)
@pytest.mark.parametrize(("shared", "lora"), [(True, 0), (False, 0), (True, 4)])
def test_a_step_in_parts_is_the_step(folder, drawn, tmp_path, name, shared, lora):
    """In float64, where no rounding hides a term that is scaled wrongly: in parts of some pairs, and of one whose layers are computed again."""
    told = {"loss": name, "sft": 0.3, "label_smoothing": 0.1, "lora": lora}

    def model():
        torch.manual_seed(0)
        return (adapt(load(str(folder)), lora) if lora else load(str(folder))).double()

    lines, weights = trained(model(), drawn, tmp_path / "whole", Plan(shared, WHOLE), **told)
    for tokens in (150, 1):
        found, moved = trained(model(), drawn, tmp_path / str(tokens), Plan(shared, tokens), **told)
        for line, wanted in zip(found, lines, strict=True):
            assert line == pytest.approx(wanted, rel=1e-6, abs=5e-7)  # log-probabilities are rounded to float32
        for key, weight in weights.items():
            torch.testing.assert_close(moved[key], weight, rtol=1e-5, atol=1e-7)


def test_a_step_in_parts_is_the_step_with_media_of_all_kinds(model, mixed, tmp_path):
    lines, _ = trained(model, mixed[:24], tmp_path / "whole", Plan(True, WHOLE))
    fresh = load(str(model.config._name_or_path))
    fresh.get_encoder(modality="image").requires_grad_(False)
    fresh.get_encoder(modality="audio").requires_grad_(False)
    found, _ = trained(fresh, mixed[:24], tmp_path / "parts", Plan(True, 300))
    for line, wanted in zip(found, lines, strict=True):
        assert line["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
        assert line["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("shared", [True, False])
def test_grpo_in_parts_is_grpo(folder, drawn, tmp_path, shared):
    """A prompt's answers may be in several rows, rows in several parts; one answer has no advantage."""
    prompts, advantage = (
        [pair.prompt for pair in drawn[:6]],
        torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
    )
    advantage[2, 1] = 0.0
    answers = [[*drawn[i].answers, *drawn[i + 6].answers] for i in range(6)]
    norms, counts = [], []
    for tokens in (WHOLE, 60, 1):
        model, how = load(str(folder)).double(), Plan(shared, tokens)
        rows = _grpo._rows(prompts, answers, advantage, how)
        optimizer = Optimizer(model, 1e-3, (0.9, 0.98), 1, 2, tmp_path)
        some = list(map(len, parts(range(len(rows)), [len(row.prompt.ids) for row in rows], tokens)))
        for loss in _grpo._losses(model, rows, how):
            optimizer.add(loss)
        optimizer.step()
        assert sum(len(row.answers) for row in rows) == 23
        counts.append((len(rows), len(some)))
        norms.append((optimizer.lines[0]["loss"], optimizer.lines[0]["grad_norm"]))
    for norm in norms[1:]:  # log-probabilities are rounded to float32: 4 has steps of 2.4e-7
        assert norm == pytest.approx(norms[0], rel=1e-6, abs=5e-7)
    assert counts[0] == (6 if shared else 23, 1)
    assert counts[2] == (23, 23)


def test_parts_hold_as_many_rows_as_fit_with_padding():
    # sorted 2 3 4 9 11: 2 and 3 are 2 x 3 = 6 tokens, with 4 they would be 12; 4 and 9 would be 18; 11 is larger and alone
    assert list(parts(range(5), [9, 3, 11, 2, 4], 10)) == [[3, 1], [4], [0], [2]]
    assert list(parts([], [], 10)) == []


@pytest.mark.parametrize("lora", [0, 4])
def test_layers_that_are_computed_again_give_the_same_bits(folder, drawn, lora):
    model = adapt(load(str(folder)), lora) if lora else load(str(folder))
    gradients = []
    for again in (False, True):
        model.zero_grad()
        token_logps(model, both(drawn[:4]), again).sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_as_many_tokens_fit_as_the_memory_says(folder, drawn):
    """Per token and layer a Llama keeps two inputs and two results of norms, queries, keys, values and what was attended, twice for the
    rotation, and four results of the MLP: some 9 x 32 + 4 x 64 values of 4 bytes, 4 kB in two layers."""
    model = load(str(folder))
    kept = kept_per_token(model, drawn[0], True)
    assert 2_500 < kept < 8_000
    assert plan(model, drawn, True, 1e-3).tokens == pytest.approx(1e6 / kept, rel=0.3)
    assert plan(model, drawn, True, 1e-9).tokens == 1


def test_layers_share_the_mask_of_a_row(folder):
    """[1, 1, length, length] of 4 bytes: of 600 tokens, each keeps 4 x 300 bytes more than of 300, in two layers together."""
    model = load(str(folder))
    few, many = (kept_per_token(model, _pair(length), True) for length in (100, 200))
    assert many - few == pytest.approx(1200, rel=0.1)


def _pair(length: int) -> Encoded:
    """A pair of three texts of `length` tokens each."""
    ids = [6] * length
    return Encoded("long", "text", Prompt(ids, {}, {}), (ids, ids))


def test_memory_is_measured_on_the_beginning_of_a_long_pair(folder):
    """64 tokens of the prompt and of each answer, in one row or in two."""
    model, seen = load(str(folder)), []
    model.model.layers[0].register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[:2])))
    plan(model, [_pair(300), _pair(400)], True, 1.0)
    plan(model, [_pair(300), _pair(400)], False, 1.0)
    assert seen == [(1, 192), (2, 128)]


def test_logits_are_made_a_few_at_a_time(folder, drawn, monkeypatch):
    model, made = load(str(folder)), []
    with torch.no_grad():
        wanted = token_logps(model, both(drawn))
        monkeypatch.setattr("pipeline.modeling.logps.LOGITS", 10 * len(VOCABULARY))
        hook = model.lm_head.register_forward_hook(lambda module, args, out: made.append(out.shape[-2]))
        found = token_logps(model, both(drawn))
        hook.remove()
    scored = sum(len(answer) for pair in drawn for answer in pair.answers)
    assert made == [1, *[10] * (scored // 10), *([scored % 10] if scored % 10 else [])]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_model_whose_rows_depend_on_each_other_is_found_by_its_reference(folder, drawn):
    model = load(str(folder))
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: out + out.mean((0, 1)))
    with pytest.raises(TrainError, match="depends on the batch it is computed in"):
        reference(model, drawn, Plan(True, WHOLE), 1e-3, silent)


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_of_a_pair_does_not_depend_on_the_others(name):
    """Otherwise parts of a batch would not add up to it."""
    generator = torch.Generator().manual_seed(0)
    tokens = lambda: torch.randn(6, 5, generator=generator)
    sides = [Side(tokens(), tokens(), torch.ones(6, 5)) for _ in range(2)]
    together = losses.loss_of(name)(*sides, 0.5, 0.1)
    alone = [losses.loss_of(name)(*(Side(*(x[i : i + 1] for x in side)) for side in sides), 0.5, 0.1) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone))
