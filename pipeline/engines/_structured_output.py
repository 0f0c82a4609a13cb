"""Structured output as request options for HTTP servers, and whether an answer conforms to it.

vLLM supports all three kinds (`structured_outputs`). Other servers support JSON Schema only (`response_format`), so a choice or a
regular expression is sent as the only property of an object, and the answer is extracted from it. A server may silently ignore
these options, so every answer is validated."""

import functools
import json
import re

from schemas.requests import Form

INSIDE = "answer"  # the object's property that holds a choice or a text that matches a regular expression
AROUND = 16  # additional tokens for the object around it


def wrapped(form: Form, vllm: bool) -> bool:
    """Whether the answer is wrapped in a JSON object."""
    return not vllm and form.schema is None


@functools.lru_cache(256)
def options(form: Form, vllm: bool) -> dict:
    """The request options for a form. ValueError if its schema is not JSON."""
    if vllm:
        plain = {"choice": list(form.choice)} if form.choice else {"regex": form.regex}
        return {"structured_outputs": {"json": json.loads(form.schema)} if form.schema else plain}
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
    """The answer inside the JSON object; None if the text is not such an object."""
    try:
        inside = json.loads(text)[INSIDE]
    except (ValueError, LookupError, TypeError):
        return None
    return inside if isinstance(inside, str) else None


def fits(form: Form, text: str) -> bool:
    """Whether a complete answer conforms to the form: one of the choices, JSON valid under the schema, or a full match of the regular
    expression. A regular expression that Python cannot compile counts as matched."""
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
