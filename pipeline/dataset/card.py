"""The dataset card: what the Hub shows and what a reader must know before training on it. Every figure is of this very run."""

from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from pipeline.dataset.columns import RECORD
from schemas.records import SAMPLE_KINDS

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
PACKAGES = ("pyarrow", "datasets", "pydantic")


def write_card(dataset: Path, summary: dict, recipe: dict) -> Path:
    """Writes `dataset/README.md` from a run's summary and its recipe's document; returns its path."""
    kinds = [k for k in SAMPLE_KINDS if any((dataset / k).glob("*.parquet"))]
    text = (
        f"---\n{yaml.safe_dump(_front(kinds, summary), sort_keys=False)}---\n\n"
        + "\n\n".join(_body(kinds, summary, recipe))
        + "\n"
    )
    path = dataset / "README.md"
    path.write_text(text)
    return path


def _front(kinds: list[str], summary: dict) -> dict:
    pairs = sum(summary["pairs"].values())
    size = next((name for limit, name in SIZES if pairs < limit), "n>1M")
    licences = sorted(summary.get("licences", {}))
    return {
        "pretty_name": summary["name"],
        "license": licences[0].lower() if len(licences) == 1 else "other",
        "size_categories": [size],
        "tags": ["preference", "dpo", "multimodal", "pairwright", *kinds],
        "configs": [{"config_name": k, "data_files": [{"split": "train", "path": f"{k}/*.parquet"}]} for k in kinds],
    }


def _body(kinds: list[str], summary: dict, recipe: dict):
    yield f"# {summary['name']}\n\n{summary['about']}"
    yield f"{sum(summary['pairs'].values()):,} preference pairs (chosen, rejected) made by Pairwright. One config a media kind; the media are in the Parquet files."
    yield (
        "```python\nfrom datasets import load_dataset\n"
        + "\n".join(f'{k} = load_dataset("FOLDER_OR_REPOSITORY", "{k}")["train"]' for k in kinds)
        + "\n```"
    )
    yield "## Rows\n\n" + _table(
        pd.DataFrame({n: summary[n] for n in ("samples", "candidates", "judgements", "pairs")}).fillna(0).astype(int)
    )
    dropped = [(step, reason, n) for step, reasons in summary["rejections"].items() for reason, n in reasons.items()]
    if dropped:
        yield "Rows that were dropped, and pairs that could not be made:\n\n" + _table(
            pd.DataFrame(dropped, columns=["step", "reason", "rows"]), index=False
        )
    if summary["judges"]:
        judges = pd.DataFrame(
            [(s, j["annotator"], j["judgements"], j["parse_rate"], j["tie_rate"], j["agreement_with_truth"].get("all")) for s, j in summary["judges"].items()],
            columns=["step", "annotator", "judgements", "parse rate", "tie rate", "agreement with truth"],
        )  # fmt: skip
        yield "## Judges\n\n" + _table(judges, index=False)
    if summary.get("licences"):
        yield "## Sources\n\n" + _table(
            pd.Series(summary["licences"], name="samples").rename_axis("licence").to_frame()
        )
    yield f"## Recipe\n\n```yaml\n{yaml.safe_dump(recipe, sort_keys=False, width=110)}```"
    yield (
        "## Columns\n\n`prompt`, `chosen`, `rejected` are chats in TRL's preference form, `images`, `videos` or `audios` the media in the order of the prompt. Beside them: "
        + ", ".join(f"`{c.name}`" for c in RECORD)
        + "."
    )
    yield "Made with " + ", ".join(f"{p} {version(p)}" for p in PACKAGES) + "."


def _table(frame: pd.DataFrame, index: bool = True) -> str:
    """A Markdown table; pandas' own needs another package."""
    frame = (
        frame.reset_index(names=" ") if index and frame.index.name is None else frame.reset_index() if index else frame
    )
    rows = [
        list(map(str, frame.columns)),
        ["---"] * len(frame.columns),
        *(["-" if pd.isna(v) else str(v) for v in row] for row in frame.itertuples(index=False)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
