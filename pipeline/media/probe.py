"""What a media file is: its kind and its facts, found once, when it comes in."""

import hashlib
import os

from pipeline.media import decode
from pipeline.media.jpeg import size_of_whole
from pipeline.media.limits import MAX_BYTES, MAX_PIXELS
from pipeline.media.sniff import Format, sniff, too_large
from pipeline.storage.local_files import NotRegular, open_regular
from schemas.errors import RowError
from schemas.ports import MediaStore
from schemas.records import Media, Reason


def probe(data: bytes, name: str) -> Media:
    """The Media that `data` is, found at `name`; its kind is told by the bytes.

    RowError: EMPTY_MEDIA (no bytes, no frames, no samples), UNSUPPORTED_MEDIA (no known format), UNDECODABLE (cut off
    or broken), TOO_LARGE (over a cap of limits.py), TOO_SLOW, DECODER_DIED. Of JPEGs the segments are followed, of videos
    the packets are counted and one frame is decoded; other images and audio files are decoded whole. What is decoded is
    so in a process of its own (decode.py)."""
    known = _facts(data, sniff(data, name), name)
    return Media(hashlib.sha256(data).hexdigest(), size=len(data), source=name, **known)


def take(path: str, name: str, store: MediaStore) -> Media:
    """Probes the file at `path` and keeps it in `store`. RowError also when there is none to read (MISSING_FILE).

    A link to a file is followed: folders of links are common, and this user made or unpacked them."""
    try:
        data = _bytes(path, name)
    except NotRegular as error:
        detail = f"{name} is not there as a file, it is {error}; give the path of a file or drop the row"
        raise RowError(Reason.MISSING_FILE, detail) from error
    except (FileNotFoundError, ValueError) as error:  # ValueError: a name with a zero byte
        raise RowError(Reason.MISSING_FILE, f"{name} is not there; mend the path or drop the row") from error
    except OSError as error:
        cause = error.strerror
        raise RowError(
            Reason.MISSING_FILE, f"{name} cannot be read ({cause}); correct its rights or drop the row"
        ) from error
    return keep(data, name, store)


def _bytes(path: str, name: str) -> bytes:
    """The bytes of a file, in the fewest calls of the system."""
    file, size = open_regular(path)
    try:
        if size > MAX_BYTES:
            raise too_large(name, f"{size:,} bytes", f"{MAX_BYTES:,}")
        data = os.read(file, size)
        while len(data) < size and (more := os.read(file, size - len(data))):
            data += more
        return data
    finally:
        os.close(file)


def keep(data: bytes, name: str, store: MediaStore) -> Media:
    """Probes `data` and keeps it in `store`, when it is good."""
    known = _facts(data, sniff(data, name), name)
    return Media(store.add(data), size=len(data), source=name, **known)


def _facts(data: bytes, form: Format, name: str) -> dict:
    if len(data) > MAX_BYTES:
        raise too_large(name, f"{len(data):,} bytes", f"{MAX_BYTES:,}")
    size = size_of_whole(data) if form.name == "JPEG" else None
    if size is None:
        return decode.facts(data, form, name)
    if size[0] * size[1] > MAX_PIXELS:
        raise too_large(name, f"{size[0]} x {size[1]} pixels", f"{MAX_PIXELS:,}")
    return {"kind": "image", "mime": form.mime, "width": size[0], "height": size[1]}
