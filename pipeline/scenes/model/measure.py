"""Evaluation of the model, with a small built-in sampler: hallucination, recall, yes/no questions, judging."""

import json
import random
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import DynamicCache

from pipeline.scenes.model.features import features
from pipeline.scenes.model.judging import (
    HIGH,
    LOW,
    TIES,
    WORDS,
    Quality,
    pair,
    pairwise,
    pointwise,
    quality,
    random_answer,
)
from pipeline.scenes.model.model import NAMED, Thinker
from pipeline.scenes.model.pack import Prompt, Prompter, collate, hidden_states
from pipeline.scenes.world import Scene, Task, World, draw

MAX_TOKENS = 64
ROWS = 256  # answers sampled at once


class Item(NamedTuple):
    """An open question about a scene."""

    scene: Scene
    task: Task
    prompt: Prompt


def items(world: World, prompter: Prompter, kind: str, n: int, seed: int, split: str = "eval") -> list[Item]:
    """`n` scenes of a kind with one of their open questions each."""
    rng, out = random.Random(f"items {seed}"), []
    for i in range(n):
        scene = draw(world, kind, f"measure {seed}/{i}", split)
        task = rng.choice(scene.tasks())
        out.append(Item(scene, task, prompter.prompt(features(scene.parts()), task.question)))
    return out


@torch.no_grad()
def sample(
    model: Thinker, prompter: Prompter, prompts: list[Prompt], n: int = 1, temperature: float = 0.0, seed: int = 0
) -> list[list[list[int]]]:
    """`n` answers to each prompt, as token ids including the stop token; temperature 0 is greedy."""
    generator = torch.Generator().manual_seed(seed)
    out: list = [None] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(prompt.ids.size, []).append(i)
    for places in by_length.values():  # prompts of equal length need no padding
        size = max(1, ROWS // n)
        for chunk in (places[i : i + size] for i in range(0, len(places), size)):
            written = _write(model, prompter, [prompts[i] for i in chunk], n, temperature, generator)
            for row, i in enumerate(chunk):
                out[i] = written[row * n : (row + 1) * n]
    return out


def _write(model, prompter, prompts, n, temperature, generator) -> list[list[int]]:
    stop = int(prompter.stop[0])
    banned = prompter.tokenizer.convert_tokens_to_ids(
        list(NAMED.values())
    )  # media tokens without media would be an error
    batch = collate(prompts)
    del batch["attention_mask"]
    cache = DynamicCache(config=model.config.get_text_config())
    state = hidden_states(model, **batch, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
    state = state.repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    position = torch.tensor([prompt.end for prompt in prompts]).repeat_interleave(n)
    tokens, done = [], torch.zeros(len(position), dtype=torch.bool)
    for _ in range(MAX_TOKENS):
        scores = model.lm_head(state).float()
        scores[:, banned] = -torch.inf
        token = scores.argmax(-1) if temperature == 0 else _draw(scores / temperature, generator)
        token = torch.where(done, stop, token)
        tokens.append(token)
        done |= token == stop
        if done.all():
            break
        places = position[None, :, None].expand(3, -1, -1)
        state = hidden_states(model, token[:, None], places, past_key_values=cache, use_cache=True).last_hidden_state[
            :, -1
        ]
        position = position + 1
    rows = torch.stack(tokens, 1).tolist()
    return [row[: row.index(stop) + 1] if stop in row else row for row in rows]


def _draw(scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)


def yes_minus_no(model: Thinker, prompter: Prompter, prompts: list[Prompt]) -> np.ndarray:
    """log p(yes) - log p(no) as the first token of the answer, float [prompts]."""
    yes, no = first_word(model, prompter, prompts, ("yes", "no")).T
    return yes - no


@torch.no_grad()
def first_word(model: Thinker, prompter: Prompter, prompts: list[Prompt], words: tuple[str, ...]) -> np.ndarray:
    """log p of each word as the first token of the answer, float [prompts, words]."""
    tokens = [int(prompter.encode(word)[0]) for word in words]
    order = sorted(range(len(prompts)), key=lambda i: prompts[i].ids.size)
    out = np.zeros((len(prompts), len(words)))
    for chunk in (order[i : i + 128] for i in range(0, len(order), 128)):
        batch = collate([prompts[i] for i in chunk])
        last = batch["attention_mask"].sum(1) - 1
        states = hidden_states(model, **batch, use_cache=False).last_hidden_state[torch.arange(len(chunk)), last]
        out[chunk] = model.lm_head(states).float().log_softmax(-1)[:, tokens].numpy()
    return out


def summary(found: list[Quality]) -> dict[str, float]:
    """Means over answers; `chair` is the share of false claims among all claims. Empty without answers."""
    if not found:
        return {}
    return {
        "hallucinated": float(np.mean([q.false > 0 for q in found])),
        "recall": float(np.mean([q.recall for q in found])),
        "malformed": float(np.mean([q.malformed for q in found])),
        "chair": sum(q.false for q in found) / sum(q.claims for q in found),
        "n": len(found),
    }


def measure(
    model: Thinker, prompter: Prompter, world: World, kind: str, n: int = 400, seed: int = 999
) -> dict[str, dict[str, float]]:
    """Metrics of one kind on the split `eval`: greedy (all, without and with held-out combinations), at temperature 1,
    on yes/no questions, and as a judge of pairs and of single answers."""
    asked = items(world, prompter, kind, n, seed)
    prompts = [item.prompt for item in asked]

    def qualities(answers):
        return [[quality(*item[:2], prompter.decode(ids)) for ids in row] for item, row in zip(asked, answers)]

    greedy = [row[0] for row in qualities(sample(model, prompter, prompts))]
    drawn = qualities(sample(model, prompter, prompts, n=4, temperature=1.0, seed=seed))
    return {
        "greedy": summary(greedy),
        "greedy_seen": summary([q for q, item in zip(greedy, asked) if not item.scene.held_out]),
        "greedy_held_out": summary([q for q, item in zip(greedy, asked) if item.scene.held_out]),
        "t1": summary([q for row in drawn for q in row]),
        "yes_no": _yes_no(model, prompter, [item.scene for item in asked], seed),
        "pairwise": _pairwise(model, prompter, asked, seed),
        "rating": _rating(model, prompter, asked, seed),
    }


def _yes_no(model, prompter, scenes: list[Scene], seed: int, each: int = 3) -> dict[str, float]:
    rng, prompts, truth, held_out = random.Random(f"yes_no {seed}"), [], [], []
    for scene in scenes:
        seen = features(scene.parts())
        for question, yes in scene.questions(rng, each):
            prompts.append(prompter.prompt(seen, question))
            truth.append(yes)
            held_out.append(scene.held_out)
    right = (yes_minus_no(model, prompter, prompts) > 0) == np.array(truth)
    held_out = np.array(held_out)
    parts = {"all": right, "seen": right[~held_out], "held_out": right[held_out]}
    return {name: float(part.mean()) for name, part in parts.items() if part.size} | {"n": len(right)}


def _pairwise(model, prompter, asked: list[Item], seed: int) -> dict[str, float]:
    """Each pair in both orders. right: accuracy on pairs that differ; ties: accuracy on equal pairs; consistent: share of
    pairs with the same verdict in both orders."""
    rng, prompts, truth = random.Random(f"pairwise {seed}"), [], []
    for scene, task, _ in asked:
        found, seen = pair(scene, task, rng, rng.random() < TIES), features(scene.parts())
        for answers in (found, found[::-1]):
            question, reply, _ = pairwise(task, answers)
            prompts.append(prompter.prompt(seen, question))
            truth.append(WORDS.index(reply))
    verdicts = first_word(model, prompter, prompts, WORDS).argmax(1)
    truth = np.array(truth)
    equal, swapped = truth == WORDS.index("tie"), np.array([1, 0, 2])
    return {
        "right": float((verdicts == truth)[~equal].mean()),
        "ties": float((verdicts == truth)[equal].mean()),
        "consistent": float((verdicts[::2] == swapped[verdicts[1::2]]).mean()),
        "n": len(asked),
    }


def _rating(model, prompter, asked: list[Item], seed: int) -> dict[str, float]:
    """Two answers rated at once. spearman: rank correlation with the true ratings; exact: share of exact ratings;
    unparsable: share of replies without two ratings, which enter no other metric."""
    rng, prompts, truth = random.Random(f"rating {seed}"), [], []
    for scene, task, _ in asked:
        answers = [random_answer(scene, task, rng) for _ in range(2)]
        prompts.append(prompter.prompt(features(scene.parts()), pointwise(task, answers).question))
        truth.append([answer.quality.rating for answer in answers])
    replies = [_ratings(prompter.decode(row[0])) for row in sample(model, prompter, prompts)]
    rated = [(r, t) for reply, ratings in zip(replies, truth) for r, t in zip(reply, ratings)]
    out = {"unparsable": float(np.mean([not reply for reply in replies])), "n": len(rated)}
    if not rated:
        return out
    given, true = np.array(rated).T
    return {"spearman": float(spearmanr(given, true).statistic), "exact": float((given == true).mean())} | out


def _ratings(reply: str) -> list[int]:
    """The two ratings of a reply; empty if it cannot be parsed."""
    try:
        found = json.loads(reply)["ratings"]
    except (ValueError, KeyError, TypeError):
        return []
    valid = isinstance(found, list) and len(found) == 2 and all(r in range(LOW, HIGH + 1) for r in found)
    return found if valid else []
