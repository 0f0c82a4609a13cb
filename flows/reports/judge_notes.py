"""What a reader must know of a run's judges before using their scores, in sentences: for the terminal, the report and `verify`."""

from collections.abc import Iterator

from schemas.figures import READABLE


def same_replies(judges: dict[str, dict]) -> Iterator[str]:
    """A line for each judge that gave one and the same reply to nearly every question."""
    for step, judge in judges.items():
        if (figure := judge.get("same_reply")) and figure["named"]:
            after = (
                "; the place of the answers decided, so pairs of its scores alone are rejected unless its step says `same_reply: keep`: "
                "use another judge or prompt"
                if figure["by_place"]
                else "; it tells no answers apart: use another judge or prompt"
            )
            yield f"judge {step}: one and the same reply ({figure['reply']}) to {_percent(figure['share'])} of {figure['n']:,} questions{after}"


def unsure(judges: dict[str, dict]) -> Iterator[str]:
    """A line for each judge many of whose verdicts were not taken from its first tokens, as these were mostly other words."""
    for step, judge in judges.items():
        if (mass := judge.get("mass")) and mass["taken"] < READABLE:
            yield (
                f"judge {step}: the words that it may say had {_percent(mass['median'])} of the first token's probability (median of {mass['n']:,}); "
                f"only {_percent(mass['taken'])} of its verdicts could be taken from there: see `min_mass` (docs/judging.md)"
            )


def biases(judge: dict) -> Iterator[str]:
    """Statistically significant biases of a judge, in words: its interval excludes chance, and that of the truth where this is known."""
    if (first := judge.get("shown_first")) and not first["low"] <= 0.5 <= first["high"]:
        where = "first" if first["share"] > 0.5 else "later"
        share, low, high = (first[name] if where == "first" else 1 - first[name] for name in ("share", "low", "high"))
        low, high = sorted((low, high))
        yield f"chose the answer shown {where} {_percent(share)} of {first['n']:,} times ({_between(low, high)}; position bias)"
    for habit, answer in (("longer", "the longer answer"), ("own", "its own model\u2019s answer")):
        chosen, truth = judge.get(habit), judge.get(f"{habit}_truth")
        if chosen and truth and (chosen["low"] > truth["high"] or chosen["high"] < truth["low"]):
            yield (
                f"chose {answer} {_percent(chosen['share'])} of {chosen['n']:,} times ({_between(chosen['low'], chosen['high'])}); it is better "
                f"{_percent(truth['share'])} of {truth['n']:,} times ({_between(truth['low'], truth['high'])})"
            )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) or 0.005 <= share < 0.995 else f"{share:.1%}"


def _between(low: float, high: float) -> str:
    return f"{100 * low:.0f}\u2013{100 * high:.0f} %"
