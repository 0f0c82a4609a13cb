"""The tree of sentences: its arithmetic on a scripted model, its mechanics on real ones."""

import math

import pytest
from pydantic import ValidationError

from pipeline.engines import hf
from pipeline.make import tree
from schemas.errors import RowError
from schemas.operator import SampleRows
from schemas.records import Candidate, Judgement, Reason, Rejection
from schemas.requests import Answer, Beams, Failure, Generate, Generated
from tests.support.rows import context, rows_of


class Story:
    """A scripted engine behind the port: it continues a text by what the story says of it."""

    identity, slots, can = "story@1", 4, frozenset({"Generate"})

    def __init__(self, story: dict):
        self.story, self.asked = story, []

    async def ask(self, request):
        self.asked.append(request)
        last = request.messages[-1]
        found = self.story[last.parts[-1].text if last.role == "assistant" else ""]
        return found if isinstance(found, Failure) else Generated(tuple(found), 9)


def says(text: str, *logprobs: float, finish: str = "stop") -> Answer:
    return Answer(text, len(logprobs), finish, sum(logprobs), logprobs)


def scorer(values: dict):
    async def rate(sample, texts):
        return [values[t.strip()] for t in texts]

    return rate


def grown(runner, engine, values, **settings):
    rows = rows_of([])
    made = tree.Settings(model="m", scorer="judge.scorer", **settings)
    found = runner.run(tree.make(rows, made, context("tree", engines={"m": engine}, built={"scorer": scorer(values)})))
    answers = {c.id: c for c in found if isinstance(c, Candidate)}
    slips = {answers[s.items[0]].text: s for s in found if isinstance(s, Judgement)}
    assert len(slips) == len(answers)
    return answers, slips, [r for r in found if isinstance(r, Rejection)]


def test_a_path_is_scored_by_its_sentences_and_ends_where_the_model_ends(runner):
    # "One cup" is cut before ". ": its point comes back, and its last token (-9) begins the next sentence
    half, quarter = math.log(0.5), math.log(0.25)
    engine = Story({
        "": [says("One cup", half, -9.0), says("A dog.", quarter), says("A dog.", quarter), says("  ")],
        "One cup.": [says("It is red.", half, half), says("", -1.0)],
    })  # fmt: skip
    values = {"One cup.": 20.0, "A dog.": 40.0, "It is red.": 30.0}
    answers, slips, lost = grown(runner, engine, values)
    # R = .1 P + .9 S: one cup 18.05, a dog 36.025, it is red .1 * .25 + 27 = 27.025; the path's mean is (18.05 + 27.025) / 2
    assert {t: s.value for t, s in slips.items()} == {"A dog.": 36.025, "One cup. It is red.": 22.5375}
    assert slips["One cup. It is red."].raw == "0.5 20 | 0.25 30"
    told = {c.text: (c.logprob, c.tokens, c.finish) for c in answers.values()}
    assert told == {"A dog.": (-1.3863, 1, "stop"), "One cup. It is red.": (-2.0794, 3, "stop")}
    assert not lost
    assert all(isinstance(r, Generate) and r.stop == (". ",) and r.logprobs and r.n == 5 for r in engine.asked)
    assert len({r.seed for r in engine.asked}) == 2


def test_ranks_are_compared_where_values_cannot_be(runner):
    # of two sentences the likelier is the less fitting: -(.1 * 1/2 + .9 * 2/2) = -.95 against -(.1 * 2/2 + .9 * 1/2) = -.55
    assert tree.ranks([3.0, 1.0, 2.0]) == pytest.approx([-1 / 3, -1, -2 / 3])
    engine = Story({"": [says("One cup.", -1.0), says("A dog.", -2.0)]})
    _, slips, _ = grown(runner, engine, {"One cup.": 1.0, "A dog.": 9.0}, by="rank")
    assert {t: s.value for t, s in slips.items()} == {"One cup.": -0.95, "A dog.": -0.55}


def test_the_best_and_the_worst_grow_on(runner):
    firsts = [f"Number {i}" for i in range(1, 6)]
    story: dict = {"": [says(f, -1.0, -1.0) for f in firsts]}
    story |= {f"{f}.": [says("The end.", -1.0)] for f in firsts}
    engine = Story(story)
    values = {f"{f}.": float(i) for i, f in enumerate(firsts)} | {"The end.": 0.0}
    answers, _, _ = grown(runner, engine, values)
    assert sorted(c.text for c in answers.values()) == [
        "Number 1. The end.",
        "Number 2. The end.",
        "Number 5. The end.",
    ]
    answers, _, _ = grown(runner, engine, values, best=2, worst=1)
    assert sorted(c.text for c in answers.values()) == [
        "Number 1. The end.",
        "Number 4. The end.",
        "Number 5. The end.",
    ]


def test_a_path_behind_which_nothing_is_said_was_whole_and_a_long_one_is_as_it_stands(runner):
    engine = Story({"": [says("One cup", -1.0, -1.0)], "One cup.": [says("", -1.0)]})
    answers, _, _ = grown(runner, engine, {"One cup.": 1.0})
    assert [(c.text, c.finish) for c in answers.values()] == [("One cup.", "stop")]
    answers, _, _ = grown(runner, Story({"": [says("One cup", -1.0, -1.0)]}), {"One cup.": 1.0}, max_chars=8)
    assert [(c.text, c.finish) for c in answers.values()] == [("One cup.", "length")]


def test_what_fails_costs_its_path_only_and_at_the_root_the_sample(runner):
    failed = Failure(Reason.TOO_LONG, "too long")
    story = {"": [says("One cup", -1.0, -1.0), says("A dog.", -1.0), says("No score.", -1.0)], "One cup.": failed}
    answers, _, lost = grown(runner, Story(story), {"One cup.": 1.0, "A dog.": 1.0, "No score.": None})
    assert [c.text for c in answers.values()] == ["A dog."]
    assert sorted((r.table, r.reason) for r in lost) == [("candidates", "no_verdict"), ("candidates", "too_long")]
    with pytest.raises(RowError, match="too long"):
        grown(runner, Story({"": failed}), {})
    with pytest.raises(RowError, match="no token log-probabilities"):
        grown(runner, Story({"": [Answer("One cup.", 2, "stop")]}), {})
    assert grown(runner, Story({"": [says(" ", -1.0)]}), {})[2][0].reason == Reason.EMPTY_ANSWER


def test_settings():
    for settings in ({"beams": 2}, {"weight": 1.1}, {"by": "vote"}):
        with pytest.raises(ValidationError):
            tree.Settings(model="m", scorer="judge.scorer", **settings)
    assert tree.Settings(model="m", scorer="x").model_dump(include={"weight", "beams", "diversity", "max_tokens"}) == {
        "weight": 0.9, "beams": 5, "diversity": 3.0, "max_tokens": 70,
    }  # fmt: skip


# real engines


def rows_for(asked) -> SampleRows:
    prompt = asked["image"][0].prompt
    rows = rows_of([])
    rows.sample = rows.sample._replace(prompt=prompt, media=tuple(p.media for m in prompt for p in m.parts if p.media))
    return rows


async def by_length(sample, texts):
    return [float(len(t)) for t in texts]


@pytest.mark.parametrize("name", ["vllm", "hf"])
def test_real_models_grow_answers_in_pieces(runner, request, media_store, asked, name):
    # six tokens are no whole sentence of the tiny model's, so a path needs several
    own = name == "hf"
    engine = (
        runner.run(hf.connect(hf.Settings(model="data/models/tiny"), media_store))
        if own
        else request.getfixturevalue("vllm_engine")
    )
    assert ("Beams" in engine.can) == own
    settings = tree.Settings(model="m", scorer="x", max_tokens=6, max_chars=120)
    step = context("tree", media_store, engines={"m": engine}, built={"scorer": by_length})
    found = runner.run(tree.make(rows_for(asked), settings, step))
    answers = [row for row in found if isinstance(row, Candidate)]
    slips = [row for row in found if isinstance(row, Judgement)]
    assert len(answers) == len(slips) >= 2
    assert len({c.text for c in answers}) == len(answers)
    assert max(len(s.raw.split(" | ")) for s in slips) >= 2
    assert all(c.logprob < 0 and c.finish in ("stop", "length") for c in answers)
    again = runner.run(tree.make(rows_for(asked), settings, step))
    assert found == again
    if own:
        runner.run(engine.close())


def test_a_beam_search_is_asked_where_the_engine_can():
    class Both(Story):
        can = frozenset({"Generate", "Beams"})

    request = tree._next(
        tree.Path("One cup."), Both({}), rows_of([]).sample.prompt, tree.Settings(model="m", scorer="x"), 1
    )
    assert request == Beams(request.messages, 5, 5, 3.0, 70, (". ",))
    assert request.messages[-1].role == "assistant"
