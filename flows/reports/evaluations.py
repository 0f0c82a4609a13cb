"""What evaluations before and after training say together: whether it helped, and whether the model only learnt to say less."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.evaluate._bootstrap import differences
from schemas.figures import EVALUATION, ROWS, Figure

ROLE = re.compile(r"(?:(?P<group>.+)[-_])?(?P<role>before|after|control)")
WHAT = {"hallucination": "hallucinated answers", "right": "right answers"}
"""shares that say whether training helped, in words; of a judge's other axes the mean says it"""
FEWER = {"hallucination": "answers with a false claim", "chair": "false claims"}
"""metrics of false claims that a model which says less lowers as well"""


def overall(found: dict[str, Any]) -> dict[str, Any]:
    """The metrics of an evaluation as a whole: the mean over media types of scenes, all of the rows."""
    return found["mean"] if "mean" in found else found["all"]


def figures(evaluations: dict[str, dict]) -> list[Figure]:
    """The metrics that any of the evaluations has, in the order of their tables; other axes of a judge last."""
    names = list(
        dict.fromkeys(
            name for found in evaluations.values() for name, value in overall(found).items() if isinstance(value, dict)
        )
    )
    known = {figure.name: figure for figure in (*ROWS[:1], *EVALUATION)}
    rest = [Figure(name, name.replace("_", " "), "mean over the answers") for name in names if name not in known]
    return [*(figure for name, figure in known.items() if name in names), *rest]


def tables(evaluations: dict[str, dict]) -> list[dict[str, dict]]:
    """The evaluations parted into those that belong into one table: on scenes, and on rows."""
    parts = [
        {name: found for name, found in evaluations.items() if ("mean" in found) == scenes} for scenes in (True, False)
    ]
    return [part for part in parts if part]


def groups(evaluations: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(name of the group, {role: evaluation}) of the evaluations named before, after and control, also as in `round1-before` or `rows_after`."""
    found: dict[str, dict[str, str]] = {}
    for name in evaluations:
        if parts := ROLE.fullmatch(name):
            found.setdefault(parts["group"] or "", {})[parts["role"]] = name
    yield from ((group, roles) for group, roles in found.items() if "before" in roles)


def paired(run) -> dict[str, dict[str, dict[str, float]]]:
    """{evaluation: {metric: {value, low, high}}}: the differences of `after` and `control` from their `before`, by paired bootstrap."""
    units = {unit.name: unit for unit in run.units if unit.steps and unit.steps[0].family == "evaluate"}
    return {
        name: found
        for _, roles in groups(units)
        for role, name in roles.items()
        if role != "before"
        and (found := differences(run.unit_folder(units[name]), run.unit_folder(units[roles["before"]])))
    }


def verdicts(summary: dict) -> list[str]:
    """Whether training helped, in a sentence per group of evaluations; none without an evaluation `before` and one `after`."""
    return [
        (f"{group}: " if group else "") + text
        for group, roles in groups(summary["evaluate"])
        if "after" in roles and (text := _verdict(summary, roles))
    ]


def warnings(summary: dict) -> list[str]:
    """A sentence for each group in which false claims fall and with them recall, or the length of answers: the model learnt to say less."""
    return [
        (f"{group}: " if group else "") + text
        for group, roles in groups(summary["evaluate"])
        if "after" in roles and (text := _less_said(summary, roles["before"], roles["after"]))
    ]


def _measure(found: dict) -> str | None:
    """The metric that says whether training helped: of false claims, of right answers, else what the judge says."""
    names = [figure.name for figure in figures({"": found}) if figure.name != "words"]
    return next((name for name in ("hallucination", "right") if name in names), names[0] if names else None)


def _verdict(summary: dict, roles: dict[str, str]) -> str | None:
    evaluations = summary["evaluate"]
    metric = _measure(evaluations[roles["after"]])
    change = difference(summary, roles["after"], roles["before"], metric) if metric else None
    if metric is None or change is None:
        return None
    share = metric in WHAT
    shown = lambda role: f"{overall(evaluations[roles[role]])[metric]['value']:{'.1%' if share else '.2f'}}"
    bounds = [f"{100 * change[k]:+.1f}" if share else f"{change[k]:+.2f}" for k in ("low", "high")]
    moved = "rose" if change["value"] > 0 else "fell"
    numbers = f"from {shown('before')} to {shown('after')} (95 % interval of the difference {' to '.join(bounds)}{' points' * share})"
    what = WHAT.get(metric, f"the mean {metric.replace('_', ' ')}")
    if change["low"] <= 0 <= change["high"]:
        text = f"Training did not help measurably: {what} went {numbers}."
    elif (change["value"] > 0) == (metric != "hallucination"):
        text = f"Training helped: {what} {moved} {numbers}."
    else:
        text = f"Training HARMED: {what} {moved} {numbers}."
    if metric in overall(evaluations.get(roles.get("control", ""), {"all": {}})):
        text += f" The control (chosen and rejected shuffled): {shown('control')}."
    return text


def difference(summary: dict, name: str, before: str, metric: str) -> dict[str, float] | None:
    """{value, low, high} of a metric of the evaluation `name` minus that of `before`; None if either lacks it. Paired where the run kept what
    that needs, else from both intervals, which is wider."""
    if found := summary.get("differences", {}).get(name, {}).get(metric):
        return found
    new, old = (overall(summary["evaluate"][of]).get(metric) for of in (name, before))
    if not new or not old:
        return None
    return {"value": new["value"] - old["value"], "low": new["low"] - old["high"], "high": new["high"] - old["low"]}


def _less_said(summary: dict, before: str, after: str) -> str | None:
    change = {
        name: found
        for name in (*FEWER, "right", "recall", "words")
        if (found := difference(summary, after, before, name))
    }
    fewer = [
        f"{what} fell by {-100 * change[name]['value']:.1f} points"
        for name, what in FEWER.items()
        if change.get(name, {}).get("high", 0) < 0
    ][:1]
    # by facts an answer is right if nothing in it is false
    if not fewer and "recall" in change and change.get("right", {}).get("low", 0) > 0:
        fewer = [f"right answers rose by {100 * change['right']['value']:.1f} points"]
    lost = [
        f"{what} ({_values(summary, before, after, name)}, 95 % interval of the difference "
        f"{change[name]['low']:+.2f} to {change[name]['high']:+.2f})"
        for name, what in (("recall", "recall"), ("words", "words of an answer"))
        if change.get(name, {}).get("high", 0) < 0
    ]
    if not fewer or not lost:
        return None
    if change.get("recall", {}).get("low", 0) > 0:  # what it left out was false
        return f"Its answers became shorter: {fewer[0]}, and {' and '.join(lost)} fell; recall rose ({_values(summary, before, after, 'recall')})."
    return f"It learnt to say less: {fewer[0]}, but {' and '.join(lost)} fell."


def _values(summary: dict, before: str, after: str, metric: str) -> str:
    return " to ".join(f"{overall(summary['evaluate'][name])[metric]['value']:.2f}" for name in (before, after))
