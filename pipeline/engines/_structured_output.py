"""Forms of answers in the words of HTTP servers, and whether an answer has its form.

vLLM takes all three as they are (`structured_outputs`). Others take JSON Schema alone (`response_format`), so a choice or a
regular expression travels there as the only property of an object, and the answer is taken out of it. A server may not know
the one or the other and answer freely without a word: so each answer is looked at."""

import functools
import json
import re

from schemas.requests import Form

INSIDE = "answer"  # the property that a choice or a text of a regular expression is
AROUND = 16  # tokens that the object around it takes


def wrapped(form: Form, vllm: bool) -> bool:
    """Whether an answer travels inside an object."""
    return not vllm and form.schema is None


@functools.lru_cache(256)
def options(form: Form, vllm: bool) -> dict:
    """What a request says of the form. ValueError when its schema is no JSON."""
    if vllm:
        said = {"choice": list(form.choice)} if form.choice else {"regex": form.regex}
        return {"structured_outputs": {"json": json.loads(form.schema)} if form.schema else said}
    if form.schema:
        schema = json.loads(form.schema)
    else:
        inner = {"enum": list(form.choice)} if form.choice else {"pattern": f"^(?:{form.regex})$"}
        schema = {
            "type": "object", "properties": {INSIDE: {"type": "string", **inner}}, "required": [INSIDE], "additionalProperties": False,
        }  # fmt: skip
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def unwrap(text: str) -> str | None:
    """The answer inside the object; None where there is none."""
    try:
        inside = json.loads(text)[INSIDE]
    except (ValueError, LookupError, TypeError):
        return None
    return inside if isinstance(inside, str) else None


def fits(form: Form, text: str) -> bool:
    """Whether a whole answer has the form: one of the choices, JSON of the schema, or all of it the regular expression.

    A regular expression that Python does not know is taken to be kept."""
    if form.choice:
        return text in form.choice
    if form.schema:
        try:
            return _validator(form.schema).is_valid(json.loads(text))
        except ValueError:
            return False
    pattern = _pattern(form.regex or "")
    return pattern is None or pattern.fullmatch(text) is not None


@functools.lru_cache(256)
def _validator(schema: str):
    from jsonschema import validators

    loaded = json.loads(schema)
    return validators.validator_for(loaded)(loaded)


@functools.lru_cache(256)
def _pattern(regex: str) -> re.Pattern | None:
    try:
        return re.compile(regex)
    except re.error:
        return None
