"""Answers that are simulated have the form that was asked for, or the layout that the operator reads."""

import asyncio
import json

import jsonschema
import pytest

from annotators.split import model as split
from flows.commands.dry_run import Model, Observations, SimulatedEngine, example_of, examples, instance, simulate
from flows.planning import registry
from flows.planning.bind import Operator, bound_step
from pipeline.filter import media as media_filter
from pipeline.modeling.token_count import Counter
from pipeline.storage.answer_cache import Measured, RequestKind
from schemas.errors import RowError
from schemas.messages import assistant, user
from schemas.operator import VERBS
from schemas.recipe import Step
from schemas.records import MEDIA_KINDS, Judgement, Outcome, Part, Rejection
from schemas.requests import Attend, Beams, Embed, Form, Generate, Likelihood, Perturb, Rate, Score
from tests.support.rows import context, rows_of

MODEL = Model("m@1", "m@1", frozenset(), frozenset(MEDIA_KINDS), 4, Counter(None))
PICTURE = (user(Part("image", media="a" * 64), Part("text", "what is this ?")),)


def said(request, known: Observations | None = None):
    return simulate(SimulatedEngine(MODEL, None, known or Observations({})), request)


def text(prompt: str, **more) -> str:
    return said(Generate((user(prompt),), **more)).answers[0].text


@pytest.mark.parametrize("seed", range(20))
def test_a_ranking_holds_every_number_once_and_all_forms_are_kept_to(seed):
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 4}, "minItems": 4, "maxItems": 4}
    fault = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    properties = {
        "ranking": numbers, "faults": {"type": "array", "items": fault}, "sure": {"type": "boolean"},
        "kind": {"enum": ["a", "b"]}, "share": {"type": "number", "minimum": 0, "maximum": 1},
    }  # fmt: skip
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    found = instance(schema, seed / 20)
    jsonschema.validate(found, schema)
    assert sorted(found["ranking"]) == [1, 2, 3, 4]
    assert json.loads(text("rank them", form=Form(schema=json.dumps(schema)), seed=seed)).keys() == properties.keys()
    assert text("one of them", form=Form(choice=("left", "right")), seed=seed) in ("left", "right")


OTHER = "In your own words. {question} {prompt} {answer} {facts} {first} {second}"  # a prompt that shows no layout
LAID_OUT = [
    ("make.rewrite", {"kind": "fix"}),
    ("prompt.llm_write", {}),
    ("prompt.llm_write", {"answers": True}),
    ("prompt.llm_write", {"conflict": True}),
    ("judge.pairwise", {}),
    ("judge.pairwise", {"tie": False}),
    ("judge.pairwise", {"reason": True}),
    ("judge.pairwise", {"strength": True}),
    ("judge.pairwise", {"strength": True, "reason": True, "tie": False}),
]
HELD_TO_A_FORM = {"judge.pointwise", "judge.listwise", "judge.segments"}
FREE_TEXT = {"make.sample", "make.bad_prompt"}
ASK_FOR_NO_TEXT = {"judge.rule", "judge.claims", "judge.people"}


class Trial:
    """The engine that a step has while its recipe is tried; like a server's, it tells no probabilities and holds to no form."""

    def __init__(self, title: str, settings: dict):
        module = registry.operator(*title.split("."))
        self.example = example_of(Operator(module, module.Settings(**settings)))
        self.identity, self.can, self.media, self.slots = "m@1", frozenset({"Generate"}), frozenset(MEDIA_KINDS), 4

    async def ask(self, request):
        return simulate(SimulatedEngine(MODEL, None, Observations({})), request, self.example)


def tried(title: str, settings: dict) -> list:
    """What the operator leaves of a sample with three answers, asked for once each."""
    module = registry.operator(*title.split("."))
    rows = rows_of(["a red cup", "a blue dog", "two of them"])
    step = context(engines={"m": Trial(title, settings)})
    verb = getattr(module, VERBS[title.split(".")[0]])
    return asyncio.run(verb(rows, module.Settings(**settings), step))


@pytest.mark.parametrize("layout", ["its own", "another"])
@pytest.mark.parametrize(("title", "settings"), LAID_OUT)
def test_an_operator_reads_what_is_made_up_for_it_whatever_its_prompt_looks_like(title, settings, layout, tmp_path):
    (tmp_path / "other.txt").write_text(OTHER)
    found = tried(
        title, {"model": "m", **settings} | ({"prompt": str(tmp_path / "other.txt")} if layout == "another" else {})
    )
    assert found
    assert [row for row in found if isinstance(row, Rejection)] == []
    assert {row.outcome for row in found if isinstance(row, Judgement)} <= {Outcome.VERDICT, Outcome.TIE}


@pytest.mark.parametrize("layout", ["its own", "another"])
def test_as_many_questions_are_made_up_as_facts_are_given(layout, tmp_path):
    (tmp_path / "facts.txt").write_text("What does it say? {answer}")
    (tmp_path / "questions.txt").write_text("Ask about each of\n{facts}\nin turn.")
    files = (
        {"facts_prompt": str(tmp_path / "facts.txt"), "questions_prompt": str(tmp_path / "questions.txt")}
        if layout == "another"
        else {}
    )
    settings = {"model": "m", "max_tokens": 192, **files}
    step = context(engines={"m": Trial("split.model", settings)})
    claims = asyncio.run(split.split("what is there ?", "a cup\n- and a dog", split.Settings(**settings), step))
    assert len(claims) == 3  # 192 / 4 tokens are 36 words, three facts of 12


def test_a_part_of_a_step_makes_up_its_own_replies():
    step = Step(
        name="claims",
        family="judge",
        operator="claims",
        settings={"model": "m", "splitter": {"split.model": {"model": "m"}}},
    )
    free = Step(name="sample", family="make", operator="sample", settings={"model": "m"})
    found = examples([bound_step(step), bound_step(free)])
    assert set(found) == {"claims"}
    assert found["claims"]("what ?", "a red cup.", 0.5) == "- a red cup."


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_the_figures_of_a_picture_that_are_made_up_can_be_read(draw):
    said = media_filter.example("", media_filter.Settings(model="m", objects=(1, None)), "words.", draw)
    assert media_filter.parse(said)["objects"] == int(draw * 10)


def test_every_operator_that_asks_has_an_example_a_form_or_free_text():
    titles = {
        f"{family}.{name}" for family in registry.HOME for name in registry.names(f"{registry.HOME[family]}.{family}")
    }
    modules = {title: registry.operator(*title.split(".")) for title in titles}
    with_examples = {title for title, module in modules.items() if hasattr(module, "example")}
    assert with_examples == {title for title, _ in LAID_OUT} | {"split.model", "filter.media"}
    asking = {title for title, module in modules.items() if hasattr(module, "prompt_texts")}
    assert asking - with_examples == HELD_TO_A_FORM | FREE_TEXT | ASK_FOR_NO_TEXT


def test_answers_of_the_same_sort_lend_their_words_and_their_length():
    known = Observations({RequestKind("m@1", "Generate", 64, 1.0): Measured(10, 20, 130, 5.0)})
    known.texts[RequestKind("m@1", "Generate", 64, 1.0)] = ["an answer that was given"]
    found = [said(Generate(PICTURE, max_tokens=64, seed=i), known).answers[0] for i in range(200)]
    assert {answer.text for answer in found} == {"an answer that was given"}
    assert sum(answer.tokens for answer in found) / 200 == pytest.approx(6.5, abs=0.15)  # 130 tokens of 20 answers
    assert known.guessed == set()
    known.measured[RequestKind("m@1", "Generate", 64, 0.0)] = Measured(10, 10, 20, 5.0)
    assert known.length(RequestKind("m@1", "Generate", 64, 0.0)) == 2  # greedy ones for themselves
    assert known.length(RequestKind("m@1", "Generate", 64, 0.7)) == 5  # 150 tokens of 30 answers at any temperature
    del known.measured[RequestKind("m@1", "Generate", 64, 0.0)]
    # another limit than was measured: as long, but not above the limit
    assert said(Generate(PICTURE, max_tokens=5), known).answers[0].tokens == 5
    assert known.length(RequestKind("m@1", "Generate", 512, 1.0)) == 6.5


def test_references_serve_where_no_answer_is_known():
    known = Observations({})
    known.own[PICTURE] = "a red cup"
    known.references["what is this ?"] = ["a red cup", "a blue dog"]
    answers = said(Generate(PICTURE, n=30), known).answers
    assert answers[0].text == "a red cup"
    assert {answer.text for answer in answers} == {"a red cup", "a blue dog"}


def test_every_request_gets_its_kind_of_answer():
    judged = (*PICTURE, assistant("it is a cup"))
    assert len(said(Beams(PICTURE, beams=3, groups=3)).answers) == 3
    assert len(said(Score(PICTURE, ("yes", "no"))).logprobs) == 2
    assert len(said(Likelihood(judged)).logprobs) == 3  # 11 characters
    assert 0 <= said(Rate((user("why ?"), assistant("so")))).value < 1
    assert sum(x * x for x in said(Embed(PICTURE)).vector) == pytest.approx(1)
    assert said(Attend(judged)).shares == (1.0,)


def test_a_perturbed_picture_is_another_file_that_opens_alike(media_store):
    from pipeline.media.decode import decode_image
    from tests.support.media_files import jpeg

    name = media_store.add(jpeg())
    made = simulate(SimulatedEngine(MODEL, media_store, Observations({})), Perturb(name, 8, 2, 10)).media
    assert made != name
    assert decode_image(media_store.read(made), "it").size == decode_image(media_store.read(name), "it").size


def test_what_an_engine_would_refuse_before_it_opens_anything_is_refused():
    deaf = MODEL._replace(media=frozenset({"image"}))
    sound = (user(Part("audio", media="a" * 64), Part("text", "what is said ?")),)
    with pytest.raises(RowError, match="does not accept audio"):
        simulate(SimulatedEngine(deaf, None, Observations({})), Generate(sound))
