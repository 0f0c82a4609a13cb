"""Forms are sent to vLLM without free white space, which small models fill their replies with."""

import json
import re

import pytest

from annotators.judge import listwise, pointwise, segments
from pipeline.engines._structured_output import compact, constraint
from schemas.requests import Form

RATED = pointwise._form(("help ful", "ü"), 2, -1, 1, True).schema
FAULT = {"text": 'a "red"\ncup', "class": "no such thing", "severity": 4, "correction": "é"}
FAULTS = segments._form(("object", "no such thing"), 4).schema


@pytest.mark.parametrize(
    ("schema", "value", "other"),
    [
        (RATED, {"rationale": "", "help ful": [-1, 1], "ü": [0, 0]}, {"rationale": "", "help ful": [-2, 1], "ü": [0, 0]}),
        (RATED, {"rationale": "{}", "help ful": [0, 0], "ü": [1, 1]}, {"rationale": "", "help ful": [0], "ü": [0, 0]}),
        (listwise._form(3).schema, {"ranking": [3, 1, 2]}, {"ranking": [3, 1, 2, 1]}),
        (FAULTS, {"faults": []}, {"faults": [FAULT | {"severity": 5}]}),
        (FAULTS, {"faults": [FAULT, FAULT]}, {"faults": [FAULT | {"class": "object "}]}),
    ],
)  # fmt: skip
def test_the_form_of_a_judge_is_its_json_on_one_line(schema, value, other):
    (regex,) = constraint(Form(schema=schema)).values()
    assert re.fullmatch(regex, json.dumps(value, ensure_ascii=False))
    for text in (json.dumps(other), json.dumps(value, indent=1), json.dumps(value, separators=(",", ":")), " {}"):
        assert not re.fullmatch(regex, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"}, {"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 1}, {"type": ["string", "null"]}, {"$ref": "#/a"}, [], None,
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": [], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    ],
)  # fmt: skip
def test_a_schema_with_anything_else_is_sent_as_it_is(schema):
    assert compact(json.dumps(schema)) is None
    assert constraint(Form(schema=json.dumps(schema))) == {"json": json.dumps(schema)}
