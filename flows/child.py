"""A unit in a process of its own, so that a crash of an engine is one restart, resumed from the cache.

    python -m flows.child FOLDER UNIT

The child says how far it is in JSON lines on its standard output, writes everything else to FOLDER/logs/UNIT.log, and
ends when its standard input closes: a parent that is killed leaves no orphan behind."""

import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

from schemas import errors
from schemas.errors import EngineError, PairwrightError, RunError

ROOT = Path(__file__).resolve().parents[1]


def run(run, unit, restarts: int) -> None:
    """Runs the unit in a child, again after a crash; raises what the child raised, EngineError when it crashed too often."""
    log = run.folder / "logs" / f"{unit.name}.log"
    log.parent.mkdir(exist_ok=True)
    for _ in range(restarts + 1):
        code, error = _once(run, unit, log)
        if error is not None:
            raise error
        if code == 0:
            return
        run.report(unit.name, 0, None, f"its process ended with code {code}; starting it again from the cache", {})
    raise EngineError(
        f"{unit.name}: its process died {restarts + 1} times (code {code}); the end of its log: {_tail(log)} ({log})"
    )


def _once(run, unit, log: Path) -> tuple[int, PairwrightError | None]:
    env = {
        **os.environ,
        "PAIRWRIGHT_UNIT": unit.name,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    env.setdefault("OMP_NUM_THREADS", "1")  # more threads than free cores make small models ten times slower
    env.setdefault("TOKENIZERS_PARALLELISM", "false")
    fds = (run.lock.fileno(),) if run.lock is not None else ()
    with log.open("ab") as sink, subprocess.Popen(
        [sys.executable, "-m", "flows.child", str(run.folder), unit.name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, env=env, pass_fds=fds,
    ) as child:  # fmt: skip
        error = None
        try:
            for line in child.stdout or ():
                said = json.loads(line)
                if "error" in said:
                    error = getattr(errors, said["error"], RunError)(said["message"])
                else:
                    run.report(unit.name, said["done"], said["total"], said["text"], said["used"])
        except BaseException:
            child.kill()
            raise
        return child.wait(), error


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "(empty)"


def main(folder: str, name: str) -> int:
    from flows import execute

    say = _only_json()
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(unit: str, done: int, total: int | None, text: str, used: dict) -> None:
        say({"done": done, "total": total, "text": text, "used": used})

    try:
        run = execute.reopen(Path(folder), report)
        run.work(next(u for u in run.units if u.name == name))
    except PairwrightError as error:
        say({"error": type(error).__name__, "message": str(error)})
        traceback.print_exc()
    except Exception as error:  # noqa: BLE001 - the boundary of the process: the parent is told
        say(
            {
                "error": "RunError",
                "message": f"{name}: {type(error).__name__}: {error} (more in {folder}/logs/{name}.log)",
            }
        )
        traceback.print_exc()
    else:
        return 0
    return 1


def _only_json():
    """Keeps the real standard output for progress; whatever else prints goes to the log."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda said: print(json.dumps(said), file=out)


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would hold up the interpreter's own end
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
