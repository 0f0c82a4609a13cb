"""Rules that an answer can make run for ever: equal formulas, a user's pattern, a user's JSON Schema.

They work in a process of their own, `python -m annotators.rules.sandbox`, which is ended when it takes too long: math-verify's
own limit is a signal, which works in a main thread only and cannot stop a computation in C. A request and an answer are a
line of JSON each."""

import atexit
import json
import os
import re
import resource
import select
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from annotators.rules.answers import Checked, final, unfit
from schemas.errors import NoVerdict, RowError, bad_row
from schemas.records import Outcome

SECONDS = 5  # of one answer
START = 120  # seconds until the process has imported what it needs
MEMORY = 2 << 30  # bytes of address space: 9**9**9 would take all there is
TAIL = 4000  # characters: the formula that counts stands at the end


def mathematics(text: str, answer: str) -> Checked:
    """Whether the last formula of the answer equals the known one, by math-verify (R1-V's accuracy reward); the known one may be
    LaTeX or plain."""
    import math_verify

    wanted = math_verify.parse(f"${answer.strip().strip('$')}$", parsing_timeout=None)
    if not wanted:
        raise unfit(answer, "is no formula that math-verify can read")
    said = (final(text)[0] or "")[-TAIL:]
    found = math_verify.parse(said, parsing_timeout=None) or math_verify.parse(f"${said}$", parsing_timeout=None)
    equal = bool(found) and math_verify.verify(wanted, found, timeout_seconds=None)
    return Checked(float(equal), str(found[-1])[:200] if found else None)


def pattern(text: str, regex: str) -> Checked:
    """Whether the whole answer has the form of a regular expression, `.` matching line ends too (the format reward of R1-V)."""
    return Checked(float(re.fullmatch(regex, text, re.DOTALL) is not None), None)


def schema(text: str, wanted: dict) -> Checked:
    """Whether the answer is JSON of a JSON Schema: all of it, or the one block that is fenced as JSON. `read` says what is wrong."""
    import jsonschema

    blocks = re.findall(r"```(?:json)?\n(.*?)\n?```", text, re.DOTALL)
    try:
        found = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_strange)
    except (ValueError, RecursionError) as error:
        return Checked(0.0, f"no JSON: {error}"[:200])
    error = next(iter(jsonschema.validators.validator_for(wanted)(wanted).iter_errors(found)), None)
    return Checked(float(error is None), None if error is None else error.message[:200])


def _strange(name: str):
    raise ValueError(f"{name} is no JSON")


RULES = {rule.__name__: rule for rule in (mathematics, pattern, schema)}


class Worker:
    """The process, started when first asked and again after it was ended. One question at a time; any thread may ask."""

    def __init__(self):
        self._turn = threading.Lock()
        self._process: Any = None  # a Popen
        self._owner = 0

    def ask(self, rule: str, *given, seconds: float = SECONDS) -> Checked:
        """What `rule` says. RowError as it raises; NoVerdict (failed) where it takes longer than `seconds` or its process dies."""
        with self._turn:
            if self._owner != os.getpid() or self._process is None or self._process.poll() is not None:
                self._start()
            self._process.stdin.write(json.dumps([rule, *given]).encode() + b"\n")
            try:
                self._process.stdin.flush()
                said = self._line(seconds)
            except BrokenPipeError:
                said = b""
            if not said:
                self.close()
                raise NoVerdict(Outcome.FAILED, f"the rule '{rule}' had no verdict in {seconds:g} s")
        kind, *found = json.loads(said)
        if kind == "unfit":
            raise bad_row(found[0])
        if kind == "failed":
            raise NoVerdict(Outcome.FAILED, f"the rule '{rule}' failed: {found[0]}")
        return Checked(*found)

    def _start(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if not self._line(START):
            self.close()
            raise NoVerdict(Outcome.FAILED, "the process of slow rules did not start")

    def _line(self, seconds: float) -> bytes:
        """The next line it says; nothing when it is not there in time."""
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        return self._process.stdout.readline() if ready.poll(seconds * 1000) else b""

    def close(self) -> None:
        """Ends the process; the next question starts another."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


worker = Worker()
turns = ThreadPoolExecutor(
    1, thread_name_prefix="rules"
)  # for who may not wait: questions that queue here hold up nothing else
atexit.register(worker.close)


def main() -> None:
    """Answers until its standard input closes."""
    import jsonschema  # noqa: F401  imported before the first answer's time begins
    import math_verify  # noqa: F401

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    say = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    say.write(b"ready\n")
    say.flush()
    for line in sys.stdin.buffer:
        rule, *given = json.loads(line)
        try:
            said = ["checked", *RULES[rule](*given)]
        except RowError as error:
            said = ["unfit", error.detail]
        except Exception as error:  # noqa: BLE001  no answer may end the process
            said = ["failed", f"{type(error).__name__}: {error}"[:200]]
        say.write(json.dumps(said).encode() + b"\n")
        say.flush()


if __name__ == "__main__":
    main()
