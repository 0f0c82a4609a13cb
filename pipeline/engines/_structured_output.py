"""Structured output as request options for HTTP servers, whether an answer conforms to it, and JSON without free white space.

vLLM supports all three kinds (`structured_outputs`). Other servers support JSON Schema only (`response_format`), so a choice or a
regular expression is sent as the only property of an object, and the answer is extracted from it. A server may silently ignore
these options, so every answer is validated."""

import functools
import json
import re
from typing import Any

from schemas.requests import Form

INSIDE = "answer"  # the object's property that holds a choice or a text that matches a regular expression
AROUND = 16  # additional tokens for the object around it
WIDEST = 10_000  # integers between a minimum and a maximum that are written out as alternatives
STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'


def wrapped(form: Form, vllm: bool) -> bool:
    """Whether the answer is wrapped in a JSON object."""
    return not vllm and form.schema is None


@functools.lru_cache(256)
def constraint(form: Form) -> dict[str, Any]:
    """The form as vLLM takes it: `choice`, `regex`, or `json` for a schema that `compact` does not support."""
    if form.choice:
        return {"choice": list(form.choice)}
    regex = form.regex or compact(form.schema or "")
    return {"regex": regex} if regex else {"json": form.schema}


def compact(schema: str) -> str | None:
    """A regular expression of the JSON values that are valid under a schema, as `json.dumps` writes them: what engines make of a schema
    allows any white space between tokens, and small models fill their replies with new lines.

    None if the schema has anything but objects whose properties are all required (in their order), arrays, integers between a minimum and a
    maximum, strings and enumerations."""
    try:
        return _compact(json.loads(schema))
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _compact(schema: dict[str, Any]) -> str:
    rest = dict(schema)
    match rest.pop("type", None):
        case None:
            found = f"(?:{'|'.join(map(_literal, rest.pop('enum')))})"
        case "string":
            found = STRING
        case "integer":
            low, high = rest.pop("minimum"), rest.pop("maximum")
            if not 0 <= high - low < WIDEST:
                raise ValueError("too many alternatives")
            found = f"(?:{'|'.join(map(str, range(low, high + 1)))})"
        case "array":
            item, least, most = _compact(rest.pop("items")), rest.pop("minItems", 0), rest.pop("maxItems", None)
            more = f"(?:, {item}){{{max(0, least - 1)},{'' if most is None else most - 1}}}"
            found = rf"\[{item}{more}\]" if least else rf"\[(?:{item}{more})?\]"
        case "object":
            properties = rest.pop("properties")
            if rest.pop("required") != list(properties) or rest.pop("additionalProperties") is not False:
                raise ValueError("properties that may be absent")
            inner = ", ".join(f"{_literal(name)}: {_compact(value)}" for name, value in properties.items())
            found = rf"\{{{inner}\}}"
        case other:
            raise ValueError(f"type {other}")
    if rest:
        raise ValueError(f"unknown keywords {rest}")
    return found


def _literal(value: Any) -> str:
    return re.escape(json.dumps(value, ensure_ascii=False))


@functools.lru_cache(256)
def options(form: Form, vllm: bool) -> dict:
    """The request options for a form. ValueError if its schema is not JSON."""
    if vllm:
        return {"structured_outputs": constraint(form)}
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
