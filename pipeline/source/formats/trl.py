"""TRL's formats: preference, unpaired preference and prompt only, as texts or as messages, the prompt explicit or inside both answers."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, Pairing, Turn, preferred
from pipeline.source.formats.fields import Row, flag, maybe_text, media_of, number, text
from pipeline.source.formats.turns import answers, said, shown, turns
from schemas.errors import RowError, bad_row
from schemas.records import MEDIA_KINDS, Message, Pair, Reason, Sample, media_parts


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    for names in (("chosen", "rejected"), ("prompt", "completion", "label"), ("prompt",)):
        if set(names) <= set(columns):
            return f"columns {', '.join(names)}, and none that only another format has"
    return None


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row.

    `answer`, else `solution` (what GRPO's rewards read), is the known answer. Of two texts without a prompt the prompt is what
    both begin with, as TRL has it."""
    answer = maybe_text(row.get("answer"), "answer") or maybe_text(row.get("solution"), "solution")
    known, name, media = {"answer": answer} if answer else {}, maybe_text(row.get("id"), "id"), media_of(row)
    if "chosen" not in row and "rejected" not in row:
        prompt = shown(turns(row.get("prompt"), "prompt"), media)
        return Draft(prompt, *_alone(row), known=known, id=name)
    prompt, chosen, rejected = two(row)
    return preferred(
        shown(prompt, media), Answer(chosen), Answer(rejected),
        pair={"margin": number(row.get("margin"), "margin")}, known=known, id=name,
    )  # fmt: skip


def two(row: Row) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected) of a row that has both, media not yet in their places."""
    prompt, chosen, rejected = (row.get(name) for name in ("prompt", "chosen", "rejected"))
    if prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        prompt, chosen, rejected = _begun(text(chosen, "chosen"), text(rejected, "rejected"))
    return answers(prompt, chosen, rejected)


def _begun(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The beginning that two texts share, less a space at its end, and what follows it."""
    at = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), min(len(chosen), len(rejected)))
    at -= chosen[:at].endswith(" ")
    return chosen[:at], chosen[at:], rejected[at:]


def _alone(row: Row) -> tuple[tuple[Answer, ...], tuple[()], tuple[Pairing, ...]]:
    """The one answer of an unpaired row, or nothing for a prompt alone."""
    completion, label = row.get("completion"), flag(row.get("label"), "label")
    if completion is None and label is None:
        return (), (), ()
    if label is None:
        raise bad_row("label is missing; say whether the completion is good (true) or not (false)")
    if isinstance(completion, list) and len(completion) == 1:
        words = said(turns(completion, "completion")[0], "completion")
    else:
        words = text(completion, "completion")
    return (unpaired(words),), (), (Pairing(0, None, known={"label": label}),)


def unpaired(words: str) -> Answer:
    """The answer of a pair that has no other side. RowError when it is empty."""
    if not words.strip():
        raise RowError(Reason.EMPTY_ANSWER, "the answer is empty; write it or drop the row")
    return Answer(words)


def write(sample: Sample, pair: Pair, file: Callable[[str], Any]) -> dict[str, Any]:
    """The row of a pair in conversational form; `file` gives what stands for a medium in the row, by its id.

    A pair of one answer becomes an unpaired row. Media that differ between the sides have no place in this format: RowError."""
    if pair.rejected_media is not None:
        raise RowError(Reason.UNSUPPORTED_MEDIA, "TRL has no rejected media; write ms-swift's format instead")
    row: dict[str, Any] = {"prompt": [_message(message) for message in sample.prompt]}
    if pair.rejected is None:
        row |= {"completion": [_spoken(pair.chosen)], "label": pair.label}
    else:
        row |= {"chosen": [_spoken(pair.chosen)], "rejected": [_spoken(pair.rejected)]}
    parts = media_parts(sample.prompt)
    shown = {f"{medium}s": [file(p.media) for p in parts if p.type == medium and p.media] for medium in MEDIA_KINDS}
    extra = {} if pair.margin is None else {"margin": pair.margin}
    return row | {name: files for name, files in shown.items() if files or name == "images"} | extra


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": list(_content(message))}


def _content(message: Message) -> Iterable[dict[str, str]]:
    for part in message.parts:
        yield {"type": "text", "text": part.text or ""} if part.type == "text" else {"type": part.type}


def _spoken(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": words}]}
