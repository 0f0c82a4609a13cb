"""The dataset card (README.md): what the Hub shows and what users should know before training. All figures describe this run.

Text from rows, recipes and servers is escaped by `schemas.markdown`, so that it cannot inject Markdown, HTML or front matter."""

from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from pipeline.dataset import licences, manifest
from pipeline.dataset.columns import columns
from pipeline.dataset.read import dataset_files, open_dataset_file
from schemas.arrow import word_counts
from schemas.disk import disk
from schemas.figures import JUDGE, with_values
from schemas.markdown import block, code, line, plain
from schemas.published import published, publisher
from schemas.records import COUNTED, SAMPLE_KINDS

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
PACKAGES = ("pairwright", "pyarrow")
ORIGINS = ("source", "licence")
LISTED = 20  # most frequent sources or licences shown
ABOUT = 2000  # maximum characters of the recipe's description
NUMBERS = ("margin", "reward_chosen", "reward_rejected", "confidence")


def write_card(dataset: Path, summary: dict, recipe: dict) -> Path:
    """Writes `dataset/README.md` from the exported files, the run's summary and the recipe document, and returns its path.

    The card contains no secrets, server names, local paths or variable names. A dataset without pairs gets a card with its counts only."""
    facts = _facts(dataset)
    public_name = publisher(recipe)
    for name, counts in facts.origins.items():
        facts.origins[name] = Counter()
        for text, n in counts.items():
            facts.origins[name][public_name(text)] += n
    recipe, summary = published([recipe, summary])
    parts = [f"---\n{yaml.safe_dump(_front(facts, summary), sort_keys=False)}---", *_body(facts, summary, recipe)]
    path = dataset / "README.md"
    with disk(path):
        path.write_text("\n\n".join(parts) + "\n")
    return path


class _Facts:
    """What is computed from the exported files: scores and lengths per pair, and counts of sources and licences."""

    def __init__(self):
        self.numbers: dict[str, list[pd.DataFrame]] = {}
        self.origins: dict[str, Counter] = {name: Counter() for name in ORIGINS}
        self.digests: dict[str, str] = {}  # kind -> digest of its files

    @property
    def kinds(self) -> list[str]:
        return list(self.numbers)

    def table(self) -> pd.DataFrame:
        """One row per pair: kind, the NUMBERS, and the word counts of both answers."""
        return pd.concat([frame.assign(kind=kind) for kind, frames in self.numbers.items() for frame in frames])


def _facts(dataset: Path) -> _Facts:
    found = _Facts()
    found.digests = manifest.digests(dataset)
    for kind, path in dataset_files(dataset):
        with open_dataset_file(path) as file:
            for batch in file.iter_batches(4096, columns=[*NUMBERS, *ORIGINS, "chosen", "rejected"]):
                frame = batch.select(list(NUMBERS)).to_pandas()
                for side in ("chosen", "rejected"):
                    frame[f"words {side}"] = _words(batch[side]).to_pandas()
                found.numbers.setdefault(kind, []).append(frame)
                for name, counts in found.origins.items():
                    texts = pc.fill_null(batch[name], licences.NOT_STATED)
                    if name == "source":  # drop row numbers, to count sources rather than rows
                        texts = pc.replace_substring_regex(texts, r"[\s/]*\d[\d/]*$", "")
                    counts.update({v["values"]: v["counts"] for v in pc.value_counts(texts).to_pylist()})
    return found


def _words(messages: pa.ListArray) -> pa.Array:
    """The word count of each answer; null if there is no answer."""
    content = pc.struct_field(pc.list_element(messages, 0), "content")
    text = pc.struct_field(pc.list_element(content, 0), "text")
    return word_counts(text)


def _front(facts: _Facts, summary: dict) -> dict:
    pairs = sum(summary["pairs"].values())
    return {
        "pretty_name": line(summary["name"]),
        **licences.front_matter(facts.origins["licence"]),
        "size_categories": [next((name for limit, name in SIZES if pairs < limit), "n>1M")],
        "tags": ["preference", "dpo", "trl", "multimodal", "pairwright", *facts.kinds],
        "configs": [
            {"config_name": k, "data_files": [{"split": "train", "path": f"{k}/train-*.parquet"}]}
            # `datasets` names its copy of a folder by this header, not by the files: other content has to change it
            | ({"description": f"content {facts.digests[k]}"} if k in facts.digests else {})
            for k in facts.kinds
        ],
    }  # fmt: skip


def _body(facts: _Facts, summary: dict, recipe: dict) -> Iterator[str]:
    yield f"# {plain(summary['name'])}"
    yield plain(recipe.get("about") or "", ABOUT)
    yield (
        f"{sum(summary['pairs'].values()):,} preference pairs made with Pairwright. Each has a prompt with its media, a preferred answer "
        "(`chosen`) and a worse one (`rejected`). There is one config per media type; the media files are embedded."
    )
    if facts.kinds:
        yield "## Loading\n\n" + _loading(facts.kinds)
    yield "## How it was made\n\n" + "\n".join(
        f"{i}. {_step(step)}" for i, step in enumerate(recipe.get("steps", ()), 1)
    )
    yield "The complete recipe:\n\n" + block(yaml.safe_dump(recipe, sort_keys=False, width=110), "yaml")
    yield "## Counts\n\n" + _table(_counts(summary))
    yield _requests(summary)
    dropped = pd.DataFrame(
        [(step, reason, n) for step, reasons in summary["rejections"].items() for reason, n in reasons.items()],
        columns=["step", "reason", "rows"],
    )
    yield (
        "Dropped rows, and pairs that could not be made:\n\n" + _table(dropped)
        if len(dropped)
        else "No rows were dropped."
    )
    if facts.kinds:
        yield "## Scores and lengths\n\nMeans over the pairs of each media type; lengths in words.\n\n" + _table(
            _means(facts)
        )
    if summary["judges"]:
        yield (
            "## Judges\n\nParse rate: share of replies that could be parsed. Agreement: with the ground truth, where it is known. First token: "
            "probability of the words that the judge may say, as the first token of its reply (median).\n\n"
            + "".join(
                f"- {figure.title}: {figure.sentence}\n"
                for figure in with_values(JUDGE, list(summary["judges"].values()))
            )
            + "\n"
            + _table(_judges(summary["judges"]))
        )
    if probed := summary.get("survive_without_media", {}).get("all"):
        yield (
            f"For {probed['n']:,} pairs the judge was also asked without the media: {probed['share']:.0%} of its preferences did not change "
            "(these pairs have `needs_media` false)."
        )
    if people := {step: found["quality"] for step, found in summary.get("people", {}).items() if found["quality"]}:
        yield (
            "## People\n\nAgreement: with other annotators of the same items; alpha is Krippendorff's (ordinal). Skill: estimated "
            "probability of a correct vote. Gold: share of questions with a known answer that were answered correctly.\n\n"
            + _table(_people(people))
        )
    for title, name in (("## Sources", "source"), ("## Licences", "licence")):
        yield f"{title}\n\n" + _table(_most_common(facts.origins[name], name))
    yield "## Columns\n\n" + _table(_columns(facts.kinds), str)
    yield "Made with " + ", ".join(f"{package} {version(package)}" for package in PACKAGES) + "."


def _loading(kinds: list[str]) -> str:
    picture = next((k for k in kinds if k in ("image", "multi_image")), None)
    trains = f" TRL's `DPOTrainer` accepts `{picture}` unchanged." if picture else ""
    return (
        f'```python\nfrom datasets import load_dataset\n\npairs = load_dataset("REPOSITORY_OR_FOLDER", "{kinds[0]}", split="train")'
        f"\n```\n\nConfigs: {', '.join(f'`{k}`' for k in kinds)}.{trains} Videos and audio clips load as bytes; no decoder is needed."
    )


def _step(step: str | dict) -> str:
    """One step as Markdown, for example: `make.sample`: model policy, n 8."""
    if isinstance(step, str):
        return code(step)
    (operator, settings), *_ = step.items()
    text = ", ".join(f"{key} {value}" for key, value in (settings or {}).items())
    return f"{code(operator)}: {plain(text)}" if text else code(operator)


def _counts(summary: dict) -> pd.DataFrame:
    frame = pd.DataFrame({name: summary[name] for name in COUNTED}).reindex(
        [k for k in SAMPLE_KINDS if k in summary["samples"]]
    )
    frame = frame.fillna(0).astype(int)
    frame.loc["all"] = frame.sum()
    return frame.rename_axis("kind").reset_index()


def _requests(summary: dict) -> str:
    """Requests, tokens and cost of all answers, cached ones included, so that a rebuild gives the same figures."""
    prompt, answer = (summary["tokens"][side] + summary["tokens_cached"][side] for side in ("prompt", "answer"))
    requests = summary["questions_asked"] + summary["questions_cached"]
    cost = " + ".join(
        f"{money['spent'] + money['saved']:,.2f} {plain(name)}" for name, money in summary["money"].items()
    )
    priced = f", {cost} at the recipe's prices" if cost else ""
    return f"The models answered {requests:,} requests: {prompt:,} prompt tokens and {answer:,} answer tokens{priced}."


def _means(facts: _Facts) -> pd.DataFrame:
    table = facts.table()
    means = table.groupby("kind", sort=False).mean(numeric_only=True).round(3)
    longer = (table["words chosen"] > table["words rejected"]).groupby(table["kind"]).mean().round(3)
    return means.assign(**{"chosen is longer": longer}).dropna(axis=1, how="all").reset_index()


def _most_common(counts: Counter, name: str) -> pd.DataFrame:
    most = counts.most_common(LISTED)
    others = counts.total() - sum(n for _, n in most)
    return pd.DataFrame(
        [*most, *([(f"{len(counts) - LISTED} others", others)] if others else ())], columns=[name, "pairs"]
    )


def _judges(judges: dict) -> pd.DataFrame:
    def share(figure: dict | None) -> float | None:
        return figure["share"] if figure else None

    return pd.DataFrame([
        {"step": step, "annotator": judge["annotator"], "judgements": judge["judgements"], "parse rate": judge["parse_rate"],
         "tie rate": judge["tie_rate"], **{f"agreement, {k}": share(v) for k, v in judge["agreement_with_truth"].items()},
         **{figure.title: share(judge.get(figure.name)) for figure in JUDGE},
         "calibration error": judge["calibration"] and judge["calibration"]["error"],
         "first token": judge["mass"]["median"] if judge.get("mass") else None}
        for step, judge in judges.items()
    ]).dropna(axis=1, how="all")  # fmt: skip


def _people(people: dict) -> pd.DataFrame:
    rows = []
    for step, found in people.items():
        together = found["agreement"].get(found["axis"], {"percent": None, "alpha": {"ordinal": None}})
        rows.append((step, "all", found["votes"], together["percent"], together["alpha"]["ordinal"], None, None))
        for name, person in found["annotators"].items():
            gold = person["gold"] and person["gold"]["share"]
            rows.append((step, name, person["votes"], person["agreement"], None, person["skill"], gold))
    return pd.DataFrame(rows, columns=["step", "annotator", "votes", "agreement", "alpha", "skill", "gold"])


def _columns(kinds: list[str]) -> pd.DataFrame:
    meaning = {c.name: (str(c.type), c.meaning) for kind in kinds for c in columns(kind)}
    return pd.DataFrame(
        [(f"`{name}`", "list" if kind.startswith("list") else kind, text) for name, (kind, text) in meaning.items()],
        columns=["column", "type", "meaning"],
    )


def _table(frame: pd.DataFrame, words: Callable[[str], str] = plain) -> str:
    """A Markdown table (pandas' own `to_markdown` needs another package). `words` escapes text cells."""
    rows = [frame.columns, *frame.itertuples(index=False)]
    head, *body = [f"| {' | '.join(_cell(value, words) for value in row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(frame.columns), *body])


def _cell(value, words: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return words(value)
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else str(value)
