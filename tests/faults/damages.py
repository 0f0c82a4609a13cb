"""Every command and every damage to what it reads and writes: one line names the file and the remedy, and afterwards the run is whole again.

A later damage is one line of DAMAGES, a later command one line of COMMANDS. Commands run in forks of one process that has imported them,
as their user runs them but for the start of Python:

    python -m tests.faults.damages         runs commands that it reads as JSON lines
"""

import atexit
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc
import yaml

from flows.runs import shards
from pipeline.storage import checksum
from tests.faults.fault import Fault
from tests.support.endpoint import Endpoint, served
from tests.support.hub_standin import TOKEN, Hub

ROOT = Path(__file__).parents[2]
SAMPLES = 8
STOPPED = "stopped: run the same command again to continue"


class Said(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that say that it failed."""
        return [line for line in self.err.splitlines() if re.match(r"\w*Error: |unexpected: |stopped: ", line)]


# a place to run in -------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A finished run, one that asks people, their cache and recipe, all under one folder."""

    top: Path
    out: Path | None = None  # what --out and --cache are instead of the run's own
    cache: Path | None = None
    named: Path | None = None  # what is named instead of a run's folder, a model or a file of rows
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.top / "run"

    def at(self, name: str) -> Path:
        return self.named or self.top / name

    @property
    def recipe(self) -> Path:
        return self.top / "recipe.yaml"

    def where(self, name: str = "other") -> list[Any]:
        return ["--out", self.out or self.top / name, "--cache", self.cache or self.top / "cache"]

    def dataset(self) -> dict[str, str]:
        """The digest of every file of rows."""
        found = sorted((self.run / "dataset").rglob("*.parquet"))
        return {str(path.relative_to(self.run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


COMMANDS: dict[str, Callable[[Place], list[Any]]] = {
    "build": lambda p: ["build", p.recipe, *p.where("run")],
    "check": lambda p: ["check", p.recipe],
    "estimate": lambda p: ["estimate", p.recipe, *p.where("run")],
    "import": lambda p: ["import", "auto", p.at("pairs.jsonl"), *p.where()],
    "ingest": lambda p: ["ingest", p.recipe, *p.where()],
    "train": lambda p: ["train", p.at("run"), "--model", p.top / "no-model", *p.where()],
    "evaluate": lambda p: ["evaluate", p.at("no-model"), *p.where()],
    "judge-bench": lambda p: ["judge-bench", p.recipe, p.at("pairs.jsonl"), *p.where()],
    "export": lambda p: ["export", p.at("run"), "--hub", "tester/pairs"],
    "show": lambda p: ["show", p.at("run")],
    "verify": lambda p: ["verify", p.at("run")],
    "rejudge": lambda p: ["rejudge", p.at("run")],
    "read-replies": lambda p: ["read-replies", p.at("pairs.jsonl")],
    "annotate status": lambda p: ["annotate", "status", p.at("people")],
    "annotate push": lambda p: ["annotate", "push", p.at("people")],
    "annotate pull": lambda p: ["annotate", "pull", p.at("people")],
    "annotate reconcile": lambda p: ["annotate", "reconcile", p.at("people")],
    "annotate doctor": lambda p: ["annotate", "doctor", p.at("people")],
    "annotate demo": lambda p: [
        "annotate",
        "demo",
        "--server",
        p.at("pairs.jsonl"),
        *p.where(),
    ],  # a folder would start a server
    "serve": lambda p: ["serve", p.at("people")],
    "recipes": lambda p: ["recipes"],
    "steps": lambda p: ["steps"],
}


@lru_cache
def base() -> tuple[Path, dict[str, str]]:
    """The undamaged folder that all places are copies of, and the digests of its dataset."""
    top = Path(tempfile.mkdtemp(prefix="faults-damages-"))
    stack = contextlib.ExitStack()
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    atexit.register(stack.close)
    url = stack.enter_context(served(Endpoint()))
    models = {"policy": {"engine": "openai", "model": "scripted", "base_url": url}}
    steps = [
        {"source.scenes": {"n": SAMPLES, "seed": 1, "shares": {"image": 1}}},
        {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
    ]
    rated = [
        {"judge.pointwise": {"model": "policy", "media": False}},
        {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
    ]
    for name, more in (("recipe", rated), ("people", [{"judge.people": {}}, "score.consensus", "pair.judged"])):
        (top / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "models": models, "steps": [*steps, *more]}))
    row = {"prompt": [{"role": "user", "content": "Why?"}], "chosen": [{"role": "assistant", "content": "Because."}],
           "rejected": [{"role": "assistant", "content": "No."}]}  # fmt: skip
    (top / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    place = Place(top)
    assert ran(place, COMMANDS["build"](place)).code == 0
    ran(place, ["build", top / "people.yaml", *place.where("people")])  # asks for a server, which is not there
    assert (top / "people" / "people").exists()
    return top, place.dataset()


def copied(folder: Path) -> Place:
    """A copy of the base, whose runs know where they are now."""
    top, _ = base()
    shutil.copytree(top, folder, dirs_exist_ok=True)
    for path in folder.glob("*/run.json"):
        shards.write_json(path, shards.read_json(path) | {"cache": str(folder / "cache")})
    return Place(folder)


# running -----------------------------------------------------------------------------------------------------------------


@lru_cache
def _hub() -> Hub:
    hub = Hub()
    atexit.register(hub.close)
    return hub


def environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("LABEL_STUDIO", "PAIRWRIGHT", "HF_"))}
    return kept | {
        "HF_ENDPOINT": _hub().url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "COLUMNS": "200", "PYTHONPATH": str(ROOT),
    }  # fmt: skip


@lru_cache
def _runner() -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.damages"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    return process


def ran(place: Place, words: list[Any]) -> Said:
    """What the command says and how it ends."""
    process = _runner()
    with tempfile.TemporaryDirectory(prefix="faults-said-") as said:
        order = {
            "words": [str(w) for w in words],
            "said": said,
            "folder": str(place.top),
            "environment": place.environment,
        }
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return Said(code, *(Path(said, name).read_text(errors="replace") for name in ("out", "err")))


def _serve() -> None:
    """Runs each command that is asked for in a fork, and says its exit code."""
    from flows import cli
    from pipeline.dataset import card, hub, write  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        if (child := os.fork()) == 0:
            for number, name in enumerate((os.devnull, f"{order['said']}/out", f"{order['said']}/err")):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
            os.environ |= order["environment"]
            tempfile.tempdir = None
            os.chdir(order["folder"])
            sys.argv = ["pairwright", *order["words"]]
            sys.exit(cli.main())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


# damages -----------------------------------------------------------------------------------------------------------------


class Damage(NamedTuple):
    name: str
    do: Callable[[Place, random.Random], Any]  # may be a context manager, which is the damage as long as it is open
    says: str  # in the line of who meets it: a pattern
    codes: tuple[int, ...] = (1,)
    heals: bool = True  # the same build makes the run whole again; else the file has to be given back
    kept: str | None = None  # what no command may change: a pattern of files


def _break(path: Path, dice: random.Random) -> None:
    """Makes of a file something else: empty, cut, garbage, JSON of another kind."""
    data = path.read_bytes()
    kinds = [
        b"",
        data[: len(data) // 2],
        dice.randbytes(200),
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"{}",
        b"{" * 2000,
        b"\xff\xfe{}",
    ]
    path.write_bytes(dice.choice(kinds))


def _note(pattern: str) -> Callable[[Place, random.Random], None]:
    def do(place: Place, dice: random.Random) -> None:
        for path in place.top.glob(pattern):
            _break(path, dice)

    return do


def _pipe(place: Place, dice: random.Random) -> None:
    """A pipe, which nobody writes into, or a device without end in place of one file of a run."""
    names = [
        "passes/*/done.json",
        "passes/*/*/record.json",
        "passes/*/*/samples.arrow",
        "steps/*/done.json",
        "dataset/.manifest.json",
    ]
    (path, *_) = place.run.glob(dice.choice(names))
    path.unlink()
    dice.choice((os.mkfifo, lambda path: path.symlink_to("/dev/zero")))(path)


def _crashes(place: Place, dice: random.Random) -> None:
    (place.run / "crashes.json").write_bytes(b"{}")
    _break(place.run / "crashes.json", dice)


def _newer(place: Place, dice: random.Random) -> None:
    for path in place.top.glob("*/run.json"):
        found = (
            {"version": dice.randint(3, 99), "everything": "else"}
            if dice.random() < 0.5
            else shards.read_json(path) | {"version": 3}
        )
        path.write_text(dice.choice((json.dumps, checksum.to_checked_json))(found))


def _newer_rows(place: Place, dice: random.Random) -> None:
    """Rows that a newer version left, with all its checksums in order."""
    for path in place.top.glob("run/passes/*/*/samples.arrow"):
        with pa.OSFile(str(path)) as source, ipc.open_file(source) as reader:
            table = reader.read_all()
        table = table.replace_schema_metadata({**table.schema.metadata, b"version": b"99"})
        with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        record = shards.read_json(path.with_name("record.json"))
        files = checksum.file_checksums(path.parent, [p.name for p in path.parent.glob("*.arrow")])
        path.with_name("record.json").write_text(checksum.to_checked_json(record | {"files": files}))


def _rows(place: Place, dice: random.Random) -> None:
    """Shards that are cut, empty, garbage, a folder or not there."""
    for path in place.top.glob("*/passes/*/*/*.arrow"):
        data = path.read_bytes()
        path.unlink()
        match dice.choice(("cut", "empty", "garbage", "folder", "gone")):
            case "cut":
                path.write_bytes(data[: dice.randrange(len(data))])
            case "empty":
                path.touch()
            case "garbage":
                path.write_bytes(dice.randbytes(len(data)))
            case "folder":
                path.mkdir()


def _dataset(place: Place, dice: random.Random) -> None:
    paths = list((place.run / "dataset").rglob("*.parquet"))
    for path in paths:
        path.write_bytes(dice.choice((b"", path.read_bytes()[:-10], b"garbage" * 100)))


def _gone(name: str) -> Callable[[Place, random.Random], None]:
    return lambda place, dice: shutil.rmtree(place.top / name)


def _sqlite(name: str) -> Callable[[Place, random.Random], None]:
    """A damaged SQLite file: garbage, cut, or a folder in its place."""

    def do(place: Place, dice: random.Random) -> None:
        path = place.top / name
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
        data = path.read_bytes()
        path.unlink()
        match dice.choice(("garbage", "header", "cut", "folder")):
            case "garbage":
                path.write_bytes(dice.randbytes(5000))
            case "header":
                path.write_bytes(b"garbage" + data[7:])
            case "cut":
                path.write_bytes(data[:150])
            case "folder":
                path.mkdir()

    return do


def _impossible(place: Place, dice: random.Random) -> Path:
    """Somewhere where no folder can be."""
    (place.top / "dangling").symlink_to("/nowhere/else")
    (place.top / "loop").symlink_to(place.top / "loop")
    (place.top / "file").touch()
    return dice.choice([
        Path("/proc/x"), Path("/dev/null"), Path("/dev/null/x"), place.top / "file", place.top / "file" / "x", place.top / ("x" * 300),
        place.top / "dangling", place.top / "dangling" / "x", place.top / "loop", place.top / "loop" / "x", place.top / "\udcff\n" / ("y" * 300),
    ])  # fmt: skip


def _no_out(place: Place, dice: random.Random) -> None:
    place.out = _impossible(place, dice)


def _no_folder(place: Place, dice: random.Random) -> None:
    place.named = _impossible(place, dice)


def _no_cache(place: Place, dice: random.Random) -> None:
    shutil.rmtree(place.top / "cache")  # else the run's own is meant
    place.cache = _impossible(place, dice)


@contextlib.contextmanager
def _disk(place: Place, options: str) -> Iterator[None]:
    """The place on a disk of its own."""
    beside = place.top.with_name(f"{place.top.name}.was")
    place.top.rename(beside)
    place.top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place.top], check=True)
    try:
        shutil.copytree(beside, place.top, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", place.top], check=True)
        place.top.rmdir()
        beside.rename(place.top)


@contextlib.contextmanager
def _full(place: Place, dice: random.Random) -> Iterator[None]:
    """Not a byte is left."""
    with _disk(place, "size=8m"):
        with contextlib.suppress(OSError), (place.top / "ballast").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield


@contextlib.contextmanager
def _read_only(place: Place, dice: random.Random) -> Iterator[None]:
    with _disk(place, "size=64m"):
        subprocess.run(["mount", "-o", "remount,ro", place.top], check=True)
        yield


def _recipe(place: Place, dice: random.Random) -> None:
    """A recipe that cannot be read, or says more than any recipe does."""
    text = place.recipe.read_text()
    place.recipe.unlink()
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    if dice.random() < 0.1:
        place.recipe.mkdir()
        return
    said = [
        ("# é\n" + text).encode("latin-1"), text.encode("utf-16"), text.encode("utf-32"), b"", b"\x00" * 100, bomb.encode(), b"a: &a [*a]", b"[" * 5000,
        text.replace("  ", "\t").encode(), (text + "\nabout: 2026-01-01").encode(), (text + "\n1: x").encode(), (text + '\nabout: "\\ud800"').encode(),
        (text + "\nabout: " + "9" * 5000).encode(), (text + "\nabout: .nan").encode(), b"- a", b"text", dice.randbytes(500),
    ]  # fmt: skip
    place.recipe.write_bytes(dice.choice(said))


def _prompt(place: Place, dice: random.Random) -> None:
    """A prompt file in another encoding, not there, or a folder."""
    path = place.top / "prompt.txt"
    match dice.choice(("latin", "utf-16", "gone", "folder", "long")):
        case "latin":
            path.write_bytes("Wie gut ist das? Für wen?".encode("latin-1"))
        case "utf-16":
            path.write_bytes("How good?".encode("utf-16"))
        case "folder":
            path.mkdir()
        case "long":
            path = place.top / ("prompt" * 60)
    document = yaml.safe_load(place.recipe.read_text())
    document["steps"][2]["judge.pointwise"]["prompt"] = str(path)
    place.recipe.write_text(yaml.safe_dump(document))


BUILD = r"run the same `pairwright build` again|cached answers are kept"
DAMAGES = [
    Damage("a broken run.json", _note("*/run.json"), rf"run\.json .*({BUILD})", heals=False),
    Damage("a broken done.json of a pass", _note("*/passes/*/done.json"), rf"done\.json .*({BUILD})|never finished"),
    Damage("a broken done.json of the dataset", _note("*/steps/*/done.json"), rf"done\.json .*({BUILD})|never finished"),
    Damage("a broken record.json", _note("*/passes/*/*/record.json"), rf"record\.json .*({BUILD})"),
    Damage("a pipe or device in place of a file", _pipe, rf"(json|arrow).*({BUILD})|never finished"),
    Damage("a broken engines.json", _note("*/engines.json"), rf"engines\.json .*({BUILD})"),
    Damage("a broken crashes.json", _crashes, rf"crashes\.json .*({BUILD})"),
    Damage("a broken summary.json", _note("*/summary.json"), rf"summary\.json .*({BUILD})"),
    Damage("a newer version's folder", _newer, r"newer Pairwright.*; update Pairwright", (2,), False, "*/run.json"),
    Damage("a newer version's rows", _newer_rows, r"newer Pairwright.*; update Pairwright", (2,), False, "run/passes/*/*/*"),
    Damage("broken rows", _rows, rf"passes.*({BUILD})"),
    Damage("a broken dataset", _dataset, rf"dataset.*({BUILD})"),
    Damage("a deleted dataset", _gone("run/dataset"), r"dataset.*pairwright build"),
    Damage("a deleted cache", _gone("cache"), r"cache"),
    Damage("damaged answers", _sqlite("cache/answers.sqlite"), r"answers\.sqlite: .*(; move it away|; check that|; restore it)", heals=False),
    Damage("a damaged index of media", _sqlite("cache/media/index.sqlite"), r"media.*(;|:)", heals=False),
    Damage("an impossible --out", _no_out, r"--out", (2,)),
    Damage("an impossible folder, model or file", _no_folder, r"(/proc|/dev|/file|/xxx|dangling|loop|/yyy|udcff).*[:;,]", (1, 2)),
    Damage("an impossible --cache", _no_cache, r"--cache", (2,)),
    Damage("a full disk", _full, r"its disk is full[;)]|cannot be opened or created; check", (1,)),
    Damage("a read-only disk", _read_only, r"read-only|cannot be written|cannot write to|cannot be opened or created", (1, 2)),
    Damage("an unreadable recipe", _recipe, r"recipe", (2,), False),
    Damage("an unreadable prompt file", _prompt, r"prompt", (2,), False),
]  # fmt: skip


@lru_cache
def _undamaged(command: str) -> list[str]:
    """What the command has to say where all is well: of a server or a model that is not there."""
    with tempfile.TemporaryDirectory() as folder:
        place = copied(Path(folder) / "place")
        return [line.replace(str(place.top), "") for line in ran(place, COMMANDS[command](place)).errors]


def _try(damage: Damage, dice: random.Random, folder: Path, command: str) -> bool:
    """Runs one command on a damaged place; whether the command met the damage."""
    place = copied(folder / "place")
    with contextlib.ExitStack() as stack:
        if hasattr(done := damage.do(place, dice), "__enter__"):
            stack.enter_context(done)
        before = (
            {path: path.read_bytes() for path in place.top.glob(damage.kept) if path.is_file()} if damage.kept else {}
        )
        said = ran(place, COMMANDS[command](place))
        told = f"{command} with {damage.name}: {said}"
        assert not re.search(r"Traceback|unexpected:|╭|Exception ignored", said.out + said.err), told
        assert all(path.read_bytes() == data for path, data in before.items()), told
    met = [line.replace(str(place.top), "") for line in said.errors] not in ([], _undamaged(command))
    if met:
        assert len(said.errors) == 1, told
        assert said.code in damage.codes, told
        assert re.search(damage.says, said.errors[0]), told
    if command != "verify":  # which says what it finds on its pages
        assert bool(said.errors) == (said.code != 0), told
    if not damage.heals:
        shutil.rmtree(place.top)
        place = copied(place.top)  # the file was given back
    place.out = place.cache = place.named = None
    again = ran(place, COMMANDS["build"](place))
    assert again.code == 0, f"after {told}: {again}"
    assert place.dataset() == base()[1], f"after {told}: {again}"
    shutil.rmtree(place.top)
    return met


def _tried(damage: Damage) -> Callable[[random.Random, Path], None]:
    turns: list[str] = []

    def trial(dice: random.Random, folder: Path) -> None:
        if not turns:  # each command once, in an order of the damage's own
            turns.extend(random.Random(damage.name).sample(sorted(COMMANDS), len(COMMANDS)))
        _try(damage, dice, folder, turns.pop())

    return trial


# what is not a damage of a file --------------------------------------------------------------------------------------------

HTML = b"<!DOCTYPE html><html><body><h1>Something is here</h1></body></html>"
ANSWERS = [  # of the Hub
    (502, HTML, {"content_type": "text/html"}), (413, b"too large", {}), (200, HTML, {"content_type": "text/html"}), (200, b"[]", {}), (200, b"7", {}),
    (200, b"", {}), (400, b'{"error": "no\\nsuch\\nlicence"}', {}), (401, b"", {}), (403, b"{}", {}), (404, HTML, {}), (302, b"", {"location": "/login"}),
    (307, b"", {"location": "http://127.0.0.1:9/"}), (301, b"", {}), (500, b"{", {}), (418, HTML, {}), (429, b"", {}), (200, b'{"url": {"a": 1}}', {}),
]  # fmt: skip
ROUTES = (
    "repos/create",
    "validate-yaml",
    "GET /api/datasets",
    "preupload",
    "objects/batch",
    "PUT /lfs",
    "/commit/",
    "",
)


def _answered(dice: random.Random, folder: Path) -> None:
    place, hub = copied(folder / "place"), _hub()
    answer, route = dice.choice(ANSWERS), dice.choice(ROUTES)
    hub.repos.clear(), hub.blobs.clear()
    hub.failing = {route: [answer] * 100}
    try:
        said = ran(place, COMMANDS["export"](place))
    finally:
        hub.failing = {}
    told = f"{answer} to {route}: {said}"
    assert "Traceback" not in said.out + said.err, told
    assert "unexpected" not in said.err, told
    assert TOKEN not in said.err, told
    if said.code:
        assert len(said.errors) == 1, told
        assert len(said.err.strip().splitlines()) == 1, told
        assert re.search(
            "cannot push to tester/pairs on the Hub: .*(check|correct|set|later|smaller)", said.errors[0]
        ), told
    hub.repos.clear()
    assert ran(place, COMMANDS["export"](place)).code == 0, told


def _refused_card(dice: random.Random, folder: Path) -> None:
    place, hub = copied(folder / "place"), _hub()
    errors = [{"message": dice.choice(('"license" must be one of [apache-2.0, mit]', "a\nb\n\nc", '"x"' * 500))}]
    hub.failing = {"validate-yaml": [(400, json.dumps({"errors": errors, "warnings": []}).encode(), {})]}
    try:
        said = ran(place, COMMANDS["export"](place))
    finally:
        hub.failing = {}
    assert (said.code, len(said.err.splitlines())) == (1, 1), said
    assert re.search(r"rejects the dataset card \(.*README\.md", said.err), said


def _heed_signals() -> None:
    """Whoever runs the tests may ignore signals, as nohup and background jobs do, and children inherit that."""
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, signal.SIG_DFL)


def _stopped(dice: random.Random, folder: Path) -> None:
    """A signal, and perhaps a second and third at once, at some moment of a build."""
    place = copied(folder / "place")
    endpoint = Endpoint(delay=0.1)
    with served(endpoint) as url:
        document = yaml.safe_load(place.recipe.read_text())
        document["models"]["policy"] |= {"base_url": url, "slots": 2}
        place.recipe.write_text(yaml.safe_dump(document))
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "build",
            place.recipe,
            "--out",
            place.top / "new",
            "--cache",
            place.top / "cache-new",
        ]
        with (place.top / "said").open("w+") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd=ROOT, env=environment(), preexec_fn=_heed_signals
            )
            moment = dice.randrange(1, 2 * SAMPLES)
            while process.poll() is None and sum(endpoint.questions.values()) < moment:
                time.sleep(0.005)
            which, again = dice.choice(
                [(signal.SIGINT, 2), (signal.SIGINT, 3), (signal.SIGTERM, 1), (signal.SIGHUP, 1), (signal.SIGTERM, 2)]
            )
            for _ in range(again):
                process.send_signal(which)
                time.sleep(dice.choice((0, 0.001, 0.02, 0.2)))
            code = process.wait(60)
            said.seek(0)
            text = said.read()
        told = f"{which!r} {again} times after {moment} questions: {code} {text}"
        assert code == 128 + which, told
        assert text.count(STOPPED) == 1, told
        assert not re.search("Traceback|unexpected|Exception ignored|never retrieved", text), told
        out = place.top / "new"
        again = ran(place, ["build", place.recipe, "--out", out, "--cache", place.top / "cache-new"])
        assert again.code == 0, f"{told}, then {again}"
        found = {str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*.parquet")}
        assert found.keys() == base()[1].keys(), told


def _filling(dice: random.Random, folder: Path) -> None:
    """A disk that fills up at some moment of a build."""
    place = copied(folder / "place")
    shutil.rmtree(place.run)
    shutil.rmtree(place.top / "cache" / "media")
    shutil.rmtree(place.top / "people")
    with _disk(place, "size=1m"):
        room = dice.randrange(0, 600) << 10
        with contextlib.suppress(OSError), (place.top / "ballast").open("wb", buffering=0) as file:
            while shutil.disk_usage(place.top).free > room and file.write(bytes(4096)):
                pass
        said = ran(place, COMMANDS["build"](place))
        told = f"with {room:,} bytes: {said}"
        assert not re.search("Traceback|unexpected|Exception ignored", said.err), told
        assert said.code in (0, 1), told
        if said.code:
            assert len(said.errors) == 1, told
            assert re.search(r"disk is full[;)]|cannot be opened or created; check", said.errors[0]), told
        subprocess.run(["mount", "-o", "remount,size=64m", place.top], check=True)
        assert ran(place, COMMANDS["build"](place)).code == 0, told
        assert place.dataset() == base()[1], told


def _streams(dice: random.Random, folder: Path) -> None:
    """Standard streams that are closed, full, or that nobody reads."""
    place = copied(folder / "place")
    name = dice.choice(["show", "verify", "recipes", "build", "estimate", "annotate status"])
    words = " ".join(map(str, COMMANDS[name](place)))
    end = dice.choice(
        ["| head -1", "2>&1 | head -1", ">&-", "2>&-", "<&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full", "| true"]
    )
    script = f"{sys.executable} -m flows.cli {words} {end}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=120
    )
    said = done.stdout + done.stderr
    assert not re.search("Traceback|unexpected|Exception ignored|BrokenPipe", said), f"{name} {end}: {said}"
    code = int(done.stdout.split()[-1])
    assert code in ((0,) if "&-" in end else (0, 1, 141)), f"{name} {end}: {said}"
    assert ran(place, COMMANDS["build"](place)).code == 0
    assert place.dataset() == base()[1]


LINE = "one line with the file and the remedy; then the same dataset"
FAULTS = [
    *(Fault("damages", d.name, LINE, _tried(d), len(COMMANDS)) for d in DAMAGES),
    Fault("disks", "a disk that fills up in a build", LINE, _filling, 21, 2),
    Fault(
        "signals",
        "Ctrl-C two and three times, SIGTERM, SIGHUP",
        "one line, 130, 143 or 129; then the complete dataset",
        _stopped,
        20,
        1,
    ),
    Fault(
        "signals", "standard streams closed, full or not read", "no traceback; then the same dataset", _streams, 20, 1
    ),
    Fault(
        "the Hub",
        "web pages, refusals and redirects instead of replies",
        "one line with the remedy; then the dataset is accepted",
        _answered,
        40,
        2,
    ),
    Fault("the Hub", "a refused card", "one line with the Hub's message and the file", _refused_card, 3, 1),
]

if __name__ == "__main__":
    _serve()
