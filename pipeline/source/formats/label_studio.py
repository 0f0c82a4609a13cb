"""Label Studio's JSON export: tasks whose answers people compared (Pairwise, Choices), rated (Rating, Choices) or ranked (Ranker).

An export does not contain its labeling config, so fields are recognised by the names used in the stock templates."""

import json
from collections.abc import Collection
from itertools import chain
from typing import Any
from urllib.parse import unquote

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, DraftPair
from pipeline.source.formats.fields import Row, as_list, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import PREFERENCE, RANK, SKIPPED
from schemas.errors import RowError, bad_row
from schemas.records import Outcome, Reason
from schemas.text import same_text

QUESTIONS = ("prompt", "question", "instruction")
TWO = (
    ("answer1", "answer2"),
    ("response1", "response2"),
    ("text1", "text2"),
    ("left", "right"),
    ("chosen", "rejected"),
)
MANY = ("answers", "responses", "items", "candidates")
ONE = ("answer", "response", "completion")
SIDES = {"left": 1.0, "right": -1.0}
TIES = ("tie", "equal", "same", "both", "both good", "both bad", "neither")
GRADES = {
    "yes": 1.0,
    "good": 1.0,
    "correct": 1.0,
    "accept": 1.0,
    "no": 0.0,
    "bad": 0.0,
    "incorrect": 0.0,
    "reject": 0.0,
}
LOCAL = "/data/local-files/?d="

READS = (
    "data.prompt[]", "data.question[]", "data.instruction[]",
    *(f"data.{name}" for name in (*chain.from_iterable(TWO), *ONE, *MEDIA)),
    *(f"data.{name}.{key}" for name in MANY for key in ("id", "body", "text", "title", "html", "model")),
    "annotations.was_cancelled", "annotations.completed_by.id", "predictions.model_version",
    *(f"{table}.result.{key}" for table in ("annotations", "predictions") for key in ("type", "value", "from_name", "to_name")), "id",
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return "columns data, annotations" if {"data", "annotations"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. Annotators are `person:ID`; predictions are named by their `model_version`. RowError if a field is missing or invalid.

    Two answers form a pair if all people who preferred one agree; a skipped task is an abstention."""
    data = row.get("data")
    if not isinstance(data, dict):
        raise bad_row(f"data is {type_name(data)}; export the tasks as JSON, not as JSON-MIN or CSV")
    answers, names = _answers(data)
    said: list[DraftJudgement] = []
    for place, entry in enumerate(as_list(row.get("annotations"))):
        where = f"annotations[{place}]"
        if not isinstance(entry, dict):
            raise bad_row(f"{where} is {type_name(entry)}; use an object")
        if entry.get("was_cancelled") is True:
            items = tuple(range(min(len(answers), 2)))
            said.append(DraftJudgement(items, SKIPPED, None, _person(entry, where), None, Outcome.ABSTAIN))
        else:
            said += _results(entry, names, _person(entry, where), where)
    for place, entry in enumerate(as_list(row.get("predictions"))):
        where = f"predictions[{place}]"
        if isinstance(entry, dict):  # exports without predictions list their ids
            model = maybe_text(entry.get("model_version"), f"{where}.model_version") or "label_studio"
            said += _results(entry, names, model, where)
    prompt = place_media(turns(_prompt(data), "data.prompt"), _media(data))
    return Draft(prompt, *_with_pair(answers, said), id=maybe_text(row.get("id"), "id"))


def _prompt(data: dict) -> Any:
    return next((data[name] for name in QUESTIONS if data.get(name) is not None), None)


def _media(data: dict) -> dict[str, list]:
    """The media of a task; for files that the server reads from a folder, their paths inside that folder."""
    return {medium: [_inside(value) for value in values] for medium, values in media_of(data).items()}


def _inside(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(LOCAL):
        return value
    path = unquote(value.removeprefix(LOCAL))
    if path.startswith("/"):
        raise RowError(Reason.UNSAFE, f"{path} is not below the server's folder; export the tasks with relative paths")
    return path


def _answers(data: dict) -> tuple[tuple[Answer, ...], dict[str, int]]:
    """The answers of a task, and the index of each by name: the field's name, or the item's id."""
    for pair in TWO:
        if all(data.get(name) is not None for name in pair):
            found = tuple(Answer(_filled(data[name], f"data.{name}")) for name in pair)
            return found, {name: i for i, name in enumerate(pair)}
    for name in MANY:
        if isinstance(data.get(name), list) and data[name]:
            return _items(data[name], f"data.{name}")
    for name in ONE:
        if data.get(name) is not None:
            return (Answer(_filled(data[name], f"data.{name}")),), {name: 0}
    known = ", ".join([*("/".join(pair) for pair in TWO), *MANY, *ONE])
    raise bad_row(f"data has no answers, only {', '.join(map(str, data)) or 'nothing'}; name the fields {known}")


def _items(entries: list, where: str) -> tuple[tuple[Answer, ...], dict[str, int]]:
    """Answers from the items of a List, `{id, title, body}`, or from plain texts."""
    answers, names = [], {}
    for i, entry in enumerate(entries):
        if isinstance(entry, dict):
            words = next((entry[key] for key in ("body", "text", "title", "html") if entry.get(key) is not None), None)
            answers.append(
                Answer(_filled(words, f"{where}[{i}].body"), maybe_text(entry.get("model"), f"{where}.model"))
            )
            names[maybe_text(entry.get("id"), f"{where}[{i}].id") or str(i)] = i
        else:
            answers.append(Answer(_filled(entry, f"{where}[{i}]")))
            names[str(i)] = i
    return tuple(answers), names


def _filled(value: Any, name: str) -> str:
    words = text(value, name)
    if not words.strip():
        raise RowError(Reason.EMPTY_ANSWER, f"{name} is empty; add the answer or remove the row")
    return words


def _person(entry: dict, where: str) -> str:
    who = entry.get("completed_by")
    who = who.get("id") if isinstance(who, dict) else who  # the object also has e-mail addresses
    if not isinstance(who, int) or isinstance(who, bool):
        raise bad_row(f"{where}.completed_by is {type_name(who)}; export again with the annotators' ids")
    return f"person:{who}"


def _results(entry: dict, names: dict[str, int], who: str, where: str) -> list[DraftJudgement]:
    said: list[DraftJudgement] = []
    for place, result in enumerate(as_list(entry.get("result"))):
        at = f"{where}.result[{place}]"
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            raise bad_row(f"{at} has no value; export the task again")
        said += _said(result, value, names, who, at)
    return said


def _said(result: dict, value: dict, names: dict[str, int], who: str, at: str) -> list[DraftJudgement]:
    """The judgements in one result; other controls (text areas, regions) give none."""
    raw = json.dumps(value, sort_keys=True, default=str)
    axis = maybe_text(result.get("from_name"), f"{at}.from_name") or str(result.get("type"))
    match result.get("type"):
        case "pairwise":
            side = value.get("selected")
            if side not in ("left", "right") or len(names) != 2:
                raise bad_row(f"{at} selects {side!r:.40} of {len(names)} answers; it must be left or right of two")
            return [DraftJudgement((0, 1), PREFERENCE, SIDES[side], who, raw)]
        case "rating":
            score = number(value.get("rating"), f"{at}.value.rating")
            if score is None:
                raise bad_row(f"{at}.value.rating is missing; add a number")
            return [DraftJudgement((_which(result, names, at),), axis, score, who, raw)]
        case "choices":
            words = [text(choice, f"{at}.value.choices") for choice in as_list(value.get("choices"))]
            return [_choice(word, result, names, axis, who, raw, at) for word in words]
        case "ranker":
            return _ranks(value.get("ranker"), names, who, raw, at)
    return []


def _choice(word: str, result: dict, names: dict[str, int], axis: str, who: str, raw: str, at: str) -> DraftJudgement:
    """A choice between two answers, or a grade of one; an unknown choice is kept without a value."""
    plain = word.strip().lower()
    if len(names) == 2 and _named(result, names) is None:
        if plain in TIES:
            return DraftJudgement((0, 1), PREFERENCE, 0.0, who, raw, Outcome.TIE)
        sides = SIDES | {name.lower(): (1.0, -1.0)[i] for name, i in names.items()}
        known = sides.get(plain)
        items, axis = (0, 1), PREFERENCE if known is not None else axis
    else:
        known, items = GRADES.get(plain), (_which(result, names, at),)
    return DraftJudgement(items, axis, known, who, raw, Outcome.UNPARSABLE if known is None else Outcome.VERDICT)


def _which(result: dict, names: dict[str, int], at: str) -> int:
    """Index of the answer that a result is about: the only one, or the one that `to_name` names."""
    if len(names) == 1:
        return 0
    found = _named(result, names)
    if found is None:
        name = result.get("to_name")
        raise bad_row(
            f"{at}.to_name is {name!r:.40}, which names none of {', '.join(names)}; rename the object to one of these"
        )
    return found


def _named(result: dict, names: dict[str, int]) -> int | None:
    name = result.get("to_name")
    return names.get(name) if isinstance(name, str) else None


def _ranks(buckets: Any, names: dict[str, int], who: str, raw: str, at: str) -> list[DraftJudgement]:
    """Ranks: 0 for the best, -1 for the next ..., reading the buckets in order."""
    if not isinstance(buckets, dict):
        raise bad_row(f"{at}.value.ranker is {type_name(buckets)}; use an object of lists")
    order = [str(name) for ids in buckets.values() for name in as_list(ids)]
    if invalid := next((name for name in order if name not in names or order.count(name) > 1), None):
        raise bad_row(
            f"{at} ranks {invalid!r:.40}, which is not an item of the task or is ranked twice; export the task again"
        )
    return [DraftJudgement((names[name],), RANK, 0.0 - place, who, raw) for place, name in enumerate(order)]


def _with_pair(
    answers: tuple[Answer, ...], said: list[DraftJudgement]
) -> tuple[tuple[Answer, ...], tuple[DraftJudgement, ...], tuple[DraftPair, ...]]:
    """The answers, judgements and pair; there is a pair if all people who preferred one answer agree."""
    votes = {
        s.value for s in said if s.axis == PREFERENCE and s.annotator.startswith("person:") and s.value is not None
    }
    if len(votes) != 1 or 0.0 in votes or same_text(answers[0].text, answers[1].text):
        return answers, tuple(said), ()
    better = 0 if votes.pop() > 0 else 1
    marked = [a._replace(role="chosen" if i == better else "rejected") for i, a in enumerate(answers)]
    return tuple(marked), tuple(said), (DraftPair(better, 1 - better),)
