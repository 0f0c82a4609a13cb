"""Parameters of a request in the words that one server takes: it may call one otherwise, not know it, or give one answer at a time.

What a server refuses is learnt from what it says, and remembered for the process. Ids and cache keys know nothing of it."""

import re
from typing import Any, NamedTuple

import orjson

MAX, NEW_MAX = "max_tokens", "max_completion_tokens"  # what most servers call it, and what OpenAI's newer models do
LEFT_OUT = ("seed", "temperature", "top_p", "repetition_penalty", "min_p")  # an answer without them is still an answer
REFUSED = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|extra (inputs|fields)|extra_forbidden|not (permitted|allowed|available)|cannot find field|deprecated"
    r"|must be 1\b|at most 1\b|equal to 1\b|only (1|one|the default)\b",
    re.IGNORECASE,
)  # what is said of a parameter itself, not of its value


class Dialect(NamedTuple):
    """What one server takes."""

    max_name: str = MAX
    without: frozenset[str] = frozenset()
    single: bool = False  # it gives one answer a request, whatever `n` says

    def put(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as this server takes them."""
        if self is USUAL:
            return options
        out = {name: value for name, value in options.items() if name not in self.without}
        if self.max_name != MAX and MAX in out:
            out[self.max_name] = out.pop(MAX)
        if self.single and "n" in out:
            out["n"] = 1
        return {name: value for name, value in out.items() if name != "n"} if "n" in self.without else out

    def learnt(self, reply: bytes, options: dict[str, Any]) -> "Dialect | None":
        """The dialect after a refusal of these options; None where it blames none of them, or one that no answer can do without."""
        for name in _blamed(reply, self.put(options)):
            if name == MAX:
                return self._replace(max_name=NEW_MAX)
            if name == "n":  # first it is asked for one at a time, then the word is left out
                return self._replace(
                    single=True, without=self.without | ({"n"} if self.single or options["n"] == 1 else set())
                )
            if name in LEFT_OUT:
                return self._replace(without=self.without | {name})
        return None

    def words(self) -> str:
        """What is other than usual."""
        out = [f"{NEW_MAX} for {MAX}"] if self.max_name != MAX else []
        out += ["one answer at a time"] if self.single else []
        return ", ".join(out + [f"without {name}" for name in sorted(self.without)])


USUAL = Dialect()
REMEMBERED: dict[tuple[str, str], Dialect] = {}
"""by the server's address and the model's name, for as long as the process lives"""


def _blamed(reply: bytes, sent: dict[str, Any]) -> list[str]:
    """The parameters that a refusal says the server does not take, those that it names in a field of their own first."""
    text = reply[:4000].decode(errors="replace").replace('\\"', '"')
    if not REFUSED.search(text):
        return []
    named = _fields(reply)
    said = [name for name in sent if re.search(_mention(name), text)]
    return [name for name in dict.fromkeys(named + said) if name in sent]


def _mention(name: str) -> str:
    if name == "n":  # a letter of its own is found in many a text
        return r"[\"'`]n[\"'`]|\bn\s*(=|>|must|is|has)"
    return rf"(?<![\w.]){name}(?!\w)"


def _fields(reply: bytes) -> list[str]:
    """What `param` of an error names, or the ends of the places of one by pydantic."""
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
