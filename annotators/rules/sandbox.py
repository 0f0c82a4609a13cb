"""Rules that may not terminate on some answers: equality of formulas, a user's regular expression, a user's JSON Schema.

They run in a separate process, `python -m annotators.rules.sandbox`, which is killed on a timeout. math-verify's own timeout uses a
signal, which works only in the main thread and cannot stop a computation in C. Requests and replies are lines of JSON."""

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

from annotators.rules import values
from annotators.rules.answers import RuleResult, bad_known_answer, final_answer
from schemas.errors import NoVerdict, RowError, bad_row
from schemas.records import Outcome

SECONDS = 5  # timeout per answer
START = 120  # seconds the process may take to start
MEMORY = 2 << 30  # bytes of address space: 9**9**9 would exhaust the machine
TAIL = 4000  # characters at the end of an answer, where the final formula is


def mathematics(text: str, answer: str) -> RuleResult:
    """Whether the answer equals the known one: as values (numbers with units, times, ratios, sets; see `values`), else as formulas by
    math-verify (R1-V's accuracy reward), which reads both in the same way. In a sentence the last formula counts.

    The known one may be LaTeX or plain text; RowError if it is neither a value nor a formula."""
    import math_verify

    written = (final_answer(text)[0] or "")[-TAIL:]
    known, given = values.value_of(answer), values.value_of(written)
    if given is None and _is_special(known):  # a sentence
        given = next(reversed(values.values_in(written)), None)
    if known is not None and given is not None and values.equal(given, known):
        return RuleResult(1.0, values.written(given))
    if _is_special(known) or (_is_exact(known) and _is_exact(given)):
        return RuleResult(0.0, None if given is None else values.written(given))
    wanted = math_verify.parse(f"${_latex(answer)}$", parsing_timeout=None)
    if not wanted:
        raise bad_known_answer(answer, "is not a formula that math-verify can parse")
    found = math_verify.parse(written, parsing_timeout=None) if given is None else []
    found = found or math_verify.parse(f"${_latex(written)}$", parsing_timeout=None)
    same = lambda one, other: math_verify.verify(one, other, timeout_seconds=None)
    equal = bool(found) and not _is_special(given) and (same(wanted, found) or same(found, wanted))
    return RuleResult(float(equal), str(found[-1])[:200] if found else None)


def _is_special(value: values.Value | None) -> bool:
    """Whether a value says more than its numbers: a unit, a time, a ratio."""
    return isinstance(value, values.Clock | values.Ratio) or (isinstance(value, values.Quantity) and bool(value.kind))


def _is_exact(value: values.Value | None) -> bool:
    """Whether a value is nothing but numbers, so that comparing them decides."""
    match value:
        case values.Group():
            return all(map(_is_exact, value.parts))
        case values.Expression() | None:
            return False
    return True


def _latex(formula: str) -> str:
    """A formula, also in plain text, as LaTeX without its dollar signs."""
    formula = re.sub(r"(?<!\\)\bsqrt\(([^()]{1,100})\)", r"\\sqrt{\1}", formula.strip().strip("$"))
    formula = re.sub(r"(?:\^|\*\*)\s?(-?\d{1,9})(?!\s?(?:\^|\*\*))", r"^{\1}", formula)
    return re.sub(r"(?<![\\\w])(pi|sin|cos|tan|log|ln|infty)(?![a-z])", r"\\\1", formula)


def pattern(text: str, regex: str) -> RuleResult:
    """Whether the whole answer matches a regular expression in which `.` also matches line ends (R1-V's format reward).

    RowError if it does not compile."""
    try:
        compiled = re.compile(regex, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise bad_row(f"the regular expression {regex[:80]!r} does not compile ({error})") from None
    return RuleResult(float(compiled.fullmatch(text) is not None), None)


def schema(text: str, wanted: dict) -> RuleResult:
    """Whether the answer is JSON that follows a JSON Schema: the whole text, or its only fenced block. `read` is the first error.

    RowError if it is not a schema, or refers to another one elsewhere: none is fetched."""
    import jsonschema
    import referencing.exceptions

    kind = jsonschema.validators.validator_for(wanted)
    try:
        kind.check_schema(wanted)
    except jsonschema.SchemaError as error:
        raise bad_row(f"the JSON Schema is not valid ({error.message[:120]})") from None
    blocks = re.findall(r"```(?:json)?\n(.*?)\n?```", text, re.DOTALL)
    try:
        found = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_strange)
    except (ValueError, RecursionError) as error:
        return RuleResult(0.0, f"no JSON: {error}"[:200])
    try:
        error = next(iter(kind(wanted, registry=referencing.Registry()).iter_errors(found)), None)
    except referencing.exceptions.Unresolvable as unknown:
        raise bad_row(f"the JSON Schema refers to {unknown.ref[:100]!r}, which is not in it") from None
    return RuleResult(float(error is None), None if error is None else error.message[:200])


def _strange(name: str):
    raise ValueError(f"{name} is not valid JSON")


RULES = {rule.__name__: rule for rule in (mathematics, pattern, schema)}


class Worker:
    """The process, started on first use and again after it was killed. It handles one request at a time; thread-safe."""

    def __init__(self):
        self._turn = threading.Lock()
        self._process: Any = None  # a Popen
        self._owner = 0

    def ask(self, rule: str, *given, seconds: float = SECONDS) -> RuleResult:
        """The result of `rule`. RowError as raised by the rule; NoVerdict (failed) if it takes longer than `seconds` or crashes."""
        with self._turn:
            if self._owner != os.getpid() or self._process is None or self._process.poll() is not None:
                self._start()
            self._process.stdin.write(json.dumps([rule, *given]).encode() + b"\n")
            try:
                self._process.stdin.flush()
                reply = self._line(seconds)
            except BrokenPipeError:
                reply = b""
            if not reply:
                self.close()
                raise NoVerdict(Outcome.FAILED, f"the rule '{rule}' had no verdict in {seconds:g} s")
        kind, *found = json.loads(reply)
        if kind == "unfit":
            raise bad_row(found[0])
        if kind == "failed":
            raise NoVerdict(Outcome.FAILED, f"the rule '{rule}' failed: {found[0]}")
        return RuleResult(*found)

    def _start(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if not self._line(START):
            self.close()
            raise NoVerdict(Outcome.FAILED, "the process for slow rules did not start")

    def _line(self, seconds: float) -> bytes:
        """The next line of its output; empty after `seconds`."""
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        return self._process.stdout.readline() if ready.poll(seconds * 1000) else b""

    def close(self) -> None:
        """Kills the process; the next request starts a new one."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


worker = Worker()
turns = ThreadPoolExecutor(
    1, thread_name_prefix="rules"
)  # for callers on an event loop: requests queue here instead of blocking it
atexit.register(worker.close)


def main() -> None:
    """Handles requests until standard input closes."""
    import jsonschema  # noqa: F401  imported now, so that it does not count towards the first timeout
    import math_verify  # noqa: F401

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with replies
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        rule, *given = json.loads(line)
        try:
            reply = ["checked", *RULES[rule](*given)]
        except RowError as error:
            reply = ["unfit", error.detail]
        except Exception as error:  # noqa: BLE001  no answer may end the process
            reply = ["failed", f"{type(error).__name__}: {error}"[:200]]
        out.write(json.dumps(reply).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
