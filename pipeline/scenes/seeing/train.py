"""Training of the seeing model: the tower alone, until its tokens are words of the base; then low-rank parts of the frozen base.

A picture stands once in a row, then several questions with their answers that do not see each other (a block mask). Plain prompts keep the
English: there the model learns the distribution that the base has over its own answers."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from pipeline.scenes.seeing import talk
from pipeline.scenes.seeing.model import TOKENS, load, new_model, new_tokenizer, save_adapter, save_eyes, see
from pipeline.scenes.world import ImageScene, MultiImageScene, World, draw_as

Report = Callable[[int, str], None]
PICTURES = 48  # per step of the tower
TOWER_RATE, RATE = 1e-3, 1e-3
CYCLE = ("talk", "judge", "talk", "plain", "two", "talk", "judge", "split", "talk", "plain")  # kinds of steps, in turn
ROWS = {"talk": 3, "judge": 3, "split": 3, "two": 3, "plain": 8}
BEFORE = "{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\n"  # an earlier question with its answer
IGNORED = -100  # label of a position without loss
PLAIN, ANSWER = 320, 40  # plain prompts, and tokens of an answer at most
SHOWN_EVERY = 20  # steps
DECAY = 0.3  # last share of the steps, in which the rate falls to zero


class Row(NamedTuple):
    """Parts before the questions, and the questions with their answers."""

    parts: list[tuple[str, object]]
    said: list[talk.Exchange]


class Batch(NamedTuple):
    """int64 [rows, length] ids, positions and labels; bool [rows, 1, length, length] who sees whom; float32 [rows, length] weights."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    sees: torch.Tensor
    weights: torch.Tensor
    pictures: list


def warm_up(base: Path, world: World, steps: int, seed: int, out: Path, report: Report) -> dict[str, float]:
    """Trains tower and projector, without the language model: token k is the vector of one word, "top left red circle" in reading order.

    Returns the shares of right words of the last steps: place, colour, shape."""
    model, tokenizer = new_model(base, seed), new_tokenizer(base)
    names = [*world.colours, *world.shapes, "top", "bottom", "left", "right", "nothing", "here"]
    ids = [tokenizer.encode(" " + word, add_special_tokens=False) for word in names]
    vectors = model.get_input_embeddings().weight.detach()[[word for (word,) in ids]]
    learnt = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=TOWER_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rights: list[list[float]] = []
    for step in range(steps):
        scenes = [draw_as(ImageScene, world, f"eyes {seed}/{step}/{i}") for i in range(PICTURES)]
        truth = torch.tensor([[names.index(word) for cell in world.cells for word in _told(s, cell)] for s in scenes])
        _set_rate(optimizer, TOWER_RATE * min(1, (step + 1) / 30) * max(0.02, 1 - step / steps))
        seen = see(model, [scene.parts()[0][1] for scene in scenes])
        scores = 2 * seen @ vectors.T - (vectors**2).sum(1) - (seen**2).sum(-1, keepdim=True)  # minus squared distances
        off = (seen - vectors[truth]).pow(2).sum(-1).mean()
        _learn(optimizer, learnt, cross_entropy(scores.flatten(0, 1), truth.flatten()) + 0.2 * off)
        rights.append((scores.argmax(-1) == truth).float().mean(0).view(4, 4).mean(0).tolist())
        last = (step + 1) % 50 == 0 or step + 1 == steps
        shares = np.mean(rights[-50:], 0).round(4)
        report(
            step + 1, f"place {shares[:2].mean():.3f}, colour {shares[2]:.3f}, shape {shares[3]:.3f}" if last else ""
        )
    save_eyes(model, out)
    return {"place": float(shares[:2].mean()), "colour": float(shares[2]), "shape": float(shares[3])}


def _told(scene: ImageScene, cell: str) -> list[str]:
    return [*cell.split(), *next(((t.colour, t.shape) for t in scene.things if t.cell == cell), ("nothing", "here"))]


def plain_answers(base: Path, prompts: list[str], seed: int, temperature: float = 1.0) -> list[tuple[str, str]]:
    """What the base itself says to plain prompts: sampled, or greedy at temperature 0; ANSWER tokens at most."""
    model, tokenizer = new_model(base, 0), new_tokenizer(base)
    torch.manual_seed(seed)
    out = []
    for start in range(0, len(prompts), 32):
        asked = prompts[start : start + 32]
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in asked
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.no_grad():
            found = model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=ANSWER,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **how,
            )  # fmt: skip
        texts = tokenizer.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        out += [(question, text.strip()) for question, text in zip(asked, texts) if text.strip()]
    return out


def teach(base: Path, world: World, steps: int, seed: int, out: Path, report: Report) -> dict[str, float]:
    """Trains the low-rank parts, saved every SHOWN_EVERY steps; a call with the same arguments goes on where the last one stopped.

    Returns the last losses by kind of step, in nats per token."""
    torch.manual_seed(seed)
    adapted, tokenizer = load(base, out), new_tokenizer(base)
    model = adapted.get_base_model()
    asked = random.Random(f"plain {seed}").sample(talk.plain(), PLAIN)
    plain = _kept(out / "plain.json", lambda: plain_answers(base, asked, seed))
    learnt = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    recent: dict[str, list[float]] = {kind: [] for kind in CYCLE}
    start, state = 0, out / "optimizer.pt"
    if state.exists():
        saved = torch.load(state, weights_only=False)
        start, recent = saved["step"], saved["recent"]
        optimizer.load_state_dict(saved["optimizer"])
    for step in range(start, steps):
        kind, rng = CYCLE[step % len(CYCLE)], random.Random(f"teach {seed}/{step}")
        batch = pack(tokenizer, rows_of(kind, world, rng, f"teach {seed}/{step}", plain))
        _set_rate(optimizer, RATE * min(1, (step + 1) / 10, max(0.02, (1 - step / steps) / DECAY)))
        loss = kept_english(adapted, model, batch) if kind == "plain" else _answered(model, batch)
        _learn(optimizer, learnt, loss)
        recent[kind] = [*recent[kind][-9:], loss.item()]
        last = (step + 1) % SHOWN_EVERY == 0 or step + 1 == steps
        if last:
            save_adapter(adapted, out)
            torch.save({"step": step + 1, "recent": recent, "optimizer": optimizer.state_dict()}, state)
        report(step + 1, "  ".join(f"{k} {np.mean(v):.3f}" for k, v in recent.items() if v) if last else "")
    state.unlink()
    return {kind: float(np.mean(values)) for kind, values in recent.items() if values}


def _kept(path: Path, make: Callable[[], list]) -> list:
    if not path.exists():
        path.write_text(json.dumps(make(), indent=1))
    return json.loads(path.read_text())


def rows_of(kind: str, world: World, rng: random.Random, name: str, plain: list[tuple[str, str]]) -> list[Row]:
    """The rows of one step."""
    count = ROWS[kind]
    if kind == "plain":
        return [Row([], [talk.Exchange(question, said, 1.0, kind)]) for question, said in rng.sample(plain, count)]
    if kind == "two":
        pairs = [draw_as(MultiImageScene, world, f"{name}/{i}") for i in range(count)]
        return [Row(scene.parts(), talk.about_two(scene, rng)) for scene in pairs]
    scenes = [draw_as(ImageScene, world, f"{name}/{i}") for i in range(count)]
    if kind == "split":
        return [Row([], talk.splitting(scene, rng)) for scene in scenes]
    make = talk.questions if kind == "talk" else talk.judging
    return [Row(scene.parts(), make(scene, rng)) for scene in scenes]


def pack(tokenizer: PreTrainedTokenizerFast, rows: list[Row]) -> Batch:
    """Rows as one padded batch; each question sees what stands before all questions, and itself."""
    filled = [_filled(tokenizer, row) for row in rows]
    length = max(len(row[0]) for row in filled)
    ids, positions, labels, segments, weights = (
        torch.tensor([row[i] + [pad] * (length - len(row[i])) for row in filled])
        for i, pad in enumerate((0, 0, IGNORED, -1, 0.0))
    )
    before = torch.ones(length, length, dtype=torch.bool).tril()
    shared = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    sees = ((before & shared) | torch.eye(length, dtype=torch.bool))[:, None]  # padding sees itself: no empty rows
    pictures = [value for row in rows for kind, value in row.parts if kind == "image"]
    return Batch(ids, positions, labels, sees, weights, pictures)


def _filled(tokenizer: PreTrainedTokenizerFast, row: Row) -> tuple[list, ...]:
    """ids, positions, labels, segments and weights of one row."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    shown = "".join("<image>" * TOKENS + "\n" if kind == "image" else str(value) for kind, value in row.parts)
    head = encode("<|im_start|>user\n" + shown)
    n = len(head)
    out: tuple[list, ...] = (list(head), list(range(n)), [IGNORED] * n, [0] * n, [0.0] * n)
    for segment, said in enumerate(row.said, 1):
        before = BEFORE.format(*said.before) if said.before else ""
        asked = encode(before + said.question + "<|im_end|>\n<|im_start|>assistant\n")
        told = encode(said.answer + "<|im_end|>")
        count = len(asked) + len(told)
        added = (
            asked + told, range(n, n + count), [IGNORED] * len(asked) + told, [segment] * count,
            [0.0] * len(asked) + [said.weight] * (len(told) - 1) + [0.5],
        )  # fmt: skip
        for column, values in zip(out, added):
            column.extend(values)
    return out


def states(model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """The last hidden states at the positions whose next token has a loss: [tokens, width]."""
    inputs = model.get_input_embeddings()(batch.ids)
    if batch.pictures:
        with torch.no_grad():
            seen = see(model, batch.pictures)
        inputs = inputs.masked_scatter((batch.ids == model.config.image_token_index)[..., None], seen)
    found = model.model.language_model(
        inputs_embeds=inputs, position_ids=batch.positions, attention_mask=batch.sees, use_cache=False
    )
    return found.last_hidden_state[:, :-1][batch.labels[:, 1:] != IGNORED]


def _answered(model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    learnt = batch.labels[:, 1:] != IGNORED
    losses = cross_entropy(model.lm_head(states(model, batch)), batch.labels[:, 1:][learnt], reduction="none")
    weights = batch.weights[:, 1:][learnt]
    return (losses * weights).sum() / weights.sum()


def kept_english(adapted, model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """KL divergence from the base's distribution to the model's, in nats per token."""
    with torch.no_grad(), adapted.disable_adapter():
        base = model.lm_head(states(model, batch)).log_softmax(-1)
    return kl_div(model.lm_head(states(model, batch)).log_softmax(-1), base, reduction="batchmean", log_target=True)


def _learn(optimizer: torch.optim.Optimizer, learnt: list, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learnt, 1.0)
    optimizer.step()


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
