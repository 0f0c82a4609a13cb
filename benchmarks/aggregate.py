"""Aggregation of a million judgements: memory by number of judgements, and Dawid-Skene compared with crowd-kit's.

    python -m benchmarks.aggregate [--judgements 100000 1000000] [--rounds 5] [--folder DIR]

Memory: synthetic runs of 5 judges with accuracies of .6 to .95 on pairs of answers are written to disk in a run's format; a separate
process reads, fits and scores them with `score.consensus` and reports its peak resident size. Time: CPU seconds of both implementations
on the same votes, in turn."""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from annotators.measures import aggregation
from annotators.score import consensus as jury
from flows.planning.bind import bound_step
from flows.runs import shards
from flows.runs.stream import seen_samples
from schemas import messages
from schemas.operator import Context
from schemas.recipe import Step
from schemas.records import Finding, Outcome, Provenance, candidate, judgement, sample

SKILLS = (0.6, 0.7, 0.8, 0.9, 0.95)
METHODS = ("majority", "dawid_skene")


def write(folder: Path, judgements: int) -> None:
    """Shards of a run with this many judgements on pairs, five per pair, one pair per sample."""
    rng = np.random.default_rng(judgements)
    pairs = judgements // len(SKILLS)
    right = rng.random((pairs, len(SKILLS))) < np.array(SKILLS)
    better = rng.choice([-1.0, 1.0], pairs)
    for number, start in enumerate(range(0, pairs, shards.SIZE)):
        tables: dict[str, list] = {"samples": [], "candidates": [], "judgements": []}
        for i in range(start, min(start + shards.SIZE, pairs)):
            row = sample((messages.user(f"question {i}"),), step="source")
            answers = sorted((candidate(row.id, "sample", text) for text in ("one", "two")), key=lambda c: c.id)
            tables["samples"].append(row)
            tables["candidates"] += answers
            tables["judgements"] += [
                judgement(
                    row.id, f"judge{j}", "pair", (answers[0].id, answers[1].id), "preference",
                    Finding(Outcome.VERDICT, better[i] if right[i, j] else -better[i]), Provenance(f"model{j}", "v"),
                )
                for j in range(len(SKILLS))
            ]  # fmt: skip
        shards.publish(folder / f"{number:05d}", tables, {})


def aggregate(folder: Path, method: str) -> dict:
    """Reads, fits and scores all samples in this process: {scores, cpu (seconds), memory (MB, peak resident)}."""
    tables = shards.RunTables([sorted(p for p in folder.iterdir() if p.is_dir())])
    step = Step(name="consensus", family="score", operator="consensus", settings={"method": method})
    bound = bound_step(step).of({})
    started, count = time.process_time(), 0
    context = Context("consensus", bound.version, None, tables=tables)  # ty: ignore[invalid-argument-type]  no media
    fitted = jury.fit(seen_samples(bound, tables), bound.settings, context)
    ready = Context("consensus", bound.version, None, fitted=fitted.value)  # ty: ignore[invalid-argument-type]
    for rows in seen_samples(bound, tables):
        count += len(jury.score(rows, bound.settings, ready))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"scores": count, "cpu": round(time.process_time() - started, 1), "memory": round(memory)}


def votes_of(judgements: int, labels: int = 3) -> aggregation.Votes:
    rng = np.random.default_rng(1)
    items = judgements // len(SKILLS)
    truth = rng.integers(0, labels, items)
    item = np.repeat(np.arange(items), len(SKILLS))
    judge = np.tile(np.arange(len(SKILLS)), items)
    right = rng.random(len(item)) < np.array(SKILLS)[judge]
    return aggregation.Votes(
        item, judge, np.where(right, truth[item], (truth[item] + rng.integers(1, labels, len(item))) % labels)
    )


def timed(judgements: int, rounds: int) -> Iterator[tuple[float, float, float]]:
    """(our CPU seconds, crowd-kit's, share of items on which both agree), round by round."""
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    votes = votes_of(judgements)
    frame = pd.DataFrame({"task": votes.item, "worker": votes.annotator, "label": votes.label})
    for i in range(rounds):
        spent, found = {}, {}
        for name in ("ours", "theirs") if i % 2 == 0 else ("theirs", "ours"):
            started = time.process_time()
            if name == "ours":
                model = aggregation.dawid_skene(votes, 3)
                found[name] = aggregation._posteriors(model, votes, votes.item.max() + 1).argmax(axis=1)
            else:
                found[name] = DawidSkene().fit_predict(frame).sort_index().to_numpy()
            spent[name] = time.process_time() - started
        yield spent["ours"], spent["theirs"], float((found["ours"] == found["theirs"]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judgements", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--aggregate", nargs=2, metavar=("FOLDER", "METHOD"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.aggregate:
        print(json.dumps(aggregate(Path(given.aggregate[0]), given.aggregate[1])))
        return
    home = given.folder or Path(tempfile.mkdtemp())
    print("| judgements | method | scores | CPU s | peak resident, MB |\n|---|---|---|---|---|")
    for count in given.judgements:
        folder = home / str(count)
        if not folder.exists():
            write(folder, count)
        for method in METHODS:
            words = [sys.executable, "-m", "benchmarks.aggregate", "--aggregate", str(folder), method]
            found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            print(f"| {count:,} | {method} | {found['scores']:,} | {found['cpu']} | {found['memory']} |", flush=True)
    print("\n| round | ours, CPU s | crowd-kit, CPU s | × | agreement |\n|---|---|---|---|---|")
    ratios = []
    for i, (ours, theirs, alike) in enumerate(timed(given.judgements[-1], given.rounds), 1):
        ratios.append(ours / theirs)
        print(f"| {i} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} | {alike:.4f} |", flush=True)
    print(f"\nmedian {statistics.median(ratios):.2f}")
    if given.folder is None:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
