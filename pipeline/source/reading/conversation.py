"""A row's prompt and media columns as chat messages and the Media that stand in them."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pybase64

from pipeline.media.fetch import Limits
from pipeline.media.probe import keep, take
from pipeline.media.remote import Remote
from pipeline.storage import urls
from pipeline.storage.local_files import is_below
from schemas.errors import RowError, bad_row
from schemas.ports import MediaStore
from schemas.records import MEDIA_KINDS, Media, Message, Part, Reason, one_line

ROLES = ("system", "user", "assistant")
_LONGEST_PATH = 4096  # characters
_REMEMBERED = 4096  # files that are not read again when other rows show them too

Piece = tuple[str, Any]  # a part's type, and its text or what names its media; None: whatever the columns hold


def schemes_for(limits: Limits, *own: str | None) -> frozenset[str]:
    """The schemes of object stores that rows may name: those that the recipe lists, and those of its own paths."""
    return frozenset((*limits.schemes, *(urls.scheme(path) for path in own if path and urls.is_url(path))))


def own_folders(place: str, media_root: str | None) -> tuple[str, ...] | None:
    """The only folders of this machine that rows of a file at `place` may name; None: any, for a file of the user's own."""
    if not urls.is_url(place):
        return None
    return () if media_root is None or urls.is_url(media_root) else (media_root,)


class MediaLookup:
    """The media that rows name by paths relative to `root` or by URLs: read, probed and kept in the store."""

    def __init__(
        self, root: str, store: MediaStore, remote: Remote, within: tuple[str, ...] | None = None,
        schemes: Collection[str] = (),
    ):  # fmt: skip
        """`root`: a folder, here or at a URL. `within`: the only folders of this machine that rows may name, links to other
        folders not followed; None: any. `schemes`: those of object stores that rows may name, which are read with the user's rights."""
        self._root, self._store, self._remote, self._within = root, store, remote, within
        self._schemes = schemes
        self._elsewhere = urls.is_url(root)
        self._taken = lru_cache(_REMEMBERED)(self._take)
        self._allowed = lru_cache(_REMEMBERED)(self._lies_within)

    def url(self, value: Any) -> str | None:
        """The URL behind what a media column holds; None where there is none, or where it is no good."""
        path = value
        if isinstance(value, dict):
            path = None if isinstance(value.get("bytes"), bytes) else value.get("path")
        if not isinstance(path, str) or not (self._elsewhere or ":" in path):
            return None
        try:
            return self._address(path)
        except RowError:
            return None

    def find(self, value: Any, kind: str) -> Media:
        """The Media of a path, a URL, of bytes, or of `{bytes, path}`. RowError when it is no good or of another kind than
        `kind`, which may be `any`.

        Where a sound stands, a video that has one will do: a prompt that shows a video and its sound names it twice."""
        path, data = value, None
        if isinstance(value, dict):
            path, data = value.get("path"), value.get("bytes")
        elif isinstance(value, bytes):
            path, data = None, value
        if isinstance(path, str):
            if path.startswith("data:"):
                path, data = None, _inline(path)
            elif len(path) > _LONGEST_PATH:
                raise bad_row(
                    f"{_called(None, kind)} is a path of {len(path):,} characters; give bytes in text as data:image/png;base64,..."
                )
        if isinstance(data, bytes):
            media = keep(data, _called(path, kind), self._store)
        elif isinstance(path, str):
            media = self._taken(path)
        else:
            raise bad_row(f"{_called(path, kind)} is {type(value).__name__}; give a path or {{bytes, path}}")
        if kind not in (media.kind, "any") and not (kind == "audio" and media.rate):  # a video's sound
            detail = f"{_called(path, kind)} is {media.kind} and stands where {kind} is; call it {media.kind}"
            raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
        return media

    def _take(self, path: str) -> Media:
        if (self._elsewhere or ":" in path) and (url := self._address(path)):
            return self._remote.take(url)
        inside = os.path.join(self._root, self._inside(path))
        if self._within is not None and not self._allowed(inside.rpartition(os.sep)[0] or os.sep):
            raise RowError(
                Reason.UNSAFE,
                f"{path} is a file of this machine, which the rows may not name; put it into their folder",
            )
        return take(inside, one_line(path), self._store)

    def _address(self, path: str) -> str | None:
        """The URL that a path is, or that it leads to below a root elsewhere; None for a file of this machine."""
        if not urls.is_url(path):
            return urls.join(self._root, self._inside(path)) if self._elsewhere else None
        scheme = urls.scheme(path)
        if scheme in urls.OBJECTS and scheme not in self._schemes and not self._is_below_root(path):
            detail = f"{urls.clean(path)} would be read with your rights; list {scheme} in fetch.schemes if rows may name such objects"
            raise RowError(Reason.UNSAFE, detail)
        return path

    def _is_below_root(self, url: str) -> bool:
        """Whether a URL names a file of the set that the rows belong to, as those of an imagefolder on the Hub do."""
        own = f"{self._root.rstrip('/')}/"
        return self._elsewhere and url.startswith(own) and ".." not in re.split(r"[/\\]", unquote(url))

    def _inside(self, path: str) -> str:
        inside = os.path.normpath(path)
        # what a server may make of it: %2e%2e and backslashes
        meant = (inside, os.path.normpath(unquote(path).replace("\\", "/"))) if self._elsewhere else (inside,)
        if any(one.startswith("..") and one.split(os.sep)[0] == ".." for one in meant):
            raise bad_row(f"{path} leads out of the folder of the media; set media_root, or give an absolute path")
        if self._elsewhere and any(map(os.path.isabs, meant)):
            raise RowError(Reason.UNSAFE, f"{path} is a file of this machine, which rows from elsewhere may not name")
        return inside

    def _lies_within(self, folder: str) -> bool:
        try:
            found = os.path.realpath(folder)
        except ValueError:  # a zero byte, with which nothing is opened
            return True
        return any(is_below(found, os.path.realpath(own)) for own in self._within or ())


def _called(path: Any, kind: str) -> str:
    """What messages call a medium that may have a path."""
    if not path or not isinstance(path, str):
        return "the medium" if kind == "any" else f"the {kind}"
    return urls.clean(path) if urls.is_url(path) else one_line(path)


def _inline(url: str) -> bytes:
    head, _, body = url.partition(",")
    try:
        if head.endswith(";base64"):
            return pybase64.b64decode(body, validate=True)
    except ValueError:
        pass
    raise bad_row("a data: URL is not base64; write it as data:image/png;base64,...")


def to_messages(
    prompt: Any, columns: Mapping[str, Sequence], shelf: MediaLookup
) -> tuple[tuple[Message, ...], list[Media]]:
    """The messages of a prompt (a text or a list of messages), and their Media in order.

    `columns` holds what the media columns name, by kind (`any` for media that may be of each): it fills the parts of that kind that name nothing; where there
    are none it stands before the first user message's text. RowError when anything is missing or of a wrong type."""
    media: list[Media] = []
    if isinstance(prompt, str):  # most rows: no parts to fill
        if not prompt.strip():
            raise _no_words()
        shown = [_part((kind, value), shelf, media) for kind, values in columns.items() for value in values]
        return (Message("user", (*shown, Part("text", prompt))),), media
    if not isinstance(prompt, list | None):
        raise bad_row(f"the prompt is {type(prompt).__name__}; make it a text or a list of messages")
    turns = [_turn(message) for message in prompt or ()]
    if not any(kind == "text" and value.strip() for role, pieces in turns if role == "user" for kind, value in pieces):
        raise _no_words()
    if turns[-1][0] != "user":
        raise bad_row("the last message is not the user's; end the prompt with what is to be answered")
    _fill(turns, columns)
    return tuple(Message(role, tuple(_part(piece, shelf, media) for piece in pieces)) for role, pieces in turns), media


def _turn(message: Any) -> tuple[str, list[Piece]]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise bad_row(f"a message has no role of {', '.join(ROLES)}; write it as {{role, content}}")
    content = message.get("content")
    if isinstance(content, str):
        return message["role"], [("text", content)]
    if not isinstance(content, list):
        raise bad_row(f"a message's content is {type(content).__name__}; make it a text or a list of parts")
    return message["role"], [_piece(part) for part in content]


def _piece(part: Any) -> Piece:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in MEDIA_KINDS:
        return kind, part.get("path")
    if kind != "text":
        found = repr(kind) if isinstance(kind, str) else "missing"
        raise RowError(
            Reason.UNSUPPORTED_MEDIA, f"a part's type is {found}; the types are text, {', '.join(MEDIA_KINDS)}"
        )
    if not isinstance(part.get("text"), str):
        raise bad_row(f"a text part holds {type(part.get('text')).__name__}; make it a text")
    return kind, part["text"]


def _fill(turns: list[tuple[str, list[Piece]]], columns: Mapping[str, Sequence]) -> None:
    holes: dict[str, list[tuple[list[Piece], int]]] = {}
    for _, pieces in turns:
        for at, (kind, value) in enumerate(pieces):
            if value is None:
                holes.setdefault(kind, []).append((pieces, at))
    front: list[Piece] = []
    for kind in {**columns, **holes}:
        slots, values = holes.get(kind, ()), columns.get(kind, ())
        if not slots:
            front += [(kind, value) for value in values]
        elif len(slots) != len(values):
            raise bad_row(f"{len(slots)} {kind} parts have no path, the columns hold {len(values)}; make them as many")
        for (pieces, at), value in zip(slots, values):
            pieces[at] = (kind, value)
    next(pieces for role, pieces in turns if role == "user")[:0] = front


def _part(piece: Piece, shelf: MediaLookup, media: list[Media]) -> Part:
    kind, value = piece
    if kind == "text":
        return Part("text", value)
    media.append(shelf.find(value, kind))
    return Part(media[-1].kind if kind == "any" else kind, media=media[-1].id)  # a video may stand where its sound does


def _no_words() -> RowError:
    return RowError(Reason.EMPTY_PROMPT, "the prompt is empty; write a question or drop the row")
