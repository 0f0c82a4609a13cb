"""Servers that fail for a while: what they did not answer stays open, and the same build asks it again, and only that."""

import random
from pathlib import Path

import pyarrow.parquet as pq

from flows.runs import executor
from tests.faults.fault import Fault
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

ROWS = 24
LOOKS = 8  # answered questions that may be asked once more, to tell a server that fails from requests that do


def recipe(url: str, seed: int) -> dict:
    return {
        "name": "open",
        "models": {
            "policy": {"engine": "openai", "model": "scripted", "base_url": url, "slots": 8, "retries": 1, "timeout": 2}
        },
        "steps": [
            {"source.scenes": {"n": ROWS, "seed": seed, "shares": {"image": 1}}},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"filter.subsample": {"n": 20}},
            {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
        ],
    }


def built(raw: dict, folder: Path) -> tuple[dict, list]:
    """The summary and the dataset's rows."""
    run = executor.open_document(raw, out=folder / "out", cache=folder / "cache")
    summary = completed(run)
    files = sorted((folder / "out" / "dataset").rglob("*.parquet"))
    return summary, [row for file in files for row in pq.read_table(file).to_pylist()]


def heals(**faults):
    """A trial: a fifth of the requests fail however often they are asked; then the server is well."""

    def trial(dice: random.Random, folder: Path) -> None:
        seed = dice.randrange(1000)
        with served(endpoint := Endpoint()) as url:
            port = int(url.split(":")[2].split("/")[0])
            quiet, expected = built(recipe(url, seed), folder / "quiet")
        with served(failing := Endpoint(share=0.2, times=99, **faults), port) as url:
            summary, _ = built(recipe(url, seed), folder)
        assert summary["questions_open"] > 0, summary["open"]
        rows = {step: n for table in ("rejections", "judgements") for step, n in summary["open"][table].items()}
        assert rows
        assert summary["open"]["said"], summary["open"]
        with served(well := Endpoint(), port) as url:
            again, rows = built(recipe(url, seed), folder)
            asked = well.answered
            built(recipe(url, seed), folder)
        assert rows == expected
        assert again["questions_open"] == 0
        assert asked == well.answered  # the third build asks nothing
        assert endpoint.answered == quiet["questions_asked"]
        assert endpoint.answered <= failing.answered + asked <= endpoint.answered + LOOKS

    return trial


def poisoned(dice: random.Random, folder: Path) -> None:
    """Two rows of many are answered with 500 whenever they are asked, in every build."""
    seed = dice.randrange(1000)
    with served(endpoint := Endpoint(share=0.05, times=10**6)) as url:
        first, rows = built(recipe(url, seed), folder)
        answered = endpoint.answered
        second, again = built(recipe(url, seed), folder)
    assert rows == again
    assert endpoint.answered <= answered + LOOKS
    assert first["questions_open"] == second["questions_open"]


WELL = "counted and quoted, exit 0; the same build requests only those and leaves the same dataset as without faults"
FAULTS = [
    Fault("servers", "a fifth of the requests get 500 until the server recovers", WELL, heals(status=500)),
    Fault("servers", "a fifth of the requests get 429 until the server recovers", WELL, heals(status=429)),
    Fault("servers", "a fifth of the replies are truncated until the server recovers", WELL, heals(kind="garbage")),
    Fault("servers", "a fifth of the connections drop until the server recovers", WELL, heals(kind="drop")),
    Fault(
        "servers",
        "a fifth of the requests fail in mixed ways until the server recovers",
        WELL,
        heals(kind="mixed"),
        sample=0,
    ),
    Fault(
        "servers",
        "one row in twenty gets 500 in every build",
        "open in every build, which finishes and asks nothing else",
        poisoned,
    ),
]
