"""Splits answers that follow a pattern into claims.

The patterns are data; `data/scenes/patterns.yaml` documents their format."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Form(NamedTuple):
    """One pattern of an answer."""

    whole: re.Pattern
    item: re.Pattern | None  # the repeated pattern of the group `items` in `whole`
    join: str
    claims: tuple[tuple[str, bool], ...]  # template of a yes/no question, wanted answer


class Task(NamedTuple):
    question: re.Pattern
    forms: tuple[Form, ...]


Patterns = tuple[Task, ...]


def compile_patterns(data: dict) -> Patterns:
    """The patterns of a parsed YAML file, for `split`. ValueError names an invalid template."""
    slots = {name: _body(words) for name, words in data["slots"].items()}
    return tuple(
        Task(re.compile(_regex(task["question"], slots)), tuple(_form(form, slots) for form in task["answers"]))
        for task in data["tasks"]
    )


def split(patterns: Patterns, question: str, answer: str) -> list[tuple[str, bool]] | None:
    """The claims of `answer` to the open `question`: (yes/no question, implied answer) each.

    None: the answer is malformed, or states a claim twice. LookupError if no task has this question."""
    task, asked = _find(patterns, " ".join(question.split()))
    text = " ".join(answer.split())
    for form in task.forms:
        whole = form.whole.fullmatch(text)
        if whole is None:
            continue
        claims = []
        for match in _items(form, whole):
            words = asked | match.groupdict()
            claims += [(template.format_map(words), wanted) for template, wanted in form.claims]
        return claims if len(dict(claims)) == len(claims) else None  # a repeated claim makes an answer malformed
    return None


def _find(patterns: Patterns, question: str) -> tuple[Task, dict[str, str]]:
    for task in patterns:
        if match := task.question.fullmatch(question):
            return task, match.groupdict()
    raise LookupError(f"unknown question {question!r}: no task in the patterns has it")


def _items(form: Form, whole: re.Match) -> list[re.Match]:
    if form.item is None:
        return [whole]
    return [form.item.fullmatch(piece) for piece in whole["items"].split(form.join)]


def _form(form: dict, slots: dict[str, str]) -> Form:
    item, join = form.get("item"), form.get("join", "")
    if ("{items}" in form["answer"]) != (item is not None) or (item is not None and not join):
        raise ValueError(f"{form['answer']!r}: {{items}}, `item` and `join` must be used together")
    if item is not None:
        anonymous = "(?:" + re.sub(r"\(\?P<\w+>", "(?:", _regex(item, slots)) + ")"
        slots = slots | {"items": f"{anonymous}(?:{re.escape(join)}{anonymous})*"}
    claims = [(q, True) for q in form.get("states", ())] + [(q, False) for q in form.get("denies", ())]
    if not claims:
        raise ValueError(f"{form['answer']!r} makes no claim; add `states` or `denies`")
    whole = re.compile(_regex(form["answer"], slots))
    return Form(whole, item and re.compile(_regex(item, slots)), join, tuple(claims))


def _regex(template: str, slots: dict[str, str]) -> str:
    """A regular expression: literal text escaped, every {slot} a named group."""
    literal, *rest = re.split(r"\{(\w+)\}", template)
    out = re.escape(literal)
    for name, literal in zip(rest[::2], rest[1::2]):
        if name not in slots:
            raise ValueError(f"{template!r} uses the unknown slot {{{name}}}; add it to `slots`")
        out += f"(?P<{name}>{slots[name]})" + re.escape(literal)
    return out


def _body(words: list[str] | str) -> str:
    return words if isinstance(words, str) else "|".join(map(re.escape, words))


class Truth(NamedTuple):
    """Truth and completeness of an answer."""

    claims: int
    false: int
    recall: float  # 0..1, share of the expected claims that are stated; 1 if none is expected
    malformed: bool

    @property
    def exact(self) -> bool:
        return not self.malformed and self.false == 0 and self.recall == 1


def refuted(facts: Mapping[str, Any], claims: Sequence[tuple[str, bool]]) -> list[bool]:
    """For each claim whether it is false: `facts["yes"]` are the questions whose answer is yes."""
    yes = set(facts["yes"])
    return [(question in yes) != wanted for question, wanted in claims]


def truth_of(facts: Mapping[str, Any], claims: Sequence[tuple[str, bool]] | None) -> Truth:
    """Truth and completeness of an answer with these claims; `facts["expect"]` are the claims of a complete answer. A malformed answer (None)
    counts as one false claim."""
    if claims is None:
        return Truth(1, 1, 0.0, True)
    expected = {tuple(e) for e in facts.get("expect", ())}
    recall = len(expected & set(claims)) / len(expected) if expected else 1.0
    return Truth(len(claims), sum(refuted(facts, claims)), recall, False)
