"""Verdicts from a reply's first token: how often are they right, and what the model then says, by the probability of the allowed words.

    python -m benchmarks.first_token             the tiny model, about scenes
    python -m benchmarks.first_token FOLDER      another model, about facts and short passages as text

Questions with known answers: yes/no questions as `judge.claims` asks them, and pairs as `judge.pairwise` does, in both orders. Each is asked
for its first token and, greedy, for eight tokens: "kept" is the share of verdicts with which the words begin."""

import argparse
import asyncio
import itertools
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from annotators.judge import claims, pairwise
from annotators.judge._first_token import mass_of
from pipeline.engines import vllm
from pipeline.scenes.model.judging import pair
from pipeline.scenes.world import FOLDER, load_world, scenes, store_scene
from pipeline.storage.media_store import open_store
from schemas import prompts
from schemas.messages import user
from schemas.ports import MediaStore
from schemas.records import Message
from schemas.requests import Generate, Generated, Score, Scored

BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.01)
WORDS = pairwise.WORDS
KINDS = {
    "an animal": ["dog", "cat", "horse", "cow", "lion", "tiger", "sheep", "goat", "rabbit", "mouse", "elephant", "bear", "wolf", "monkey"],
    "a fruit": ["apple", "banana", "orange", "pear", "grape", "peach", "cherry", "mango", "lemon", "plum", "melon", "apricot", "kiwi", "strawberry"],
    "a colour": ["red", "blue", "green", "yellow", "purple", "pink", "brown", "black", "white", "grey", "violet", "turquoise", "beige", "crimson"],
    "a city": ["Paris", "London", "Rome", "Berlin", "Madrid", "Tokyo", "Moscow", "Vienna", "Athens", "Cairo", "Lisbon", "Warsaw", "Dublin", "Oslo"],
}  # fmt: skip
NAMES, THINGS, DAYS = (
    words.split() for words in ("Elena Marco Aisha Tomas Keiko Lars Priya", "books apples tickets lamps chairs", "Monday Tuesday Friday Sunday")
)  # fmt: skip


class Question(NamedTuple):
    """A question with the choices of its first token, and what each of them says; `right` is what should be said."""

    judge: str
    messages: tuple[Message, ...]
    choices: dict[str, float]
    right: float


def of_texts(n: int) -> Iterator[Question]:
    """Half about kinds of things, half about a passage; yes and no, first and second are each right in half of them."""
    rng = random.Random(0)
    template = prompts.read(None, pairwise.__file__, "pairwise.txt")
    last = prompts.read(None, pairwise.__file__, "verdict_word.txt").replace("{words}", "one, two or tie")
    for number in range(n):
        if number % 2:
            kind, other = rng.sample(sorted(KINDS), 2)
            thing = rng.choice(KINDS[kind])
            before, asked = "", f"What is {thing}?"
            answers = {f"{thing} is {kind}": 1.0, f"{thing} is {other}": 0.0}
        else:
            name, thing, (day, later), (a, b) = (
                rng.choice(NAMES),
                rng.choice(THINGS),
                rng.sample(DAYS, 2),
                rng.sample(range(2, 99), 2),
            )
            before = f"{name} sold {a} {thing} on {day} and {b} {thing} on {later}. "
            asked = f"{before}How many {thing} did {name} sell on {day}?"
            answers = {f"{name} sold {a} {thing} on {day}": 1.0, f"{name} sold {b} {thing} on {day}": 0.0}
        for answer, true in answers.items():
            for judge, end in (("claims", ""), ("claims, told to answer yes or no", " Answer yes or no.")):
                yield _yes_no((user(f"{before}Is it true that {answer}?{end}"),), bool(true), judge)
            first, second = sorted(answers, key=lambda text, shown=answer: text != shown)
            text = prompts.fill(
                template, facts="", question=asked, first=f"{first}.", second=f"{second}.", verdict=last
            )
            yield Question("pairwise", (user(text),), WORDS, 1.0 if true else -1.0)


def of_scenes(n: int, store: MediaStore) -> Iterator[Question]:
    """Two yes/no questions and one pair in both orders about each of `n` scenes, as the demo's prompts ask them."""
    rng = random.Random(0)
    template = prompts.read(str(FOLDER / "prompts" / "pairwise.txt"), "", "")
    for scene in scenes(load_world(), n, 0, "eval"):
        parts, _ = store_scene(scene, store)
        yield from (_yes_no((user(*parts, text),), true) for text, true in scene.questions(rng, 2))
        task = rng.choice(scene.tasks())
        answers = pair(scene, task, rng, tie=False)
        for first, second in (answers, answers[::-1]):
            text = prompts.fill(template, question=task.question, first=first.text, second=second.text)
            right = 1.0 if first.quality.rating > second.quality.rating else -1.0
            yield Question("pairwise", (user(*parts, text),), pairwise.WORDS, right)


def _yes_no(messages: tuple[Message, ...], true: bool, judge: str = "claims") -> Question:
    return Question(judge, messages, dict(zip(claims.CHOICES, (1.0, 1.0, 0.0, 0.0), strict=True)), float(true))


class Found(NamedTuple):
    judge: str
    mass: float
    right: bool
    kept: bool


async def measured(model: str, n: int, with_scenes: bool) -> list[Found]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        engine = await vllm.connect(vllm.Settings(model=model, max_model_len=1024), store)

        async def answer(question: Question) -> Found:
            scored, written = await asyncio.gather(
                engine.ask(Score(question.messages, tuple(question.choices))),
                engine.ask(Generate(question.messages, temperature=0.0, max_tokens=8)),
            )
            assert isinstance(scored, Scored)
            assert isinstance(written, Generated)
            shares: Counter[float] = Counter()
            for value, logprob in zip(question.choices.values(), scored.logprobs, strict=True):
                shares[value] += mass_of([logprob])
            said = max(shares, key=lambda value: shares[value])
            word = re.match(r"\W*(\w+)", written.answers[0].text)
            kept = word is not None and question.choices.get(word[1]) == said
            return Found(question.judge, mass_of(scored.logprobs), said == question.right, kept)

        questions = of_scenes(n, store) if with_scenes else of_texts(n)
        return await asyncio.gather(*map(answer, questions))


def table(found: list[Found]) -> list[dict]:
    """For each judge and interval of masses: how many verdicts, and the shares that are right, and kept in words."""
    out = []
    for judge in sorted({row.judge for row in found}):
        for low, high in itertools.pairwise(BINS):
            if rows := [row for row in found if row.judge == judge and low <= row.mass < high]:
                right, kept = (
                    round(sum(getattr(row, name) for row in rows) / len(rows), 2) for name in ("right", "kept")
                )
                out.append(
                    {
                        "judge": judge,
                        "mass": f"{low:g} to {min(high, 1):g}",
                        "verdicts": len(rows),
                        "right": right,
                        "kept": kept,
                    }
                )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", nargs="?", help="folder of a model that is asked about texts; without it the tiny one, about scenes"
    )
    parser.add_argument("-n", type=int, default=100, help="scenes, or facts and passages")
    given = parser.parse_args()
    found = asyncio.run(measured(given.model or "data/models/tiny", given.n, with_scenes=given.model is None))
    print(json.dumps(table(found), indent=1))


if __name__ == "__main__":
    main()
