"""TRL's formats: preference, unpaired preference and prompt only; as texts or messages, with an explicit or implicit prompt."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftPair, Turn, pair_draft
from pipeline.source.formats.fields import Row, flag, is_messages, is_missing, maybe_text, media_of, number, text
from pipeline.source.formats.turns import answer_text, answers, place_media, turns
from pipeline.source.formats.unread import MEDIA, answers_in
from schemas.errors import RowError, bad_row
from schemas.records import MEDIA_KINDS, Message, Pair, Reason, Sample, media_parts

QUESTIONS = frozenset(
    {"question", "query", "instruction", "problem", "user", "user_prompt", "user_message", "user_input"}
)
"""Other names for a prompt, which rows of this format do not have."""
READS = ("prompt[]", "chosen[]", "rejected[]", "completion[]", "label", "margin", "answer", "solution", "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    for names in (("chosen", "rejected"), ("prompt", "completion"), ("prompt",)):
        if set(names) <= set(columns) and not (names == ("prompt",) and answers_in(columns)):
            return f"columns {', '.join(names)}, and none specific to another format"
    return None


def read(row: Row) -> Draft:
    """A Draft. RowError if a field is missing or invalid.

    `answer`, or else `solution` (read by GRPO rewards), is the known answer. Two texts without a prompt have their common beginning as
    the prompt, as in TRL."""
    answer = maybe_text(row.get("answer"), "answer") or maybe_text(row.get("solution"), "solution")
    known, name, media = {"answer": answer} if answer else {}, maybe_text(row.get("id"), "id"), media_of(row)
    if "chosen" not in row and "rejected" not in row:
        prompt = place_media(turns(row.get("prompt"), "prompt", tags=True), media)
        return Draft(prompt, *_unpaired_parts(row), known=known, id=name)
    if beside := [name for name in ("completion", "label") if not is_missing(row.get(name))]:
        detail = (
            f"{beside[0]} is of a single answer, and is not read beside chosen and rejected; remove it from the row"
        )
        raise RowError(Reason.NOT_READ, detail)
    prompt, chosen, rejected = prompt_and_answers(row)
    return pair_draft(
        place_media(prompt, media), Answer(chosen), Answer(rejected),
        pair={"margin": number(row.get("margin"), "margin")}, known=known, id=name,
    )  # fmt: skip


def prompt_and_answers(row: Row) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected) of a row with both answers; media are not placed yet."""
    prompt, chosen, rejected = (row.get(name) for name in ("prompt", "chosen", "rejected"))
    if prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        _check_question(row)
        prompt, chosen, rejected = _implicit_prompt(text(chosen, "chosen"), text(rejected, "rejected"))
    return answers(prompt, chosen, rejected)


def _check_question(row: Row) -> None:
    """RowError NOT_READ if a row without a prompt has a column that seems to be its question, by its name or as it holds messages: the
    answers' common beginning is not."""
    asks = lambda name, value: (
        (name.lower() in QUESTIONS and isinstance(value, str | list) and value) or is_messages(value)
    )
    if name := next((name for name, value in row.items() if asks(name, value)), None):
        detail = f"{name} seems to be the question, but is not read; name it in `columns`, as in {{prompt: {name}}}, or remove it from the row"
        raise RowError(Reason.NOT_READ, detail)


def _implicit_prompt(chosen: str, rejected: str) -> tuple[str, str, str]:
    """(common beginning without a trailing space, rest of chosen, rest of rejected)."""
    at = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), min(len(chosen), len(rejected)))
    at -= chosen[:at].endswith(" ")
    return chosen[:at], chosen[at:], rejected[at:]


def _unpaired_parts(row: Row) -> tuple[tuple[Answer, ...], tuple[()], tuple[DraftPair, ...]]:
    """The only answer of an unpaired row; nothing for a row with a prompt alone."""
    completion, label = row.get("completion"), flag(row.get("label"), "label")
    if completion is None and label is None:
        return (), (), ()
    if label is None:
        raise bad_row("label is missing; add true for a good completion, false for a bad one")
    if isinstance(completion, list) and len(completion) == 1:
        words = answer_text(turns(completion, "completion")[0], "completion")
    else:
        words = text(completion, "completion")
    return (unpaired(words),), (), (DraftPair(0, None, known={"label": label}),)


def unpaired(words: str) -> Answer:
    """The answer of an unpaired row. RowError if it is empty."""
    if not words.strip():
        raise RowError(Reason.EMPTY_ANSWER, "the answer is empty; add it or remove the row")
    return Answer(words)


def write(sample: Sample, pair: Pair, file: Callable[[str], Any]) -> dict[str, Any]:
    """The row of a pair in conversational format; `file` maps a media id to its value in the row.

    A pair without a rejected answer becomes an unpaired row. RowError if the two sides have different media, which TRL cannot represent."""
    if pair.rejected_media is not None:
        raise RowError(Reason.UNSUPPORTED_MEDIA, "TRL has no rejected media; use ms-swift's format instead")
    row: dict[str, Any] = {"prompt": [_message(message) for message in sample.prompt]}
    if pair.rejected is None:
        row |= {"completion": [_assistant_message(pair.chosen)], "label": pair.label}
    else:
        row |= {"chosen": [_assistant_message(pair.chosen)], "rejected": [_assistant_message(pair.rejected)]}
    parts = media_parts(sample.prompt)
    shown = {f"{medium}s": [file(p.media) for p in parts if p.type == medium and p.media] for medium in MEDIA_KINDS}
    extra = {} if pair.margin is None else {"margin": pair.margin}
    return row | {name: files for name, files in shown.items() if files or name == "images"} | extra


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": list(_content(message))}


def _content(message: Message) -> Iterable[dict[str, str]]:
    for part in message.parts:
        yield {"type": "text", "text": part.text or ""} if part.type == "text" else {"type": part.type}


def _assistant_message(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": words}]}
