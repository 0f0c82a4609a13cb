"""What is stored and changes behind our back: every kind of file of a finished run, its dataset and its cache, damaged in every way.

A small run is made once; each try damages one file of a copy of it. Then whoever reads it (`show`, `verify`, training) must name the
damage or show what was there before, and the same build must leave the same bytes and ask nothing that the cache still has."""

import atexit
import contextlib
import gc
import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import yaml

from flows import cli
from flows.runs import executor, shards
from pipeline.dataset import manifest
from schemas.errors import PairwrightError
from tests.faults.fault import Fault
from tests.support import media_files
from tests.support.endpoint import Endpoint, served

Damage = Callable[[random.Random, Path], None]
ROWS = 12
STEPS = [
    {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
    {"judge.pointwise": {"model": "policy", "media": False}},
    {"pair.best_worst": {"axis": "rating"}},
    {"filter.length": {"max_ratio": 0.1}},
    {"corrupt": {"kind": "crop", "as": "rejected_media"}},
]


class Made(NamedTuple):
    """A finished run, and another of the same recipe over other rows."""

    folder: Path  # holds run, cache, other, other-cache
    recipe: Path
    endpoint: Endpoint


def command(*words) -> tuple[int, str]:
    """A command of `pairwright` in this process: its exit code and all that it said."""
    said = io.StringIO()
    argv = mock.patch.object(sys, "argv", ["pairwright", *map(str, words)])
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), argv:
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
    gc.collect()  # a run that ended lets go of its folder
    return code, said.getvalue()


@cache
def made() -> Made:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stored-")))
    endpoint = Endpoint()
    model = {"engine": "openai", "model": "scripted", "base_url": stack.enter_context(served(endpoint))}
    for name, first in (("run", 0), ("other", 100)):
        pictures = folder / f"{name}-pictures"
        pictures.mkdir()
        rows = [{"prompt": f"what is on {first + i} ?", "image": f"{first + i}.png"} for i in range(ROWS)]
        for i in range(ROWS):
            (pictures / f"{first + i}.png").write_bytes(media_files.png(first + i))
        (pictures / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        recipe = {
            "name": "stored",
            "models": {"policy": model},
            "steps": [{"source.rows": {"path": str(pictures / "rows.jsonl")}}, *STEPS],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        caches = folder / ("cache" if name == "run" else "other-cache")
        code, said = command("build", folder / f"{name}.yaml", "--out", folder / name, "--cache", caches)
        assert code == 0, said
        for path in caches.rglob("*.sqlite"):
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("pragma wal_checkpoint(truncate)")
    return Made(folder, folder / "run.yaml", endpoint)


class Copy:
    """A copy of the finished run that a try may damage."""

    def __init__(self, folder: Path):
        self.made = made()
        self.run, self.cache = folder / "run", folder / "cache"
        shutil.copytree(self.made.folder / "run", self.run)
        shutil.copytree(self.made.folder / "cache", self.cache)
        note = shards.read_json(self.run / "run.json")
        shards.write_json(self.run / "run.json", note | {"cache": str(self.cache)})

    def build(self) -> tuple[int, str]:
        return command("build", self.made.recipe, "--out", self.run)

    def dataset(self) -> dict[str, bytes]:
        return rows_of(self.run)


def rows_of(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in sorted((run / "dataset").rglob("*.parquet"))}


def flipped(dice: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def cut(dice: random.Random, path: Path) -> None:
    os.truncate(path, dice.randrange(1, path.stat().st_size))


def emptied(dice: random.Random, path: Path) -> None:
    path.write_bytes(b"")


def removed(dice: random.Random, path: Path) -> None:
    path.unlink()


def exchanged(dice: random.Random, path: Path) -> None:
    """Its place is taken by the file of another run that is called so, or by one that is like it."""
    there = made().folder / ("other-cache" if "cache" in path.parts[-3:] else "other")
    others = [p for p in there.rglob(f"*{path.suffix}") if p.name == path.name] or sorted(
        there.rglob(f"*{path.suffix}")
    )
    path.write_bytes(dice.choice(sorted(others)).read_bytes())


DAMAGES: dict[str, Damage] = {
    "a flipped bit in": flipped, "a truncated": cut, "an empty": emptied, "a missing": removed, "another run's": exchanged,
}  # fmt: skip


def named(code: int, said: str, *names: str) -> None:
    """One line at the end says which file or medium, and what to do."""
    (last,) = [line for line in said.splitlines() if "Error: " in line]
    assert code in (1, 2), (code, said)
    assert "Traceback" not in said
    assert any(name in last for name in names), (last, names)


def figures(said: str) -> list[str]:
    """The counts of rows that `show` says."""
    return [
        line
        for line in said.splitlines()
        if line.startswith(("│ samples", "│ candidates", "│ judgements", "│ pairs", "  corrupt: "))
    ]


def read(copy: Copy, *names: str) -> bool:
    """Looks at a damaged run with all that reads it; whether `verify` finds it as it was written."""
    code, said = command("show", copy.run)
    if code:
        named(code, said, *names)
    else:
        assert "not finished" in said or figures(said) == figures(command("show", made().folder / "run")[1]), said
    try:
        executor.intact_dataset(copy.run)
    except PairwrightError as error:
        named(error.exit_code, f"{type(error).__name__}: {error}", *names)
    else:
        assert copy.dataset() == rows_of(made().folder / "run")
    code, said = command("verify", copy.run)
    assert code in (0, 1), said
    assert code == 0 or any(name in said for name in names), said
    return code == 0


def healed(copy: Copy, *names: str, asks: int = 0, sure: bool = True) -> None:
    """The damage is named (where `sure`, by `verify` too) and the same build leaves what was there before, or says why not."""
    sound = read(copy, *names)
    assert not (sound and sure), f"verify finds nothing wrong with {names}"
    before = made().endpoint.questions.total()
    code, said = copy.build()
    if code:
        named(code, said, *names)
        return
    assert copy.dataset() == rows_of(made().folder / "run"), said
    assert made().endpoint.questions.total() - before <= asks, said
    for words in ("verify", "show"):
        code, said = command(words, copy.run)
        assert code == 0, said


def files(run: str, *patterns: str) -> Callable[[Copy], list[Path]]:
    return lambda copy: [p for pattern in patterns for p in sorted(getattr(copy, run).glob(pattern))]


def trial(
    which: Callable[[Copy], list[Path]], damage: Damage, sure: bool = True, asks: int = 0
) -> Callable[[random.Random, Path], None]:
    """One file of these, damaged so."""

    def one(dice: random.Random, folder: Path) -> None:
        copy = Copy(folder)
        path = dice.choice(which(copy))
        before = path.read_bytes()
        damage(dice, path)
        if path.exists() and path.read_bytes() == before:  # the other run's file is the same
            return
        healed(copy, path.name, path.parent.name, sure=sure, asks=asks)

    return one


SHARDS = files("run", "passes/*/*/*.arrow")
RECORDS = files("run", "passes/*/*/record.json")
DONE = files("run", "passes/*/done.json", "steps/*/done.json")
REJECTIONS = files("run", "steps/*/rejections.arrow")
DATASET = files("run", "dataset/*/*.parquet", "dataset/.manifest.json")
SUMMARY = files("run", "summary.json", "engines.json")
PAGES = files("run", "report.html", "dataset/README.md")
PACKS = files("cache", "media/*.pack")
INDEX = files("cache", "media/index.sqlite")
KINDS: dict[str, tuple[Callable[[Copy], list[Path]], bool]] = {
    "shard": (SHARDS, True), "record.json": (RECORDS, False), "done.json": (DONE, False), "rejections of a step": (REJECTIONS, True),
    "file of the dataset": (DATASET, False), "summary.json or engines.json": (SUMMARY, False), "page": (PAGES, False),
    "pack of media": (PACKS, True), "index of media": (INDEX, False),
}  # fmt: skip


def gone(pattern: str, of: str = "run") -> Callable[[random.Random, Path], None]:
    """A whole folder is gone."""

    def one(dice: random.Random, folder: Path) -> None:
        copy = Copy(folder)
        path = dice.choice(sorted(getattr(copy, of).glob(pattern)) if pattern else [getattr(copy, of)])
        shutil.rmtree(path)
        asks = 2 * ROWS if of == "cache" and not pattern else 0
        healed(copy, path.name, path.parent.name, "record.json", "answers.sqlite", sure=pattern != "steps/*", asks=asks)

    return one


def foreign(where: str, name: str) -> Callable[[random.Random, Path], None]:
    """A file of another run lies beside the run's own."""

    def one(dice: random.Random, folder: Path) -> None:
        copy = Copy(folder)
        place = dice.choice(sorted(copy.run.glob(where)))
        like = next(iter(sorted((made().folder / "other").rglob(f"*{Path(name).suffix}"))))
        shutil.copy(like, place / name)
        healed(copy, name)

    return one


def an_answer(dice: random.Random, folder: Path) -> None:
    """A bit of an answer's text flips in the cache: with the shards gone it is asked again, and nothing else is."""
    copy = Copy(folder)
    path = copy.cache / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        values = [value for (value,) in db.execute("select v from answers order by k")]
    data = bytearray(path.read_bytes())
    value = dice.choice([v for v in values if data.count(v) == 1])
    data[data.index(value) + dice.randrange(len(value))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    shutil.rmtree(copy.run / "passes")
    before = made().endpoint.questions.total()
    code, said = copy.build()
    assert code == 0, said
    assert "1 answers in" in said, said
    assert made().endpoint.questions.total() - before == 1
    assert copy.dataset() == rows_of(made().folder / "run")
    assert command("verify", copy.run)[0] == 0


def another_cache(dice: random.Random, folder: Path) -> None:
    """A forgotten `--cache` changes nothing; another one is refused in a line with both paths; one that was moved is taken."""
    copy = Copy(folder)
    code, said = command("build", made().recipe, "--out", copy.run, "--cache", folder / "elsewhere")
    named(code, said, str(copy.cache))
    assert str(folder / "elsewhere") in said
    before = made().endpoint.questions.total()
    assert copy.build()[0] == 0
    assert shards.read_json(copy.run / "run.json")["cache"] == str(copy.cache)
    copy.cache.rename(folder / "elsewhere")
    code, said = command("build", made().recipe, "--out", copy.run, "--cache", folder / "elsewhere")
    assert code == 0, said
    assert shards.read_json(copy.run / "run.json")["cache"] == str(folder / "elsewhere")
    assert not copy.cache.exists()
    assert made().endpoint.questions.total() == before


def a_dataset_alone(dice: random.Random, folder: Path) -> None:
    """A dataset without its run is checked before it is trained on, imported or pushed."""
    whole = Copy(folder).run / "dataset"
    assert executor.intact_dataset(whole) == whole
    path = dice.choice([*sorted(whole.glob("*/*.parquet")), whole / manifest.NAME])
    dice.choice([flipped, cut, emptied, removed])(dice, path)
    if manifest.damage(whole) is None:  # a space between two words of the manifest
        assert path.name == manifest.NAME
        return
    for words in (
        ("train", whole, "--out", folder / "t"),
        ("export", whole, "--hub", "o/n"),
        ("import", "auto", whole, "--out", folder / "i", "--cache", folder / "c"),
    ):
        named(*command(*words), path.name, str(whole))
    assert command("verify", whole)[0] == 1


QUICK = {  # those that `make test` tries
    (kind, how)
    for kind in ("shard", "done.json", "rejections of a step", "file of the dataset", "pack of media")
    for how in ("a flipped bit in", "a missing")
} | {("record.json", "a flipped bit in"), ("index of media", "an empty"), ("shard", "another run's")}
GOES_ON = "named, and the same build leaves the same bytes"
FAULTS = [
    *(
        Fault("stored", f"{how} {kind}", GOES_ON, trial(which, damage, sure and how != "another run's"), 5, int((kind, how) in QUICK))
        for kind, (which, sure) in KINDS.items()
        for how, damage in DAMAGES.items()
    ),
    Fault("stored", "the dataset is missing", GOES_ON, gone("dataset"), trials=2, sample=0),
    Fault("stored", "the files of one kind of the dataset are missing", GOES_ON, gone("dataset/image"), trials=2, sample=0),
    Fault("stored", "a shard is missing", GOES_ON, gone("passes/*/*-*"), trials=4),
    Fault("stored", "a pass is missing", GOES_ON, gone("passes/*"), trials=4, sample=0),
    Fault("stored", "a step is missing", GOES_ON, gone("steps/*"), trials=4, sample=0),
    Fault("stored", "the media are missing", GOES_ON, gone("media", "cache"), trials=2),
    Fault("stored", "the whole cache is missing", GOES_ON, gone("", "cache"), trials=2, sample=0),
    Fault("stored", "a foreign file in the dataset", GOES_ON, foreign("dataset/image", "train-00007.parquet"), trials=2, sample=0),
    Fault("stored", "a foreign table in a shard", GOES_ON, foreign("passes/*/*-*", "claims.arrow"), trials=4),
    Fault("stored", "a flipped bit in a cached answer", "requested again, only that one", an_answer, trials=20),
    Fault("stored", "another --cache than the run's", "refused with both paths; accepted where it was moved to", another_cache, trials=2),
    Fault("stored", "a damaged dataset without its run", "named before it is used", a_dataset_alone, trials=12),
]  # fmt: skip
