"""MLLM-as-a-Judge: human scores of an answer, choices between two, or rankings of several."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import TIED, Answer, Draft, DraftJudgement, DraftPair
from pipeline.source.formats.fields import Cell, Row, maybe_text, media_reference, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from schemas.axes import PREFERENCE, RANK, RATING
from schemas.errors import RowError, bad_row
from schemas.records import Outcome, Reason
from schemas.text import same_text

PEOPLE = "mllm_judge"
SCORES = ("human", "Human_answer")  # the latter in the HQ and Hard subsets
FORMS = (
    *({"answer", name} for name in SCORES),
    {"answer1", "answer2", "human_answer"},
    {"answers", "human_answer"},
)  # score, pair, batch
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

READS = (
    "instruction", "image_path", "answer", *SCORES, "name", "human_answer", "original_dataset", "id",
    *(f"{column}.{key}" for column in ("answer1", "answer2", "answers") for key in ("name", "answer")),
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    for form in FORMS:
        if {"instruction", "image_path", *form} <= set(columns):
            return f"columns instruction, image_path, {', '.join(sorted(form))}"
    return None


def read(row: Row) -> Draft:
    """A Draft. A score is a judgement on `rating`; a choice is a `preference` with its pair (C is a tie and has no pair); a ranking is a
    `rank` per answer (0 the best, -1 the next ...). The sample's `split` is the dataset of its image. RowError if a field is missing or invalid."""
    prompt = place_media(
        turns(text(row.get("instruction"), "instruction"), "instruction", tags=True),
        {"image": [media_reference(row.get("image_path"), "image_path")]},
    )
    origin = maybe_text(row.get("original_dataset"), "original_dataset")
    answers, said, pairs = (
        _scored(row) if not {*SCORES}.isdisjoint(row) else _chosen(row) if "answer1" in row else _ranked(row)
    )
    tied = TIED if said[0].outcome == Outcome.TIE else None
    return Draft(
        prompt, answers, said, pairs, {"split": origin} if origin else {}, maybe_text(row.get("id"), "id"), tied
    )


Parts = tuple[tuple[Answer, ...], tuple[DraftJudgement, ...], tuple[DraftPair, ...]]


def _scored(row: Row) -> Parts:
    name = next(name for name in SCORES if name in row)
    human = row[name]
    value = number(Cell(human) if isinstance(human, str) else human, name)  # some files have texts
    if value is None:
        raise bad_row(f"{name} is missing; add the human score")
    return (_answer(row, "the row"),), (DraftJudgement((0,), RATING, value, PEOPLE),), ()


def _chosen(row: Row) -> Parts:
    first, second = (_answer(row.get(name), name) for name in ("answer1", "answer2"))
    verdict = text(row.get("human_answer"), "human_answer").strip()
    if verdict not in ("A", "B", "C"):
        raise bad_row(f"human_answer is {verdict[:40]!r}; use A, B, or C for a tie")
    if same_text(first.text, second.text):
        raise RowError(Reason.EQUAL_ANSWERS, "both answers are the same text; correct one of them or remove the row")
    if verdict == "C":
        return (first, second), (DraftJudgement((0, 1), PREFERENCE, 0.0, PEOPLE, None, Outcome.TIE),), ()
    better = "AB".index(verdict)
    said = DraftJudgement((0, 1), PREFERENCE, 1.0 - 2 * better, PEOPLE)
    return (first, second), (said,), (DraftPair(better, 1 - better),)


def _ranked(row: Row) -> Parts:
    found = row.get("answers")
    if not isinstance(found, list) or not 2 <= len(found) <= len(LETTERS):
        raise bad_row(f"answers are {type_name(found)}; use a list of two or more")
    answers = tuple(_answer(entry, f"answers[{i}]") for i, entry in enumerate(found))
    order = text(row.get("human_answer"), "human_answer").strip()
    if sorted(order) != list(LETTERS[: len(answers)]):
        raise bad_row(f"human_answer is {order[:40]!r}; use the letters of the {len(answers)} answers, best first")
    places = [order.index(LETTERS[i]) for i in range(len(answers))]
    return answers, tuple(DraftJudgement((i,), RANK, -float(place), PEOPLE) for i, place in enumerate(places)), ()


def _answer(value: Any, name: str) -> Answer:
    if not isinstance(value, dict):
        raise bad_row(f"{name} is {type_name(value)}; use {{name, answer}}")
    found = Answer(text(value.get("answer"), f"{name}.answer"), maybe_text(value.get("name"), f"{name}.name"))
    if not found.text.strip():
        raise RowError(Reason.EMPTY_ANSWER, f"{name} is empty; add the answer or remove the row")
    return found
