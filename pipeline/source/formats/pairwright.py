"""Pairwright's own datasets: TRL's conversational format with embedded media and all known fields of a pair."""

import json
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftPair, pair_draft
from pipeline.source.formats.fields import Row, check_exact, flag, maybe_text, media_of, number, type_name
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import answer_text, answers, instead, place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row
from schemas.records import Span

OWN = ("chosen_id", "pair_kind", "desirable")
NUMBERS = (
    "margin", "reward_chosen", "reward_rejected", "confidence", "soft_label", "hardness", "ref_logp_chosen", "ref_logp_rejected",
)  # fmt: skip
TEXTS = ("media_op", "critique_chosen", "critique_rejected", "ref_stamp")
OF_SAMPLE = ("answer", "answer_type", "facts", "reference", "source", "licence", "split")

READS = (
    "prompt[]", "chosen[]", "rejected[]", *NUMBERS, *TEXTS, *OF_SAMPLE, "rank", "seed", "needs_media", "desirable", "id",
    "generator_chosen", "generator_rejected", "rejected_media",
    *(f"{side}_spans.{key}" for side in ("chosen", "rejected") for key in Span._fields),
    *(f"{before}{name}" for before in ("", "rejected_", "ranked_") for name in MEDIA),
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return (
        f"columns {', '.join(OWN)}, which only its own exports have"
        if {*OWN, "prompt", "chosen"} <= set(columns)
        else None
    )


def read(row: Row) -> Draft:
    """A Draft. Ids are computed again from the row's content; judgements, of which the row has only the ids, are not imported.
    RowError if a field is missing or invalid."""
    question = place_media(turns(row.get("prompt"), "prompt"), media_of(row))
    texts = {name: maybe_text(row.get(name), name) for name in OF_SAMPLE} | {"facts": _facts(row.get("facts"))}
    known, name = {field: value for field, value in texts.items() if value is not None}, maybe_text(row.get("id"), "id")
    models = [maybe_text(row.get(f"generator_{side}"), f"generator_{side}") for side in ("chosen", "rejected")]
    pair = _pair(row)
    if row.get("rejected") is None:
        words = answer_text((turns(row.get("chosen"), "chosen") or turns("", "chosen"))[-1], "chosen")
        answer = unpaired(words)._replace(model=models[0])
        return Draft(question, (answer,), (), (DraftPair(0, None, known=pair),), known, name)
    _, chosen, rejected = answers(None, row.get("chosen"), row.get("rejected"))
    other = (
        () if row.get("rejected_media") == [] else instead(question, media_of(row, "rejected_"))
    )  # (): no media at all
    draft = pair_draft(
        question, Answer(chosen, models[0]), Answer(rejected, models[1]), instead=other, pair=pair, known=known, id=name,
    )  # fmt: skip
    (pairing,) = draft.pairs
    ranked = tuple((medium, value) for medium, values in media_of(row, "ranked_").items() for value in values)
    return draft._replace(pairs=(pairing._replace(ranked=ranked),))


def _pair(row: Row) -> dict[str, Any]:
    """The row's fields of the Pair, without missing ones."""
    found: dict[str, Any] = {name: number(row.get(name), name) for name in NUMBERS}
    found |= {"rank": _whole(row.get("rank"), "rank"), "seed": _whole(row.get("seed"), "seed", 2**63)}
    found |= {name: maybe_text(row.get(name), name) for name in TEXTS}
    found |= {name: _spans(row.get(name), name) for name in ("chosen_spans", "rejected_spans")}
    found |= {
        "needs_media": flag(row.get("needs_media"), "needs_media"),
        "label": flag(row.get("desirable"), "desirable"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _facts(value: Any) -> str | None:
    facts = maybe_text(value, "facts")
    try:
        found = json.loads(facts or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad_row("facts are not a JSON object; correct them")
    check_exact(found, "facts")
    return facts


def _whole(value: Any, name: str, limit: int = 2**31) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit):
        raise bad_row(f"{name} is {type_name(value)}; use a whole number of less than {limit.bit_length()} bits")
    return value


def _spans(value: Any, name: str) -> tuple[Span, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise bad_row(f"{name} are {type_name(value)}; use a list of spans")
    return tuple(_span(entry, f"{name}[{i}]") for i, entry in enumerate(value))


def _span(entry: dict, name: str) -> Span:
    start, end = (_whole(entry.get(side), f"{name}.{side}") for side in ("start", "end"))
    if start is None or end is None:
        raise bad_row(f"{name} has no start or no end; give both")
    weight, severity = (number(entry.get(field), f"{name}.{field}") for field in ("weight", "severity"))
    label, correction = (maybe_text(entry.get(field), f"{name}.{field}") for field in ("label", "correction"))
    return Span(start, end, weight, label, severity, correction)
