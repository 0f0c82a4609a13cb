"""How often the model is right: hallucinated answers, recall, yes/no questions. With a small sampler of its own."""

import random
from typing import NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from pipeline.source.scenes import Scene, Task, World, draw
from pipeline.train.tiny.features import features
from pipeline.train.tiny.model import NAMED, Thinker
from pipeline.train.tiny.pack import Prompt, Prompter, collate, hidden
from schemas.patterns import split

MAX_TOKENS = 64
ROWS = 256  # answers that are written at once


class Item(NamedTuple):
    """An open question about a scene."""

    scene: Scene
    task: Task
    prompt: Prompt


def items(world: World, prompter: Prompter, kind: str, n: int, seed: int, split: str = "eval") -> list[Item]:
    """`n` scenes with one of their open questions each."""
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
    """`n` answers to each prompt, as token ids with the stop token; temperature 0 takes the likeliest token."""
    generator = torch.Generator().manual_seed(seed)
    out: list = [None] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(prompt.ids.size, []).append(i)
    for places in by_length.values():  # prompts of one length need no padding
        size = max(1, ROWS // n)
        for chunk in (places[i : i + size] for i in range(0, len(places), size)):
            written = _write(model, prompter, [prompts[i] for i in chunk], n, temperature, generator)
            for row, i in enumerate(chunk):
                out[i] = written[row * n : (row + 1) * n]
    return out


def _write(model, prompter, prompts, n, temperature, generator) -> list[list[int]]:
    stop = int(prompter.stop[0])
    banned = prompter.tokenizer.convert_tokens_to_ids(list(NAMED.values()))  # a media token without media is an error
    batch = collate(prompts)
    del batch["attention_mask"]
    cache = DynamicCache(config=model.config.get_text_config())
    state = hidden(model, **batch, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
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
        state = hidden(model, token[:, None], places, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        position = position + 1
    rows = torch.stack(tokens, 1).tolist()
    return [row[: row.index(stop) + 1] if stop in row else row for row in rows]


def _draw(scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)


@torch.no_grad()
def yes_minus_no(model: Thinker, prompter: Prompter, prompts: list[Prompt]) -> np.ndarray:
    """log p(yes) - log p(no) as the first token of the answer, float [prompts]."""
    yes, no = (int(prompter.encode(word)[0]) for word in ("yes", "no"))
    order = sorted(range(len(prompts)), key=lambda i: prompts[i].ids.size)
    out = np.zeros(len(prompts))
    for chunk in (order[i : i + 128] for i in range(0, len(order), 128)):
        batch = collate([prompts[i] for i in chunk])
        last = batch["attention_mask"].sum(1) - 1
        states = hidden(model, **batch, use_cache=False).last_hidden_state[torch.arange(len(chunk)), last]
        scores = model.lm_head(states).float()
        out[chunk] = (scores[:, yes] - scores[:, no]).numpy()
    return out


def judge(item: Item, answer: str) -> dict[str, float]:
    """One answer against the facts: claims, how many are false, which share of the true answer it gives."""
    claims = split(item.scene.world.patterns, item.task.question, answer)
    if claims is None:
        return {"malformed": 1.0, "hallucinated": 1.0, "claims": 1, "false": 1, "recall": 0.0}
    facts = item.scene.facts(item.task)
    yes, expected = set(facts["yes"]), {(question, wanted) for question, wanted in facts["expect"]}
    false = sum((question in yes) != wanted for question, wanted in claims)
    recall = len(expected & set(claims)) / len(expected)
    return {"malformed": 0.0, "hallucinated": float(false > 0), "claims": len(claims), "false": false, "recall": recall}


def summary(judged: list[dict[str, float]]) -> dict[str, float]:
    """Shares over answers; `chair` is the share of false claims among all claims."""
    if not judged:
        return {}
    mean = {name: float(np.mean([j[name] for j in judged])) for name in ("hallucinated", "recall", "malformed")}
    return mean | {"chair": sum(j["false"] for j in judged) / sum(j["claims"] for j in judged), "n": len(judged)}


def measure(
    model: Thinker, prompter: Prompter, world: World, kind: str, n: int = 400, seed: int = 999
) -> dict[str, dict[str, float]]:
    """Figures of one kind on the split `eval`: greedy, at temperature 1, greedy with and without held-out
    combinations, and on yes/no questions."""
    asked = items(world, prompter, kind, n, seed)
    prompts = [item.prompt for item in asked]

    def judged(answers):
        return [[judge(item, prompter.decode(ids)) for ids in row] for item, row in zip(asked, answers)]

    greedy = [row[0] for row in judged(sample(model, prompter, prompts))]
    drawn = judged(sample(model, prompter, prompts, n=4, temperature=1.0, seed=seed))
    return {
        "greedy": summary(greedy),
        "greedy_seen": summary([j for j, item in zip(greedy, asked) if not item.scene.held_out]),
        "greedy_held_out": summary([j for j, item in zip(greedy, asked) if item.scene.held_out]),
        "t1": summary([j for row in drawn for j in row]),
        "yes_no": _yes_no(model, prompter, [item.scene for item in asked], seed),
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
