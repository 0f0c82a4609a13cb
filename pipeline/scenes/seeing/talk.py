"""Plain English about picture scenes: questions with their answers, and the questions that judges, splitters and rewriters ask.

The wordings are `data/scenes/talk.yaml`; the prompts are the product's own files. Questions worded by `held` are never trained."""

import json
import random
import re
from functools import cache
from typing import Any, NamedTuple

import yaml

from pipeline.scenes.world import FOLDER, ImageScene, MultiImageScene, Thing, indefinite_article
from schemas import prompts

ROOT = FOLDER.parents[1]
NUMBERS = ("no", "one", "two", "three", "four")
YES_NO = 4  # pairs of yes/no questions per scene
WEIGHTS = {"yes_no": 4.0, "yes_no_at": 4.0, "describe": 1.0}  # of an answer's tokens; other short facts weigh 2
SCALE = {
    "1": "answer one is much better", "2": "better", "3": "slightly better", "4": "both are equally good",
    "5": "answer two is slightly better", "6": "better", "7": "much better",
}  # fmt: skip
REWRITES = ("fix", "inject", "mask", "refill", "restyle", "ambiguous")


class Exchange(NamedTuple):
    """A question with its true answer, the weight of the answer's tokens in the loss, and what sort of question it is."""

    question: str
    answer: str
    weight: float
    sort: str
    before: tuple[str, str] | None = None  # an earlier question and its answer


@cache
def words() -> dict[str, Any]:
    """The contents of `talk.yaml`."""
    return yaml.safe_load((FOLDER / "talk.yaml").read_text())


def name(thing: Thing, place: bool = True) -> str:
    return f"{indefinite_article(thing.colour)} {thing.colour} {thing.shape}" + (
        f" at the {thing.cell}" if place else ""
    )


def join(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def describe(things: list[Thing], style: str) -> str:
    """The sentence that names `things`, in one of the styles."""
    text = style.format(join([name(thing) for thing in things]))
    return text[0].upper() + text[1:]


def questions(scene: ImageScene, rng: random.Random, held: bool = False) -> list[Exchange]:
    """One question of each sort that makes sense for the picture, and as many yes/no questions with yes as with no."""
    wordings = words()["held" if held else "trained"]
    things, thing, out = scene.things, rng.choice(scene.things), []

    def ask(sort: str, answers: list[str], about: Thing = thing) -> None:
        if sort in wordings:
            slots = {"a": indefinite_article(about.colour), "c": about.colour, "s": about.shape, "p": about.cell}
            question = rng.choice(wordings[sort]).format(**slots)
            out.append(Exchange(question, rng.choice(answers).format(**slots), WEIGHTS.get(sort, 2.0), sort))

    if not held and rng.random() < 0.25:
        out.append(Exchange(scene.tasks()[0].question, scene.describe(things), 1.0, "describe"))
    else:
        ask("describe", [describe(things, rng.choice(words()["styles"]))])
    n, number = len(things), NUMBERS[len(things)]
    ask("count", [f"{number.capitalize()}.", f"There {'is' if n == 1 else 'are'} {number} shape{'s' * (n > 1)}."])
    alone = sum(other.shape == thing.shape for other in things) == 1
    if alone:
        ask("colour", [f"{thing.colour.capitalize()}.", "The {s} is {c}.", "It is {c}."])
        ask("where", ["At the {p}.", "It is at the {p}.", "The {s} is at the {p}."])
    ask("colour_at", ["It is {c}.", "The shape at the {p} is {c}."])
    if sum(other.colour == thing.colour for other in things) == 1:
        ask("shape", ["It is {a} {s}." if thing.shape[0] in "aeiou" else "It is a {s}.", "The {c} shape is a {s}."])
    cell = rng.choice(scene.world.cells)
    there = [other for other in things if other.cell == cell]
    if there:
        ask("at", [f"{name(there[0], False).capitalize()}.", f"There is {name(there[0])}."], there[0])
    else:
        ask("at", ["Nothing.", f"There is nothing at the {cell}."], thing._replace(cell=cell))
    for true in (True, False) * (1 if held else YES_NO):
        asked, exact = claim(scene, rng, true)
        sort = "yes_no_at" if exact else "yes_no"
        ask(sort, _reply(asked, exact, true), asked)
        if out[-1].question[0] == "i":  # in the language of patterns.yaml
            out[-1] = out[-1]._replace(answer="yes" if true else "no")
    if not held:
        first, second = rng.sample(out, 2)
        out.append(second._replace(sort=f"follow-up {second.sort}", before=(first.question, first.answer)))
    return out


def _reply(asked: Thing, exact: bool, true: bool) -> list[str]:
    if true:
        return ["Yes.", "Yes.", f"Yes, there is {name(asked, exact)}."]
    place = f" at the {asked.cell}" if exact else ""
    return ["No.", "No.", f"No, there is no {asked.colour} {asked.shape}{place}."]


def claim(scene: ImageScene, rng: random.Random, true: bool) -> tuple[Thing, bool]:
    """A thing to ask about and whether its place is meant: one that is there, or a near miss."""
    world = scene.world
    while True:
        thing, exact = rng.choice(scene.things), rng.random() < 0.5
        if not true:
            thing = _changed(scene, thing, rng)
        there = thing in scene.things if exact else any(thing[1:] == other[1:] for other in scene.things)
        if there == true and (scene.split == "eval" or not world.holds(thing.colour, thing.shape)):
            return thing, exact


def _changed(scene: ImageScene, thing: Thing, rng: random.Random) -> Thing:
    world, way = scene.world, rng.random()
    if way < 0.4:
        return thing._replace(colour=rng.choice(world.colours))
    if way < 0.75:
        return thing._replace(shape=rng.choice(world.shapes))
    return thing._replace(cell=rng.choice(world.cells), colour=rng.choice(world.colours))


def about_two(scene: MultiImageScene, rng: random.Random) -> list[Exchange]:
    """Two pictures: the scene's own questions, half of them written as people write."""
    said = [Exchange(task.question, task.answer, 1.0, "open") for task in scene.tasks()]
    said += [Exchange(question, "yes" if yes else "no", 4.0, "yes_no") for question, yes in scene.questions(rng, 6)]
    return [
        one._replace(question=_written(one.question), answer=_written(one.answer)) if rng.random() < 0.5 else one
        for one in said
    ]


def _written(text: str) -> str:
    text = re.sub(r" ([.,?])", r"\1", text)
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?" else ".")


# ---------------------------------------------------------------------------------------------------------------------
# What judges, splitters and rewriters ask. The quality of an answer follows from the things it names.


class Answer(NamedTuple):
    """A description, and the things it names."""

    text: str
    things: tuple[Thing, ...]

    def rating(self, scene: ImageScene) -> int:
        """5 exact, 4 true but incomplete, 3 one false thing, 2 two, 1 more."""
        false = len(set(self.things) - set(scene.things))
        return max(1, 4 - false) if false else 5 - (len(set(self.things)) < len(scene.things))


def answer(scene: ImageScene, rng: random.Random, edits: int | None = None, style: str | None = None) -> Answer:
    """A description of the scene with `edits` false things (default: drawn), or one that leaves a thing out (-1)."""
    edits = rng.choices((0, -1, 1, 2, 3), (4, 2, 5, 2, 1))[0] if edits is None else edits
    things = list(scene.things)
    if edits < 0 and len(things) > 1:
        things.pop(rng.randrange(len(things)))
    for _ in range(max(0, edits)):
        free = [cell for cell in scene.world.cells if all(cell != thing.cell for thing in things)]
        true = [i for i, thing in enumerate(things) if thing in scene.things]
        if free and (not true or rng.random() < 0.3):
            things.append(Thing(rng.choice(free), *rng.choice(scene.world.looks)))
        elif true:
            i = rng.choice(true)
            while things[i] in scene.things or scene.world.holds(things[i].colour, things[i].shape):
                if rng.random() < 0.2 and free:
                    things[i] = things[i]._replace(cell=rng.choice(free))
                else:
                    things[i] = _changed(scene, things[i], rng)._replace(cell=things[i].cell)
    things.sort(key=lambda thing: scene.world.cells.index(thing.cell))
    if style is None and rng.random() < 0.25:
        return Answer(scene.describe(things), tuple(things))
    return Answer(describe(things, style or rng.choice(words()["styles"])), tuple(things))


def _prompt(room: str, name: str) -> str:
    return prompts.read(None, str(ROOT / room / "x"), name)


def _asked(scene: ImageScene, rng: random.Random) -> str:
    return rng.choice([*words()["trained"]["describe"], scene.tasks()[0].question])


def _fenced(answers: list[Answer]) -> str:
    return "\n".join(f"Answer {i}:\n<<<\n{one.text}\n>>>" for i, one in enumerate(answers, 1))


def pairwise(scene: ImageScene, first: Answer, second: Answer, question: str, strength: bool = False) -> Exchange:
    """Which of two answers is better: the one with the higher rating; or by how much, in seven steps."""
    ahead = first.rating(scene) - second.rating(scene)
    allowed = ", ".join(f"{step} ({what})" for step, what in SCALE.items()) if strength else "one, two or tie"
    verdict = _prompt("annotators/judge", f"verdict_{'strength' if strength else 'word'}.txt").replace(
        "{words}", allowed
    )
    text = _prompt("annotators/judge", "pairwise.txt").replace("{facts}", "")
    text = prompts.fill(text, question=question, first=first.text, second=second.text, verdict=verdict)
    reply = str(4 - max(-3, min(3, ahead))) if strength else "one" if ahead > 0 else "two" if ahead < 0 else "tie"
    return Exchange(text, reply, 6.0, "strength" if strength else "pairwise")


def pair(scene: ImageScene, rng: random.Random) -> tuple[Answer, Answer]:
    """Two answers; one time in six equally good ones."""
    while True:
        first, second = answer(scene, rng), answer(scene, rng)
        tie = first.rating(scene) == second.rating(scene)
        if first.text != second.text and (not tie or rng.random() < 0.17):
            return first, second


def rating(scene: ImageScene, answers: list[Answer], question: str) -> Exchange:
    """The rating of each answer, 1 to 5."""
    form = '{"ratings": [one whole number for each answer, in their order]}'
    text = _prompt("annotators/judge", "pointwise.txt").replace("{facts}", "")
    head, _, tail = text.partition("{answers}")
    head = prompts.fill(head, question=question, count=str(len(answers)), low="1", high="5", form=form)
    return Exchange(
        head + _fenced(answers) + tail, json.dumps({"ratings": [one.rating(scene) for one in answers]}), 3.0, "rating"
    )


def ranking(scene: ImageScene, answers: list[Answer], question: str) -> Exchange:
    """The numbers of the answers, the best first."""
    text = _prompt("annotators/judge", "listwise.txt").replace("{facts}", "")
    head, _, tail = text.partition("{answers}")
    order = sorted(range(1, len(answers) + 1), key=lambda i: -answers[i - 1].rating(scene))
    return Exchange(
        prompts.fill(head, question=question, count=str(len(answers))) + _fenced(answers) + tail,
        json.dumps({"ranking": order}), 3.0, "ranking",
    )  # fmt: skip


def segments(scene: ImageScene, one: Answer, question: str) -> Exchange:
    """The false things of an answer, marked as JSON."""
    faults = []
    for thing in one.things:
        if thing not in scene.things:
            there = next((other for other in scene.things if other.cell == thing.cell), None)
            kind = "attribute" if there and there.shape == thing.shape else "object"
            correction = name(there) if there else f"nothing at the {thing.cell}"
            faults.append({"text": name(thing), "class": kind, "severity": 3, "correction": correction})
    text = prompts.fill(
        _prompt("annotators/judge", "segments.txt").replace("{facts}", ""), question=question, answer=one.text, worst="4",
        unit="the shortest words that are wrong", classes="object, attribute, relation",
    )  # fmt: skip
    return Exchange(text, json.dumps({"faults": faults}), 1.5, "segments")


def rewriting(scene: ImageScene, kind: str, rng: random.Random) -> Exchange:
    """An answer and how it is rewritten; the new answer stands between <<< and >>>."""
    style = rng.choice(words()["styles"])
    true = answer(scene, rng, 0, style)
    old, new = true.text, true.text
    if kind == "fix":
        old = answer(scene, rng, rng.choice((1, 1, 2)), style).text
    elif kind in ("inject", "ambiguous"):
        new = answer(scene, rng, 1, style).text
    elif kind in ("mask", "refill"):
        masked = re.sub(
            rf"\b({'|'.join([*scene.world.colours, *scene.world.shapes, *scene.world.cells])})\b", "[MASK]", true.text
        )
        old, new = (true.text, masked) if kind == "mask" else (masked, true.text)
    else:
        new = describe(list(true.things), rng.choice([other for other in words()["styles"] if other != style]))
    known = true.text if kind in ("fix", "inject") and rng.random() < 0.3 else "not told"
    text = prompts.fill(
        _prompt("pipeline/make", f"rewrite_{kind}.txt"), question=_asked(scene, rng), answer=old, facts=known
    )
    return Exchange(text, f"<<<\n{new}\n>>>", 1.5, f"rewrite {kind}")


def judging(scene: ImageScene, rng: random.Random) -> list[Exchange]:
    """A pair in both orders, or another judge's question and a rewriting."""
    question = _asked(scene, rng)
    first, second = pair(scene, rng)
    if rng.random() < 0.5:
        return [pairwise(scene, first, second, question), pairwise(scene, second, first, question)]
    match rng.choice(("strength", "rating", "rating", "ranking", "segments", "segments")):
        case "strength":
            other = pairwise(scene, first, second, question, strength=True)
        case "rating":
            other = rating(scene, [answer(scene, rng) for _ in range(rng.choice((1, 1, 2)))], question)
        case "ranking":
            edits = rng.sample((0, -1, 1, 2), rng.choice((2, 3)))
            other = ranking(scene, [answer(scene, rng, n) for n in edits], question)
        case _:
            other = segments(scene, answer(scene, rng), question)
    return [other, rewriting(scene, rng.choice(REWRITES), rng)]


def splitting(scene: ImageScene, rng: random.Random, held: bool = False) -> list[Exchange]:
    """Text alone: the facts of an answer as a list, and a list of facts as questions; about shapes or about everyday things."""
    question, facts, text = _asked(scene, rng), [], ""
    if rng.random() < 0.6:
        one = answer(scene, rng, style=rng.choice(words()["held_styles" if held else "styles"]))
        text = one.text
        facts = [f"There is {name(thing)}." for thing in one.things]
        asked = [f"Is there {name(thing)}?" for thing in one.things]
    else:
        parts = words()["facts"]
        who = rng.sample(parts["subjects"], rng.choice((1, 2, 2, 3)))
        told = [(subject, rng.choice(parts["doings"]), rng.choice(parts["rests"])) for subject in who]
        text = join([" ".join(one) for one in told]) + "."
        text = text[0].upper() + text[1:]
        facts = [" ".join(one).capitalize() + "." for one in told]
        asked = [f"Is {subject} {doing.removeprefix('is ')} {rest}?" for subject, doing, rest in told]
    listed = "\n".join(f"- {fact}" for fact in facts)
    split = prompts.fill(_prompt("annotators/split", "facts.txt"), question=question, answer=text)
    ask = prompts.fill(_prompt("annotators/split", "questions.txt"), facts=listed)
    return [Exchange(split, listed, 1.5, "split"), Exchange(ask, "\n".join(f"- {one}" for one in asked), 1.5, "ask")]


# ---------------------------------------------------------------------------------------------------------------------


def plain(held: bool = False) -> list[str]:
    """Prompts without a picture: topics in forms, and questions. Those held back share no topic, form or question with the others."""
    data = words()["plain"]
    prefix = "held_" if held else ""
    crossed = [form.format(topic) for topic in data[f"{prefix}topics"] for form in data[f"{prefix}forms"]]
    return [*crossed, *data[f"{prefix}questions"]]


@cache
def _slots() -> dict[str, str]:
    slots = yaml.safe_load((FOLDER / "patterns.yaml").read_text())["slots"]
    return {name: rf"({'|'.join(slots[name])})" for name in ("colour", "shape", "cell")}


def named(text: str) -> set[tuple[str, ...]]:
    """The (colour, shape) that a free text names."""
    return {found.groups() for found in re.finditer(r"{colour}\s+{shape}".format(**_slots()), text.lower())}


def placed(text: str) -> set[Thing]:
    """The things that a free text puts in a corner."""
    pattern = r"{colour}\s+{shape}(?: is)? (?:at|in) the {cell}".format(**_slots())
    return {Thing(found[3], found[1], found[2]) for found in re.finditer(pattern, text.lower())}


def corners(text: str) -> set[str]:
    """The corners that a free text names."""
    return set(re.findall(_slots()["cell"], text.lower()))


def looks(text: str, sort: str) -> set[str]:
    """The shapes, or else the colours, that a free text names."""
    return set(re.findall(_slots()["shape" if sort == "shape" else "colour"], text.lower()))


def plainly(text: str) -> str:
    """Words and marks of a text, whatever its case and spaces."""
    return " ".join(text.lower().replace(" .", ".").split())
