"""Answers that follow a pattern, split into claims.

The patterns are data; `data/scenes/patterns.yaml` explains their format."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Form(NamedTuple):
    """One form that an answer may have."""

    whole: re.Pattern
    item: re.Pattern | None  # what the group `items` of `whole` repeats
    join: str
    claims: tuple[tuple[str, bool], ...]  # template of a yes/no question, wanted answer


class Task(NamedTuple):
    question: re.Pattern
    forms: tuple[Form, ...]


Patterns = tuple[Task, ...]


def compile_patterns(data: dict) -> Patterns:
    """The parsed YAML of a patterns file, ready for `split`. Raises ValueError where a template is at fault."""
    slots = {name: _body(words) for name, words in data["slots"].items()}
    return tuple(
        Task(re.compile(_regex(task["question"], slots)), tuple(_form(form, slots) for form in task["answers"]))
        for task in data["tasks"]
    )


def split(patterns: Patterns, question: str, answer: str) -> list[tuple[str, bool]] | None:
    """The claims of `answer` to the open `question`: yes/no questions, each with the answer that it implies.

    None: the answer is malformed. Raises LookupError when no task asks this question."""
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
        return claims if len(dict(claims)) == len(claims) else None  # the same claim twice says nothing new
    return None


def _find(patterns: Patterns, question: str) -> tuple[Task, dict[str, str]]:
    for task in patterns:
        if match := task.question.fullmatch(question):
            return task, match.groupdict()
    raise LookupError(f"no task of the patterns asks {question!r}")


def _items(form: Form, whole: re.Match) -> list[re.Match]:
    if form.item is None:
        return [whole]
    return [form.item.fullmatch(piece) for piece in whole["items"].split(form.join)]


def _form(form: dict, slots: dict[str, str]) -> Form:
    item, join = form.get("item"), form.get("join", "")
    if ("{items}" in form["answer"]) != (item is not None) or (item is not None and not join):
        raise ValueError(f"{form['answer']!r}: {{items}}, `item` and `join` belong together")
    if item is not None:
        one = "(?:" + re.sub(r"\(\?P<\w+>", "(?:", _regex(item, slots)) + ")"
        slots = slots | {"items": f"{one}(?:{re.escape(join)}{one})*"}
    claims = [(q, True) for q in form.get("states", ())] + [(q, False) for q in form.get("denies", ())]
    if not claims:
        raise ValueError(f"{form['answer']!r} makes no claim: give it `states` or `denies`")
    whole = re.compile(_regex(form["answer"], slots))
    return Form(whole, item and re.compile(_regex(item, slots)), join, tuple(claims))


def _regex(template: str, slots: dict[str, str]) -> str:
    """Literal text escaped, every {slot} a named group."""
    literal, *rest = re.split(r"\{(\w+)\}", template)
    out = re.escape(literal)
    for name, literal in zip(rest[::2], rest[1::2]):
        if name not in slots:
            raise ValueError(f"{template!r} uses {{{name}}}, but there is no such slot")
        out += f"(?P<{name}>{slots[name]})" + re.escape(literal)
    return out


def _body(words: list[str] | str) -> str:
    return words if isinstance(words, str) else "|".join(map(re.escape, words))


class Truth(NamedTuple):
    """How true and how complete an answer is."""

    claims: int
    false: int
    recall: float  # 0..1, share of the expected claims that are stated; 1 when nothing is expected
    malformed: bool

    @property
    def exact(self) -> bool:
        return not self.malformed and self.false == 0 and self.recall == 1


def refuted(facts: Mapping[str, Any], claims: Sequence[tuple[str, bool]]) -> list[bool]:
    """Of each claim whether it is false: `facts["yes"]` holds the questions whose answer is yes."""
    yes = set(facts["yes"])
    return [(question in yes) != wanted for question, wanted in claims]


def truth_of(facts: Mapping[str, Any], claims: Sequence[tuple[str, bool]] | None) -> Truth:
    """How true and how complete an answer with these claims is, `facts["expect"]` being the claims of a complete one; None (malformed) is one
    false claim."""
    if claims is None:
        return Truth(1, 1, 0.0, True)
    expected = {tuple(e) for e in facts.get("expect", ())}
    recall = len(expected & set(claims)) / len(expected) if expected else 1.0
    return Truth(len(claims), sum(refuted(facts, claims)), recall, False)
