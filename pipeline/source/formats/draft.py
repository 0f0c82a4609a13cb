"""What a row of any known format says, in neutral words: what was asked, what was answered, what was said of the answers.

A Draft names media by what the row holds (a path, bytes, `{bytes, path}`, a URL); whoever opens them makes records of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.errors import RowError
from schemas.records import Outcome, Reason

Piece = tuple[str, Any]  # a part's type, and its text or what names its media


class Turn(NamedTuple):
    """One message of a prompt."""

    role: str
    pieces: tuple[Piece, ...]


class Answer(NamedTuple):
    text: str
    model: str | None = None
    role: str | None = None  # chosen, rejected


class Said(NamedTuple):
    """What one annotator said of one answer, or of two: then above 0 the first is better."""

    items: tuple[int, ...]  # which of the answers
    axis: str
    value: float | None
    annotator: str
    raw: str | None = None
    outcome: Outcome = Outcome.VERDICT


class Pairing(NamedTuple):
    """One answer put before another; without `rejected` the pair's `label` says whether it is good."""

    chosen: int
    rejected: int | None
    rejected_media: tuple[Any, ...] | None = None  # what names them, one for each medium of the prompt
    known: Mapping[str, Any] = {}  # fields of a Pair as the row has them: margin, label, critique_chosen ...
    ranked: tuple[
        tuple[str, Any], ...
    ] = ()  # kinds and names of media that stand in for the prompt's only one, best first


class Draft(NamedTuple):
    prompt: tuple[Turn, ...]
    answers: tuple[Answer, ...] = ()
    said: tuple[Said, ...] = ()
    pairs: tuple[Pairing, ...] = ()
    known: Mapping[
        str, Any
    ] = {}  # fields of a Sample as the row has them: answer, reference, source, licence, split ...
    id: str | None = None


def preferred(
    prompt: tuple[Turn, ...], chosen: Answer, rejected: Answer, *, instead: tuple[Any, ...] | None = None,
    said: tuple[Said, ...] = (), pair: Mapping[str, Any] = {}, known: Mapping[str, Any] = {}, id: str | None = None,
) -> Draft:  # fmt: skip
    """A Draft of two answers, the first chosen; `pair` may hold None for what is not known. RowError when one is empty, or when both are equal and so are the media."""
    for answer, name in ((chosen, "chosen"), (rejected, "rejected")):
        if not answer.text.strip():
            raise RowError(Reason.EMPTY_ANSWER, f"{name} is empty; write the answer or drop the row")
    if chosen.text == rejected.text and instead is None:
        raise RowError(Reason.EQUAL_ANSWERS, "chosen and rejected are the same text; mend one of them or drop the row")
    answers = (chosen._replace(role="chosen"), rejected._replace(role="rejected"))
    fields = {name: value for name, value in pair.items() if value is not None}
    return Draft(prompt, answers, said, (Pairing(0, 1, instead, fields),), known, id)
