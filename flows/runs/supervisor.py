"""Units that hold a model run in a process of their own (worker.py), so that a crash of an engine is one restart, resumed from the cache."""

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
RESTARTS = 3  # times it is started again after a crash: two make a request suspected, at the third it is known
CULPRITS = 5  # requests of one unit that may be found to crash an engine; with more, the engine is to blame
AFRESH = 75  # its exit code when another should go on


class Supervisor:
    """Starts a worker when it is needed, tells it what to do, and starts another after a crash."""

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
            if found := crashes.note(in_flight.in_flight(notes)):
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
            orders, reports = _pipes(self._process)
            with contextlib.suppress(BrokenPipeError):
                orders.close()
            self._process.wait()
            reports.close()
            self._process = None

    def _once(self, unit) -> int | None:
        """None when the unit is done, else the code with which the process ended."""
        process = self._process or self._start(unit)
        orders, reports = _pipes(process)
        error = afresh = None
        try:
            orders.write(f"{unit.name}\n".encode())
            orders.flush()
            for line in reports:
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
        log = log_of(self._run.folder, unit.name)
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.runs.worker", str(self._run.folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, env=env,
                pass_fds=(lock.fileno(),) if lock is not None else (),
            )  # fmt: skip
        with contextlib.suppress(BrokenPipeError):  # it died at once: the unit's name tells
            _pipes(self._process)[0].write(json.dumps(self._run.raw).encode() + b"\n")
        return self._process

    def _died(self, unit, code: int) -> str:
        log = log_of(self._run.folder, unit.name)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = lines[-1][:300] if lines else "(empty)"
        return f"{unit.name}: its process died again and again (code {code}); the end of its log: {said} ({log})"


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """What a worker is told its units by, and what it says by."""
    assert process.stdin is not None  # `_start` asks for both
    assert process.stdout is not None
    return process.stdin, process.stdout


def log_of(folder: Path, unit: str) -> Path:
    """Where a unit's process writes what it says."""
    return folder / "logs" / f"{unit}.log"
