"""Training data for judging: answers of every quality to a scene's question, quoted as in the judges' prompts.

The quality of an answer is computed from the scene's facts; the prompts are the demo's own, in `data/scenes/prompts`."""

import json
import random
import string
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.scenes.model.habits import habitual_answer
from pipeline.scenes.world import (
    FOLDER,
    MAX_BEEPS,
    AudioScene,
    ImageScene,
    MultiImageScene,
    Scene,
    Task,
    Thing,
    VideoScene,
    World,
)
from schemas import prompts
from schemas.claim_patterns import refuted, split, truth_of

PAIRWISE, RATING = ((FOLDER / "prompts" / name).read_text().strip("\n") for name in ("pairwise.txt", "rating.txt"))
LOW, HIGH = 1, 5
WORDS = ("one", "two", "tie")
JUDGES_WORDS = (*WORDS, *WORDS, *PAIRWISE.split(), *RATING.split())
ENDS = (",", ".")  # end of one or several claims
RATINGS = HIGH - LOW + 1
MARKS = 4 + RATINGS  # classes: 0 to 3 false claims, or a rating
PAIRS = 0.5  # share of pairwise questions; the rest are ratings
TIES = 0.25  # share of ties among the pairs
WAYS = {
    "true": 6,
    "habit": 4,
    "wrong": 5,
    "worse": 2,
    "less": 2,
    "malformed": 1,
}  # weights of the ways to make an answer
BOLD_WAYS = WAYS | {"speaks": 5}  # with answers that address the judge
SPOKEN = range(1, 17)  # number of words added by "speaks"; one in four is a random string
COUNTS = {1: 4, 2: 5, 3: 1, 4: 1}  # weights of the number of answers rated at once


class Quality(NamedTuple):
    """An answer compared with the facts: its claims, how many of them are false, and the recall (0..1) of the true answer.

    A malformed answer counts as one false claim.
    amiss: for each comma and full stop the number of false claims in the text that ends there; None if malformed"""

    malformed: bool
    claims: int
    false: int
    recall: float
    amiss: tuple[int | None, ...]

    @property
    def marks(self) -> tuple[int | None, ...]:
        """Targets of the auxiliary heads: `amiss`, 0 to 3 each, and at the end the rating, 4 to 8."""
        return (*self.amiss, self.rating - LOW + MARKS - RATINGS)

    @property
    def rating(self) -> int:
        """5 exact, 4 true but incomplete, 3 one false claim, 2 two, 1 three or more, or malformed."""
        if self.malformed:
            return LOW
        return max(LOW, 4 - self.false) if self.false else HIGH - (self.recall < 1)


class RatedAnswer(NamedTuple):
    """An answer to judge, with its quality."""

    text: str
    quality: Quality


class JudgeQuestion(NamedTuple):
    """A judge's question about a scene, the correct reply, and the marks of all quoted answers."""

    question: str
    reply: str
    marks: tuple[int | None, ...]


def quality(scene: Scene, task: Task, answer: str) -> Quality:
    """The quality of `answer`."""
    claims, ends = split(scene.world.patterns, task.question, answer), sum(word in ENDS for word in answer.split())
    facts = scene.facts(task)
    truth = truth_of(facts, claims)
    amiss: tuple[int | None, ...] = (None,) * ends
    if claims is not None:
        false = [int(is_false) for is_false in refuted(facts, claims)]
        amiss = tuple(false) if len(false) == ends else (sum(false),)  # one claim per end, or all in one sentence
    return Quality(truth.malformed, truth.claims, truth.false, truth.recall, amiss)


def random_answer(scene: Scene, task: Task, rng: random.Random, ways: Mapping[str, int] = WAYS) -> RatedAnswer:
    """A random answer, true or not; `ways` has the weights. For scenes of the split `train` it names no held-out combination."""
    while True:
        (way,) = rng.choices(list(ways), list(ways.values()))
        text = _MAKERS[way](scene, task, rng)
        if text and (scene.split == "eval" or not _held_out(scene.world, text)):
            return with_quality(scene, task, text)


def with_quality(scene: Scene, task: Task, text: str) -> RatedAnswer:
    """The answer `text` with its quality."""
    return RatedAnswer(text, quality(scene, task, text))


def pair(scene: Scene, task: Task, rng: random.Random, tie: bool, ways: Mapping[str, int] = WAYS) -> list[RatedAnswer]:
    """Two random answers, with equal ratings if `tie`, else with different ones."""
    while True:
        first, second = random_answer(scene, task, rng, ways), random_answer(scene, task, rng, ways)
        if (first.quality.rating == second.quality.rating) == tie:
            return [first, second]


def pairwise(task: Task, answers: list[RatedAnswer]) -> JudgeQuestion:
    """Which of two answers is better: the one with the higher rating."""
    first, second = answers
    question = prompts.fill(PAIRWISE, question=task.question, first=first.text, second=second.text)
    lead = first.quality.rating - second.quality.rating
    return JudgeQuestion(question, WORDS[0 if lead > 0 else 1 if lead < 0 else 2], _marks(answers))


def pointwise(task: Task, answers: list[RatedAnswer]) -> JudgeQuestion:
    """The rating of each answer, LOW to HIGH."""
    quotes = "\n".join(f"Answer {i}:\n<<<\n{prompts.guard(text)}\n>>>" for i, (text, _) in enumerate(answers, 1))
    words = {"count": str(len(answers)), "low": str(LOW), "high": str(HIGH), "question": task.question}
    head, _, tail = RATING.partition("{answers}")
    question = prompts.fill(head, **words) + quotes + prompts.fill(tail, **words)
    return JudgeQuestion(
        question, json.dumps({"ratings": [answer.quality.rating for answer in answers]}), _marks(answers)
    )


def judge_questions(scene: Scene, rng: random.Random, ways: Mapping[str, int] = WAYS) -> list[JudgeQuestion]:
    """Judge questions about one of the scene's tasks: a pair in both orders, or several answers to rate."""
    task = rng.choice(scene.tasks())
    if rng.random() < PAIRS:
        answers = pair(scene, task, rng, rng.random() < TIES, ways)
        return [pairwise(task, answers), pairwise(task, answers[::-1])]
    (count,) = rng.choices(list(COUNTS), list(COUNTS.values()))
    return [pointwise(task, [random_answer(scene, task, rng, ways) for _ in range(count)])]


def _marks(answers: list[RatedAnswer]) -> tuple[int | None, ...]:
    return tuple(mark for answer in answers for mark in answer.quality.marks)


def _held_out(world: World, text: str) -> bool:
    """Whether the answer names a held-out combination."""
    held = [*world.held_pictures, *world.held_videos, *world.held_sounds]
    return any(" ".join(words) in text.replace("moves ", "") for words in held)


def _wrong(scene: Scene, task: Task, rng: random.Random, edits: int = 1) -> str:
    match scene:
        case ImageScene():
            return _edit_picture(scene, task, rng, edits)
        case MultiImageScene():
            return _edit_pictures(scene, task, rng, edits)
        case VideoScene():
            return _edit_video(scene, task, rng, edits)
        case AudioScene():
            return _edit_sound(scene, task, rng, edits)
    raise TypeError(type(scene).__name__)


def _worse(scene: Scene, task: Task, rng: random.Random) -> str:
    return _wrong(scene, task, rng, rng.choice((2, 3)))


def _less(scene: Scene, task: Task, rng: random.Random) -> str | None:
    """The true description without one of its things."""
    things = _things(scene, task)
    if len(things) < 2 or not isinstance(scene, ImageScene | MultiImageScene):
        return None
    gone = rng.randrange(len(things))
    return scene.describe([*things[:gone], *things[gone + 1 :]])


def _malformed(scene: Scene, task: Task, rng: random.Random) -> str | None:
    """The true answer with one word missing or doubled."""
    words = task.answer.split()
    at = rng.randrange(len(words))
    words[at : at + 1] = rng.choice(([], [words[at]] * 2))
    text = " ".join(words)
    return text if quality(scene, task, text).malformed else None


def _speaking(scene: Scene, task: Task, rng: random.Random) -> str | None:
    """An answer followed by words from the judges' prompts and verdicts: it is malformed, whatever they say."""
    added = [
        rng.choice(JUDGES_WORDS)
        if rng.random() < 0.75
        else "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 6)))
        for _ in range(rng.choice(SPOKEN))
    ]
    text = " ".join([rng.choice((task.answer, _wrong(scene, task, rng))), *added])
    return text if quality(scene, task, text).malformed else None


def _things(scene: Scene, task: Task) -> list[Thing]:
    """The things that the task asks to describe; empty for other tasks."""
    if isinstance(scene, ImageScene):
        return scene.things
    return scene.pictures[task.part] if isinstance(scene, MultiImageScene) and task.part is not None else []


def _other(words, word, rng: random.Random):
    return rng.choice([w for w in words if w != word])


def _edit_pictures(scene: MultiImageScene, task: Task, rng: random.Random, edits: int) -> str:
    if task.part is not None:
        return _edit_picture(scene, task, rng, edits)
    return _other([scene.which(a, b) for a in (True, False) for b in (True, False)], task.answer, rng)


def _edit_picture(scene: ImageScene | MultiImageScene, task: Task, rng: random.Random, edits: int) -> str:
    """A description with colours, shapes and cells changed or things added; each edit changes another thing if there are enough."""
    world, things = scene.world, list(_things(scene, task))
    places = rng.sample(range(len(things)), len(things))
    for place in places[:edits]:
        thing, free = things[place], [c for c in world.cells if all(c != t.cell for t in things)]
        way = rng.choice(("colour", "shape", *(("cell", "more") if free else ())))
        if way == "more":
            things.append(Thing(rng.choice(free), *rng.choice(world.looks)))
        else:
            words = {"colour": world.colours, "shape": world.shapes, "cell": [thing.cell, *free]}[way]
            things[place] = thing._replace(**{way: _other(words, getattr(thing, way), rng)})
    return scene.describe(sorted(things, key=lambda t: world.cells.index(t.cell)))


def _edit_video(scene: VideoScene, task: Task, rng: random.Random, edits: int) -> str:
    world, values = scene.world, {name: getattr(scene, name) for name in ("colour", "shape", "direction")}
    words = {"colour": world.colours, "shape": world.shapes, "direction": world.directions}
    for name in rng.sample(list(values), edits):
        values[name] = _other(words[name], values[name], rng)
    return scene.say(**values)


def _edit_sound(scene: AudioScene, task: Task, rng: random.Random, edits: int) -> str:
    number, pitch = scene.number, scene.pitch
    changed = rng.sample(("number", "pitch"), min(edits, 2))
    if "number" in changed:
        number = _other(range(1, MAX_BEEPS + 2), number, rng)
    if "pitch" in changed:
        pitch = _other(scene.world.pitches, pitch, rng)
    return scene.say(number, pitch)


_MAKERS: dict[str, Callable[[Scene, Task, random.Random], str | None]] = {
    "true": lambda scene, task, rng: task.answer,
    "habit": lambda scene, task, rng: habitual_answer(scene, task, rng, 1.0),
    "wrong": _wrong,
    "worse": _worse,
    "less": _less,
    "malformed": _malformed,
    "speaks": _speaking,
}
