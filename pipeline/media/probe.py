"""What a media file is: its kind and its facts, found once, when it comes in."""

import hashlib
import os

from pipeline.media import image
from pipeline.media.sniff import Format, sniff
from schemas.errors import RowError
from schemas.ports import MediaStore
from schemas.records import Media, Reason


def probe(data: bytes, name: str) -> Media:
    """The Media that `data` is, found at `name`; its kind is told by the bytes.

    RowError: EMPTY_MEDIA (no bytes, no frames, no samples), UNSUPPORTED_MEDIA (no known format), UNDECODABLE (cut off
    or broken). Images and audio files are decoded whole; of videos the packets are counted and one frame is decoded."""
    known = _facts(data, sniff(data, name), name)
    return Media(hashlib.sha256(data).hexdigest(), size=len(data), source=name, **known)


def take(path: str, name: str, store: MediaStore) -> Media:
    """Probes the file at `path` and keeps it in `store`. RowError also when there is none to read (MISSING_FILE)."""
    if not os.path.isfile(path):  # a pipe or a device would be read forever
        raise RowError(Reason.MISSING_FILE, f"{name} is not there; mend the path or drop the row")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        cause = error.strerror
        raise RowError(Reason.MISSING_FILE, f"{name} cannot be read ({cause}); mend its rights") from error
    return keep(data, name, store)


def keep(data: bytes, name: str, store: MediaStore) -> Media:
    """Probes `data` and keeps it in `store`."""
    found = probe(data, name)
    store.add(data)
    return found


def _facts(data: bytes, form: Format, name: str) -> dict:
    if form.library == "pillow":
        return image.facts(data, form, name)
    # the libraries of moving pictures and sound are only loaded for them
    if form.library == "av":
        from pipeline.media import video

        if found := video.facts(data, form, name):
            return found
    from pipeline.media import audio

    return audio.facts(data, form, name)
