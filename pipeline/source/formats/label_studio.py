"""Label Studio's exports, JSON, JSON-MIN and CSV: tasks whose answers people compared (Pairwise, Choices), rated (Rating, Number, Choices) or
ranked (Ranker).

An export does not contain its labeling config, so fields and controls are recognised by the names used in the stock templates, or by the
setting `label_studio`. Results of a region (a span, a box, an interval, a message) and of one of several media (`perItem`) are about that,
not about the answers: they give no judgement."""

import json
import re
from collections.abc import Collection
from itertools import chain
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import Field

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, DraftPair
from pipeline.source.formats.fields import Cell, Row, as_list, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import PREFERENCE, RANK, SKIPPED
from schemas.errors import RowError, bad_row
from schemas.operator import OperatorSettings
from schemas.records import Outcome, Reason
from schemas.text import same_text

QUESTIONS = ("prompt", "question", "instruction")
TWO = (
    ("answer1", "answer2"),
    ("response1", "response2"),
    ("text1", "text2"),
    ("left", "right"),
    ("chosen", "rejected"),
    ("answer_a", "answer_b"),
    ("response_a", "response_b"),
    ("response_left", "response_right"),
)
MANY = ("answers", "responses", "items", "candidates")
ONE = ("answer", "response", "completion")
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
MEANINGS: dict[str, float] = {"first": 1.0, "second": -1.0, "tie": 0.0, "yes": 1.0, "no": 0.0}
"""What a word of `choices` means: which of two answers is better, or the grade of one."""
_TIES = frozenset({
    "tie", "t", "equal", "same", "about the same", "both", "both good", "both bad", "both equal", "both are good", "both are bad", "equally good",
    "equally bad", "equally", "neither", "draw", "no preference", "no difference", "similar",
})  # fmt: skip
_SIDE = re.compile(
    r"(?:the )?(?:(?:response|answer|model|option|output|completion|candidate|assistant|text|reply) )?"
    r"(?P<side>a|b|1|2|one|two|first|second|left|right)(?: (?:response|answer|model|option|output|completion|candidate|one))?"
    r"(?: is)?(?P<much> much| far| significantly| a lot)?(?: slightly| a bit| a little| clearly)?(?: better| best| preferred| wins| the better| is better)?"
    r"|(?P<alias>[lr][12])"
)
_FIRST = ("a", "1", "one", "first", "left")
GOOD_BUCKETS = (
    "best",
    "good",
    "better",
    "ranked",
    "acceptable",
    "relevant",
    "accept",
    "accepted",
    "chosen",
    "preferred",
)
BAD_BUCKETS = ("bad", "worse", "worst", "unacceptable", "irrelevant", "reject", "rejected")
NOBODY = "_"  # the Ranker's name for what was not moved into a bucket
_OWN = {
    "pairwise": "selected",
    "rating": "rating",
    "number": "number",
    "choices": "choices",
    "ranker": "ranker",
}  # type -> key of its value
MIN = ("annotator", "annotation_id")  # columns of JSON-MIN and CSV exports
_ABOUT = ("id", *MIN, "created_at", "updated_at", "lead_time", "agreement")


class Names(OperatorSettings):
    """How a Label Studio project named things, which its exports do not say."""

    prompt: str | None = None
    """field of a task's `data` with the prompt; by default prompt, question or instruction"""
    answers: dict[str, str] = Field({}, max_length=100)
    """the answers' fields of a task's `data` by the names of their objects in the labeling config, the left one first:
    {text1: pairText1, text2: pairText2}"""
    preference: str | None = None
    """name of the control that says which of two answers is better, if several controls compare them"""
    choices: dict[str, Literal["first", "second", "tie", "yes", "no"]] = Field({}, max_length=1000)
    """what the project's own words for a choice mean: {"Ours is better": first, "Both fine": tie}"""
    buckets: tuple[str, ...] = Field((), max_length=100)
    """a Ranker's buckets, best first: [relevant_results, biased_results]"""


LOCAL = "/data/local-files/?d="

READS = (
    "data.prompt[]", "data.question[]", "data.instruction[]",
    *(f"data.{name}" for name in (*chain.from_iterable(TWO), *ONE, *MEDIA)),
    *(f"data.{name}.{key}" for name in MANY for key in ("id", "body", "text", "title", "html", "model")),
    "annotations.was_cancelled", "annotations.completed_by.id", "predictions.model_version",
    *(f"{table}.result.{key}" for table in ("annotations", "predictions") for key in ("type", "value", "from_name", "to_name", "item_index", "parentID")), "id",
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return next(
        (f"columns {', '.join(some)}" for some in (("data", "annotations"), MIN) if set(some) <= set(columns)), None
    )


def prepared(row: Row, known: Names) -> Row:
    """The row in the layout of a JSON export, with prompt and answers where `read` looks for them."""
    row = _task_of_min(row, known) if set(MIN) <= set(row) and "annotations" not in row else row
    data = row.get("data")
    if not isinstance(data, dict) or not {*known.answers.values(), known.prompt} & set(data):
        return row
    if lost := [field for field in known.answers.values() if data.get(field) is None]:
        raise bad_row(f"data.{lost[0]} is missing, which `label_studio.answers` names; correct the setting or the row")
    moved = {name: value for name, value in data.items() if name not in known.answers.values() and name != known.prompt}
    if known.prompt is not None:
        moved[QUESTIONS[0]] = data.get(known.prompt)
    if known.answers:
        moved[MANY[0]] = [{"id": name, "text": data[field]} for name, field in known.answers.items()]
    return {**row, "data": moved}


def _task_of_min(row: Row, known: Names) -> Row:
    """A row of a JSON-MIN or CSV export, one annotation of a task, as a task. Its controls are recognised by their values; they name no object.

    RowError if a choice may be one of a region, of which these exports leave nothing but the word."""
    data, results, choices, regions = {}, [], [], False
    for name, value in row.items():
        found = (
            [_result_of_min(name, one) for one in value]
            if isinstance(value, list) and name not in known.answers
            else []
        )
        regions |= (
            any(isinstance(one, dict) and len(one) > 1 for one in value)
            if found and not _is_field(name, known)
            else False
        )
        if name in _ABOUT:
            continue
        if found and None not in found:
            results += found
        elif isinstance(value, str) and not _is_field(name, known) and _is_choice(value, row, known):
            choices.append({"type": "choices", "from_name": name, "value": {"choices": [str(value)]}})
        else:
            data[name] = value
    if regions and choices:
        name = choices[0]["from_name"]
        raise bad_row(
            f"{name} may be a choice about a marked region, which this export does not say; export the tasks as JSON"
        )
    who = row.get("annotator")
    who = int(who) if isinstance(who, Cell) and who.isdecimal() else who
    return {"id": row.get("id"), "data": data, "annotations": [{"completed_by": who, "result": results + choices}]}


def _result_of_min(name: str, value: Any) -> dict[str, Any] | None:
    """A control's value as a result; None if it is not one of a control that judges."""
    kind = next((kind for kind, key in _OWN.items() if key in value), None) if isinstance(value, dict) else None
    return None if kind is None else {"type": kind, "from_name": name, "value": value}


def _is_field(name: str, known: Names) -> bool:
    """Whether a column is one of the fields of `data` that are read."""
    fields = (*QUESTIONS, *chain.from_iterable(TWO), *ONE, *MANY, *MEDIA)
    return name in fields or name in known.answers.values() or name == known.prompt


def _is_choice(value: str, row: Row, known: Names) -> bool:
    """Whether a text is a choice's rather than somebody's own words."""
    words = {
        word.strip().lower()
        for word in (*known.choices, *known.answers, *(name for pair in TWO for name in pair if name in row))
    }
    plain = _words(value)
    return value.strip().lower() in words or plain in _TIES or plain in GRADES or _SIDE.fullmatch(plain) is not None


def _words(choice: str) -> str:
    """A choice's words without case and punctuation."""
    return " ".join(re.sub(r"[\s_.!-]+", " ", choice).lower().split())


def read(row: Row, known: Names = Names()) -> Draft:  # noqa: B008 - frozen
    """A Draft. Annotators are `person:ID`; predictions are named by their `model_version`. RowError if a field is missing or invalid.

    Two answers form a pair if all people who preferred one agree; a skipped task is an abstention."""
    row = prepared(row, known)
    data = row.get("data")
    if not isinstance(data, dict):
        raise bad_row(f"data is {type_name(data)}; export the tasks as JSON, JSON-MIN or CSV")
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
            said += _results(entry, names, _person(entry, where), where, known)
    for place, entry in enumerate(as_list(row.get("predictions"))):
        where = f"predictions[{place}]"
        if isinstance(entry, dict):  # exports without predictions list their ids
            model = maybe_text(entry.get("model_version"), f"{where}.model_version") or "label_studio"
            said += _results(entry, names, model, where, known)
    prompt = place_media(turns(_prompt(data), "data.prompt"), _media(data))
    answers, judgements, pairs = _with_pair(answers, said)
    no_pair = None if pairs else _unordered(said)
    return Draft(prompt, answers, judgements, pairs, id=maybe_text(row.get("id"), "id"), no_pair=no_pair)


def _unordered(said: list[DraftJudgement]) -> tuple[Reason, str] | None:
    """Why items that were sorted into buckets have no ranks; None if all have."""
    raw = next((s.raw for s in said if s.axis == RANK and s.outcome == Outcome.UNPARSABLE), None)
    if raw is None:
        return None
    shown = ", ".join(name for name in json.loads(raw)["ranker"] if name != NOBODY)
    return (
        Reason.NO_VERDICT,
        f"the order of the buckets {shown:.200} is unknown; name them, best first: `label_studio: {{buckets: [...]}}`",
    )


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
        if None not in [data.get(name) for name in pair]:
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


def _results(entry: dict, names: dict[str, int], who: str, where: str, known: Names) -> list[DraftJudgement]:
    """The judgements in one annotation. If several controls compare the two answers, one is the preference and the others' axes are their
    names."""
    said: list[tuple[str, DraftJudgement]] = []
    for place, result in enumerate(as_list(entry.get("result"))):
        at = f"{where}.result[{place}]"
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            raise bad_row(f"{at} has no value; export the task again")
        if not _of_a_region(result, value):
            control = maybe_text(result.get("from_name"), f"{at}.from_name") or str(result.get("type"))
            said += [(control, found) for found in _said(result, value, names, control, who, at, known)]
    controls = list(dict.fromkeys(control for control, found in said if found.axis == PREFERENCE))
    main = _main(controls, known)
    if len(controls) > 1 and main is None:
        raise bad_row(
            f"{where}: {', '.join(controls[:5])} all compare the answers; name the one that decides in `label_studio.preference`"
        )
    apart = lambda control: control if control != PREFERENCE else f"control {control}"
    return [
        found if found.axis != PREFERENCE or control == main else found._replace(axis=apart(control))
        for control, found in said
    ]


MAIN = ("preference", "comparison", "overall", "pairwise", "better", "best", "winner", "verdict", "choice")


def _main(controls: list[str], known: Names) -> str | None:
    """The control that says which answer is better: the named one, the only one, or the only one with a usual name."""
    if known.preference is not None:
        return known.preference
    if len(controls) == 1:
        return controls[0]
    return next((name for name in MAIN if name in controls), None)


def _of_a_region(result: dict, value: dict) -> bool:
    """Whether a result is about a part: a region, whose position is next to the control's own value, or one of an object's items."""
    own = _OWN.get(str(result.get("type")))
    return (
        result.get("item_index") is not None
        or bool(result.get("parentID"))
        or (own is not None and bool(set(value) - {own}))
    )


def _said(
    result: dict, value: dict, names: dict[str, int], axis: str, who: str, at: str, known: Names
) -> list[DraftJudgement]:  # fmt: skip
    """The judgements in one result; other controls (text areas, labels) give none."""
    raw = json.dumps(value, sort_keys=True, default=str)
    match result.get("type"):
        case "pairwise":
            side = value.get("selected")
            if side not in ("left", "right") or len(names) != 2:
                raise bad_row(f"{at} selects {side!r:.40} of {len(names)} answers; it must be left or right of two")
            return [DraftJudgement((0, 1), PREFERENCE, 1.0 if side == "left" else -1.0, who, raw)]
        case "rating" | "number" as kind:
            score = number(value.get(kind), f"{at}.value.{kind}")
            if score is None:
                raise bad_row(f"{at}.value.{kind} is missing; add a number")
            item = _which(result, names, at)
            return [DraftJudgement((item,), _shared(axis, item, names), score, who, raw)]
        case "choices":
            words = [text(choice, f"{at}.value.choices") for choice in as_list(value.get("choices"))]
            return [_choice(word, result, names, axis, who, raw, at, known) for word in words]
        case "ranker":
            return _ranks(value.get("ranker"), names, who, raw, at, known)
    return []


def _shared(axis: str, item: int, names: dict[str, int]) -> str:
    """The name of a control without the end that only names its answer, as `rating_2` and `quality-answer2`: answers are rated on one axis."""
    if len(names) == 1:
        return axis
    mine = [name for name, i in names.items() if i == item]
    ends = "|".join(
        map(
            re.escape, (*mine, str(item), str(item + 1), *("left", "right")[item : item + 1], chr(ord("a") + item % 26))
        )
    )
    return re.sub(rf"(?i)(?<=\w)(?:[_\s-]+(?:{ends})|(?:{item}|{item + 1}))$", "", axis) or axis


def _choice(
    word: str, result: dict, names: dict[str, int], axis: str, who: str, raw: str, at: str, known: Names
) -> DraftJudgement:  # fmt: skip
    """A choice between two answers, or a grade of one; an unknown choice is kept without a value."""
    plain = _words(word)
    own = {key.strip().lower(): meaning for key, meaning in known.choices.items()}.get(word.strip().lower())
    if len(names) == 2 and _named(result, names) is None:
        step = (
            _step(plain, word, names) if own is None else MEANINGS[own] if own in ("first", "second", "tie") else None
        )
        if step is None:
            return DraftJudgement((0, 1), axis, None, who, raw, Outcome.UNPARSABLE)
        return DraftJudgement((0, 1), PREFERENCE, step, who, raw, Outcome.VERDICT if step else Outcome.TIE)
    item = _which(result, names, at)
    grade = GRADES.get(plain) if own is None else MEANINGS[own] if own in ("yes", "no") else None
    return DraftJudgement(
        (item,), _shared(axis, item, names), grade, who, raw, Outcome.UNPARSABLE if grade is None else Outcome.VERDICT
    )


def _step(plain: str, word: str, names: dict[str, int]) -> float | None:
    """By how much the first answer is better: 1 or 2, 0 for a tie, below 0 if the second is; None if the words do not say."""
    by_name = {name.lower(): (1.0, -1.0)[i] for name, i in names.items()}
    if (step := by_name.get(word.strip().lower(), by_name.get(re.sub(r" (?:is )?better$", "", plain)))) is not None:
        return step
    if plain in _TIES:
        return 0.0
    if (found := _SIDE.fullmatch(plain)) is None:
        return None
    if alias := found["alias"]:
        return float(alias[1]) * (1 if alias[0] == "l" else -1)
    return (2.0 if found["much"] else 1.0) * (1 if found["side"] in _FIRST else -1)


def _which(result: dict, names: dict[str, int], at: str) -> int:
    """Index of the answer that a result is about: the only one, or the one that `to_name` names."""
    if len(names) == 1:
        return 0
    found = _named(result, names)
    if found is None:
        name = result.get("to_name")
        raise bad_row(
            f"{at}.to_name is {name!r:.40}, which names none of {', '.join(names)}; rename the object to one of these, or name the objects of "
            "the answers in `label_studio.answers`"
        )
    return found


def _named(result: dict, names: dict[str, int]) -> int | None:
    """The answer that `to_name` names, by itself or, in a Repeater, with its place: `answer_0` is the first of data.answers. In JSON-MIN,
    which has no `to_name`, the name of the control may end with the answer's."""
    name = result.get("to_name")
    if "to_name" not in result and len(names) > 1:
        ends = [
            answer
            for answer in names
            if re.search(rf"(?i)(?:^|[_\s-]){re.escape(answer)}$", str(result.get("from_name")))
        ]
        return names[ends[0]] if len(ends) == 1 else None
    if not isinstance(name, str):
        return None
    if name in names:
        return names[name]
    found = re.fullmatch(r"(\w+?)_(\d{1,4})", name)
    place = int(found[2]) if found else -1
    words = (*ONE, *MANY, *(word.rstrip("s") for word in MANY), "text", "output", "reply")
    return place if found and found[1].lower() in words and 0 <= place < len(names) else None


def _ranks(buckets: Any, names: dict[str, int], who: str, raw: str, at: str, known: Names) -> list[DraftJudgement]:
    """Ranks: 0 for the best, -1 for the next ..., bucket by bucket. What was left unsorted has none.

    The order in which an export lists the buckets is not theirs: it is that of `label_studio.buckets`, or known from their names, good before
    bad. Otherwise what was sorted has a judgement without a value."""
    if not isinstance(buckets, dict):
        raise bad_row(f"{at}.value.ranker is {type_name(buckets)}; use an object of lists")
    every = [str(name) for ids in buckets.values() for name in as_list(ids)]
    if invalid := next((name for name in every if name not in names or every.count(name) > 1), None):
        raise bad_row(
            f"{at} ranks {invalid!r:.40}, which is not an item of the task or is ranked twice; export the task again"
        )
    sorted_into = [name for name in buckets if name != NOBODY]
    order = _order(sorted_into, known, at)
    ranked = [names[str(name)] for bucket in order or sorted_into for name in as_list(buckets[bucket])]
    if order is None:
        return [DraftJudgement((item,), RANK, None, who, raw, Outcome.UNPARSABLE) for item in ranked]
    return [DraftJudgement((item,), RANK, 0.0 - place, who, raw) for place, item in enumerate(ranked)]


def _order(buckets: list[str], known: Names, at: str) -> list[str] | None:
    """The buckets, best first; None if nothing says their order."""
    if len(buckets) < 2:
        return buckets
    if known.buckets:
        if strange := [bucket for bucket in buckets if bucket not in known.buckets]:
            raise bad_row(
                f"{at} has the bucket {strange[0]!r:.40}, which `label_studio.buckets` does not name; add it there"
            )
        return sorted(buckets, key=known.buckets.index)
    good, bad = ([name for name in buckets if name.lower() in some] for some in (GOOD_BUCKETS, BAD_BUCKETS))
    return good + bad if len(good) == len(bad) == 1 and len(buckets) == 2 else None


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
