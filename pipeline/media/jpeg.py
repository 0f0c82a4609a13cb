"""Checks that a JPEG is complete without decoding it: its segments must lead to the end-of-image marker."""

import re
from typing import Literal

_END, _APP1, _FRAMES = 0xD9, 0xE1, (0xC0, 0xC1, 0xC2)
_NEEDED = {0xDA, 0xDB}  # a scan, and quantisation tables
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # neither stuffing, nor a restart, nor a fill byte
_SEGMENTS = 1000  # maximum number followed: images with more are made to be slow
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"Exif\0\0II*\0": "little", b"Exif\0\0MM\0*": "big"}
_ORIENTATION, _SHORT = 0x0112, 3


def size_of_whole(data: bytes) -> tuple[int, int] | None:
    """Width and height, after EXIF rotation, of a JPEG whose segments (ITU-T T.81, annex B) lead to its end-of-image marker.

    None if it must be decoded to be sure: no end marker, no scan, invalid or repeated Exif data, XMP that may rotate it, a frame other than
    8-bit sequential or progressive, or too many segments."""
    size: tuple[int, int] | None = None
    turn = 0  # unknown
    seen: set[int] = set()
    at = 2
    for _ in range(_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None:
            return None
        code, at = data[marker.end() - 1], marker.end()
        seen.add(code)
        if code == _END:
            if not seen >= _NEEDED:
                return None
            return size[::-1] if size and turn > 4 else size
        length = int.from_bytes(data[at : at + 2], "big")
        if code == _APP1:
            segment = data[at + 2 : at + length]
            if segment.startswith(b"Exif\0\0"):
                if turn or not (turn := _orientation(segment)):
                    return None
            elif b"Orientation" in segment:
                return None
        elif code in _FRAMES and data[at + 2 : at + 3] == b"\x08":
            size = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 3 : at + 5], "big")
            if 0 in size:
                return None
        at += length
    return None


def _orientation(segment: bytes) -> int:
    """Exif orientation, 1 to 8; 1 if not given, 0 if the data are invalid."""
    order, tags = _ORDERS.get(segment[:10]), segment[6:]
    if order is None:
        return 0
    first = int.from_bytes(tags[4:8], order)
    start, count = first + 2, int.from_bytes(tags[first : first + 2], order)
    if first < 8 or start + 12 * count > len(tags):
        return 0
    found = 1
    for entry in range(start, start + 12 * count, 12):
        tag, kind = (int.from_bytes(tags[at : at + 2], order) for at in (entry, entry + 2))
        if tag == _ORIENTATION:
            found = int.from_bytes(tags[entry + 8 : entry + 10], order)
            if kind != _SHORT or int.from_bytes(tags[entry + 4 : entry + 8], order) != 1 or not 1 <= found <= 8:
                return 0
    return found
