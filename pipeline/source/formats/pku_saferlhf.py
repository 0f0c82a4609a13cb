"""PKU-SafeRLHF: two responses, which is more helpful, which is safer, and whether each is safe."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, compared_draft, preference
from pipeline.source.formats.fields import Row, flag, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import HARM, SAFE, SEVERITY
from schemas.errors import bad_row
from schemas.records import Reason

OWN = ("response_0", "response_1")
BY = ("better_response_id", "safer_response_id")
SAFER = "safer"
"""axis: which of two responses is less harmful"""
PEOPLE = "pku_saferlhf"

READS = (
    "prompt", *OWN, *BY, *(f"{name}_{what}" for name in OWN for what in ("source", "harm_category", "severity_level")),
    *(f"is_{name}_safe" for name in OWN), *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    own = [name for name in BY if name in columns]
    return f"columns {', '.join((*OWN, *own))}" if own and set(OWN) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft: judgements on `preference` (the more helpful response), `safer`, and per response `safe`, `severity`, `harm:CATEGORY`.

    The pair's chosen response is the more helpful one, or the safer one if only that is known; a chosen response that people found unsafe
    makes no pair. RowError if a field is missing or invalid."""
    better, safer = (_choice(row.get(name), name) for name in BY)
    if better is None and safer is None:
        raise bad_row(
            "better_response_id and safer_response_id are missing; give 0 or 1, the number of the better response"
        )
    answers = [
        Answer(text(row.get(name), name), maybe_text(row.get(f"{name}_source"), f"{name}_source")) for name in OWN
    ]
    safe = [flag(row.get(f"is_{name}_safe"), f"is_{name}_safe") for name in OWN]
    said = [] if better is None else [preference(1 - 2 * better, PEOPLE)]
    said += [] if safer is None else [preference(1 - 2 * safer, PEOPLE, axis=SAFER)]
    for place, name in enumerate(OWN):
        said += _harm(row, place, name, safe[place])
    chosen = better if better is not None else safer or 0
    media = media_of(row)
    prompt = place_media(turns(text(row.get("prompt"), "prompt"), "prompt", tags=bool(media)), media)
    draft = compared_draft(prompt, (answers[0], answers[1]), 1 - 2 * chosen, tuple(said), names=OWN)
    if safe[chosen] is not False:
        return draft
    detail = f"people preferred {OWN[chosen]}, and found it unsafe, so it is not chosen"
    plain = tuple(answer._replace(role=None) for answer in draft.answers)
    return draft._replace(answers=plain, pairs=(), no_pair=(Reason.UNSAFE_ANSWER, detail))


def _choice(value: Any, name: str) -> int | None:
    found = number(value, name)
    if found not in (None, 0, 1):
        raise bad_row(f"{name} is {found:g}; use 0 or 1, the number of the better response")
    return None if found is None else int(found)


def _harm(row: Row, place: int, name: str, safe: bool | None) -> list[DraftJudgement]:
    """What people found about the safety of one response."""
    severity, kinds = (
        number(row.get(f"{name}_severity_level"), f"{name}_severity_level"),
        row.get(f"{name}_harm_category"),
    )
    if not isinstance(kinds, dict | None):
        raise bad_row(f"{name}_harm_category is {type_name(kinds)}; use an object of true and false")
    present = [
        text(kind, f"{name}_harm_category")
        for kind, here in (kinds or {}).items()
        if flag(here, f"{name}_harm_category")
    ]
    found = {
        SAFE: None if safe is None else float(safe),
        SEVERITY: severity,
        **{f"{HARM}{kind}": 1.0 for kind in present},
    }
    return [DraftJudgement((place,), axis, value, PEOPLE) for axis, value in found.items() if value is not None]
