"""A process for the units that hold a model, so that a crash of an engine is one restart, resumed from the cache.

    python -m flows.child FOLDER

It does one unit after another and keeps the engines that they loaded. It reads the recipe from its standard input (that in the folder
may lack secrets) and then the names of units,
says in JSON lines on its standard output how far it is, and writes everything else to FOLDER/logs/UNIT.log. It ends when
its standard input closes: a parent that is killed leaves no orphan behind."""

import contextlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import TextIO

from flows.crashes import Crashes
from flows.folder import at_work
from flows.watchdog import Afresh
from pipeline import journal
from schemas import errors
from schemas.errors import EngineError, PairwrightError, RunError
from schemas.redact import clean

ROOT = Path(__file__).resolve().parents[1]
RESTARTS = 3  # times it is started again after a crash: two make a request suspected, at the third it is known
CULPRITS = 5  # requests of one unit that may be found to crash an engine; with more, the engine is to blame
AFRESH = 75  # its exit code when another should go on


class Child:
    """The parent's end of it."""

    def __init__(self, run):
        """Starts nothing yet. `run`: whose units it does; its lock goes to the process too."""
        self._run = run
        self._process: subprocess.Popen | None = None

    def do(self, unit) -> None:
        """Brings a unit to its end, with another process after a crash. Raises what the child raised, and EngineError when
        it crashed too often; neither leaves a process."""
        crashes = Crashes(self._run.folder)
        restarts = culprits = 0
        while (code := self._once(unit)) is not None:
            if code == AFRESH:
                continue
            notes = self._run.folder / "in_flight"
            if found := crashes.note(journal.in_flight(notes)):
                culprits, restarts = culprits + 1, 0
            else:
                restarts += 1
            notes.unlink(missing_ok=True)
            if restarts > RESTARTS or culprits > CULPRITS:
                crashes.forget()
                raise EngineError(self._died(unit, code))
            without = ", without the request that crashes it" if found else ""
            said = f"its process ended with code {code}; starting it again from the cache{without}"
            self._run.report(unit.name, 0, None, said, {})

    def end(self) -> None:
        """Ends the process, which is between units, and frees what it loaded."""
        if self._process:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _once(self, unit) -> int | None:
        """None when the unit is done, else the code with which the process ended."""
        process = self._process or self._start(unit)
        error = afresh = None
        try:
            process.stdin.write(f"{unit.name}\n".encode())
            process.stdin.flush()
            for line in process.stdout or ():
                said = json.loads(line)
                if "finished" in said:
                    return None
                if "error" in said:
                    error = getattr(errors, said["error"], RunError)(said["message"])
                elif afresh := said.get("afresh"):
                    self._run.report(unit.name, 0, None, f"{afresh}; going on in a new process", {})
                else:
                    self._run.report(unit.name, said["done"], said["total"], said["text"], said["used"])
        except BrokenPipeError:  # it died while it waited
            pass
        except BaseException:
            process.kill()
            self.end()
            raise
        code = process.wait()
        self.end()
        if error is not None:
            raise error
        return AFRESH if afresh else code

    def _start(self, unit) -> subprocess.Popen:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        env.setdefault("OMP_NUM_THREADS", "1")  # more threads than free cores make small models ten times slower
        env.setdefault("TOKENIZERS_PARALLELISM", "false")
        lock = self._run.lock
        log = _log(self._run.folder, unit.name)
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.child", str(self._run.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, env=env,
                pass_fds=(lock.fileno(),) if lock is not None else (),
            )  # fmt: skip
        with contextlib.suppress(BrokenPipeError):  # it died at once: the unit's name tells
            self._process.stdin.write(json.dumps(self._run.raw).encode() + b"\n")
        return self._process

    def _died(self, unit, code: int) -> str:
        log = _log(self._run.folder, unit.name)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = lines[-1][:300] if lines else "(empty)"
        return f"{unit.name}: its process died again and again (code {code}); the end of its log: {said} ({log})"


def _log(folder: Path, unit: str) -> Path:
    return folder / "logs" / f"{unit}.log"


def main(folder: Path) -> int:
    """The child's end: does what it is told until it is told no more."""
    from flows import execute, host

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the run, whose end ends this process
    say = _only_json()
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()

    def report(unit: str, done: int, total: int | None, text: str, used: dict) -> None:
        say({"done": done, "total": total, "text": text, "used": used})

    raw = json.loads(orders.get())
    run = here = None
    while True:
        name = orders.get()
        try:
            with at_work(folder):
                _log_to(_log(folder, name))
                if run is None or here is None:
                    run, crashes = execute.reopen(folder, report, raw), Crashes(folder)
                    notes = journal.Journal(folder / "in_flight", crashes.suspects, crashes.culprits)
                    here = host.Host(run.cache, notes)
            with at_work(folder, run.cache):
                run.work(next(u for u in run.units if u.name == name), here)
            say({"finished": name})
        except Afresh as why:
            say({"afresh": str(why)})
            return AFRESH
        except PairwrightError as error:
            say({"error": error.kind, "message": str(error)})
            _trace()
            return 1
        except Exception as error:  # noqa: BLE001 - the boundary of the process: the parent is told
            said = f"{name}: {type(error).__name__}: {error} (more in {_log(folder, name)})"
            say({"error": "RunError", "message": said})
            _trace()
            return 1


def _trace() -> None:
    """The traceback, for the log; a disk that is full takes none."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _only_json():
    """Keeps the real standard output for progress; whatever else prints goes to the log."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda said: print(json.dumps(said), file=out)


def _log_to(log: Path) -> None:
    """From now on standard output and error are this file; what Python writes there holds no secrets."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    if not isinstance(sys.stderr, _Cleaned):
        sys.stdout, sys.stderr = _Cleaned(sys.stdout), _Cleaned(sys.stderr)


class _Cleaned(io.TextIOBase):
    """A text stream that passes on whole lines, without secrets."""

    encoding = "utf-8"

    def __init__(self, inner: TextIO):
        self._inner, self._line = inner, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._inner.write(clean("\n".join(lines)) + "\n")
            self._inner.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing: what is left is half a line."""

    @property
    def buffer(self):
        return self._inner.buffer

    def fileno(self) -> int:
        return self._inner.fileno()

    def isatty(self) -> bool:
        return False


def _listen(orders: queue.SimpleQueue) -> None:
    said = b""
    while read := os.read(0, 1024):  # not sys.stdin: its lock would hold up the interpreter's own end
        *names, said = (said + read).split(b"\n")
        for name in names:
            orders.put(name.decode())
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
