"""Identifies media files at ingest: kind and metadata."""

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
    """The Media of `data`, found at `name`; its kind is detected from the bytes.

    RowError: EMPTY_MEDIA (no bytes, frames or samples), UNSUPPORTED_MEDIA (unknown format), UNDECODABLE (truncated or corrupted), TOO_LARGE
    (exceeds a limit of limits.py), TOO_SLOW, DECODER_DIED. JPEG segments are followed without decoding. Everything else is examined in a
    separate process (decode.py): images and sounds are decoded completely, and videos unless their packets prove what is shown
    (timeline.py)."""
    known = _facts(data, sniff(data, name), name)
    return Media(hashlib.sha256(data).hexdigest(), size=len(data), source=name, **known)


def take(path: str, name: str, store: MediaStore) -> Media:
    """Probes the file at `path` and stores it in `store`. RowError as `probe`, and MISSING_FILE if it cannot be read.

    Links to files are followed: folders of links are common, and this user created them."""
    try:
        data = _bytes(path, name)
    except NotRegular as error:
        detail = f"{name} is not a file, it is {error}; give the path of a file or remove the row"
        raise RowError(Reason.MISSING_FILE, detail) from error
    except (FileNotFoundError, ValueError) as error:  # ValueError: a null byte in the name
        raise RowError(Reason.MISSING_FILE, f"{name} does not exist; correct the path or remove the row") from error
    except OSError as error:
        cause = error.strerror
        raise RowError(
            Reason.MISSING_FILE, f"{name} cannot be read ({cause}); correct its permissions or remove the row"
        ) from error
    return probe_and_store(data, name, store)


def _bytes(path: str, name: str) -> bytes:
    """The bytes of a file, with as few system calls as possible."""
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


def probe_and_store(data: bytes, name: str, store: MediaStore) -> Media:
    """Probes `data` and stores it in `store`. Raises RowError like `probe`, and then stores nothing."""
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
