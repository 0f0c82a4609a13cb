"""Converts a row's prompt and media columns into chat messages and their Media."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pybase64

from pipeline.media.fetch import Limits
from pipeline.media.probe import probe_and_store, take
from pipeline.media.remote import Remote
from pipeline.source.formats.draft import Piece, Turn
from pipeline.source.formats.fields import type_name
from pipeline.source.formats.turns import is_slot, place_media, turns
from pipeline.storage import urls
from pipeline.storage.local_files import is_below
from schemas.errors import RowError, bad_row
from schemas.ports import MediaStore
from schemas.records import Media, Message, Part, Reason, one_line

_LONGEST_PATH = 4096  # maximum characters of a media path
_REMEMBERED = 4096  # media files whose probe results are cached, for rows that share them


def schemes_for(limits: Limits, *own: str | None) -> frozenset[str]:
    """The object-store schemes that rows may use: those in `fetch.schemes` and those of the recipe's own paths."""
    return frozenset((*limits.schemes, *(urls.scheme(path) for path in own if path and urls.is_url(path))))


def own_folders(place: str, media_root: str | None) -> tuple[str, ...] | None:
    """The only local folders that rows of a file at `place` may refer to; None: no restriction, for a local file."""
    if not urls.is_url(place):
        return None
    return () if media_root is None or urls.is_url(media_root) else (media_root,)


class MediaLookup:
    """Finds media that rows refer to by URL or by path relative to `root`: reads, probes and stores them."""

    def __init__(
        self, root: str, store: MediaStore, remote: Remote, within: tuple[str, ...] | None = None,
        schemes: Collection[str] = (),
    ):  # fmt: skip
        """`root`: a folder or URL. `within`: the only local folders that rows may refer to, after resolving links; None: no
        restriction. `schemes`: object-store schemes that rows may use; such objects are read with the user's credentials."""
        self._root, self._store, self._remote, self._within = root, store, remote, within
        self._schemes = schemes
        self._is_remote = urls.is_url(root)
        self._taken = lru_cache(_REMEMBERED)(self._take)
        self._allowed = lru_cache(_REMEMBERED)(self._is_within)

    def url(self, value: Any) -> str | None:
        """The URL that the value of a media column refers to; None if there is none, or it is not allowed."""
        path = value
        if isinstance(value, dict):
            path = None if isinstance(value.get("bytes"), bytes) else value.get("path")
        if not isinstance(path, str) or not (self._is_remote or ":" in path):
            return None
        try:
            return self._address(path)
        except RowError:
            return None

    def frames(self, value: Any) -> list[str] | None:
        """The paths of the files in a local folder, in order of their names, with numbers by their value; None if `value` is not a folder.
        RowError if it is empty."""
        if not isinstance(value, str) or self._is_remote or ":" in value or len(value) > _LONGEST_PATH or "\0" in value:
            return None
        folder = os.path.join(self._root, self._inside(value))
        if not os.path.isdir(folder) or (self._within is not None and not self._allowed(folder)):
            return None
        names = [
            name
            for name in os.listdir(folder)
            if not name.startswith(".") and os.path.isfile(os.path.join(folder, name))
        ]
        if not names:
            raise RowError(
                Reason.MISSING_FILE,
                f"{one_line(value)} is a folder without frames; give a video, or a folder of images",
            )
        number = lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
        return [os.path.join(value, name) for name in sorted(names, key=number)]

    def find(self, value: Any, kind: str) -> Media:
        """Stores and returns the Media of a path, URL, bytes or `{bytes, path}`. RowError if it cannot be read, is not allowed, or is not of
        `kind` (a media kind, or `any`).

        For `audio`, a video with a sound track is accepted: a prompt with a video and its audio refers to it twice."""
        path, data = value, None
        if isinstance(value, dict):
            path, data = value.get("path"), value.get("bytes")
        elif isinstance(value, bytes):
            path, data = None, value
        if path == "" and not isinstance(data, bytes):
            raise RowError(Reason.MISSING_FILE, f"the path of {_label(None, kind)} is empty; add it, or write null")
        if isinstance(path, str):
            if path.startswith("data:"):
                path, data = None, _inline(path)
            elif len(path) > _LONGEST_PATH:
                raise bad_row(
                    f"{_label(None, kind)} is a path of {len(path):,} characters; write embedded bytes as data:image/png;base64,..."
                )
        if isinstance(data, bytes):
            media = probe_and_store(data, _label(path, kind), self._store)
        elif isinstance(path, str):
            media = self._taken(path)
        else:
            given = "an object without a path or bytes" if isinstance(value, dict) else type_name(value)
            raise bad_row(f"{_label(path, kind)} is {given}; give a path or {{bytes, path}}")
        if kind not in (media.kind, "any") and not (kind == "audio" and media.rate):  # a video's sound track
            detail = f"{_label(path, kind)} is {media.kind}, but {kind} is expected; put it under {media.kind}"
            raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
        return media

    def _take(self, path: str) -> Media:
        if (self._is_remote or ":" in path) and (url := self._address(path)):
            return self._remote.take(url)
        inside = os.path.join(self._root, self._inside(path))
        if self._within is not None and not self._allowed(inside.rpartition(os.sep)[0] or os.sep):
            raise RowError(
                Reason.UNSAFE,
                f"{path} is a local file outside the folders that these rows may use; move it into their folder",
            )
        return take(inside, one_line(path), self._store)

    def _address(self, path: str) -> str | None:
        """The URL of a path, absolute or below a remote root; None for a local file."""
        if not urls.is_url(path):
            return urls.join(self._root, self._inside(path)) if self._is_remote else None
        scheme = urls.scheme(path)
        if scheme in urls.OBJECTS and scheme not in self._schemes and not self._is_below_root(path):
            detail = f"{urls.clean(path)} would be read with your credentials; add {scheme} to fetch.schemes if rows may use such objects"
            raise RowError(Reason.UNSAFE, detail)
        return path

    def _is_below_root(self, url: str) -> bool:
        """Whether a URL is below a remote root: files of the same dataset, such as an imagefolder on the Hub."""
        own = f"{self._root.rstrip('/')}/"
        return self._is_remote and url.startswith(own) and ".." not in re.split(r"[/\\]", unquote(url))

    def _inside(self, path: str) -> str:
        inside = os.path.normpath(path)
        # servers may decode %2e%2e and treat backslashes as slashes
        variants = (inside, os.path.normpath(unquote(path).replace("\\", "/"))) if self._is_remote else (inside,)
        if any(p.startswith("..") and p.split(os.sep)[0] == ".." for p in variants):
            raise bad_row(f"{path} leads out of the media folder; set media_root, or give an absolute path")
        if self._is_remote and any(map(os.path.isabs, variants)):
            raise RowError(
                Reason.UNSAFE,
                f"{path} is a local file, which rows from a remote source may not use; give a relative path or a URL",
            )
        return inside

    def _is_within(self, folder: str) -> bool:
        try:
            found = os.path.realpath(folder)
        except ValueError:  # a null byte: opening fails later
            return True
        return any(is_below(found, os.path.realpath(own)) for own in self._within or ())


def _label(path: Any, kind: str) -> str:
    """Name of a media file in messages."""
    if not path or not isinstance(path, str):
        return "the media file" if kind == "any" else f"the {kind}"
    return urls.clean(path) if urls.is_url(path) else one_line(path)


def _inline(url: str) -> bytes:
    head, _, body = url.partition(",")
    try:
        if head.endswith(";base64"):
            return pybase64.b64decode(body, validate=True)
    except ValueError:
        pass
    raise bad_row("a data: URL is not valid base64; write it as data:image/png;base64,...")


def to_messages(
    prompt: Any, columns: Mapping[str, Sequence], lookup: MediaLookup
) -> tuple[tuple[Message, ...], list[Media]]:
    """Converts a prompt (a text, a list of messages as in `formats.turns`, or its Turns) into Messages and their Media, in order.

    `columns`: values of the media columns by kind (`any`: of unknown kind). They take the places of the parts of their kind that name no
    file, and of <image>, <video> and <audio> in a text; without such places they are placed before the first user text. RowError if something is
    missing or of the wrong type, or if the numbers of places and files differ."""
    media: list[Media] = []
    if isinstance(prompt, str) and "<" not in prompt:  # the common case: nothing to fill
        if not prompt.strip():
            raise _empty_prompt()
        shown = [_part((kind, value), lookup, media) for kind, values in columns.items() for value in values]
        return (Message("user", (*shown, Part("text", prompt))),), media
    if prompt is None or prompt == []:
        raise _empty_prompt()
    found = prompt if isinstance(prompt, tuple) else turns(prompt, "prompt", tags=True)
    if not any(kind == "text" and words.strip() for t in found if t.role == "user" for kind, words in t.pieces):
        raise _empty_prompt()
    if found[-1].role != "user":
        raise bad_row("the last message is not from the user; end the prompt with the user's question")
    placed = place_media(found, _of_known_kind(found, columns, lookup))
    return tuple(
        Message(t.role, tuple(_part(one, lookup, media) for piece in t.pieces for one in _frames(piece, lookup)))
        for t in placed
    ), media


def _frames(piece: Piece, lookup: MediaLookup) -> Sequence[Piece]:
    """A video that is given as a folder of frames as its images, in order; anything else as it is. When each was shown is unknown, so they
    are not made into a video."""
    kind, value = piece
    frames = lookup.frames(value) if kind == "video" else None
    return (piece,) if frames is None else [("image", frame) for frame in frames]


def _of_known_kind(
    prompt: Sequence[Turn], columns: Mapping[str, Sequence], lookup: MediaLookup
) -> Mapping[str, Sequence]:
    """The columns; media of unknown kind are put under theirs if the prompt has places to fill."""
    if "any" not in columns or not any(
        kind != "text" and is_slot(value) for turn in prompt for kind, value in turn.pieces
    ):
        return columns
    known = {kind: list(values) for kind, values in columns.items() if kind != "any"}
    for value in columns["any"]:
        known.setdefault(lookup.find(value, "any").kind, []).append(value)
    return known


def _part(piece: Piece, lookup: MediaLookup, media: list[Media]) -> Part:
    kind, value = piece
    if kind == "text":
        return Part("text", value)
    media.append(lookup.find(value, kind))
    return Part(media[-1].kind if kind == "any" else kind, media=media[-1].id)  # `kind` may be the audio of a video


def _empty_prompt() -> RowError:
    return RowError(Reason.EMPTY_PROMPT, "the prompt is empty; add a question or remove the row")
