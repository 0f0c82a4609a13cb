"""The report's plots as inline SVG, drawn by matplotlib. Their text takes the page's colour and font."""

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np

INK = "#010203"  # placeholder, replaced by the page's text colour
GOOD, BAD, PLAIN = "#17977f", "#d9662b", "#858d99"  # legible on light and dark backgrounds
EVALUATED = {"before": PLAIN, "after": GOOD, "control": BAD}
WIDTH = 4.6  # inches: the width of a phone, or half a desktop page
EDGE = 0.12  # inches of padding: the page's font may be wider than the one measured here
LETTERS = 32  # characters per legend line, four of them for a marker
BAR = 0.22  # distance between two evaluations, as a share of the distance between two kinds
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "pairwright", "font.family": "sans-serif", "font.size": 10.5, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlesize": 10.5, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.linewidth": 0.4,
    "grid.alpha": 0.35, "grid.color": INK,
}  # fmt: skip


@contextmanager
def _drawing(height: float, columns: int = 1, rows: int = 1) -> Generator[tuple]:
    """A figure, its axes, and a function that renders it as SVG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    def svg() -> str:
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
        text = out.getvalue()
        text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])  # ids would repeat in every plot of the page
        return text.replace(INK, "currentColor")

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=EDGE))
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, sharey=True).ravel(), svg


def _legend(axes) -> None:
    """A legend above the axes, in as many columns as fit."""
    names = axes.get_legend_handles_labels()[1]

    def letters(columns: int) -> int:
        each = -(-len(names) // columns)
        return sum(4 + max(map(len, names[i : i + each])) for i in range(0, len(names), each))

    columns = next((columns for columns in (3, 2) if names and letters(columns) <= LETTERS), 1)
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))


def funnel(stages: dict[str, dict[str, int]]) -> str:
    """{stage: {kind: rows}} as bars, one panel per stage, each with its own scale."""
    kinds = list(next(iter(stages.values())))
    with _drawing(0.75 + 0.42 * len(kinds) * ((len(stages) + 1) // 2), 2, (len(stages) + 1) // 2) as (_, panels, svg):
        for panel, (stage, counts) in zip(panels, stages.items(), strict=False):
            values = [counts[kind] for kind in kinds]
            bars = panel.barh(kinds, values, 0.6, color=GOOD if stage == "pairs" else PLAIN)
            panel.bar_label(bars, [f"{value:,}" for value in values], padding=3)
            panel.set_title(stage, loc="left", fontweight="bold")
            panel.set_xlim(0, max(*values, 1) * 1.35)
            panel.set_ylim(len(kinds) - 0.5, -0.5)
            panel.spines["bottom"].set_visible(False)
            panel.tick_params(left=False, bottom=False, labelbottom=False)
        for panel in panels[len(stages) :]:
            panel.remove()
        return svg()


def histogram(chosen: dict[float, int], rejected: dict[float, int], label: str) -> str:
    """{value: pairs} of both sides as adjacent bars; at most 24 bins of equal width."""
    values = [*chosen, *rejected]
    low, high = min(values), max(values)
    whole = all(float(value).is_integer() for value in values)
    bins = np.arange(low - 0.5, high + 1) if whole and high - low < 24 else np.linspace(low, high or low + 1, 25)
    with _drawing(2.3) as (_, (axes,), svg):
        axes.hist(
            [list(chosen), list(rejected)], bins, weights=[list(chosen.values()), list(rejected.values())], label=["chosen", "rejected"],
            color=[GOOD, BAD], rwidth=0.85,
        )  # fmt: skip
        axes.set(xlabel=label, ylabel="pairs")
        axes.xaxis.get_major_locator().set_params(integer=whole)
        axes.grid(axis="y")
        _legend(axes)
        return svg()


def intervals(evaluations: dict[str, dict], figure: str, label: str) -> str:
    """One figure of each evaluation by media type, as points with their intervals; the last is all of them, in bold."""
    kinds = list(next(iter(evaluations.values())))
    apart = min(BAR, 0.8 / len(evaluations))
    with _drawing(0.9 + max(0.42, 0.14 * len(evaluations)) * len(kinds)) as (_, (axes,), svg):
        for i, (name, found) in enumerate(evaluations.items()):
            value, low, high = (
                np.array([found[kind][figure][key] for kind in kinds]) for key in ("value", "low", "high")
            )
            rows = np.arange(len(kinds)) + (i - (len(evaluations) - 1) / 2) * apart
            axes.errorbar(
                value,
                rows,
                xerr=[value - low, high - value],
                fmt="o",
                ms=5,
                lw=1.6,
                label=name,
                color=EVALUATED.get(name, f"C{i}"),  # matplotlib's own colours
            )
        axes.set_yticks(range(len(kinds)), kinds)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        _legend(axes)
        return svg()


def calibration(judges: dict[str, list[dict]]) -> str:
    """Each judge's calibration curve: the share of right verdicts by confidence."""
    with _drawing(2.6) as (_, (axes,), svg):
        axes.plot([0.5, 1], [0.5, 1], color=INK, lw=0.6, ls=":")
        for (name, bins), colour in zip(judges.items(), cycle((GOOD, BAD, PLAIN))):
            axes.plot(
                [b["sure"] for b in bins], [b["right"] for b in bins], "o-", ms=4, lw=1.2, color=colour, label=name
            )
        axes.set(xlabel="confidence of the judge", ylabel="share of right verdicts", xlim=(0.49, 1.01), ylim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:.0%}")
        axes.grid()
        _legend(axes)
        return svg()


def people(annotators: dict[str, dict]) -> str:
    """Each annotator's estimated skill and agreement with the others, in the given order; flagged ones have another colour."""
    names = list(annotators)
    with _drawing(0.9 + 0.3 * len(names)) as (_, (axes,), svg):
        for label, figure, flagged, colour, size in (
            ("agreement", "agreement", None, PLAIN, 4),
            ("skill", "skill", False, GOOD, 7),
            ("skill (flagged)", "skill", True, BAD, 7),
        ):
            rows = [
                (place, annotator[figure])
                for place, annotator in enumerate(annotators.values())
                if annotator[figure] is not None and flagged in (None, bool(annotator["flags"]))
            ]
            if rows:
                places, values = zip(*rows, strict=True)
                axes.plot(values, places, "o", ms=size, color=colour, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), handletextpad=0.1, columnspacing=1)
        return svg()
