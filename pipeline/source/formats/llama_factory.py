"""LLaMA-Factory: ranking data as ShareGPT or OpenAI messages or as Alpaca columns, and KTO's label for a single answer; and its v1 form.

Its `dataset_info.json` describes the files beside it: what they call the columns, keys and roles."""

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftPair, Turn, pair_draft
from pipeline.source.formats.fields import Row, flag, maybe_text, media_of, text
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import (
    answer_text,
    earlier_turns,
    place_media,
    split_answers,
    split_at_tags,
    to_conversation,
    turn,
    turns,
)
from pipeline.source.formats.unread import MEDIA

SHAPES = (
    ("conversations", "chosen", "rejected"), ("conversations", "kto_tag"), ("messages", "chosen", "rejected"),
    ("messages", "kto_tag"), ("instruction", "chosen", "rejected"), ("instruction", "output", "kto_tag"), ("chosen_messages", "rejected_messages"),
)  # fmt: skip

READS = (
    "conversations[]", "messages[]", "chosen[]", "rejected[]", "chosen_messages[]", "rejected_messages[]", "instruction", "input", "output", "history", "kto_tag", "id", *MEDIA,
)  # fmt: skip


COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
"""Names of columns in `dataset_info.json` that differ from those of the rows; the others (history, system, images, chosen ...) do not."""
TAGS = {
    "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation",
    "function_tag": "function_call", "system_tag": "system",
}  # fmt: skip
"""The keys and roles of messages by their names in `dataset_info.json`, with their defaults."""


def described(info: Any, file: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """(columns, tags) of a file of preferences in the content of a `dataset_info.json`: the format's column -> the file's, and TAGS as they
    are in the file; None if it describes no such file."""
    entries = info.values() if isinstance(info, dict) else ()
    for entry in entries:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not (
            name == file or file.startswith(f"{name.rstrip('/')}/")
        ):  # a file, or a folder
            continue
        columns = entry.get("columns")
        named = {k: v for k, v in columns.items() if isinstance(v, str)} if isinstance(columns, dict) else {}
        if entry.get("ranking") is not True and "kto_tag" not in named:
            continue
        tags = entry.get("tags") if isinstance(entry.get("tags"), dict) else {}
        mapped = {COLUMNS.get(name, name): other for name, other in named.items()}
        return mapped, TAGS | {k: v for k, v in tags.items() if k in TAGS and isinstance(v, str)}
    return None


def with_usual_tags(row: Row, tags: Mapping[str, str]) -> Row:
    """The row with the keys and roles of its messages as they are by default."""
    if tags == TAGS:
        return row
    roles = {tags[name]: usual for name, usual in TAGS.items() if name not in ("role_tag", "content_tag")}

    def usual(value: Any) -> Any:
        if isinstance(value, list):
            return [usual(entry) for entry in value]
        if not isinstance(value, dict) or tags["role_tag"] not in value:
            return value
        rest = {key: inner for key, inner in value.items() if key not in (tags["role_tag"], tags["content_tag"])}
        role = value[tags["role_tag"]]
        named = roles.get(role, role) if isinstance(role, str) else role
        return {"from": named, "value": value.get(tags["content_tag"]), **rest}

    return {
        name: usual(value) if name in ("conversations", "messages", "chosen", "rejected") else value
        for name, value in row.items()
    }


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    shapes = SHAPES if "prompt" not in columns else ()  # UltraFeedback has messages and a prompt
    names = next((names for names in shapes if set(names) <= set(columns)), None)
    return names and f"columns {', '.join(names)}"


def read(row: Row) -> Draft:
    """A Draft. Alpaca's question is `instruction`, a line break and `input`, after its `history`. RowError if a field is missing or invalid."""
    if row.get("chosen_messages") is not None:
        sides = (to_conversation(row.get(f"{side}_messages"), f"{side}_messages") for side in ("chosen", "rejected"))
        before, better, worse = split_answers(*sides)
        return pair_draft(place_media(before, media_of(row)), Answer(better), Answer(worse), id=_id(row))
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
    return (*earlier_turns(row.get("history"), "history"), Turn("user", split_at_tags(question)))


def _answer(value: Any, name: str) -> str:
    return answer_text(turn(value, name), name) if isinstance(value, dict) else text(value, name)


def _id(row: Row) -> str | None:
    return maybe_text(row.get("id"), "id")
