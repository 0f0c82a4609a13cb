"""Request parameters as one server supports them: it may rename one, not know it, or return one answer at a time.

Unsupported parameters are learnt from the server's error messages and remembered for the life of the process. Ids and cache keys do not
depend on it."""

import re
from typing import Any, NamedTuple

import orjson

MAX, NEW_MAX = "max_tokens", "max_completion_tokens"  # the usual name, and that of OpenAI's newer models
LEFT_OUT = ("seed", "temperature", "top_p", "repetition_penalty", "min_p")  # an answer without these is still valid
REFUSED = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|extra (inputs|fields)|extra_forbidden|not (permitted|allowed|available)|cannot find field|deprecated"
    r"|must be 1\b|at most 1\b|equal to 1\b|only (1|one|the default)\b",
    re.IGNORECASE,
)  # complaints about a parameter itself, not about its value
ONE_ONLY = re.compile(
    r"\b(only (one|1|a single)|multiple|more than (one|1)) (\w+ )?(completions?|choices?|candidates?|answers?|responses?)\b",
    re.IGNORECASE,
)


class Dialect(NamedTuple):
    """The parameters that one server supports."""

    max_name: str = MAX
    without: frozenset[str] = frozenset()
    single: bool = False  # returns one answer per request, whatever `n` is

    def put(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as this server supports them."""
        if self is USUAL:
            return options
        out = {name: value for name, value in options.items() if name not in self.without}
        if self.max_name != MAX and MAX in out:
            out[self.max_name] = out.pop(MAX)
        if self.single and "n" in out:
            out["n"] = 1
        return {name: value for name, value in out.items() if name != "n"} if "n" in self.without else out

    def learnt(self, reply: bytes, options: dict[str, Any]) -> "Dialect | None":
        """The dialect after a refusal of these options; None if the reply names none of them, or one that must not be left out."""
        for name in _blamed(reply, self.put(options)):
            if name == MAX:
                return self._replace(max_name=NEW_MAX)
            if name == "n":  # first request one answer at a time, then leave `n` out
                return self._replace(
                    single=True, without=self.without | ({"n"} if self.single or options["n"] == 1 else set())
                )
            if name in LEFT_OUT:
                return self._replace(without=self.without | {name})
        return None

    def words(self) -> str:
        """The differences from the usual parameters, for a log message; empty if there are none."""
        out = [f"{NEW_MAX} for {MAX}"] if self.max_name != MAX else []
        out += ["one answer at a time"] if self.single else []
        return ", ".join(out + [f"without {name}" for name in sorted(self.without)])


USUAL = Dialect()
REMEMBERED: dict[tuple[str, str], Dialect] = {}
"""by (server URL, model name), for the life of the process"""


def _blamed(reply: bytes, sent: dict[str, Any]) -> list[str]:
    """The sent parameters that a refusal calls unsupported; those named in a separate field first."""
    text = reply[:4000].decode(errors="replace").replace('\\"', '"')
    if ONE_ONLY.search(text) and sent.get("n", 1) > 1:  # llama.cpp, Gemini: refused without its name
        return ["n"]
    if not REFUSED.search(text):
        return []
    named = _fields(reply)
    mentioned = [name for name in sent if re.search(_mention(name), text)]
    return [name for name in dict.fromkeys(named + mentioned) if name in sent]


def _mention(name: str) -> str:
    if name == "n":  # a single letter occurs in many texts
        return r"[\"'`]n[\"'`]|\bn\s*(=|>|must|is|has)"
    return rf"(?<![\w.]){name}(?!\w)"


def _fields(reply: bytes) -> list[str]:
    """The `param` of an error, or the last elements of pydantic's `loc` lists."""
    try:
        body = orjson.loads(reply)
    except ValueError:
        return []
    found: list[Any] = []
    if isinstance(body, dict):
        error = body.get("error")
        found.append(error.get("param") if isinstance(error, dict) else None)
        detail = body.get("detail")
        for each in detail if isinstance(detail, list) else ():
            if isinstance(each, dict) and isinstance(place := each.get("loc"), list) and place:
                found.append(place[-1])
    return [name for name in found if isinstance(name, str)]
