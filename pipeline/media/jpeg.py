"""JPEGs, followed without a decoder: their segments must lead to the end of the picture."""

import re

_END, _APP1, _FRAMES = 0xD9, 0xE1, (0xC0, 0xC1, 0xC2)
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # neither stuffing, nor a restart, nor a fill byte
_SEGMENTS = 1000  # followed at most: a picture of more is made to take long


def size_of_whole(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG whose segments (ITU-T T.81, annex B) lead to its end-of-image marker.

    None when it must be decoded to be sure: no such end, Exif data (it may be turned), a frame that is not the common one
    of 8 bits, sequential or progressive, or a thousand segments."""
    size, at = None, 2
    for _ in range(_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None:
            return None
        code, at = data[marker.end() - 1], marker.end()
        if code == _END:
            return size
        if code == _APP1:
            return None
        if code in _FRAMES and data[at + 2 : at + 3] == b"\x08":
            size = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 3 : at + 5], "big")
            if 0 in size:
                return None
        at += int.from_bytes(data[at : at + 2], "big")
    return None
