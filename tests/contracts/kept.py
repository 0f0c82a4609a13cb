"""The run folder, the cache and the dataset that version 0.1.0 left, kept as `kept_run.tar.xz`; how they were made.

python -m tests.contracts.kept        writes the archive: not again, but beside it where what is stored changes on purpose
"""

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

from flows.runs import executor
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

ARCHIVE = Path(__file__).parent / "kept_run.tar.xz"
RECIPE = {  # nobody is at that address: everything was asked when the archive was made
    "name": "kept",
    "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": "http://127.0.0.1:9/v1", "slots": 4}},
    "steps": [
        {"source.scenes": {"n": 12, "seed": 5, "shares": {"audio": 1, "image": 2}}},
        {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
        {"judge.pointwise": {"model": "policy", "media": False}},
        {"filter.subsample": {"n": 10}},
        {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
    ],
}


def make(folder: Path) -> None:
    """Builds the recipe in `folder`: out/ and cache/, with what they say of their place taken out."""
    with served(Endpoint(), port=9):
        run = executor.open_document(RECIPE, out=folder / "out", cache=folder / "cache")
        completed(run)
    shutil.rmtree(folder / "out" / "logs", ignore_errors=True)
    (folder / "out" / ".lock").unlink()
    for path in [
        *(folder / "out").rglob("*.json"),
        folder / "out" / "dataset" / "README.md",
        folder / "out" / "report.html",
    ]:
        path.write_text(path.read_text().replace(str(folder), "/there"))


def unpack(folder: Path) -> None:
    """out/ and cache/ in `folder`, which run.json names as theirs."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    known = folder / "out" / "run.json"
    known.write_text(known.read_text().replace("/there", str(folder)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:xz") as archive:
            for part in ("out", "cache"):
                archive.add(
                    Path(folder) / part,
                    part,
                    filter=lambda one: one.replace(uid=0, gid=0, uname="", gname="", deep=False),
                )
        ARCHIVE.write_bytes(packed.getvalue())
