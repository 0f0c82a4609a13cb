"""Content of rows that is not read: it is counted by its name, and it rejects the row if it is known to change the question or the answers.

A format names the columns and keys that it reads in its READS: `chosen`, or `completions.model` for the key `model` of the objects in
`completions`, in lists or not; `*` stands for any key, `prompt[]` for a text or messages. A name without keys below it is read completely."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from schemas.errors import RowError
from schemas.records import MEDIA_KINDS, Reason, one_line

MEDIA = tuple(column for kind in MEDIA_KINDS for column in (kind, f"{kind}s"))
"""The columns that `fields.media_of` reads."""
SYSTEM = ("system", "system_prompt", "system_message")
"""Columns of a system message, read in every format."""
COMMON = ("category", *SYSTEM)
"""Columns read in every format."""
_PART = (
    "type", "text", *MEDIA_KINDS, *(f"{kind}_url" for kind in MEDIA_KINDS), *(f"input_{kind}" for kind in MEDIA_KINDS), "source", "path", "url", "value",
)  # fmt: skip
MESSAGE = ("role", "from", *(f"{content}.{key}" for content in ("content", "value") for key in _PART))
"""The keys of a message that `turns.turn` reads."""

CHANGES = frozenset({
    *SYSTEM, "developer", "history", "documents", "tools", "tool_calls", "tool_call", "tool_call_id", "tool_choice", "functions",
    "function_call", "thinking", "reasoning_content", "objects",
})  # fmt: skip
"""Names of columns and keys that are known to change the question or the answers, in any spelling: `toolChoice` is `tool_choice`."""
_SYSTEMS = re.compile(
    r"(?:sys|system|developer)(?:_(?:prompts?|messages?|msgs?|instructions?|texts?|contents?|turns?))?|preamble"
)
_CALLS = re.compile(
    r"(?:(?:available|all|agent|allowed|used)_)?(?:tools|functions|(?:tools?|functions?)_(?:lists?|calls?|schemas?|definitions?|defs|specs?|json|"
    r"results?|responses?|outputs?|kwargs|configs?))"
)
_CONTEXT = frozenset(
    {"input", "inputs", "context", "contexts", "context_messages", "passage", "passages"}
)  # columns of a question's other parts
IN_MESSAGES = frozenset(
    {"reasoning", "reasoning_details", "thought", "thoughts", "tool", "function", "refusal", *MEDIA}
)
"""Further names of keys: a column of that name is often something else, such as a judge's reasoning."""
_SIDES = re.compile(
    r"(chosen|rejected)_(images?|videos?|audios?|media|messages?|conversations?|response|prompt|question|objects|tools|history|context|"
    r"system(_prompt|_message)?|tool_calls|thinking|thoughts?|reasoning_content)"
)  # columns of one side
_OF_A_SIDE = re.compile(r"(?:chosen|rejected)_(?:\w+_)?(models?|generator|source|judge|provider|policy|score|rating|reason|rationale|critique|explanation|analysis|"
                        r"feedback|comment|method|dataset|annotator|by|at|date|time|status|version|param|config|turn|token|meta|metadata|infos?|ids?|idx|name|label|type|category|split|language|hash|url|spans)s?")  # fmt: skip
"""Columns of a side that describe its answer and are not part of it; so are all numbers."""
_MEDIUM = re.compile(
    r"(?:\w+_)?(?:image|img|picture|photo|video|audio|media)s?(?:_?(?:path|url|file|name|bytes|base64)s?)?(?:_?\d+)?"
)
_FILE = re.compile(r"\S+\.(?:png|jpe?g|webp|gif|bmp|tiff?|mp4|webm|mkv|mov|avi|wav|mp3|flac|ogg|m4a)", re.IGNORECASE)
_LONGEST_NAME = 4096  # characters of a path
_ONE = "answer|response|output|completion|generation|candidate|reply"
_ANSWER = re.compile(
    rf"answers|replies|(?:{_ONE}|text)s?_?(?:\d+|[a-z])|(?:response|output|completion|generation|candidate)s?"
    r"|human_ranking|(?:\w+_)?preferences?|(?:chosen|rejected|preferred|preference|better|best|worse|worst|winner|loser|ranking)s?(?:_.*)?"
    rf"|(?:win|lose|winning|losing|positive|negative|good|bad|wrong|accepted|model|human|gpt\w*|llava\w*|qwen\w*)_(?:{_ONE})s?"
    rf"|(?:positive|negative|win|lose|good|bad|wrong|accepted)_(?:messages?|conversations?)|model_?\w{{1,2}}_(?:{_ONE})|assistant_?(?:\d+|[a-z])|reply"
)
_NO_WORD = re.compile(r"[^a-z0-9]+")
_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAY_HOLD = re.compile(
    r"file_?(?:name|path)s?|frames?|clips?|screenshots?|speech|jpe?g|png|webp|wav|mp3|mp4", re.IGNORECASE
)
"""Names of columns of tables that are read to see whether they hold media."""
_NOTHING = ("", b"", "[]", "{}", "null")
FILES, NAMES, LETTERS, SHOWN = (
    200,
    50,
    60,
    5,
)  # files, names of a file, and characters of a name that are kept; names in a message
_MORE = "more"

Unread = MutableMapping[str, dict[str, int]]  # file -> name -> rows
Tree = Mapping[str, "Tree"]


@lru_cache
def tree(names: Collection[str]) -> Tree:
    """The names of READS as nested mappings."""
    found: dict[str, Any] = {}
    for name in names:
        for whole in (f"{name[:-2]}.{key}" for key in MESSAGE) if name.endswith("[]") else (name,):
            below = found
            for key in whole.split("."):
                below = below.setdefault(key, {})
    return found


def names(row: Mapping[str, Any], reads: Tree) -> Iterator[str]:
    """The names of a row's content outside of `reads`, in order, possibly repeated; missing, empty and false values do not count."""
    for name, value in row.items():
        below = reads.get(name)
        if below is None:
            below = reads.get("*")
        if below is None:
            if not _is_nothing(value):
                yield one_line(str(name))[:LETTERS]
        elif below:
            for inner in _objects(value):
                yield from (f"{name}.{key}" for key in names(inner, below))


def _is_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_nothing, value.values()))  # as `datasets` fills the objects that a row lacks
    if isinstance(value, list):
        return all(map(_is_nothing, value))
    return (
        value is None or value is False or value in _NOTHING or value != value
    )  # NaN: as pandas writes what is missing


def _objects(value: Any) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def check(row: Mapping[str, Any], found: Iterable[str], what: str, of_answers: bool = True) -> None:
    """RowError NOT_READ if any of the names of a row changes the question or, with `of_answers`, the answers; `what` names the kind of rows in the
    message."""
    if changing := [
        name
        for name in dict.fromkeys(found)
        if _changes(name) or (of_answers and (_is_of_a_side(name, row) or _is_context(name, row)))
    ]:
        shown = " and ".join(changing[:SHOWN])
        if (name := next(filter(_is_system, changing), None)) and name not in SYSTEM:
            detail = f"{name} seems to be a system prompt, but is not read; name it in `columns`, as in {{system: {name}}}, or remove it from the row"
            raise RowError(Reason.NOT_READ, detail)
        is_, it = ("is", "it") if len(changing) == 1 else ("are", "them")
        raise RowError(
            Reason.NOT_READ,
            f"{shown} would change the question or the answers, but {is_} not read from {what} rows; remove {it} from the row if "
            f"{'it does' if len(changing) == 1 else 'they do'} not matter, otherwise remove the row",
        )


def _changes(name: str) -> bool:
    above, _, last = name.rpartition(".")
    last = _spelled(last)
    return last in CHANGES or bool(
        _SYSTEMS.fullmatch(last) or _CALLS.fullmatch(last) or (above and last in IN_MESSAGES)
    )


def _is_system(name: str) -> bool:
    """Whether a column seems to be a system prompt."""
    return "." not in name and _SYSTEMS.fullmatch(_spelled(name)) is not None


def _is_context(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a column seems to be a part of the question that its prompt does not repeat."""
    return name.lower() in _CONTEXT and isinstance(row.get(name), str | list | dict) and row[name] != row.get("prompt")


def _spelled(name: str) -> str:
    """A name in lower case with underscores: `systemPrompt`, `System prompt` and `system-prompt` are `system_prompt`."""
    return _NO_WORD.sub("_", _INNER_CAPITAL.sub("_", name).lower()).strip("_")


def _is_of_a_side(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a column or key seems to be part of what one of the two answers was given to, or of that answer."""
    last = _spelled(name.rpartition(".")[2])
    if _SIDES.fullmatch(last):
        return True
    plain = isinstance(row.get(name), int | float) or _is_number_list(row.get(name))
    own = last.startswith(("chosen_", "rejected_")) and "." not in name
    return own and not plain and not _OF_A_SIDE.fullmatch(last)


def _is_number_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, int | float | None) for entry in value)


def check_media(row: Mapping[str, Any], found: Iterable[str], what: str) -> None:
    """RowError NOT_READ if a column with one of these names seems to contain media: for rows from which no media are read."""
    for name in found:
        if (seems_medium(name) and _refers(row.get(name))) or _is_file(row.get(name)):
            raise RowError(
                Reason.NOT_READ,
                f"{name} seems to contain media, but is not read from {what} rows; name it in `columns`, as in {{image: {name}}}, or "
                "remove it from the row",
            )


def seems_medium(name: str) -> bool:
    """Whether a column of this name may hold media."""
    return _MEDIUM.fullmatch(name.lower()) is not None


def may_be_medium(name: str) -> bool:
    """Whether a column of this name holds media if its values are files."""
    return seems_medium(name) or _MAY_HOLD.fullmatch(name) is not None


def _refers(value: Any) -> bool:
    """Whether a value may be a path, a URL, bytes or a list of them."""
    if isinstance(value, list):
        return any(map(_refers, value))
    return isinstance(value, str | bytes) or (
        isinstance(value, dict) and not {"bytes", "path", "url"}.isdisjoint(value)
    )


def _is_file(value: Any) -> bool:
    """Whether a value is the path of a media file, `datasets`' object of one, or a list of these, whatever its column is called."""
    if isinstance(value, list):
        return any(map(_is_file, value))
    if isinstance(value, dict):
        return {"bytes", "path"} <= value.keys() and not _is_nothing(value)
    return isinstance(value, str) and len(value) <= _LONGEST_NAME and _FILE.fullmatch(value) is not None


def count(unread: Unread, file: str, found: Iterable[str]) -> None:
    """Counts a row's names for its file. Names beyond the first NAMES, and files beyond the first FILES, are counted together."""
    if not (found := list(dict.fromkeys(found))):
        return
    of = unread.setdefault(file if file in unread or len(unread) < FILES else _MORE, {})
    for name in found:
        name = name if name in of or len(of) < NAMES else _MORE
        of[name] = of.get(name, 0) + 1


def answers_in(columns: Iterable[str]) -> list[str]:
    """The columns that look like answers, or like a choice between them: rows with these are more than prompts."""
    return [name for name in columns if _ANSWER.fullmatch(name.lower()) or _ANSWER.fullmatch(_spelled(name))]
