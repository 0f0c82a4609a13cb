"""HelpSteer, HelpSteer2 and HelpSteer3: people's ratings of one response, or their preference of one of two, with its strength."""

import json
import re
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, Turn, compared_draft, preference
from pipeline.source.formats.fields import Row, check_exact, maybe_text, number, text
from pipeline.source.formats.turns import as_text_piece, turns
from schemas.errors import RowError, bad_row
from schemas.records import Reason

AXES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
PAIRS = (
    ("prompt", "response_1", "response_2", "preference_strength"), ("context", "response1", "response2", "overall_preference"),
)  # fmt: skip
PEOPLE = "helpsteer"
REASONS = ("preference_statement", "preference_elaboration", "individual_preference")
_SPEAKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES = {"User": "user", "Assistant": "assistant"}

READS = (
    "prompt[]", "context[]", "response", *AXES, *(name for names in PAIRS for name in names[1:]), *REASONS, "domain",
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    for names in (*PAIRS, ("prompt", "response", *AXES)):
        if set(names) <= set(columns):
            return f"columns {', '.join(names)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. Ratings (0 to 4) are judgements on the five axes: complexity and verbosity describe an answer, not its quality. A preference
    (-3: the first is much better, 3: the second) is a judgement on `preference` and the pair's margin; 0 is a tie, without a pair.
    RowError if a field is missing or invalid."""
    names = next((names for names in PAIRS if names[1] in row), None)
    return _rated(row) if names is None else _compared(row, *names)


def _rated(row: Row) -> Draft:
    answer = text(row.get("response"), "response")
    if not answer.strip():
        raise RowError(Reason.EMPTY_ANSWER, "response is empty; add the answer or remove the row")
    values = {axis: number(row.get(axis), axis) for axis in AXES}
    said = tuple(DraftJudgement((0,), axis, value, PEOPLE) for axis, value in values.items() if value is not None)
    if not said:
        raise bad_row(f"{', '.join(AXES)} are missing; give at least one rating")
    return Draft(_prompt(row.get("prompt"), "prompt"), (Answer(answer),), said)


def _compared(row: Row, asked: str, first: str, second: str, preferred: str) -> Draft:
    strength = number(row.get(preferred), preferred)
    if strength is None or abs(strength) > 3:
        given = "missing" if strength is None else f"{strength:g}"
        raise bad_row(f"{preferred} is {given}; use -3 (the first is much better) to 3 (the second)")
    reasons = {name: row[name] for name in REASONS if row.get(name)}
    check_exact(reasons, "the reasons")
    raw = json.dumps(reasons, ensure_ascii=False, default=str) if reasons else None
    answers = Answer(text(row.get(first), first)), Answer(text(row.get(second), second))
    domain = maybe_text(row.get("domain"), "domain")
    return compared_draft(
        _prompt(row.get(asked), asked), answers, -strength, (preference(-strength, PEOPLE, raw),), names=(first, second),
        pair={"margin": abs(strength)}, known={"split": domain} if domain else {},
    )  # fmt: skip


def _prompt(value: Any, name: str) -> tuple[Turn, ...]:
    """Messages, or a text whose further turns begin with `<extra_id_1>User` or `<extra_id_1>Assistant`."""
    if not isinstance(value, str):
        return turns(value, name)
    first, *rest = _SPEAKER.split(text(value, name))
    spoken = [("user", first), *((_ROLES[speaker], said) for speaker, said in zip(rest[::2], rest[1::2], strict=True))]
    if spoken[-1] == ("assistant", ""):
        spoken.pop()
    return tuple(Turn(role, as_text_piece(said)) for role, said in spoken)
