"""Messages as written in the formats, with a slot for each media item."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.source.formats.draft import Piece, Turn
from pipeline.source.formats.fields import Media, as_list, decode_base64, is_missing, media_reference, text, type_name
from schemas.errors import RowError, bad_row
from schemas.records import MEDIA_KINDS, Reason

KNOWN = ("system", "user", "assistant")
ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "developer": "system",
}  # other names of our three roles
_CALLS = re.compile(r"tool.*|function.*|observation|ipython")  # roles of tool calls and their results
_TAG = re.compile(
    r"<(?P<medium>img|image|video|audio)>(?P<path>[^<>\n]{1,4096})</(?P=medium)>"  # Qwen-VL writes <img>a.png</img>
    r"|\n?<(?:__dj__)?(?P<kind>image|video|audio)(?:[ _]?(?P<number>\d{1,3}))?>\n?"  # data-juicer writes <__dj__image>
)
_CHUNK_END = re.compile(r"[ \n]?<\|__dj__eoc\|>")  # ends a chunk of data-juicer's texts
_TOOLS = ("tool_use", "tool_result", "tool_call", "thinking", "redacted_thinking", "reasoning", "refusal")
_TEXTS = ("text", "input_text", "output_text")  # part types of OpenAI's two interfaces


class Numbered(NamedTuple):
    """A slot for the medium of that number, from 1, written as `tag`."""

    number: int
    tag: str


def is_slot(value: Any) -> bool:
    """Whether a media piece is a place to be filled."""
    return value is None or isinstance(value, Numbered)


def split_at_tags(words: str) -> tuple[Piece, ...]:
    """A text split at <image>, <video> and <audio>, also numbered as in <image_1>, as data-juicer writes them, or around a path as in
    <img>a.png</img>; the line breaks around the former belong to a model's template and are removed, and so are data-juicer's ends of chunks."""
    found: list[Piece] = []
    words, at = without_chunk_ends(words), 0
    for tag in _TAG.finditer(words):
        if words[at : tag.start()]:
            found.append(("text", words[at : tag.start()]))
        if tag["path"]:
            found.append(("image" if tag["medium"] == "img" else tag["medium"], tag["path"]))
        else:
            found.append((tag["kind"], Numbered(int(tag["number"]), tag[0]) if tag["number"] else None))
        at = tag.end()
    if words[at:]:
        found.append(("text", words[at:]))
    return tuple(found) or (("text", ""),)


def without_chunk_ends(words: str) -> str:
    """A text without data-juicer's ends of chunks."""
    return _CHUNK_END.sub("", words) if "<|__dj__eoc|>" in words else words


def as_text_piece(words: str) -> tuple[Piece, ...]:
    """A text as a single piece; tags are not interpreted."""
    return (("text", words),)


def turns(value: Any, name: str, tags: bool = False) -> tuple[Turn, ...]:
    """A text as one user message; a list of `{role, content}` or `{from, value}` as messages. RowError for anything else.

    Content is a text or a list of parts `{type: text, text}`, `{type: image | video | audio}` with an optional media reference under its
    type's name, `path` or `url`; OpenAI's `{type: image_url, image_url: {url}}` and `{type: input_audio, input_audio: {data, format}}`;
    Anthropic's `{type: image, source: {type: base64, media_type, data}}`; LLaMA-Factory's `{type, value}`. With `tags`, <image> in a text is a slot."""
    cut = split_at_tags if tags else as_text_piece
    if isinstance(value, str):
        return (Turn("user", cut(text(value, name))),)
    if not isinstance(value, list):
        raise bad_row(f"{name} is {type_name(value)}; use a text or a list of messages")
    return tuple(turn(message, f"{name}[{place}]", cut) for place, message in enumerate(value))


def turn(message: Any, name: str, cut=as_text_piece) -> Turn:
    """One message. RowError if it is invalid, or of another role than system, user or assistant."""
    if not isinstance(message, dict):
        raise bad_row(f"{name} is {type_name(message)}; use a message {{role, content}}")
    keys = ("from", "value") if "from" in message else ("role", "content")
    role, content = (message.get(key) for key in keys)
    where, role = f"{name}.{keys[1]}", _role(role, f"{name}.{keys[0]}")
    if isinstance(content, list):
        return Turn(role, tuple(piece for i, part in enumerate(content) for piece in _part(part, f"{where}[{i}]", cut)))
    return Turn(role, cut(text(content, where)))


def _role(role: Any, name: str) -> str:
    if not isinstance(role, str):
        raise bad_row(f"{name} is {type_name(role)}; use one of {', '.join(KNOWN)}")
    found = ROLES.get(role, role)
    if found in KNOWN:
        return found
    if _CALLS.fullmatch(found):
        raise RowError(
            Reason.NOT_READ, f"{name} is {role!r:.40}: calls of tools and their results are not read; remove the row"
        )
    raise bad_row(f"{name} is {role!r:.40}; use one of {', '.join(KNOWN)}")


def _part(part: Any, name: str, cut) -> tuple[Piece, ...]:
    form = part.get("type") if isinstance(part, dict) else None
    if form in _TEXTS:
        key = "text" if part.get("text") is not None else "value"
        return cut(text(part.get(key), f"{name}.text"))
    if (medium := medium_of(form)) is not None:
        return ((medium, _media(reference(part), name)),)
    if form in _TOOLS:
        detail = (
            f"{name} is of type {form}, which would change the question or the answers, but is not read; remove the row"
        )
        raise RowError(Reason.NOT_READ, detail)
    found = f"of type {form!r:.40}" if isinstance(form, str) else "without a type"
    raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is a part {found}; use text, {', '.join(MEDIA_KINDS)}")


def medium_of(form: Any) -> str | None:
    """The media kind of a part of type `form`, such as `image`, `image_url` or `input_image`; None if it contains no media."""
    medium = form.removeprefix("input_").removesuffix("_url") if isinstance(form, str) else None
    return medium if medium in MEDIA_KINDS else None


def reference(part: Mapping[str, Any]) -> Any:
    """What a part names as its medium: the value under the first key that has one; None if it is a slot for a medium of the columns.

    An object with `url` is OpenAI's and Anthropic's form of a URL."""
    medium = medium_of(part["type"]) or ""
    keys = (medium, f"{medium}_url", f"input_{medium}", "source", "path", "url", "value")
    value = next((part[key] for key in keys if part.get(key) not in (None, "")), None)
    return value["url"] if isinstance(value, dict) and value.get("url") is not None else value


def _media(value: Any, name: str) -> Any:
    """The media reference of a part. An object with `data` is base64, as in OpenAI's `input_audio` and Anthropic's `source`."""
    if value is None:
        return None
    if isinstance(value, dict) and value.get("file_id") is not None:
        raise RowError(
            Reason.UNSUPPORTED_MEDIA, f"{name} is a file of another server, by its id; give its path, URL or bytes"
        )
    if isinstance(value, dict) and value.get("data") is not None:
        data = text(value["data"], f"{name}.data")
        return media_reference(data, name) if data.startswith("data:") else decode_base64(data, name)
    return media_reference(value, name)


def place_media(prompt: Sequence[Turn], media: Mapping[str, Sequence]) -> tuple[Turn, ...]:
    """The prompt with `media` (by kind) in its slots, in order; a numbered slot takes the medium of that number, and its later mentions
    are text.

    Media of a kind without slots are placed before the first user text, as are those of kind `any`. RowError: the numbers of slots and
    media differ."""
    slots: dict[str, list] = {}
    for kind, value in (piece for turn in prompt for piece in turn.pieces):
        if kind != "text" and is_slot(value):
            slots.setdefault(kind, []).append(value)
    front: list[Piece] = []
    for kind in (*MEDIA_KINDS, "any"):
        values, wanted = media.get(kind, ()), slots.get(kind, ())
        if values and not wanted and (own := [v for turn in prompt for k, v in turn.pieces if k == kind]):
            if [_path(value) for value in own] == [_path(value) for value in values]:
                continue  # the columns repeat what the parts name
            raise bad_row(
                f"the prompt names its own {len(own)} {kind} file{'s' * (len(own) != 1)}, and the row has {len(values)} others; keep one of them, or omit the file "
                "in the parts that are to show those"
            )
        if not wanted:
            front += [(kind, value) for value in values]
            continue
        numbers = {slot.number for slot in wanted if slot is not None}
        if numbers and (None in wanted or numbers != set(range(1, len(values) + 1))):
            given = ", ".join(str(number) for number in sorted(numbers))
            raise bad_row(
                f"the prompt names {kind} {given}{' and others without a number' if None in wanted else ''}, but the row has "
                f"{len(values)}; number the places from 1, one for each {kind}"
            )
        if not numbers and len(wanted) != len(values):
            raise bad_row(
                f"the prompt has {len(wanted)} place{'s' * (len(wanted) != 1)} for {kind} files, but the row has {len(values)}; give one for each place"
            )
    fill = _Fill(media)
    found = [Turn(turn.role, tuple(fill.piece(kind, value) for kind, value in turn.pieces)) for turn in prompt]
    first = next((i for i, turn in enumerate(found) if turn.role == "user"), None)
    if front and first is None:
        raise bad_row("the row has media, but the prompt has no user message to place them in; add one")
    if front and first is not None:
        found[first] = Turn("user", (*front, *found[first].pieces))
    return tuple(found)


def _path(value: Any) -> Any:
    """The path of a media reference, by which two are compared; the reference itself without one."""
    return value.get("path") or value.get("bytes") if isinstance(value, dict) else value


class _Fill:
    """Fills slots in the order in which they are asked for."""

    def __init__(self, media: Mapping[str, Sequence]):
        self._media, self._next = media, {kind: iter(values) for kind, values in media.items()}
        self._placed: set[tuple[str, int]] = set()

    def piece(self, kind: str, value: Any) -> Piece:
        if kind == "text" or not is_slot(value):
            return kind, value
        if value is None:
            return kind, next(self._next[kind])
        if (kind, value.number) in self._placed:
            return "text", value.tag
        self._placed.add((kind, value.number))
        return kind, self._media[kind][value.number - 1]


def earlier_turns(history: Any, name: str) -> tuple[Turn, ...]:
    """The turns of a list of `[question, answer]`, empty if there is none."""
    found: list[Turn] = []
    for place, entry in enumerate(as_list(history)):
        if not isinstance(entry, list) or len(entry) != 2:
            raise bad_row(f"{name}[{place}] is {type_name(entry)}; use [question, answer]")
        found.append(Turn("user", split_at_tags(text(entry[0], f"{name}[{place}][0]"))))
        found.append(Turn("assistant", (("text", text(entry[1], f"{name}[{place}][1]")),)))
    return tuple(found)


def with_system(prompt: Sequence[Turn], columns: Mapping[str, Any], cut=as_text_piece) -> tuple[Turn, ...]:
    """The prompt after the system message in `columns`, by their names: a text, cut by `cut`, Anthropic's list of text blocks, or empty.

    RowError if there are two different ones."""
    found = tuple(prompt)
    for name, value in columns.items():
        if is_missing(value) or value == []:
            continue
        blocks = value if isinstance(value, list) else [{"type": "text", "text": text(value, name)}]
        own = Turn(
            "system",
            tuple(piece for i, block in enumerate(blocks) for piece in _part(block, f"{name}[{i}]", cut)),
        )
        if not found or found[0].role != "system":
            found = (own, *found)
        elif found[0] != own:
            raise bad_row(f"{name} differs from the system message that the prompt begins with; keep one of them")
    return found


def instead(prompt: Sequence[Turn], media: Media) -> tuple[Any, ...] | None:
    """The rejected side's media, one for each media item of the prompt: `media` for its kinds, the prompt's own for the others.

    None if `media` is empty. RowError if the numbers differ."""
    if not media:
        return None
    slots = [piece for turn in prompt for piece in turn.pieces if piece[0] != "text"]
    for medium, values in media.items():
        count = sum(kind == medium for kind, _ in slots)
        if count != len(values):
            raise bad_row(
                f"the prompt has {count} {medium} file{'s' * (count != 1)}, but the rejected side has {len(values)}; give one for each"
            )
    files = {medium: iter(values) for medium, values in media.items()}
    return tuple(next(files[kind]) if kind in files else value for kind, value in slots)


def answer_text(turn: Turn, name: str) -> str:
    """The text of an assistant message. RowError for another role, or a message with media."""
    if turn.role != "assistant":
        raise bad_row(f"the last message of {name} is from {turn.role!r:.40}; end it with the assistant's answer")
    if any(kind != "text" for kind, _ in turn.pieces):
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"the answer in {name} contains media; only texts can be answers")
    return "".join(value for _, value in turn.pieces)


def one_answer(value: Any, name: str) -> str:
    """The text of an answer given as a text, an assistant message, or a list of one. RowError for anything else."""
    if isinstance(value, str):
        return text(value, name)
    found = turns([value] if isinstance(value, dict) else value, name)
    if len(found) != 1:
        raise bad_row(f"{name} has {len(found)} messages; give the assistant's answer alone")
    return answer_text(found[0], name)


def split_answers(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected) of two conversations that differ only in their last message, the answer. RowError if they do not."""
    for side, name in ((chosen, "chosen"), (rejected, "rejected")):
        if not side:
            raise bad_row(f"{name} has no messages; add the answer or remove the row")
    if tuple(chosen[:-1]) != tuple(rejected[:-1]):
        raise bad_row("chosen and rejected differ before their last message; make a separate row of each answer")
    return tuple(chosen[:-1]), answer_text(chosen[-1], "chosen"), answer_text(rejected[-1], "rejected")


def answers(prompt: Any, chosen: Any, rejected: Any, tags: bool = True) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected), where each side is a text, an assistant message or the whole conversation.

    The beginning that the two conversations share is the prompt; a text beside it may repeat its first or last question alone. With `tags`,
    <image> in a text of the prompt is a slot.
    RowError if the prompt is given both separately and in the conversations, and they differ."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        return turns(prompt, "prompt", tags), text(chosen, "chosen"), text(rejected, "rejected")
    before, better, worse = split_answers(_talk(chosen, "chosen", tags), _talk(rejected, "rejected", tags))
    if prompt is None or prompt in ("", []):
        return before, better, worse
    question = turns(prompt, "prompt", tags)
    users = [turn.pieces for turn in before if turn.role == "user"]
    if (
        before
        and before != question
        and not (isinstance(prompt, str) and question[0].pieces in (users[:1] + users[-1:]))
    ):
        raise bad_row("prompt is not the beginning of chosen and rejected; make them equal")
    return before or question, better, worse


def _talk(value: Any, name: str, tags: bool) -> tuple[Turn, ...]:
    if isinstance(value, str):
        return (Turn("assistant", as_text_piece(text(value, name))),)
    if is_missing(value):
        raise bad_row(f"{name} is {type_name(value)}; add the answer or remove the row")
    if not isinstance(value, list | dict):
        raise bad_row(f"{name} is {type_name(value)}; use a text or a list of messages")
    return to_conversation([value] if isinstance(value, dict) else value, name, tags)


def to_conversation(value: Any, name: str, tags: bool = True) -> tuple[Turn, ...]:
    """A conversation that ends with its answer; with `tags`, tags are slots in all messages except the answer."""
    if not isinstance(value, list):
        raise bad_row(f"{name} is {type_name(value)}; use a list of messages")
    before = turns(value[:-1], name, tags)
    return (*before, *(turn(message, f"{name}[{len(before)}]") for message in value[-1:]))
