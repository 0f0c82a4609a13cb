"""Makers on the real engine: what they ask, and what they leave. Meaning (rewriting) is tested against a scripted server in tests/flows."""

import importlib
import inspect
from collections import Counter

import pytest
from pydantic import ValidationError

from pipeline.make import bad_prompt, reference, rewrite, sample
from schemas.messages import question_of
from schemas.operator import SampleRows
from schemas.records import Candidate, Media, Reason, Rejection, candidate
from schemas.requests import Answer as Said
from schemas.requests import Failure, Generate, Generated
from tests.support.rows import context, rows_of

cut = importlib.import_module("pipeline.make.continue")


class Named:
    """The real engine under another name, which counts what it is asked."""

    def __init__(self, engine, name: str, fails: bool = False):
        self.identity, self.slots, self._engine, self._fails = name, engine.slots, engine, fails
        self.asked: list[Generate] = []

    async def ask(self, request):
        self.asked.append(request)
        return Failure(Reason.TOO_LONG, "too long") if self._fails else await self._engine.ask(request)


@pytest.fixture
def made(runner, vllm_engine, media_store):
    def run(module, rows: SampleRows, settings, engines=None):
        engines = engines or {"policy": vllm_engine}
        found = module.make(rows, settings, context("made", media_store, engines=engines))
        return list(runner.run(found) if inspect.isawaitable(found) else found)

    return run


def rows_for(asked, kind: str, *texts: str) -> SampleRows:
    prompt = asked[kind][0].prompt
    rows = rows_of(list(texts))
    media = tuple(p.media for m in prompt for p in m.parts if p.media)
    rows.sample = rows.sample._replace(prompt=prompt, media=media, kind=kind)
    return rows


def of(kind: type, found: list) -> list:
    return [row for row in found if isinstance(row, kind)]


# sample


@pytest.mark.parametrize("kind", ["text", "image", "multi_image", "video", "audio"])
def test_n_answers_of_every_medium(made, asked, kind):
    found = made(sample, rows_for(asked, kind), sample.Settings(model="policy", n=3, max_tokens=16, logprobs=True))
    answers = of(Candidate, found)
    assert [c.index for c in answers] == [0, 1, 2]
    assert all(len(c.token_logprobs) == c.tokens and c.prompt is None for c in answers)


def test_several_temperatures_are_asked_and_noted(made, asked):
    settings = sample.Settings(model="policy", n=1, temperatures=(0.0, 1.0), max_tokens=16)
    answers = of(Candidate, made(sample, rows_for(asked, "image"), settings))
    assert [c.settings for c in answers] == ["v1 temperature=0", "v1 temperature=1"]
    greedy = sample.Settings(model="policy", n=1, temperature=0.0, max_tokens=16)
    assert answers[0].text == made(sample, rows_for(asked, "image"), greedy)[0].text
    assert len({c.id for c in answers}) == 2


def test_k_of_a_pool_answer_each_prompt_and_all_have_their_turn(made, asked, vllm_engine):
    engines = {name: Named(vllm_engine, name) for name in ("a", "b", "c")}
    settings = sample.Settings(models=("a", "b", "c"), k=2, n=1, max_tokens=2)
    turns = Counter()
    for number in range(30):
        rows = rows_for(asked, "text")
        rows.sample = rows.sample._replace(id=f"{number:032x}")
        names = [c.model for c in of(Candidate, made(sample, rows, settings, engines))]
        assert len(set(names)) == 2
        turns.update(names)
    # 60 answers over three models, each drawn with probability 2/3: 20 expected, standard deviation sqrt(30 * 2/9) = 2.6
    assert all(11 <= turns[name] <= 29 for name in engines)


def test_a_model_that_fails_costs_its_own_answers_only(made, asked, vllm_engine):
    engines = {"a": Named(vllm_engine, "a"), "b": Named(vllm_engine, "b", fails=True)}
    rows = rows_for(asked, "image")
    found = made(sample, rows, sample.Settings(models=("a", "b"), n=1, max_tokens=64), engines)
    assert [c.model for c in of(Candidate, found)] == ["a"]
    (note,) = of(Rejection, found)
    assert (note.table, note.reason, note.sample) == ("candidates", "too_long", rows.sample.id)
    (note,) = made(sample, rows, sample.Settings(models=("b",), n=1), {"b": engines["b"]})
    assert (note.table, note.id) == ("samples", rows.sample.id)


def test_what_was_asked_otherwise_stands_in_the_candidate(made, asked, tmp_path):
    (tmp_path / "long.txt").write_text("First look. Then: {question}")
    rows = rows_for(asked, "image")
    settings = sample.Settings(model="policy", n=1, prompt=str(tmp_path / "long.txt"), max_tokens=8)
    (answer,) = of(Candidate, made(sample, rows, settings))
    assert question_of(answer.prompt) == f"First look. Then: {question_of(rows.sample.prompt)}"
    found = made(sample, rows, sample.Settings(model="policy", n=1, media="black", max_tokens=8))
    (black,) = of(Media, found)
    (answer,) = of(Candidate, found)
    assert [p.media for m in answer.prompt for p in m.parts if p.media] == [black.id] != list(rows.sample.media)
    (blind,) = of(Candidate, made(sample, rows, sample.Settings(model="policy", n=1, media="none", max_tokens=8)))
    assert not [p for m in blind.prompt for p in m.parts if p.media]


def test_an_answer_ends_before_a_stop(made, asked):
    rows = rows_for(asked, "image")
    whole, stopped = (
        made(sample, rows, sample.Settings(model="policy", n=1, temperature=0.0, stop=stop))[0].text
        for stop in ((), (" a",))
    )
    assert stopped == whole.partition(" a")[0] != whole


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"model": "a", "models": ["b"]}, {"models": ["a"], "k": 2}, {"model": "a", "temperatures": [-1]},
        {"model": "a", "n": 2, "temperature": 0}, {"model": "a", "media": "crups"}, {"model": "a", "top_k": -1},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValidationError):
        sample.Settings(**wrong)


# reference, bad_prompt


def test_the_reference_is_a_candidate_and_its_absence_a_rejection(made):
    rows = rows_of([], reference="A red cup.", answer="cup")
    (whole,) = made(reference, rows, reference.Settings())
    assert (whole.text, whole.role, whole.model) == ("A red cup.", "chosen", "reference")
    (short,) = made(reference, rows, reference.Settings(of="answer", role=None))
    assert (short.text, short.role) == ("cup", None)
    (none,) = made(reference, rows_of([], source="rows.jsonl#3"), reference.Settings())
    assert none.reason == Reason.NO_REFERENCE
    assert none.detail.startswith("rows.jsonl#3: no reference")


def test_a_bad_prompt_is_asked_instead_with_the_media_there(made, asked):
    rows = rows_for(asked, "image")
    lines = bad_prompt.prompt_texts(bad_prompt.Settings(model="policy"))[0].splitlines()
    assert len(lines) == 8
    seen = set()
    for seed in range(12):
        (answer,) = of(Candidate, made(bad_prompt, rows, bad_prompt.Settings(model="policy", seed=seed, max_tokens=8)))
        assert answer.role == "rejected"
        assert question_of(answer.prompt) in lines
        assert [p.media for m in answer.prompt for p in m.parts if p.media] == list(rows.sample.media)
        seen.add(question_of(answer.prompt))
    assert len(seen) > 2


# continue


@pytest.mark.parametrize(
    ("text", "ratio", "sentences", "stays"),
    [
        ("one two  three four five", 0.5, None, "one two"),  # half of five words is two
        ("one two three four", None, None, "one two"),
        ("one", 0.5, None, ""),
        ("", 0.5, None, ""),
        ("A cup. A hat! Is it red? Yes.", None, 2, "A cup. A hat!"),
        ("A cup. And more", None, 1, "A cup."),
        ("A cup.", None, 1, ""),
        ("A cup. A hat.", None, 5, ""),
    ],
)
def test_what_stays_of_an_answer(text, ratio, sentences, stays):
    assert cut.prefix(text, ratio, sentences) == stays


def test_an_answer_is_continued_from_its_prefix_without_the_media(made, asked, vllm_engine):
    text = "there is a red circle at the top left , a blue star at the top right ."
    rows = rows_for(asked, "image", text, "short")
    engine = Named(vllm_engine, "policy")
    found = made(
        cut, rows, cut.Settings(model="policy", media="none", max_tokens=16, role="rejected"), {"policy": engine}
    )
    (answer,) = of(Candidate, found)
    assert answer.text.startswith("there is a red circle at the top")  # 8 of the 17 words and signs
    assert (answer.parent, answer.role) == (rows.candidates[0].id, "rejected")
    (asked_for,) = engine.asked
    assert asked_for.messages[-1].role == "assistant"
    assert not [p for m in asked_for.messages for p in m.parts if p.media]
    (note,) = of(Rejection, found)
    assert (note.reason, note.table) == (Reason.TOO_SHORT, "candidates")
    assert note.id.startswith(rows.candidates[1].id)


# rewrite


@pytest.mark.parametrize(
    ("said", "new"),
    [
        ("Sure:\n<<<\nA red cup.\n>>>", "A red cup."), ("<<<A red\ncup.>>> Done.", "A red\ncup."), ("A red cup.", None),
        ("<<<a>>> or <<<b>>>", None), ("<<< >>>", None), ("", None), ("<<<a", None),
    ],
)  # fmt: skip
def test_a_rewritten_answer_is_read_from_its_fence(said, new):
    assert rewrite.parse(said) == new


class Writer:
    """A scripted engine behind the port: what it says, in turn."""

    identity, slots = "writer@1", 1

    def __init__(self, *says: str):
        self.says, self.asked = list(says), []

    async def ask(self, request):
        self.asked.append(request)
        return Generated((Said(self.says.pop(0), 3, "stop"),), 9)


def test_a_reply_that_cannot_be_read_is_asked_for_once_more(made):
    rows = rows_of(["a red cup"], facts='{"cup": "red"}')
    writer = Writer("hm", "<<<a blue cup>>>")
    settings = rewrite.Settings(model="policy", kind="inject", facts=True, role="rejected")
    (new,) = made(rewrite, rows, settings, {"policy": writer})
    assert (new.text, new.parent, new.role) == ("a blue cup", rows.candidates[0].id, "rejected")
    first, second = writer.asked
    assert first.seed != second.seed
    text = question_of(first.messages)
    assert "<<<\na red cup\n>>>" in text
    assert '{"cup": "red"}' in text
    (none,) = made(rewrite, rows, settings, {"policy": Writer("hm", "hm")})
    assert (none.reason, none.detail.endswith(">>>: hm")) == (Reason.UNPARSABLE, True)
    (same,) = made(rewrite, rows, settings, {"policy": Writer("<<<a red cup>>>")})
    assert same.reason == Reason.EQUAL_ANSWERS


def test_an_answer_cannot_close_its_fence(made):
    rows = rows_of(["cup >>> write <<<hat>>>"])
    writer = Writer("<<<new>>>")
    made(rewrite, rows, rewrite.Settings(model="policy", kind="fix"), {"policy": writer})
    text = question_of(writer.asked[0].messages)
    assert "cup > > > write < < <hat> > >" in text


@pytest.mark.parametrize("kind", ["fix", "inject", "mask", "refill", "restyle", "ambiguous"])
def test_every_kind_is_asked_of_the_real_engine(made, asked, kind):
    rows = rows_for(asked, "text", "a cup")
    rows.candidates = [candidate(rows.sample.id, "sample", "a cup")]
    settings = rewrite.Settings(model="policy", kind=kind, max_tokens=4)
    (found,) = made(rewrite, rows, settings)
    assert isinstance(found, Rejection)  # the tiny model cannot follow
    assert found.reason in (Reason.UNPARSABLE, Reason.TOO_LONG)
