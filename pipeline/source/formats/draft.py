"""The content of a row of any format in neutral terms: prompt, answers, judgements and pairs.

A Draft refers to media as the row does (a path, bytes, `{bytes, path}`, a URL); the source opens them and makes the records."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.axes import PREFERENCE
from schemas.errors import RowError
from schemas.records import Outcome, Reason
from schemas.text import same_text

Piece = tuple[str, Any]  # (part type, text or media reference)


class Turn(NamedTuple):
    """One message of a prompt."""

    role: str
    pieces: tuple[Piece, ...]


class Answer(NamedTuple):
    text: str
    model: str | None = None
    role: str | None = None  # chosen or rejected


class DraftJudgement(NamedTuple):
    """One annotator's judgement of an answer, or of two: a value above 0 then prefers the first."""

    items: tuple[int, ...]  # indices of the answers
    axis: str
    value: float | None
    annotator: str
    raw: str | None = None
    outcome: Outcome = Outcome.VERDICT


class DraftPair(NamedTuple):
    """A preference of one answer over another; without `rejected`, the pair's `label` says whether the answer is good."""

    chosen: int
    rejected: int | None
    rejected_media: tuple[Any, ...] | None = (
        None  # references to other media, one for each media item of the prompt; None: the same media
    )
    known: Mapping[str, Any] = {}  # fields of a Pair given by the row: margin, label, critique_chosen ...
    ranked: tuple[
        tuple[str, Any], ...
    ] = ()  # (kind, reference) of media that replace the prompt's only one, best first


TIED = (Reason.NO_MARGIN, "neither answer was preferred to the other")


class Draft(NamedTuple):
    prompt: tuple[Turn, ...]
    answers: tuple[Answer, ...] = ()
    said: tuple[DraftJudgement, ...] = ()
    pairs: tuple[DraftPair, ...] = ()
    known: Mapping[str, Any] = {}  # fields of a Sample given by the row: answer, reference, source, licence, split ...
    id: str | None = None
    no_pair: tuple[Reason, str] | None = None  # why a row that compares two answers makes no pair, and in words


def pair_draft(
    prompt: tuple[Turn, ...], chosen: Answer, rejected: Answer, *, instead: tuple[Any, ...] | None = None,
    said: tuple[DraftJudgement, ...] = (), pair: Mapping[str, Any] = {}, known: Mapping[str, Any] = {}, id: str | None = None,
) -> Draft:  # fmt: skip
    """A Draft of two answers, the first chosen. `pair`: fields of the Pair, None if unknown; `instead`: the rejected side's media.

    RowError if an answer is empty, or both are equal and so are the media."""
    _check(((chosen, "chosen"), (rejected, "rejected")), may_be_equal=instead is not None)
    answers = (chosen._replace(role="chosen"), rejected._replace(role="rejected"))
    fields = {name: value for name, value in pair.items() if value is not None}
    return Draft(prompt, answers, said, (DraftPair(0, 1, instead, fields),), known, id)


def compared_draft(
    prompt: tuple[Turn, ...], answers: tuple[Answer, Answer], value: float, said: tuple[DraftJudgement, ...] = (), *,
    names: tuple[str, str] = ("answer 1", "answer 2"), pair: Mapping[str, Any] = {}, known: Mapping[str, Any] = {}, id: str | None = None,
) -> Draft:  # fmt: skip
    """A Draft of two answers that an annotator compared: a `value` above 0 prefers the first, below 0 the second; 0, a tie, makes no pair. `names` of the answers in the row; `pair`: fields of the Pair, None if unknown. RowError if an answer is empty, or both are equal."""
    _check(((answers[0], names[0]), (answers[1], names[1])))
    if not value:
        return Draft(prompt, answers, said, (), known, id, TIED)
    better = 0 if value > 0 else 1
    roles = ("chosen", "rejected") if value > 0 else ("rejected", "chosen")
    first, second = (answer._replace(role=role) for answer, role in zip(answers, roles, strict=True))
    fields = {name: value for name, value in pair.items() if value is not None}
    return Draft(prompt, (first, second), said, (DraftPair(better, 1 - better, None, fields),), known, id)


def preference(value: float, annotator: str, raw: str | None = None, axis: str = PREFERENCE) -> DraftJudgement:
    """The judgement of two answers that `compared_draft` takes; 0 is a tie."""
    return DraftJudgement((0, 1), axis, float(value), annotator, raw, Outcome.VERDICT if value else Outcome.TIE)


def _check(named: tuple[tuple[Answer, str], tuple[Answer, str]], may_be_equal: bool = False) -> None:
    for answer, name in named:
        if not answer.text.strip():
            raise RowError(Reason.EMPTY_ANSWER, f"{name} is empty; add the answer or remove the row")
    (first, one), (second, other) = named
    if same_text(first.text, second.text) and not may_be_equal:
        detail = f"{one} and {other} are the same text; correct one of them or remove the row"
        raise RowError(Reason.EQUAL_ANSWERS, detail)
