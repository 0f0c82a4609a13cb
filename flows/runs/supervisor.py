"""Runs units that hold a model in a process of their own (worker.py), so that an engine crash costs one restart, resumed from the cache."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from flows.runs.crash_log import Crashes
from pipeline.storage import in_flight
from schemas import errors
from schemas.errors import EngineError, RunError

ROOT = Path(__file__).resolve().parents[2]
RESTARTS = 3  # restarts after crashes without a culprit: two crashes make a request a suspect, a third confirms it
CULPRITS = 5  # at most five requests per unit are blacklisted as crashing; with more, the engine is to blame
RESTART_REQUESTED = 75  # exit code of a worker that asks for a restart


class Supervisor:
    """Starts a worker when needed, sends it units, and restarts it after a crash."""

    def __init__(self, run):
        """`run`: the run whose units it does; the worker inherits its lock. No process is started yet."""
        self._run = run
        self._process: subprocess.Popen | None = None

    def complete(self, unit) -> None:
        """Completes a unit, restarting the worker after crashes. Raises the worker's error, or EngineError if it crashed too often; in both
        cases the process has ended."""
        crashes = Crashes(self._run.folder)
        restarts = culprits = 0
        while (code := self._once(unit)) is not None:
            if code == RESTART_REQUESTED:
                continue
            notes = self._run.folder / "in_flight"
            if found := crashes.note(in_flight.in_flight(notes)):
                culprits, restarts = culprits + 1, 0
            else:
                restarts += 1
            notes.unlink(missing_ok=True)
            if restarts > RESTARTS or culprits > CULPRITS:
                crashes.forget()
                raise EngineError(self._died(unit, code))
            without = ", without the request that crashes it" if found else ""
            text = f"its process ended with exit code {code}; restarting it from the cache{without}"
            self._run.report(unit.name, 0, None, text, {})

    def end(self) -> None:
        """Ends the worker, which must be between units, and frees its memory."""
        if self._process:
            orders, reports = _pipes(self._process)
            with contextlib.suppress(BrokenPipeError):
                orders.close()
            self._process.wait()
            reports.close()
            self._process = None

    def _once(self, unit) -> int | None:
        """None if the unit is done, else the exit code of the worker."""
        process = self._process or self._start(unit)
        orders, reports = _pipes(process)
        error = restart = None
        try:
            orders.write(f"{unit.name}\n".encode())
            orders.flush()
            for line in reports:
                message = json.loads(line)
                if "finished" in message:
                    return None
                if "error" in message:
                    error = getattr(errors, message["error"], RunError)(message["message"])
                elif restart := message.get("afresh"):
                    self._run.report(unit.name, 0, None, f"{restart}; continuing in a new process", {})
                else:
                    self._run.report(unit.name, message["done"], message["total"], message["text"], message["used"])
        except BrokenPipeError:  # it died while idle
            pass
        except BaseException:
            process.kill()
            self.end()
            raise
        code = process.wait()
        self.end()
        if error is not None:
            raise error
        return RESTART_REQUESTED if restart else code

    def _start(self, unit) -> subprocess.Popen:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        env.setdefault("OMP_NUM_THREADS", "1")  # more threads than free cores make small models ten times slower
        env.setdefault("TOKENIZERS_PARALLELISM", "false")
        lock = self._run.lock
        log = log_of(self._run.folder, unit.name)
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.runs.worker", str(self._run.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, env=env,
                pass_fds=(lock.fileno(),) if lock is not None else (),
            )  # fmt: skip
        with contextlib.suppress(BrokenPipeError):  # it died at once: sending the unit will fail too, and is handled
            _pipes(self._process)[0].write(json.dumps(self._run.raw).encode() + b"\n")
        return self._process

    def _died(self, unit, code: int) -> str:
        log = log_of(self._run.folder, unit.name)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:300] if lines else "(empty)"
        return f"{unit.name}: its process crashed repeatedly (exit code {code}); last line of its log: {last} ({log})"


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """The worker's standard input and output."""
    assert process.stdin is not None  # `_start` asks for both
    assert process.stdout is not None
    return process.stdin, process.stdout


def log_of(folder: Path, unit: str) -> Path:
    """The log file of a unit's process."""
    return folder / "logs" / f"{unit}.log"
