"""LLaMA-Factory: ranking data as ShareGPT or OpenAI messages or as Alpaca columns, and KTO's label for a single answer."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftPair, Turn, pair_draft
from pipeline.source.formats.fields import Row, as_list, flag, maybe_text, media_of, text, type_name
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import answer_text, place_media, split_at_tags, to_conversation, turn, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row

SHAPES = (
    ("conversations", "chosen", "rejected"), ("conversations", "kto_tag"), ("messages", "chosen", "rejected"),
    ("messages", "kto_tag"), ("instruction", "chosen", "rejected"), ("instruction", "output", "kto_tag"),
)  # fmt: skip

READS = (
    "conversations[]", "messages[]", "chosen[]", "rejected[]", "instruction", "input", "output", "history", "kto_tag", "id", *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    shapes = SHAPES if "prompt" not in columns else ()  # UltraFeedback has messages and a prompt
    names = next((names for names in shapes if set(names) <= set(columns)), None)
    return names and f"columns {', '.join(names)}"


def read(row: Row) -> Draft:
    """A Draft. Alpaca's question is `instruction`, a line break and `input`, after its `history`. RowError if a field is missing or invalid."""
    conversation = next((name for name in ("conversations", "messages") if row.get(name) is not None), None)
    media, tag = media_of(row), flag(row.get("kto_tag"), "kto_tag")
    if tag is None:
        prompt = turns(row[conversation], conversation, tags=True) if conversation else _alpaca(row)
        chosen, rejected = (_answer(row.get(name), name) for name in ("chosen", "rejected"))
        return pair_draft(place_media(prompt, media), Answer(chosen), Answer(rejected), id=_id(row))
    if conversation:
        *before, last = to_conversation(row[conversation], conversation) or [Turn("user", ())]
        prompt, words = tuple(before), answer_text(last, conversation)
    else:
        prompt, words = _alpaca(row), text(row.get("output"), "output")
    return Draft(
        place_media(prompt, media),
        (unpaired(words),),
        (),
        (DraftPair(0, None, known={"label": tag}),),
        id=_id(row),
    )


def _alpaca(row: Row) -> tuple[Turn, ...]:
    question = text(row.get("instruction"), "instruction")
    if more := maybe_text(row.get("input"), "input"):
        question = f"{question}\n{more}"
    found: list[Turn] = []
    for place, entry in enumerate(as_list(row.get("history"))):
        if not isinstance(entry, list) or len(entry) != 2:
            raise bad_row(f"history[{place}] is {type_name(entry)}; use [question, answer]")
        found.append(Turn("user", split_at_tags(text(entry[0], f"history[{place}][0]"))))
        found.append(Turn("assistant", (("text", text(entry[1], f"history[{place}][1]")),)))
    return (*found, Turn("user", split_at_tags(question)))


def _answer(value: Any, name: str) -> str:
    return answer_text(turn(value, name), name) if isinstance(value, dict) else text(value, name)


def _id(row: Row) -> str | None:
    return maybe_text(row.get("id"), "id")
