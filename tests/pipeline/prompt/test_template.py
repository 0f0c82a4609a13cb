import json

import pytest

from pipeline.prompt import template
from schemas import messages
from schemas.errors import RowError
from schemas.operator import SampleRows
from schemas.records import Message, Part, sample
from tests.support.rows import context, rows_of


def written(rows: SampleRows, **settings):
    (new,) = template.write(rows, template.Settings(**settings), context("t"))
    return new


def test_names_are_filled_from_what_is_known():
    rows = rows_of([], answer="a {prompt}", reference="whole", facts=json.dumps({"colour": "red", "count": 3}))
    text = "{prompt} {answer} {reference} {colour} {count} {not a name} {}"
    assert (
        messages.question_of(written(rows, templates=(text,)).prompt)
        == "what is there ? a {prompt} whole red 3 {not a name} {}"
    )


@pytest.mark.parametrize("name", ["answer", "colour", "list", "flag"])
def test_a_name_that_is_not_known_drops_the_row(name):
    rows = rows_of([], facts=json.dumps({"list": [1], "flag": True}), source="rows.jsonl#4")
    with pytest.raises(RowError, match=rf"rows.jsonl#4: its {name} is missing or not a text") as error:
        written(rows, templates=(f"say {{{name}}}",))
    assert error.value.reason == "bad_row"


def test_what_is_known_stays_and_the_id_names_the_ancestor():
    one = rows_of([], answer="yes", source="rows.jsonl#1", licence="mit").sample
    two = rows_of([], question="what else ?", answer="no").sample
    a, b = (written(SampleRows(s), templates=("Describe it.",)) for s in (one, two))
    assert a.prompt == b.prompt
    assert a.id != b.id  # two samples stay two
    assert a == one._replace(id=a.id, prompt=a.prompt, step="t")
    assert (a.media, a.kind, a.answer, a.source, a.licence) == (one.media, "image", "yes", "rows.jsonl#1", "mit")
    assert a == written(SampleRows(one), templates=("Describe it.",))


def test_turns_and_media_around_the_question_stay():
    turns = (
        Message("system", (Part("text", "be brief"),)),
        messages.user(Part("image", media="ab" * 32), "first ?"),
        messages.assistant("yes"),
        messages.user("look at", Part("image", media="cd" * 32), "then ?"),
    )
    new = written(SampleRows(sample(turns)), templates=("{prompt} why ?",), suffix="mcq")
    assert new.prompt[:3] == turns[:3]
    assert new.prompt[3].parts[:2] == turns[3].parts[:2]
    assert new.prompt[3].parts[2].text == f"then ? why ?\n{template.SUFFIXES['mcq']}"
    assert new.media == ("ab" * 32, "cd" * 32)


def test_templates_are_drawn_by_seed_and_sample():
    samples = [rows_of([], question=f"q {i}") for i in range(200)]
    draws = [messages.question_of(written(r, templates=("a", "b", "c")).prompt) for r in samples]
    assert all(
        40 < draws.count(t) < 95 for t in "abc"
    )  # 200 / 3 = 67, six standard deviations of 6.7 below and four above
    assert draws == [messages.question_of(written(r, templates=("a", "b", "c")).prompt) for r in samples]
    assert draws != [messages.question_of(written(r, templates=("a", "b", "c"), seed=1).prompt) for r in samples]
