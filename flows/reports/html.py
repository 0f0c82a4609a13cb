"""The report: one self-contained HTML page about a run, to decide whether to train on its pairs."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from annotators.measures.agreement import wilson_interval
from annotators.measures.rule_use import PREFIX
from flows.reports import evaluations, judge_notes, plots
from flows.reports.previews import preview
from flows.reports.terminal import (
    cut_lines,
    dropped_lines,
    evaluation_lines,
    open_lines,
    rule_lines,
    rule_of,
    short,
    unread_lines,
)
from flows.runs import costs
from schemas import messages
from schemas.arrow import from_batch, word_counts
from schemas.axes import CLAIM, FORM, TRUTH
from schemas.disk import disk
from schemas.figures import JUDGE, READABLE, with_values
from schemas.operator import Tables
from schemas.ports import MediaStore
from schemas.records import COUNTED, SAMPLE_KINDS, Candidate, Claim, Judgement, Outcome, Pair, Sample, media_parts

SHOWN = 3  # pairs shown per media type
PLOTTED = 30  # annotators in a plot: those with the most votes
TRUSTED = 0.8  # warn if agreement with ground truth is lower
ENOUGH_WORDS = 0.8  # warn if more preferences than this survive without the media; with a random judge half do
UNLIKE, LONGER = (
    0.1,
    (0.35, 0.65),
)  # warn about length if at least this share of pairs differs and the interval of the longer one's wins is outside this range
KNOWN = {"text": "text", "image": "images", "multi_image": "multiple images", "video": "video", "audio": "audio"}


def write_report(folder: Path, summary: dict, tables: Tables, media: MediaStore) -> Path:
    """Writes folder/report.html and returns its path. The page loads no other resources. Memory does not grow with the number of rows.

    `summary` as in reports/summary.py; `tables` are those of the run; `media` holds the media of its samples. StoreError if the disk fails."""
    kinds = [kind for kind in SAMPLE_KINDS if summary["samples"].get(kind)]
    stages = {stage: {kind: summary[stage].get(kind, 0) for kind in kinds} for stage in COUNTED}
    sides = _sides(tables)
    recipe = {
        key: value for key, value in summary["recipe"].items() if key not in ("name", "about")
    }  # shown at the top
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        summary=summary, kinds=kinds, stages=stages, evaluated=_evaluated(summary),
        habits=with_values(JUDGE, list(summary["judges"].values())), known=KNOWN, verdict=" ".join(evaluations.verdicts(summary)),
        masses=any(judge.get("mass") for judge in summary["judges"].values()),
        amount=costs.amount, amounts=costs.amounts,
        notes=list(_notes(summary, sides)), plots=_plots(summary, stages, sides), sides=sides, asked=_asked(summary), right=summary.get("right", ()), rule_of=rule_of, short=short,
        pairs=_shown(tables, media), recipe=yaml.safe_dump(recipe, sort_keys=False, width=100),
    )  # fmt: skip
    path = folder / "report.html"
    with disk(path):
        path.write_text(page)
    return path


@dataclass
class Sides:
    """Differences between chosen and rejected answers, over all pairs."""

    scores: dict[str, Counter] = field(default_factory=lambda: {"chosen": Counter(), "rejected": Counter()})
    words: dict[str, Counter] = field(default_factory=lambda: {"chosen": Counter(), "rejected": Counter()})
    longer: int = 0  # pairs whose chosen answer is longer in words
    shorter: int = 0


def _sides(tables: Tables) -> Sides:
    sides = Sides()
    for batch in tables.batches("pairs", ["chosen", "rejected", "reward_chosen", "reward_rejected"]):
        words = {side: word_counts(batch[side]) for side in sides.words}
        for side in sides.words:
            _count(sides.words[side], words[side])
            _count(sides.scores[side], pc.round(batch[f"reward_{side}"], 2))
        sides.longer += pc.sum(pc.greater(words["chosen"], words["rejected"])).as_py() or 0
        sides.shorter += pc.sum(pc.less(words["chosen"], words["rejected"])).as_py() or 0
    return sides


def _count(counts: Counter, values: pa.Array) -> None:
    counts.update({v["values"]: v["counts"] for v in pc.value_counts(values.drop_null()).to_pylist()})


def _notes(summary: dict, sides: Sides) -> Iterator[tuple[bool, str]]:
    """(is it fine, sentence): what to know before training on the pairs."""
    total = sum(summary["pairs"].values())
    samples = sum(summary["samples"].values())
    yield total > 0, f"{total:,} pairs from {samples:,} prompts."
    if missing := [KNOWN[kind] for kind in summary["samples"] if not summary["pairs"].get(kind)]:
        yield False, f"No pairs for {' or '.join(missing)}."
    for step, judge in summary["judges"].items():
        if agreement := {k: v for k, v in judge["agreement_with_truth"].items() if k != "all"}:
            worst = min(agreement, key=lambda kind: agreement[kind]["share"])
            yield (
                agreement[worst]["share"] >= TRUSTED,
                (
                    f"The judge \u201c{step}\u201d agrees with ground truth on {judge['agreement_with_truth']['all']['share']:.0%} of its "
                    f"judgements, least on {KNOWN[worst]}: {agreement[worst]['share']:.0%}."
                ),
            )
        yield from ((False, f"The judge \u201c{step}\u201d {bias}.") for bias in judge_notes.biases(judge))
        if (rate := judge["parse_rate"]) is not None and rate < READABLE:
            yield False, f"Only {rate:.0%} of the replies of judge \u201c{step}\u201d could be parsed."
    yield from (
        (False, f"{line}.")
        for find in (judge_notes.same_replies, judge_notes.unsure)
        for line in find(summary["judges"])
    )
    if probed := summary["survive_without_media"].get("all"):
        yield (
            probed["low"] <= ENOUGH_WORDS,
            f"Asked without the media, the judge prefers the same answer in {probed['share']:.0%} of {probed['n']:,} pairs"
            + ("." if probed["low"] <= ENOUGH_WORDS else ": these preferences can be learnt from the text alone."),
        )
    for step, found in _measured(summary).items():
        flagged = sum(bool(person["flags"]) for person in found["annotators"].values())
        share = found["agreement"].get(found["axis"], {}).get("percent")
        agreed = "" if share is None else f" agree on {share:.0%} of the items judged by two or more of them;"
        yield (
            not flagged,
            f"The annotators of \u201c{step}\u201d{agreed or ':'} {flagged} of {len(found['annotators'])} are flagged.",
        )
    if differ := sides.longer + sides.shorter:
        share, (low, high) = sides.longer / differ, wilson_interval(sides.longer, differ)
        fair = differ < total * UNLIKE or (low <= LONGER[1] and high >= LONGER[0])
        yield (
            fair,
            f"Lengths differ in {differ:,} pairs; in these the longer answer is chosen {share:.0%} of the time ({low:.0%}\u2013{high:.0%})"
            + ("." if fair else ": a model could learn to prefer length."),
        )
    for line in (*evaluations.warnings(summary), *(f"{line}." for line in evaluation_lines(summary["evaluate"]))):
        yield False, line
    for line in (*dropped_lines(summary), *rule_lines(summary), *cut_lines(summary)):
        yield False, f"{line}."
    if failed := summary["questions_failed"]:
        yield False, f"Requests that failed in the engine: {failed:,}."
    for line in unread_lines(summary.get("unread", {})):
        yield False, f"{line}."
    for line in open_lines(summary):
        yield False, line.strip()


def _measured(summary: dict) -> dict[str, dict]:
    """Annotator quality, by the steps in which at least one annotator was measured."""
    return {step: found["quality"] for step, found in summary.get("people", {}).items() if found["quality"]}


def _plots(summary: dict, stages: dict, sides: Sides) -> dict[str, str]:
    out = {"funnel": plots.funnel(stages)}
    if any(sides.words.values()):
        out["words"] = plots.histogram(sides.words["chosen"], sides.words["rejected"], "words in the answer")
    if any(sides.scores.values()):
        out["scores"] = plots.histogram(sides.scores["chosen"], sides.scores["rejected"], "score of the answer")
    if curves := {
        step: entry["calibration"]["bins"] for step, entry in summary["judges"].items() if entry["calibration"]
    }:
        out["calibration"] = plots.calibration(curves)
    for step, found in _measured(summary).items():
        most = sorted(found["annotators"].items(), key=lambda item: -item[1]["votes"])[:PLOTTED]
        if most := {
            name: entry for name, entry in most if entry["skill"] is not None or entry["agreement"] is not None
        }:
            out[f"people {step}"] = plots.people(most)
    return out


def _evaluated(summary: dict) -> list[dict[str, Any]]:
    """A section for each table of evaluations: its metrics, their values, a plot of the first metric by media type."""
    out = []
    for part in evaluations.tables(summary["evaluate"]):
        shown = evaluations.figures(part)
        whole = {name: evaluations.overall(found) for name, found in part.items()}
        kinds = [kind for kind in SAMPLE_KINDS if all(shown[0].name in found.get(kind, {}) for found in part.values())]
        scenes = "mean" in next(iter(part.values()))
        points = {
            name: {**{k: part[name][k] for k in kinds}, ("mean" if scenes else "all"): whole[name]} for name in part
        }
        label = "answers with a false claim" if shown[0].name == "hallucination" else shown[0].title
        drawn = shown[0].name in evaluations.WHAT and all(shown[0].name in found for found in whole.values())
        out.append({
            "scenes": scenes, "figures": shown, "values": whole, "label": label,
            "plot": plots.intervals(points, shown[0].name, label) if drawn else "",
        })  # fmt: skip
    return out


def _asked(summary: dict) -> list[dict]:
    """Usage for each step and model, then the sums for each model."""
    steps = [
        {"step": step, "model": model, **usage}
        for step, entry in summary["steps"].items()
        for model, usage in entry["models"].items()
    ]
    return [row for row in steps if row["asked"] + row["cached"]] + [
        {"step": None, "model": model, **usage} for model, usage in summary["models"].items()
    ]


def _shown(tables: Tables, media: MediaStore) -> dict[str, list[dict]]:
    """The first pairs of each kind, with their media as HTML and the judgements of both answers."""
    places = _first(tables)
    samples: dict[str, Sample] = {s.id: s for s in _rows(tables, "samples", "id", list(places))}
    pairs: list[Pair] = list(_rows(tables, "pairs", "id", list(places.values())))
    answers = [i for pair in pairs for i in (pair.chosen_id, pair.rejected_id) if i]
    written: dict[str, Candidate] = {c.id: c for c in _rows(tables, "candidates", "id", answers)}
    claims: list[Claim] = list(_rows(tables, "claims", "candidate", answers))
    judgements: list[Judgement] = list(_rows(tables, "judgements", "sample", list(places)))
    out: dict[str, list[dict]] = {}
    for pair in pairs:
        sample = samples[pair.sample]
        shown: dict[str, Any] = {"question": messages.readable(sample.prompt, " "), "margin": pair.margin, "sides": []}
        shown |= _previews(sample, pair, media)
        for side, answer, score in (
            ("chosen", pair.chosen_id, pair.reward_chosen), ("rejected", pair.rejected_id, pair.reward_rejected)
        ):  # fmt: skip
            text = getattr(pair, side)
            if text is not None:
                model = written[answer].model if answer in written else None
                about = {"side": side, "text": text, "score": score, "model": model}
                shown["sides"].append(about | _judged(answer, sample.answer, claims, judgements))
        out.setdefault(sample.kind, []).append(shown)
    return {kind: out[kind] for kind in SAMPLE_KINDS if kind in out}


def _first(tables: Tables) -> dict[str, str]:
    """{sample: pair} for the first SHOWN samples of each kind that have a pair. Both tables are in sample order."""
    kinds = zip(_values(tables, "samples", "id"), _values(tables, "samples", "kind"))
    left = dict.fromkeys(SAMPLE_KINDS, SHOWN)
    found: dict[str, str] = {}
    current, kind = None, ""
    for sample, pair in zip(_values(tables, "pairs", "sample"), _values(tables, "pairs", "id")):
        if sample == current:
            continue
        while current != sample:
            current, kind = next(kinds)
        if left[kind]:
            left[kind] -= 1
            found[sample] = pair
    return found


def _values(tables: Tables, table: str, column: str) -> Iterator[str]:
    return (value for batch in tables.batches(table, [column]) for value in batch[column].to_pylist())


def _rows(tables: Tables, table: str, column: str, wanted: list[str]) -> Iterator:
    """The records whose `column` is in `wanted`."""
    names = pa.array(wanted, pa.string())
    for batch in tables.batches(table):
        if (some := batch.filter(pc.is_in(batch[column], names))).num_rows:
            yield from from_batch(table, some)


def _previews(sample: Sample, pair: Pair, media: MediaStore) -> dict[str, list[str]]:
    """HTML of the prompt's media, and of the media of the rejected answer if they differ."""
    shown = [(p.type, p.media) for p in media_parts(sample.prompt) if p.media]
    other = [(kind, sha) for (kind, _), sha in zip(shown, pair.rejected_media or (), strict=False)]
    return {
        side: [preview(kind, media.read(sha), f"{i} {whose}") for i, (kind, sha) in enumerate(files, 1)]
        for side, files, whose in (("media", shown, "of the prompt"), ("other", other, "of the rejected answer"))
    }


def _said(judgement: Judgement, known: str | None) -> str | None:
    """What a judge replied; of a rule that knows the right answer: that answer, and what was read of this one."""
    if known is None or judgement.axis != TRUTH or not (judgement.annotator or "").startswith(PREFIX):
        return judgement.raw and f"{judgement.axis}: {judgement.raw}"
    found = "not read" if judgement.value is None else "right" if judgement.value >= 0 else "wrong"
    return f"truth: {known} ({found}{f', read: {judgement.raw}' if judgement.raw else ''})"


def _judged(answer: str | None, known: str | None, claims: list[Claim], judgements: list[Judgement]) -> dict:
    """Judgements of an answer: its claims with their verdicts, and the replies of judges that rated it as a whole. `known`: the right answer as it
    was given, which stands beside what a rule read."""
    verdicts = {j.items[0]: j for j in judgements if j.target == "claim" and j.axis == CLAIM}
    checked = [(claim, verdicts.get(claim.id)) for claim in claims if claim.candidate == answer]
    whole = [j for j in judgements if j.target == "candidate" and answer in j.items and not j.parents]
    return {
        "claims": [
            {"question": c.question, "wanted": c.wanted, "prob": v and v.prob,
             "stands": None if v is None or v.outcome != Outcome.VERDICT else bool(v.value)}
            for c, v in checked
        ],
        "malformed": any(j.axis == FORM and j.value == 0 for j in whole),
        "said": [text for j in whole if (text := _said(j, known))],
    }  # fmt: skip
