"""What the seeing model can do on scenes of the split `eval`, greedy: through the product's engines, in trained and in other wordings."""

import asyncio
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from pipeline.engines import hf, vllm
from pipeline.scenes.seeing import talk
from pipeline.scenes.seeing.model import load, new_tokenizer
from pipeline.scenes.seeing.train import Row, kept_english, pack, plain_answers, states
from pipeline.scenes.world import ImageScene, MultiImageScene, draw_as, load_world, store_scene
from pipeline.storage.media_store import FolderStore
from schemas.messages import assistant, user
from schemas.records import Message, Part
from schemas.requests import Generate, Likelihood, Score

CHOICES = ("one", "One", "two", "Two", "tie", "Tie")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "1": 1, "2": 2, "3": 3, "4": 4}


class Asked(NamedTuple):
    """A question to the model about a scene; `form` is trained or held."""

    form: str
    said: talk.Exchange
    messages: tuple[Message, ...]
    scene: ImageScene | None = None


def measure(model: Path, base: Path, parts: Path, scenes: int, agree: int) -> dict[str, Any]:
    """Shares of right answers by sort of question with their numbers; descriptions; judges; English; agreement of two engines.

    scenes  pictures; half as many pairs of pictures
    agree   questions that transformers answers as well"""
    torch.set_num_threads(1)
    out = {"english": english(base, parts)}
    with tempfile.TemporaryDirectory() as folder:
        return out | asyncio.run(_asked(model, FolderStore(folder), scenes, agree))


async def _asked(model: Path, store: FolderStore, scenes: int, agree: int) -> dict[str, Any]:
    settings = vllm.Settings(model=str(model), max_model_len=2048, limit_mm_per_prompt={"image": 2})
    engine = await vllm.connect(settings, store)
    asked = list(questions(store, scenes))
    found: list[Any] = await asyncio.gather(
        *(engine.ask(Generate(one.messages, temperature=0, max_tokens=96)) for one in asked)
    )
    texts = [result.answers[0].text.strip() for result in found]
    out = {"answers": answers(asked, texts), "descriptions": descriptions(asked, texts)}
    out["pairs"] = await pairs(engine, store, scenes)
    picked = asked[:: max(1, len(asked) // agree)]
    theirs = await hf.connect(hf.Settings(model=str(model)), store)
    out["agreement"] = await agreement(engine, theirs, picked)
    await theirs.close()
    await engine.close()
    return out


def questions(store: FolderStore, scenes: int):
    """Every question that is measured, with its messages."""
    world = load_world()
    for form in ("trained", "held"):
        for i in range(scenes):
            scene, rng = draw_as(ImageScene, world, f"measure {i}", "eval"), Random(i)
            shown = store_scene(scene, store)[0]
            for said in talk.questions(scene, rng, form == "held"):
                yield Asked(form, said, _messages(shown, said), scene)
            for said in judged(scene, rng, form == "held"):
                yield Asked(form, said, _messages(shown if said.sort not in ("split", "ask") else [], said), scene)
    for i in range(scenes // 2):
        two = draw_as(MultiImageScene, world, f"measure {i}", "eval")
        shown = store_scene(two, store)[0]
        for said in talk.about_two(two, Random(i)):
            yield Asked("two pictures", said, _messages(shown, said))


def judged(scene: ImageScene, rng: Random, held: bool) -> list[talk.Exchange]:
    """A judge's questions, a rewriting and a splitting; answers in other styles if `held`."""
    style = rng.choice(talk.words()["held_styles"]) if held else None
    question = rng.choice(talk.words()["held" if held else "trained"]["describe"])
    one = talk.answer(scene, rng, style=style)
    return [
        talk.rating(scene, [one], question),
        talk.segments(scene, one, question),
        *([] if held else [talk.rewriting(scene, rng.choice(talk.REWRITES), rng)]),
        *talk.splitting(scene, rng, held),
    ]


def _messages(shown: Sequence[Part], said: talk.Exchange) -> tuple[Message, ...]:
    if said.before:
        return user(*shown, said.before[0]), assistant(said.before[1]), user(said.question)
    return (user(*shown, said.question),)


def answers(asked: list[Asked], texts: list[str]) -> dict[str, list[float]]:
    """{form and sort: [share right, number]}."""
    hits = defaultdict(list)
    for one, text in zip(asked, texts):
        if one.said.sort != "describe":
            hits[f"{one.form}: {one.said.sort}"].append(right(one.said, text))
    return {name: [round(float(np.mean(found)), 3), len(found)] for name, found in sorted(hits.items())}


def right(said: talk.Exchange, text: str) -> bool:
    """Whether a free answer says what the true one says."""
    sort, want = said.sort.removeprefix("follow-up "), said.answer
    match sort:
        case "yes_no" | "yes_no_at":
            return _yes(text) == _yes(want)
        case "count":
            return _numbers(text) == _numbers(want)
        case "where":
            return talk.corners(text) == talk.corners(want)
        case "at":
            return talk.named(text) == talk.named(want) and bool(talk.named(text) or "nothing" in text.lower())
        case "colour" | "colour_at" | "shape":
            return talk.looks(text, sort) == talk.looks(want, sort)
        case "describe":
            return talk.named(text) == talk.named(want) and talk.placed(text) == talk.placed(want)
        case "rating" | "segments":
            return _json(text) == json.loads(want)
        case _ if sort.startswith("rewrite") and sort not in ("rewrite fix", "rewrite mask", "rewrite refill"):
            return text.startswith("<<<") and text.endswith(">>>")  # any of many would do
    return talk.plainly(text) == talk.plainly(want)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _yes(text: str) -> str:
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    return next((word for word in words if word in ("yes", "no")), "")


def _numbers(text: str) -> set[int]:
    return {
        NUMBERS[word] for word in "".join(c if c.isalnum() else " " for c in text.lower()).split() if word in NUMBERS
    }


def descriptions(asked: list[Asked], texts: list[str]) -> dict[str, dict[str, float]]:
    """{form: shares of descriptions that name an absent look, or put one in a wrong place; recall of looks; words an answer}."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for one, text in zip(asked, texts):
        if one.said.sort == "describe" and one.scene:
            true = {thing[1:] for thing in one.scene.things}
            names, places = talk.named(text), talk.placed(text)
            absent, misplaced = bool(names - true), bool(places - set(one.scene.things))
            counts[one.form].update(
                n=1, absent=absent, false=absent or misplaced, recalled=len(names & true), looks=len(true), words=len(text.split())
            )  # fmt: skip
    return {
        form: {
            "n": c["n"], "absent": round(c["absent"] / c["n"], 3), "absent or misplaced": round(c["false"] / c["n"], 3),
            "recall": round(c["recalled"] / c["looks"], 3), "words": round(c["words"] / c["n"], 1),
        }
        for form, c in counts.items()
    }  # fmt: skip


async def pairs(engine, store: FolderStore, scenes: int) -> dict[str, Any]:
    """The pairwise judge, first token: right in each order, the same verdict in both, the first shown preferred; the allowed words' probability."""
    world, out = load_world(), {}
    for form in ("trained", "held"):
        rows = []
        for i in range(scenes):
            scene, rng = draw_as(ImageScene, world, f"pair {i}", "eval"), Random(i)
            shown = store_scene(scene, store)[0]
            first, second = talk.pair(scene, rng)
            while first.rating(scene) == second.rating(scene):
                first, second = talk.pair(scene, rng)
            if form == "held":
                style = rng.choice(talk.words()["held_styles"])
                first, second = (one._replace(text=talk.describe(list(one.things), style)) for one in (first, second))
            question = rng.choice(talk.words()[form]["describe"])
            rows.append([
                (shown, talk.pairwise(scene, a, b, question)) for a, b in ((first, second), (second, first))
            ])  # fmt: skip
        found = await asyncio.gather(*(
            engine.ask(Score(_messages(shown, said), CHOICES)) for row in rows for shown, said in row
        ))  # fmt: skip
        masses, verdicts = [], []
        for result in found:
            probs = np.exp([p if p is not None else -np.inf for p in result.logprobs]).reshape(3, 2).sum(1)
            masses.append(probs.sum())
            verdicts.append(("one", "two", "tie")[int(probs.argmax())])
        wants = [said.answer for row in rows for _, said in row]
        swapped = {"one": "two", "two": "one", "tie": "tie"}
        out[form] = {
            "n": len(rows), "right": round(float(np.mean([v == w for v, w in zip(verdicts, wants)])), 3),
            "same in both orders": round(float(np.mean([a == swapped[b] for a, b in zip(verdicts[::2], verdicts[1::2])])), 3),
            "chose the first shown": round(verdicts.count("one") / len(verdicts), 3), "mass": round(float(np.median(masses)), 3),
        }  # fmt: skip
    return out


def english(base: Path, parts: Path) -> dict[str, float]:
    """Of prompts without a picture, never trained: nats per token of the base's own greedy answers, before and after; KL divergence from the base."""
    adapted, tokenizer = load(base, parts), new_tokenizer(base)
    model = adapted.get_base_model()
    said = [
        talk.Exchange(question, text, 1.0, "plain")
        for question, text in plain_answers(base, talk.plain(held=True), 0, 0)
    ]
    losses: dict[str, list[float]] = {"before": [], "after": [], "divergence": []}
    for one in said:
        batch = pack(tokenizer, [Row([], [one])])
        labels = batch.labels[:, 1:][batch.labels[:, 1:] != -100][:-1]  # without the end, which a cut answer lacks
        with torch.no_grad():
            losses["after"] += cross_entropy(
                model.lm_head(states(model, batch))[:-1], labels, reduction="none"
            ).tolist()
            losses["divergence"].append(kept_english(adapted, model, batch).item())
            with adapted.disable_adapter():
                losses["before"] += cross_entropy(
                    model.lm_head(states(model, batch))[:-1], labels, reduction="none"
                ).tolist()
    return {"n": len(said)} | {name: round(float(np.mean(values)), 4) for name, values in losses.items()}


async def agreement(ours, theirs, asked: list[Asked]) -> dict[str, float]:
    """vLLM against transformers, float32: equal greedy answers, and the largest difference of their tokens' log-probabilities."""
    same, off = 0, []
    for one in asked:
        request = Generate(one.messages, temperature=0, max_tokens=24)
        text, other = [(await engine.ask(request)).answers[0].text for engine in (ours, theirs)]
        same += text == other
        judged = Likelihood((*one.messages, assistant(text)))
        if text.strip():
            a, b = [(await engine.ask(judged)).logprobs for engine in (ours, theirs)]
            off += [abs(x - y) for x, y in zip(a, b, strict=True)]
    return {"n": len(asked), "same": same, "largest": round(max(off), 6), "mean": round(float(np.mean(off)), 6)}
