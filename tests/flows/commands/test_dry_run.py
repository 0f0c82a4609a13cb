"""Answers that are made up have the form that was asked for, or the layout that a prompt shows."""

import json

import jsonschema
import pytest

from flows.commands.dry_run import Known, MadeUp, Model, instance, make_up
from pipeline.make import rewrite
from pipeline.modeling.token_count import Counter
from pipeline.prompt import llm_write
from pipeline.storage.answer_cache import Measured, Sort
from schemas.errors import RowError
from schemas.messages import assistant, user
from schemas.ports import Attend, Beams, Embed, Form, Generate, Likelihood, Perturb, Rate, Score
from schemas.records import MEDIA_KINDS, Part

MODEL = Model("m@1", "m@1", frozenset(), frozenset(MEDIA_KINDS), 4, Counter(None))
PICTURE = (user(Part("image", media="a" * 64), Part("text", "what is this ?")),)


def said(request, known: Known | None = None):
    return make_up(MadeUp(MODEL, None, known or Known({})), request)


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


def test_the_layouts_of_prompts_are_read_by_those_who_ask_so():
    assert rewrite.parse(text("Write it between <<< and\n>>>, and nothing else.")) is not None
    asked = 'Reply with one JSON object and nothing else: {"question": "...", "right": "...", "wrong": "..."}'
    assert llm_write.parse(text(asked), ("question", "right", "wrong"))
    assert text("one number in double square brackets, like [[3]]: 1 (much)").endswith("[[3]]")
    facts = text('one fact a line, starting with "- ".\n<<<\nan answer\n>>>\nFacts:', max_tokens=192)
    assert [line[:2] for line in facts.splitlines()] == ["- "] * 3  # 192 / 4 tokens are 36 words, three items of 12
    questions = text(f'each starting with "- ".\n<<<\n{facts}\n>>>\nQuestions:')
    assert questions.count("- ") == 3


def test_answers_of_the_same_sort_lend_their_words_and_their_length():
    known = Known({Sort("m@1", "Generate", 64, 1.0): Measured(10, 20, 130, 5.0)})
    known.texts[Sort("m@1", "Generate", 64, 1.0)] = ["an answer that was given"]
    found = [said(Generate(PICTURE, max_tokens=64, seed=i), known).answers[0] for i in range(200)]
    assert {answer.text for answer in found} == {"an answer that was given"}
    assert sum(answer.tokens for answer in found) / 200 == pytest.approx(6.5, abs=0.15)  # 130 tokens of 20 answers
    assert known.guessed == set()
    known.measured[Sort("m@1", "Generate", 64, 0.0)] = Measured(10, 10, 20, 5.0)
    assert known.length(Sort("m@1", "Generate", 64, 0.0)) == 2  # greedy ones for themselves
    assert known.length(Sort("m@1", "Generate", 64, 0.7)) == 5  # 150 tokens of 30 answers at any temperature
    del known.measured[Sort("m@1", "Generate", 64, 0.0)]
    # another limit than was measured: as long, but not above the limit
    assert said(Generate(PICTURE, max_tokens=5), known).answers[0].tokens == 5
    assert known.length(Sort("m@1", "Generate", 512, 1.0)) == 6.5


def test_references_serve_where_no_answer_is_known():
    known = Known({})
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
    made = make_up(MadeUp(MODEL, media_store, Known({})), Perturb(name, 8, 2, 10)).media
    assert made != name
    assert decode_image(media_store.read(made), "it").size == decode_image(media_store.read(name), "it").size


def test_what_an_engine_would_refuse_before_it_opens_anything_is_refused():
    deaf = MODEL._replace(media=frozenset({"image"}))
    sound = (user(Part("audio", media="a" * 64), Part("text", "what is said ?")),)
    with pytest.raises(RowError, match="takes no audio"):
        make_up(MadeUp(deaf, None, Known({})), Generate(sound))
