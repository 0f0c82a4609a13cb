"""Omni-Preference: a judge's prompt that contains the question and two candidates, and the teachers' verdict as JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, compared_draft, preference
from pipeline.source.formats.fields import Media, Row, both_or_neither, media_of, number, text
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import SCORE
from schemas.errors import bad_row

TEACHERS = "omni_preference"
SCORES = ("solution.score_A", "solution.score_B")
ROOT = "/data/"  # prefix of the published paths

READS = ("messages[]", "solution", *MEDIA)

_CONTEXT = re.compile(
    r"(?:Image|Video|Audio) file:.*?\s+Question:(.*?)\s+Candidate A:(.*?)\s+Candidate B:(.*)\Z", re.DOTALL
)


def fits(columns: Mapping[str, Any]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    verdict = columns.get("solution") if "messages" in columns else None
    return "columns messages, solution with score_A" if isinstance(verdict, str) and '"score_A"' in verdict else None


def read(row: Row) -> Draft:
    """A Draft: the question with its media and both candidates; judgements on `score` and `preference`, a pair unless `better` is equal.
    Paths below `/data/` are read below `media_root`. RowError if a field is missing or invalid."""
    raw = text(row.get("solution"), "solution")
    verdict = _verdict(raw)
    better = {"A": 1, "B": -1, "equal": 0}.get(text(verdict.get("better"), "solution.better").strip())
    if better is None:
        raise bad_row(f"solution.better is {verdict['better'][:40]!r}; use A, B or equal")
    scores = both_or_neither(*(number(verdict.get(name.rpartition(".")[2]), name) for name in SCORES), SCORES)
    found = turns(row.get("messages"), "messages")
    words = "".join(value for kind, value in found[0].pieces if kind == "text") if found else ""
    context = _CONTEXT.search(words.partition("### Context")[2])
    if context is None or len(re.findall(r"Candidate [AB]:", context[0])) != 2:
        raise bad_row(
            "messages[0] does not contain one Question, Candidate A and Candidate B under ### Context; remove the row"
        )
    question, *answers = (part.strip() for part in context.groups())
    said = [DraftJudgement((i,), SCORE, score, TEACHERS) for i, score in enumerate(scores or ())]
    return compared_draft(
        place_media(turns(question, "the question"), _media(row)), (Answer(answers[0]), Answer(answers[1])), better,
        (*said, preference(better, TEACHERS, raw)), names=("Candidate A", "Candidate B"), pair={"margin": scores and better * (scores[0] - scores[1])},
    )  # fmt: skip


def _verdict(raw: str) -> dict:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad_row("solution is not a JSON object; write {score_A, score_B, better}")
    return found


def _media(row: Row) -> Media:
    return {
        medium: [value.removeprefix(ROOT).rstrip("_") if isinstance(value, str) else value for value in values]
        for medium, values in media_of(row).items()
    }
