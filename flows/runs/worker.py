"""The process that does units which hold a model. It keeps the engines it has loaded.

    python -m flows.runs.worker FOLDER

It reads the recipe from standard input (the folder's copy may lack secrets), then names of units. It reports progress as JSON lines on
standard output and writes everything else to FOLDER/logs/UNIT.log. It ends when its standard input closes, so that a killed parent leaves
no orphan."""

import contextlib
import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TextIO

from flows.runs import engine_host, executor
from flows.runs.crash_log import Crashes
from flows.runs.folder import disk_errors_translated
from flows.runs.memory_watchdog import RestartWorker
from flows.runs.supervisor import RESTART_REQUESTED, log_of
from pipeline.storage import in_flight
from schemas.errors import PairwrightError
from schemas.redact import clean


def main(folder: Path) -> int:
    """Does the requested units until standard input closes or one fails; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this process
    say = _only_json()
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()

    def report(unit: str, done: int, total: int | None, text: str, used: dict) -> None:
        say({"done": done, "total": total, "text": text, "used": used})

    raw = json.loads(orders.get())
    run = host = None
    while True:
        name = orders.get()
        try:
            with disk_errors_translated(folder):
                _log_to(log_of(folder, name))
                if run is None or host is None:
                    run, crashes = executor.reopen(folder, report, raw), Crashes(folder)
                    notes = in_flight.Journal(folder / "in_flight", crashes.suspects, crashes.culprits)
                    host = engine_host.EngineHost(run.cache, notes, max(step.longest for step in run.recipe.steps))
            with disk_errors_translated(folder, run.cache):
                run.work(next(u for u in run.units if u.name == name), host)
            say({"finished": name})
        except RestartWorker as why:
            say({"afresh": str(why)})
            return RESTART_REQUESTED
        except PairwrightError as error:
            say({"error": error.kind, "message": str(error)})
            _trace()
            return 1
        except Exception as error:  # noqa: BLE001 - the boundary of the process: reported to the parent
            message = f"{name}: {type(error).__name__}: {error} (details in {log_of(folder, name)})"
            say({"error": "RunError", "message": message})
            _trace()
            return 1


def _trace() -> None:
    """Writes the traceback to the log, unless the disk is full."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _only_json():
    """Reserves the real standard output for progress; other output goes to the log."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda message: out.write(json.dumps(message) + "\n")  # in one piece, as two threads report


def _log_to(log: Path) -> None:
    """Redirects standard output and error to this file; secrets are removed from what Python writes."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    if not isinstance(sys.stderr, _Cleaned):
        sys.stdout, sys.stderr = _Cleaned(sys.stdout), _Cleaned(sys.stderr)


class _Cleaned(io.TextIOBase):
    """A text stream that forwards whole lines, without secrets."""

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
        """Does nothing: what is left is an incomplete line."""

    @property
    def buffer(self):
        return self._inner.buffer

    def fileno(self) -> int:
        return self._inner.fileno()

    def isatty(self) -> bool:
        return False


def _listen(orders: queue.SimpleQueue) -> None:
    rest = b""
    while read := os.read(0, 1024):  # not sys.stdin: its lock would delay the interpreter's exit
        *names, rest = (rest + read).split(b"\n")
        for name in names:
            orders.put(name.decode())
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
