"""What is read of a JPEG without decoding it is what Pillow says."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.media import image
from pipeline.media.jpeg import size_of_whole
from pipeline.media.sniff import sniff
from schemas.errors import RowError
from tests.support import media_files as make


def segment(body: bytes) -> bytes:
    """A JPEG of 64 x 48 with this application segment."""
    plain = make.jpeg()
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


def exif(order: str, *tags: tuple[int, int, int, int]) -> bytes:
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + start + struct.pack(f"{order}H", len(tags)) + b"".join(
        struct.pack(f"{order}HHIHH", *tag[:3], tag[3], 0) for tag in tags
    ) + bytes(4)  # fmt: skip


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_as_large_as_it_is_shown(order, turn):
    data = segment(exif(order, (0x010F, 3, 1, 7), (0x0112, 3, 1, turn)))
    assert size_of_whole(data) == ((64, 48) if turn < 5 else (48, 64))


def test_exif_as_pillow_writes_it():
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a camera"
    assert size_of_whole(make.jpeg(exif=tags)) == (48, 64)


@pytest.mark.parametrize(
    "body",
    [
        exif("<", (0x0112, 4, 1, 6)),  # a long
        exif("<", (0x0112, 3, 2, 6)),  # two of them
        exif("<", (0x0112, 3, 1, 0)),
        exif("<", (0x0112, 3, 1, 9)),
        exif("<", (0x0112, 3, 1, 6))[:20],
        b"Exif\0\0neither",
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'/>",
    ],
)
def test_what_is_odd_is_left_to_the_decoder(body):
    assert size_of_whole(segment(body)) is None


def test_two_exif_segments_are_left_to_the_decoder():
    body = exif("<", (0x0112, 3, 1, 6))
    once = segment(body)
    assert size_of_whole(once[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + once[2:]) is None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from("<>"), st.lists(st.tuples(st.sampled_from([0x0112, 0x010F, 0x8769]), st.integers(0, 12), st.sampled_from([0, 1, 2]), st.integers(0, 9)), max_size=4),
       st.integers(0, 40), st.binary(max_size=3))  # fmt: skip
def test_what_it_says_is_what_pillow_says(order, tags, at, new):
    body = bytearray(exif(order, *tags))
    body[6 + at : 6 + at + len(new)] = new
    data = segment(bytes(body))
    found = size_of_whole(data)
    if found is not None:
        try:
            known = image.facts(data, sniff(data, "x"), "x")
        except RowError:
            return  # Exif data that Pillow cannot read at all
        assert found == (known["width"], known["height"])
