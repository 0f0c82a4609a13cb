"""How the seeing model is taught, without its base: questions that are true to a scene, and rows whose questions do not see each other."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from annotators.judge import listwise, pairwise, pointwise, segments
from annotators.split import model as split_model
from pipeline.make import rewrite
from pipeline.scenes.seeing import measure, talk
from pipeline.scenes.world import ImageScene, Thing, draw_as, load_world
from schemas.errors import NoVerdict
from schemas.operator import SampleRows
from schemas.records import Reason
from schemas.requests import Failure
from tests.support.rows import context, rows_of

ROOT = Path(__file__).parents[3]
WORLD = load_world()
SEEN = [draw_as(ImageScene, WORLD, f"talk {i}") for i in range(200)]


def scene_of(*things: Thing) -> ImageScene:
    scene = draw_as(ImageScene, WORLD, "any")
    scene.things = list(things)
    return scene


CIRCLE, STAR = Thing("top left", "red", "circle"), Thing("bottom right", "blue", "star")
BLUE = Thing("top left", "blue", "circle")


def test_as_many_yes_as_no_and_none_names_a_held_out_look():
    said = [
        one for i, scene in enumerate(SEEN) for one in talk.questions(scene, Random(i)) if one.sort.startswith("yes")
    ]
    yes = sum(one.answer.lower().startswith("yes") for one in said)
    assert yes * 2 == len(said)
    assert not any(WORLD.holds(*look) for one in said for look in talk.named(one.question))


def test_held_wordings_are_never_trained():
    words = talk.words()
    for sort, held in words["held"].items():
        assert not set(held) & set(words["trained"][sort])
    assert not set(talk.plain(held=True)) & set(talk.plain())
    assert not set(words["plain"]["held_topics"]) & set(words["plain"]["topics"])


@pytest.mark.parametrize(
    ("things", "rating"),
    [
        ((CIRCLE, STAR), 5),
        ((CIRCLE,), 4),  # true, but the star is missing
        ((BLUE, STAR), 3),  # one false
        ((BLUE, STAR._replace(cell="top right")), 2),  # two false
        ((BLUE, STAR._replace(cell="top right"), STAR._replace(cell="bottom left")), 1),
    ],
)
def test_an_answers_rating_follows_from_what_it_names(things, rating):
    assert talk.Answer("", things).rating(scene_of(CIRCLE, STAR)) == rating


def test_judges_are_told_the_truth_about_two_answers():
    scene = scene_of(CIRCLE, STAR)
    true = talk.Answer("There is a red circle.", (CIRCLE,))
    false = talk.Answer("There is a blue circle.", (BLUE,))
    assert talk.pairwise(scene, true, false, "What?").answer == "one"
    assert talk.pairwise(scene, false, true, "What?").answer == "two"
    assert talk.pairwise(scene, true, true, "What?").answer == "tie"
    assert (
        talk.pairwise(scene, true, false, "What?", strength=True).answer == "3"
    )  # ahead by 4 - 3 = 1: slightly better
    assert json.loads(talk.rating(scene, [false, true], "What?").answer) == {"ratings": [3, 4]}
    assert json.loads(talk.ranking(scene, [false, true], "What?").answer) == {"ranking": [2, 1]}
    (fault,) = json.loads(talk.segments(scene, false, "What?").answer)["faults"]
    assert (fault["text"], fault["correction"]) == ("a blue circle at the top left", "a red circle at the top left")


def test_prompts_are_filled_whole():
    for i, scene in enumerate(SEEN[:50]):
        for one in [*talk.judging(scene, Random(i)), *talk.splitting(scene, Random(i))]:
            rest = (
                one.question.replace('{"ratings"', "")
                .replace('{"ranking"', "")
                .replace('{"faults"', "")
                .replace('{"text"', "")
            )
            assert "{" not in rest, one.question


def test_the_number_of_false_things_is_what_was_asked_for():
    for i, scene in enumerate(SEEN):
        for edits in (0, 1, 2):
            made = talk.answer(scene, Random(i), edits)
            assert len(set(made.things) - set(scene.things)) == edits


@pytest.mark.parametrize(
    ("sort", "want", "text", "right"),
    [
        ("colour", "It is red.", "The circle is red.", True),
        ("colour", "It is red.", "It is red or blue.", False),
        ("where", "At the top left.", "It is in the top left corner.", True),
        ("at", "Nothing.", "There is nothing there.", True),
        ("at", "A red circle.", "There is a red circle at the top left.", True),
        ("count", "Two.", "There are 2 shapes.", True),
        ("yes_no", "No, there is no red star.", "No.", True),
        ("follow-up yes_no", "Yes.", "No.", False),
        ("split", "- There is a red circle.", "- there is a red circle .", True),
    ],
)
def test_free_answers_are_right_by_what_they_say(sort, want, text, right):
    assert measure.right(talk.Exchange("", want, 1.0, sort), text) == right


def test_without_an_index_one_line_says_what_to_do(tmp_path):
    """The tool in a copy of the checkout, with an index that nobody serves and an empty cache."""
    for name in ("environment/real", "environment/real.lock", "environment/uv", "pipeline/scenes/seeing/base.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in (".venv", ".tools"):
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    nowhere = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))} | nowhere
    done = subprocess.run([tmp_path / "environment" / "real"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert (
        last
        == "real: cannot install environment/real.lock; check the network and the package index, then run the same command again"
    )
    assert not (tmp_path / "data").exists()


class Records:
    """An engine that remembers what it is asked and fails."""

    identity, can, media = "records@1", frozenset(("Generate", "Score")), frozenset(("image",))

    def __init__(self):
        self.texts = []

    async def ask(self, request):
        self.texts.append("".join(part.text or "" for part in request.messages[-1].parts))
        return Failure(Reason.ENGINE_FAILED, "on purpose")


def asked(verb, settings, rows: SampleRows) -> list[str]:
    engine = Records()
    asyncio.run(verb(rows, settings, context(engines={"policy": engine})))
    return engine.texts


def test_it_is_taught_what_judges_really_ask():
    scene, question = scene_of(CIRCLE, STAR), "What is in the picture?"
    first, second = talk.Answer("There is a red circle.", (CIRCLE,)), talk.Answer("There is a blue circle.", (BLUE,))
    rows = rows_of([first.text, second.text], question=question)
    both = pairwise.Settings(model="policy")
    assert asked(pairwise.judge, both, rows) == [
        talk.pairwise(scene, a, b, question).question for a, b in ((first, second), (second, first))
    ]
    strength = pairwise.Settings(model="policy", strength=True, order="fixed")
    assert asked(pairwise.judge, strength, rows) == [
        talk.pairwise(scene, first, second, question, strength=True).question
    ]
    assert asked(pointwise.judge, pointwise.Settings(model="policy", together=False), rows) == [
        talk.rating(scene, [one], question).question for one in (first, second)
    ]
    assert asked(listwise.judge, listwise.Settings(model="policy", order="fixed"), rows) == [
        talk.ranking(scene, [first, second], question).question
    ]
    assert (
        asked(segments.judge, segments.Settings(model="policy"), rows)[0]
        == talk.segments(scene, first, question).question
    )


def test_it_is_taught_what_splitters_and_rewriters_really_ask():
    scene, rng = scene_of(CIRCLE, STAR), Random(0)
    facts, _ = talk.splitting(scene, rng)
    question, answer = re.search(r"Question: (.*)\nAnswer.*\n<<<\n(.*)\n>>>", facts.question).groups()
    engine = Records()
    told = context(engines={"policy": engine})
    with pytest.raises(NoVerdict):
        asyncio.run(split_model.split(question, answer, split_model.Settings(model="policy"), told))
    assert engine.texts == [facts.question]
    for kind in talk.REWRITES:
        said = talk.rewriting(scene, kind, rng)
        question, answer = re.search(r"The question: (.*)\nThe answer:\n<<<\n(.*)\n>>>", said.question).groups()
        if "Known to be true" not in said.question or "not told" in said.question:
            rows = rows_of([answer], question=question)
            assert asked(rewrite.make, rewrite.Settings(model="policy", kind=kind), rows) == [said.question]
