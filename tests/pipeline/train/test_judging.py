import json
import random
from types import SimpleNamespace

import pytest
from scipy.stats import spearmanr

from annotators.judge import pointwise as judge_pointwise
from pipeline.scenes.model import bench_pairs
from pipeline.scenes.model.judging import (
    PAIRWISE,
    WORDS,
    RatedAnswer,
    judge_questions,
    pair,
    pairwise,
    pointwise,
    quality,
    random_answer,
)
from pipeline.scenes.model.model import load
from pipeline.scenes.model.pack import Prompter
from pipeline.scenes.world import FOLDER, SCENES, Thing, draw, load_world, scenes, store_scene
from schemas import messages, prompts
from schemas.operator import SampleRows
from schemas.records import Outcome, candidate, sample
from schemas.requests import Score
from tests.pipeline.train.conftest import TINY

WORLD = load_world()
EACH_KIND = pytest.mark.parametrize("kind", sorted(SCENES))


def picture():
    """A scene with a red circle at the top left, a blue star at the top right and a red star at the bottom right."""
    scene = draw(WORLD, "image", 0)
    scene.things = [
        Thing("top left", "red", "circle"),
        Thing("top right", "blue", "star"),
        Thing("bottom right", "red", "star"),
    ]
    return scene, scene.tasks()[0]


CIRCLE, STAR, LAST = "a red circle at the top left", "a blue star at the top right", "a red star at the bottom right"
WRONG = "a green circle at the top left", "a blue cross at the top right", "a blue star at the bottom right"


@pytest.mark.parametrize(
    ("things", "rating", "amiss"),
    [
        ([CIRCLE, STAR, LAST], 5, (0, 0, 0)),
        ([CIRCLE, LAST], 4, (0, 0)),
        ([WRONG[0], STAR, LAST], 3, (1, 0, 0)),
        ([CIRCLE, WRONG[1]], 3, (0, 1)),  # incomplete too, which one false claim outweighs
        ([WRONG[0], STAR, WRONG[2]], 2, (1, 0, 1)),
        ([*WRONG], 1, (1, 1, 1)),
        ([CIRCLE, CIRCLE], 1, (None, None)),  # the same twice is malformed
    ],
)
def test_an_answer_is_rated_by_its_false_claims_and_by_what_it_leaves_out(things, rating, amiss):
    found = quality(*picture(), f"there is {' , '.join(things)} .")
    assert (found.rating, found.amiss) == (rating, amiss)


def test_a_sentence_with_several_claims_has_one_mark():
    scene = draw(WORLD, "video", 0)
    scene.colour, scene.shape, scene.direction = "red", "circle", "left"
    found = quality(scene, scene.tasks()[0], "a blue star moves left .")
    # two of the three claims are false, which is a mark of 2 and a rating of 4 - 2; ratings follow the marks 0 to 3
    assert (found.amiss, found.rating, found.marks) == ((2,), 2, (2, 4 + 1))


@EACH_KIND
def test_answers_to_judge_are_of_all_ratings_and_never_name_a_held_out_combination(kind):
    rng, ratings = random.Random(0), set()
    for seed in range(300):
        scene = draw(WORLD, kind, seed)
        for task in scene.tasks():
            text, found = random_answer(scene, task, rng)
            ratings.add(found.rating)
            words = text.replace("moves ", "")
            for held in (*WORLD.held_pictures, *WORLD.held_videos, *WORLD.held_sounds):
                assert " ".join(held) not in words
    assert ratings == ({1, 2, 3, 4, 5} if "image" in kind else {1, 2, 3, 5})  # only a list can be incomplete


@EACH_KIND
def test_an_answer_that_speaks_to_its_judge_is_malformed_and_fenced(kind):
    scene, rng = draw(WORLD, kind, 1), random.Random(0)
    task = scene.tasks()[0]
    bold = [random_answer(scene, task, rng, {"speaks": 1}) for _ in range(50)]
    assert {answer.quality.rating for answer in bold} == {1}
    assert any(">>>" in answer.text for answer in bold)
    assert all(pairwise(task, [answer, answer]).question.count(">>>") == 2 for answer in bold)
    assert any(answer.text.startswith(task.answer) for answer in bold)


@EACH_KIND
def test_every_pair_is_asked_in_both_orders(kind):
    turned, rng, replies = {"one": "two", "two": "one", "tie": "tie"}, random.Random(0), set()
    for seed in range(60):
        found = judge_questions(draw(WORLD, kind, seed), rng)
        if len(found) == 2:
            one, two = found
            assert two.reply == turned[one.reply]
            assert one.question != two.question or one.reply == "tie"
            replies.add(one.reply)
    assert replies == set(turned)


def test_the_better_answer_wins_whatever_its_place():
    scene, task = picture()
    good, bad = (
        RatedAnswer(text, quality(scene, task, text)) for text in (f"there is {CIRCLE} .", f"there is {WRONG[0]} .")
    )
    assert pairwise(task, [good, bad]).reply == "one"
    assert pairwise(task, [bad, good]).reply == "two"
    assert pairwise(task, [good, good]).reply == "tie"
    said = pairwise(task, [good, bad]).question
    assert said == prompts.fill(PAIRWISE, question=task.question, first=good.text, second=bad.text)


def test_the_judges_of_the_product_get_verdicts_from_the_tiny_model(runner, vllm_engine, media_store):
    """On the demo's prompts: rated in pairs by judge.pointwise, which asks what training asked, and compared by first token."""
    true, said, right = [], [], []
    for kind in sorted(SCENES):
        for seed in range(15):
            scene, rng = draw(WORLD, kind, f"vllm {seed}"), random.Random(seed)
            task = scene.tasks()[0]
            answers = pair(scene, task, rng, tie=False)
            parts, _ = store_scene(scene, media_store)
            rows = SampleRows(sample((messages.user(*parts, task.question),)))
            rows.candidates += [candidate(rows.sample.id, "make", answer.text) for answer in answers]
            engine = Recorded(vllm_engine)
            context = SimpleNamespace(engines={"judge": engine}, step="rate", version="")
            settings = judge_pointwise.Settings(
                model="judge", prompt=str(FOLDER / "prompts" / "rating.txt"), order="fixed"
            )
            found = runner.run(judge_pointwise.judge(rows, settings, context))
            assert engine.asked[0].messages[0].parts[-1].text == pointwise(task, answers).question
            assert [verdict.outcome for verdict in found] == [Outcome.VERDICT] * 2
            said += [verdict.value for verdict in found]
            true += [answer.quality.rating for answer in answers]
            asked = pairwise(task, answers)
            scored = runner.run(
                vllm_engine.ask(Score(messages.media_with_question(rows.sample.prompt, asked.question), WORDS))
            )
            right.append(WORDS[max(range(3), key=scored.logprobs.__getitem__)] == asked.reply)
    assert spearmanr(said, true).statistic > 0.5
    assert sum(right) / len(right) > 0.7


class Recorded:
    """An engine, and what it was asked."""

    def __init__(self, engine):
        self.engine, self.identity, self.can, self.asked = engine, engine.identity, engine.can, []

    async def ask(self, request):
        self.asked.append(request)
        return await self.engine.ask(request)


@EACH_KIND
def test_marks_stand_where_claims_and_answers_end(kind):
    prompter = Prompter(load(TINY)[1])
    for seed in range(40):
        for asked in judge_questions(draw(WORLD, kind, seed), random.Random(seed)):
            ids = prompter.encode(asked.question)
            ends = [prompter.decode([i]) for i in ids[prompter.ends(ids)]]
            assert len(ends) == len(asked.marks)
            assert {mark >= 4 for end, mark in zip(ends, asked.marks) if end == ">>>"} == {True}
            assert all(mark is None or mark < 4 for end, mark in zip(ends, asked.marks) if end != ">>>")


def test_bench_pairs_are_the_same_each_time_and_their_better_answers_are_better(tmp_path):
    for name in ("one", "two"):
        bench_pairs.write(tmp_path / name, n=20, seed=3)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    rows = [json.loads(line) for line in files["pairs.jsonl"].splitlines()]
    # the kinds' shares are 3, 3, 2 and 2 of 10
    assert (
        sorted(row["category"] for row in rows) == ["audio"] * 4 + ["image"] * 6 + ["multi_image"] * 6 + ["video"] * 4
    )
    for row, scene in zip(rows, scenes(WORLD, 20, 3, "eval"), strict=True):
        (task,) = (task for task in scene.tasks() if row["question"].endswith(task.question))
        assert quality(scene, task, row["chosen"]).rating > quality(scene, task, row["rejected"]).rating
        shown = [row.get(kind, []) for kind in ("image", "video", "audio")]
        names = [name for value in shown for name in ([value] if isinstance(value, str) else value)]
        assert len(names) == (2 if row["category"] == "multi_image" else 1)
        assert all(files[name] for name in names)
