"""ms-swift: a conversation, or a query and its response, with another answer or other media to reject; or a KTO label; or prompts for GRPO."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftPair, Turn, pair_draft
from pipeline.source.formats.fields import Row, as_list, cell, flag, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import (
    answer_text,
    earlier_turns,
    instead,
    place_media,
    split_answers,
    split_at_tags,
    to_conversation,
)
from pipeline.source.formats.unread import MEDIA, answers_in
from schemas.errors import RowError, bad_row
from schemas.records import Reason

OTHER = ("rejected_response", "rejected_messages", *(f"rejected_{name}" for name in MEDIA))
TALKS = ("messages", "conversation", "conversations")
SHAPES = (*((name,) for name in TALKS), ("query", "response"), ("query",), ("instruction", "output"))
SPEAKERS = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant"}
"""Keys of a turn that holds a question and its answer, in the order in which they are said."""

READS = (
    "messages[]", "conversation[]", "conversations[]", *(f"{name}.{key}" for name in TALKS for key in SPEAKERS), "query", "response", "history",
    "instruction", "input", "output", "rejected_response[]", "rejected_messages[]", "label", "margin", "solution", "objects.ref", "objects.bbox",
    "id", *MEDIA, *(f"rejected_{name}" for name in MEDIA),
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    own = [name for name in (*OTHER, "label") if name in columns]
    for shape in SHAPES:
        if not set(shape) <= set(columns) or (
            shape[0] in ("query", "instruction") and not own and "response" not in columns
        ):
            continue
        if own or not answers_in(set(columns).difference(shape)):
            return f"columns {', '.join([*shape, *own])}"
    return None


def read(row: Row) -> Draft:
    """A Draft. Media that are rejected, with the same answer or another one, make a pair. Without a rejected answer, other media or a label,
    the answer becomes the reference, and a conversation that ends with the user is a prompt; `solution` is the known answer. <ref-object>
    is replaced by its name in `objects`. RowError if a field is missing or invalid; NOT_READ for <bbox>, which every model writes in its own
    form."""
    talk = _conversation(row)
    media, name = media_of(row), maybe_text(row.get("id"), "id")
    solution = maybe_text(row.get("solution"), "solution")
    known = {"answer": solution} if solution else {}
    label = flag(row.get("label"), "label")
    rejected_media = media_of(row, "rejected_")
    other = next((name for name in OTHER[:2] if row.get(name) is not None), None)
    paired = other is not None or bool(rejected_media)
    if paired and label is not None:
        raise bad_row("label is of a single answer, but the row rejects another one; remove one of them")
    if not talk:
        raise bad_row("messages are empty; add the question and the answer")
    objects = _objects(row.get("objects"))
    if not paired and label is None and talk[-1].role != "assistant":
        return Draft(place_media(_with_tags(_named(talk, objects)), media), known=known, id=name)
    chosen = _named(talk, objects)
    words = answer_text(chosen[-1], "messages")
    prompt = place_media(chosen[:-1], media)
    if not paired and label is None:
        return Draft(prompt, known=known | {"reference": words}, id=name)
    if not paired:
        return Draft(prompt, (unpaired(words),), (), (DraftPair(0, None, known={"label": label}),), known, name)
    rejected = words if other is None else _rejected(row[other], other, talk, objects)
    return pair_draft(
        prompt, Answer(words), Answer(rejected), instead=instead(prompt, rejected_media),
        pair={"margin": number(row.get("margin"), "margin")}, known=known, id=name,
    )  # fmt: skip


def _conversation(row: Row) -> tuple[Turn, ...]:
    """All turns of a row; the last one is the answer unless it is the user's."""
    name = next((name for name in TALKS if row.get(name) is not None), None)
    if name is not None:
        return to_conversation(_in_messages(row[name]), name)
    query = next((name for name in ("query", "instruction") if row.get(name) is not None), None)
    if query is None:
        raise bad_row("messages is missing; add a conversation, or a query and its response")
    question = text(row.get(query), query)
    if query == "instruction" and (more := maybe_text(row.get("input"), "input")):
        question = f"{question}\n{more}"
    asked = (*earlier_turns(row.get("history"), "history"), Turn("user", split_at_tags(question)))
    answer = next((name for name in ("response", "output") if row.get(name) is not None), None)
    return asked if answer is None else (*asked, Turn("assistant", (("text", text(row[answer], answer)),)))


def _in_messages(talk: Any) -> Any:
    """Turns that hold a question and its answer, such as `{human, assistant}`, as messages; anything else as it is."""
    if (
        not isinstance(talk, list)
        or not talk
        or not all(isinstance(t, dict) and not {"role", "from"} & t.keys() for t in talk)
    ):
        return talk
    return [
        {"role": role, "content": turn[key]}
        for turn in talk
        for key, role in SPEAKERS.items()
        if turn.get(key) is not None
    ]


def _with_tags(talk: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns of a prompt alone: also tags in the last one are places."""
    *before, last = talk
    pieces = (
        piece for kind, value in last.pieces for piece in (split_at_tags(value) if kind == "text" else ((kind, value),))
    )
    return (*before, Turn(last.role, tuple(pieces)))


def _rejected(value: Any, name: str, talk: Sequence[Turn], objects: Mapping[str, Any]) -> str:
    """The rejected answer: a text, a message or a whole conversation."""
    if isinstance(value, str):
        other = (*talk[:-1], Turn("assistant", (("text", text(value, name)),)))
    else:
        found = to_conversation([value] if isinstance(value, dict) else value, name)
        other = (*talk[:-1], found[-1]) if len(found) == 1 else found
        if len(found) != 1:
            split_answers(talk, found)
    return answer_text(_named(other, objects)[-1], name)


def _objects(value: Any) -> Mapping[str, Any]:
    objects = cell(value)
    if objects in (None, ""):
        return {}
    if not isinstance(objects, dict):
        raise bad_row(f"objects are {type_name(value)}; use an object of lists, {{ref, bbox}}")
    return objects


def _named(talk: Sequence[Turn], objects: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The turns with each <ref-object> replaced by its name. RowError if names are missing, or for a <bbox> with coordinates."""
    names = [text(name, "objects.ref") for name in as_list(objects.get("ref"))]
    boxes, used = as_list(objects.get("bbox")), 0
    found: list[Turn] = []
    for turn in talk:
        pieces = []
        for kind, value in turn.pieces:
            if kind == "text":
                if boxes and "<bbox>" in value:
                    detail = (
                        "<bbox> in a text stands for coordinates in objects, which every model writes in its own form: they are not read; "
                        "write them into the text, or remove the row"
                    )
                    raise RowError(Reason.NOT_READ, detail)
                first, *rest = value.split("<ref-object>")
                if used + len(rest) > len(names):
                    raise bad_row(
                        f"the texts have {used + len(rest)} <ref-object>, but objects.ref has {len(names)} names; give one for each"
                    )
                value = first + "".join(f"{name}{part}" for name, part in zip(names[used:], rest))
                used += len(rest)
            pieces.append((kind, value))
        found.append(Turn(turn.role, tuple(pieces)))
    return tuple(found)
