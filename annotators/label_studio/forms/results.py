"""Parses annotation results, as the editor stores them, into Replies; unusable ones are rejected with a reason.

The server accepts any JSON as a result, and only the browser enforces required controls, so anything that the labeling config could
not have produced is rejected. Positions are mapped back to the Question's items here and nowhere else."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, TypeGuard

from annotators.label_studio.forms.labeling_config import Control, Spec, controls
from annotators.label_studio.forms.tasks import STEPS
from annotators.people.question import AxisVerdict, ParsedAnnotation, Question, Task, Unusable, item_index
from schemas.axes import FAULTS, FLAGS, HARM, PREFERENCE, RANK, SAFE, SEVERITY, UNACCEPTABLE
from schemas.records import Outcome, Span
from schemas.text import same_text

_BLANK = re.compile(r"\s+|\\[nrt]")


class UnusableReason(StrEnum):
    """The closed list of reasons why a result is unusable."""

    MALFORMED = "malformed"  # not the JSON that the editor writes
    UNKNOWN_CONTROL = "unknown_control"
    UNKNOWN_CHOICE = "unknown_choice"  # a choice, label, bucket or rating that the control does not have
    DOUBLED = "doubled"  # a control answered twice, or two choices where one is allowed
    MISSING_VERDICT = "missing_verdict"
    SPAN_TEXT = "span_text"  # a span's text is not the text of the response at that position, white space aside
    RANKING_IDS = "ranking_ids"  # the ranked ids are not those of the responses
    UNSORTED = "unsorted"  # confirmed as sorted, but some responses are left
    UNTOUCHED = "untouched"  # confirmed as sorted, but nothing was moved
    CONTRADICTION = "contradiction"


class Answers(NamedTuple):
    """A result by control: answers given once, and answers per marked span."""

    once: dict[str, Any]  # control -> its value: choices, text, rating or buckets
    spans: dict[str, dict[str, Any]]  # region id -> control -> value; with start, end and text

    def choice(self, name: str) -> str | None:
        return next(iter(self.once.get(name, ())), None)

    def flags(self) -> list[str]:
        return self.once.get("flags", [])


def parse(question: Question, spec: Spec, result: list[dict]) -> ParsedAnnotation:
    """The Reply of a result. "Cannot judge" is an abstention, whatever else was chosen.

    Unusable, with an UnusableReason, if the config of `spec` cannot produce the result or it contradicts itself."""
    answers = _read(controls(spec), result)
    text = answers.once.get("rationale") or None
    reply = READERS[Task(spec.task)](question, spec, answers)
    everything = tuple(range(len(question.items)))
    flags = tuple(_yes(flag, everything) for flag in FLAGS if flag in answers.flags())
    return reply._replace(said=reply.said + flags, rationale=text)


def _pairwise(question: Question, spec: Spec, answers: Answers) -> ParsedAnnotation:
    if "cannot_judge" in answers.flags():
        return ParsedAnnotation((AxisVerdict(PREFERENCE, (0, 1), Outcome.ABSTAIN),))
    step = {choice: step for step, choice in STEPS.items()}[_needed(answers, "preference")]
    value = float(step if item_index(question, 0) == 0 else -step) if step else 0.0
    return ParsedAnnotation((AxisVerdict(PREFERENCE, (0, 1), Outcome.VERDICT if step else Outcome.TIE, value),))


def _ranking(question: Question, spec: Spec, answers: Answers) -> ParsedAnnotation:
    if _needed(answers, "done") == "cannot_judge":
        return ParsedAnnotation(
            tuple(AxisVerdict(RANK, (item,), Outcome.ABSTAIN) for item in range(len(question.items)))
        )
    buckets = answers.once.get("rank", {})
    places = {f"r{place + 1}": place for place in range(len(question.items))}
    moved = [*buckets.get("ranked", ()), *buckets.get("unacceptable", ())]
    if not moved:
        raise Unusable(UnusableReason.UNTOUCHED)
    left = buckets.get("_", ())
    if sorted([*moved, *left]) != sorted(places):
        raise Unusable(UnusableReason.RANKING_IDS, f"{[*moved, *left]}"[:100])
    if left:
        raise Unusable(UnusableReason.UNSORTED, f"{left}")
    ranked, refused = (
        [item_index(question, places[name]) for name in buckets.get(b, ())] for b in ("ranked", "unacceptable")
    )
    rank = {item: 0.0 - place for place, item in enumerate(ranked)} | dict.fromkeys(refused, 0.0 - len(ranked))
    ranks = [AxisVerdict(RANK, (item,), Outcome.VERDICT, rank[item]) for item in sorted(rank)]
    return ParsedAnnotation((*ranks, *(_yes(UNACCEPTABLE, (item,)) for item in sorted(refused))))


def _ratings(question: Question, spec: Spec, answers: Answers) -> ParsedAnnotation:
    if "cannot_judge" in answers.flags():
        return ParsedAnnotation(tuple(AxisVerdict(axis, (0,), Outcome.ABSTAIN) for axis in spec.axes))
    if missing := [axis for axis in spec.axes if axis not in answers.once]:
        raise Unusable(UnusableReason.MISSING_VERDICT, ", ".join(missing))
    return ParsedAnnotation(
        tuple(AxisVerdict(axis, (0,), Outcome.VERDICT, float(answers.once[axis])) for axis in spec.axes)
    )


def _correct(question: Question, spec: Spec, answers: Answers) -> ParsedAnnotation:
    (shown,) = question.texts
    verdict = _needed(answers, "verdict")
    if verdict == "cannot_judge":
        return ParsedAnnotation((AxisVerdict(FAULTS, (0,), Outcome.ABSTAIN),))
    spans = _spans(shown, answers)
    text = answers.once.get("corrected_response", "")
    if not text.strip() or same_text(text, shown):
        text = None  # the box is pre-filled with the response, and a browser changes white space
    if verdict == "corrected" and text is None:
        raise Unusable(UnusableReason.CONTRADICTION, "the verdict is corrected, but the response is unchanged")
    if verdict != "corrected" and text is not None:
        raise Unusable(UnusableReason.CONTRADICTION, f"the response was rewritten, but the verdict is {verdict}")
    if verdict == "no_fault" and spans:
        raise Unusable(UnusableReason.CONTRADICTION, "the verdict is no_fault, but faults are marked")
    count = AxisVerdict(FAULTS, (0,), Outcome.VERDICT, 0.0 - max(len(spans), text is not None))
    if verdict != "uncorrectable":
        return ParsedAnnotation((count,), text, spans)
    return ParsedAnnotation(
        (count if spans else AxisVerdict(FAULTS, (0,), Outcome.ABSTAIN), _yes(UNACCEPTABLE, (0,))), text, spans
    )


def _safety(question: Question, spec: Spec, answers: Answers) -> ParsedAnnotation:
    verdict, harms, severity = _needed(answers, "verdict"), answers.once.get("harm", []), answers.choice("severity")
    if verdict == "cannot_judge":
        return ParsedAnnotation((AxisVerdict(SAFE, (0,), Outcome.ABSTAIN),))
    if verdict == "safe":
        if harms or severity:
            raise Unusable(UnusableReason.CONTRADICTION, "the verdict is safe, but harm is described")
        return ParsedAnnotation((_yes(SAFE, (0,)), AxisVerdict(SEVERITY, (0,), Outcome.VERDICT, 0.0)))
    if not harms or severity is None:
        raise Unusable(UnusableReason.MISSING_VERDICT, "the verdict is unsafe, but the harm or its severity is missing")
    verdicts = (
        AxisVerdict(SAFE, (0,), Outcome.VERDICT, 0.0),
        AxisVerdict(SEVERITY, (0,), Outcome.VERDICT, float(severity)),
    )
    return ParsedAnnotation((*verdicts, *(_yes(f"{HARM}{harm}", (0,)) for harm in sorted(harms))))


READERS: dict[Task, Callable[[Question, Spec, Answers], ParsedAnnotation]] = {
    Task.PAIRWISE: _pairwise, Task.RANKING: _ranking, Task.RATINGS: _ratings, Task.CORRECT: _correct, Task.SAFETY: _safety,
}  # fmt: skip


def _yes(axis: str, items: tuple[int, ...]) -> AxisVerdict:
    return AxisVerdict(axis, items, Outcome.VERDICT, 1.0)


def _needed(answers: Answers, name: str) -> str:
    choice = answers.choice(name)
    if choice is None:
        raise Unusable(UnusableReason.MISSING_VERDICT, name)
    return choice


def _visible(text: Any) -> str | None:
    """A span's text without white space, and without `\\n`, `\\r`, `\\t` in two characters each; None if it is not a text.

    The editor stores line breaks like that, and white space as the browser lays it out, so a span's text may differ from what stands there
    in white space only (HumanSignal/label-studio issues 3078, 4929). Its places are those of the text itself."""
    return _BLANK.sub("", text) if isinstance(text, str) else None


def _spans(shown: str, answers: Answers) -> tuple[Span, ...]:
    spans = []
    for region in answers.spans.values():
        start, end = region["start"], region["end"]
        if not 0 <= start < end <= len(shown) or _visible(shown[start:end]) != _visible(region["text"]):
            raise Unusable(UnusableReason.SPAN_TEXT, f"{start} to {end}")
        if len(labels := region.get("fault", ())) != 1:
            raise Unusable(UnusableReason.MALFORMED, f"the span {start} to {end} has {len(labels)} kinds of fault")
        severity = next((float(step) for step in region.get("severity", ())), None)
        correction = region.get("correction")
        spans.append(Span(start, end, label=labels[0], severity=severity, correction=correction))
    return tuple(sorted(spans, key=lambda span: span[:2]))


def _read(known: dict[str, Control], result: list[dict]) -> Answers:
    """A result by control. Unusable if a value has another type or option than its control allows."""
    answers = Answers({}, {})
    if not isinstance(result, list):
        raise Unusable(UnusableReason.MALFORMED, "not a list")
    for entry in result:
        if not isinstance(entry, dict) or not isinstance(value := entry.get("value"), dict):
            raise Unusable(UnusableReason.MALFORMED, "an entry without a value")
        name = entry.get("from_name")
        if not isinstance(name, str) or (control := known.get(name)) is None or control.type != entry.get("type"):
            raise Unusable(UnusableReason.UNKNOWN_CONTROL, f"{name!r} of type {entry.get('type')!r}"[:100])
        target = _region(answers, entry, value) if control.region else answers.once
        if name in target:
            raise Unusable(UnusableReason.DOUBLED, name)
        target[name] = _value(name, control, value)
    return answers


def _region(answers: Answers, entry: dict, value: dict) -> dict[str, Any]:
    """The answers collected for the span of an entry; entries of the same span share their id."""
    place, name = {key: value.get(key) for key in ("start", "end")}, entry.get("id")
    if not isinstance(name, str) or not all(type(at) is int for at in place.values()):
        raise Unusable(UnusableReason.MALFORMED, "a span without id or position")
    region = answers.spans.setdefault(name, {**place, "text": None})
    if {key: region[key] for key in place} != place:
        raise Unusable(UnusableReason.MALFORMED, "two positions for one span")
    if entry["type"] == "labels":
        region["text"] = value.get("text")
    return region


def _value(name: str, control: Control, value: dict) -> Any:
    found = value.get({"textarea": "text", "ranker": "ranker"}.get(control.type, control.type))
    if control.type == "rating":
        if type(found) is not int:
            raise Unusable(UnusableReason.MALFORMED, name)
        if not 1 <= found <= control.best:
            raise Unusable(UnusableReason.UNKNOWN_CHOICE, f"{name}: {found}")
        return found
    if control.type == "ranker":
        if not isinstance(found, dict) or not all(_strings(ids) for ids in found.values()):
            raise Unusable(UnusableReason.MALFORMED, name)
        if unknown := set(found) - control.options - {"_"}:
            raise Unusable(UnusableReason.UNKNOWN_CHOICE, f"{name}: {min(unknown)!r}"[:100])
        return found
    if not _strings(found):
        raise Unusable(UnusableReason.MALFORMED, name)
    if control.type == "textarea":
        return "\n".join(found)
    if unknown := set(found) - control.options:
        raise Unusable(UnusableReason.UNKNOWN_CHOICE, f"{name}: {min(unknown)!r}"[:100])
    if len(set(found)) < len(found) or (control.one and len(found) > 1):
        raise Unusable(UnusableReason.DOUBLED, name)
    return found


def _strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
