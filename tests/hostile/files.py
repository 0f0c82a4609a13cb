"""Files that are broken, huge, lying or dangerous, made from a seed; each says what it is and what is to become of it."""

import functools
import gzip
import io
import os
import pickle
import random
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pillow_heif
import soundfile
from PIL import Image

from schemas.records import Reason
from tests.support import media_files as make

GOOD = "good"  # it is media all the same, and nothing in it does harm
SEED = 5


class Hostile(NamedTuple):
    name: str
    what: str
    outcome: str  # a Reason, or GOOD
    data: bytes | Callable[[Path], None]  # what is in it, or what makes it at its path


@functools.cache
def hostile() -> list[Hostile]:
    """All of them, in order of their kinds. The same bytes each time."""
    families = (_cut, _posing, _polyglots, _playlists, _jpegs, _pngs, _other_images, _waves, _sounds, _boxes, _streams,
                _names, _entries)  # fmt: skip
    return [one for family in families for one in family()]


def write(folder: Path) -> list[Hostile]:
    """All of them as files below `folder`."""
    made = hostile()
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(one.name))))
        if callable(one.data):
            one.data(path)
        else:
            path.write_bytes(one.data)
    return made


# pieces


def _heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(make.picture(1, 64, 48)).save(file)
    return file.getvalue()


def _ogg(seconds: float = 1.0, subtype: str = "VORBIS", rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, make.tone(seconds, rate), rate, format="OGG", subtype=subtype)
    return file.getvalue()


def _riff(*chunks: bytes, form: bytes = b"WAVE") -> bytes:
    body = form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def _format(
    tag: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, align: int | None = None, extra: bytes = b""
) -> bytes:
    align = channels * bits // 8 if align is None else align
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits)
    return _chunk(b"fmt ", head + extra)


def _wave(samples: bytes = bytes(2000), **fmt) -> bytes:
    return _riff(_format(**fmt), _chunk(b"data", samples))


def _png_chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)
    )


def _png(
    width: int,
    height: int,
    *between: bytes,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    pixels: bytes | None = None,
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    rows = zlib.compress(bytes((1 + 3 * width) * height) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [_png_chunk(b"IHDR", head), *between, _png_chunk(b"IDAT", rows), _png_chunk(b"IEND", b"")]
    )


@functools.cache
def _bomb() -> bytes:
    return _png(16000, 16000, depth=1, colour=0, pixels=bytes(2001 * 16000))


def _tiff(*tags: tuple[int, int, int, int], follow: int = 0, count: int | None = None, first: int = 8) -> bytes:
    """A TIFF of one directory at byte 8 with these tags (number, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    body = struct.pack("<H", len(tags) if count is None else count) + entries + struct.pack("<I", follow)
    return struct.pack("<2sHI", b"II", 42, first) + body + bytes(4096)


def _tiff_tags(width: int = 16, height: int = 16, **other: int) -> list[tuple[int, int, int, int]]:
    known = {"bits": 8, "compression": 1, "photometric": 1, "samples": 1, "bytes": 256} | other
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, known["bits"]), (259, 3, 1, known["compression"]),
            (262, 3, 1, known["photometric"]), (273, 4, 1, 512), (277, 3, 1, known["samples"]), (278, 4, 1, height),
            (279, 4, 1, known["bytes"])]  # fmt: skip


def _gif(width: int, height: int, body: bytes = b"", flags: int = 0x80) -> bytes:
    table = b"\0\0\0\xff\xff\xff" if flags & 0x80 else b""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0) + table + body + b";"


def _frame(width: int, height: int, left: int = 0, code: int = 2, data: bytes = b"\x02\x44\x01\0") -> bytes:
    return b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + bytes([code]) + data


def _bmp(
    width: int,
    height: int,
    bits: int = 24,
    head: int = 40,
    compression: int = 0,
    colours: int = 0,
    data: bytes = bytes(4096),
) -> bytes:
    info = struct.pack("<IiiHHIIiiII", head, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + info + data


def _box(name: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(data) + 8 if size is None else size) + name + data


_FTYP = _box(b"ftyp", b"isom\0\0\2\0isomiso2")
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"edts")


def _patched(data: bytes, name: bytes, offset: int, new: bytes) -> bytes:
    """The file with `new` over the bytes `offset` behind the first `name`."""
    at = data.index(name) + len(name) + offset
    return data[:at] + new + data[at + len(new) :]


def _grown(data: bytes, name: bytes, new: bytes) -> bytes:
    """The MP4 with the content of its first box `name` replaced, and all boxes around it made to fit."""
    at = data.index(name) - 4
    size = int.from_bytes(data[at : at + 4], "big")
    out = bytearray(data[:at] + _box(name, new) + data[at + size :])
    place, end, more = 0, len(data), len(new) + 8 - size
    while place < at:  # into each box that holds it
        length = int.from_bytes(data[place : place + 4], "big")
        if place <= at < place + length:
            out[place : place + 4] = (length + more).to_bytes(4, "big")
            place, end = place + 8, place + length
        else:
            place += length
        if place >= end:
            break
    return bytes(out)


def _ebml(name: bytes, data: bytes, size: bytes | None = None) -> bytes:
    return name + (struct.pack(">Q", len(data) | 1 << 56) if size is None else size) + data


_EBML = _ebml(b"\x1a\x45\xdf\xa3", _ebml(b"\x42\x82", b"webm"))


def _tracks(count: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(count)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            out.mux(stream.encode(frame))
    return file.getvalue()


def _adler(size: int) -> bytes:
    """A zlib stream of so many zeros."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])


# families


def _cut() -> Iterator[Hostile]:
    whole = {
        "jpg": make.jpeg(), "png": make.png(), "gif": make.image_file(make.picture(0, 64, 48), "GIF"),
        "webp": make.image_file(make.picture(0, 64, 48), "WEBP"), "tiff": make.image_file(make.picture(0, 64, 48), "TIFF"),
        "bmp": make.image_file(make.picture(0, 64, 48), "BMP"), "avif": make.image_file(make.picture(0, 64, 48), "AVIF"),
        "heic": _heic(), "mp4": make.mp4(), "webm": make.webm(), "avi": make.movie("avi", "mpeg4"), "wav": make.wav(),
        "flac": make.flac(), "ogg": _ogg(), "aiff": make.audio_file("AIFF"), "m4a": make.m4a(),
    }  # fmt: skip
    for kind, data in whole.items():
        for share in (20, 50, 95):
            yield Hostile(
                f"cut-{share}.{kind}",
                f"the first {share} % of a .{kind} file",
                Reason.UNDECODABLE,
                data[: len(data) * share // 100],
            )
    yield Hostile("cut-end.jpg", "a JPEG without its last two bytes", Reason.UNDECODABLE, make.jpeg()[:-2])
    yield Hostile(
        "cut-exif.jpg", "a JPEG with Exif data, half of it", Reason.UNDECODABLE, make.jpeg(exif=_turned())[:900]
    )
    yield Hostile(
        "cut-50.mp3", "half of an MP3: it does not say how long it is", GOOD, make.mp3()[: len(make.mp3()) // 2]
    )
    yield Hostile(
        "zeros.jpg", "a download that was filled up with zeros", Reason.UNDECODABLE, make.jpeg()[:400] + bytes(2000)
    )
    yield Hostile("empty.png", "no bytes", Reason.EMPTY_MEDIA, b"")
    yield Hostile("one.png", "one byte", Reason.UNSUPPORTED_MEDIA, b"\x89")
    starts = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF89a", "tiff": b"II*\0", "flac": b"fLaC", "ogg": b"OggS",
              "mp3": b"ID3", "mp4": _FTYP, "webm": b"\x1a\x45\xdf\xa3", "wav": b"RIFF\4\0\0\0WAVE", "webp": b"RIFF\4\0\0\0WEBP",
              "avi": b"RIFF\4\0\0\0AVI ", "flv": b"FLV\1", "mpg": b"\0\0\1\xba", "aac": b"\xff\xf1", "wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"}  # fmt: skip
    for kind, start in starts.items():
        outcome = Reason.EMPTY_MEDIA if kind == "aac" else Reason.UNDECODABLE
        yield Hostile(f"start.{kind}", f"only the first bytes of a .{kind} file", outcome, start)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _posing() -> Iterator[Hostile]:
    rng = random.Random(SEED)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/><script>alert(1)</script></svg>'
    laughs = (
        b'<!DOCTYPE l [<!ENTITY a "ha">'
        + b"".join(b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
        + b"]><svg>&j;</svg>"
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/media/image1.png", bytes(20 << 20))
        file.writestr("../../etc/passwd", b"root")
    for name, what, data in [
        ("svg.png", "an SVG with a script and a local file in it", svg), ("laughs.svg", "an SVG whose entities expand to a gigabyte", laughs),
        ("page.jpg", "a web page", b"<!doctype html><script>alert(1)</script>" * 50), ("paper.jpg", "a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<<>>endobj\n" * 20),
        ("print.jpg", "PostScript that would run a command", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n"),
        ("bomb.png", "a ZIP with 20 MB of zeros and a path that leads out", archive.getvalue()), ("bomb.gz.jpg", "gzip of 20 MB of zeros", gzip.compress(bytes(20 << 20), 9, mtime=0)),
        ("program.png", "an ELF program", b"\x7fELF\2\1\1" + bytes(200)), ("pickle.jpg", "a pickle", pickle.dumps(list(range(1000)))),
        ("script.mp4", "a shell script", b"#!/bin/sh\nrm -rf ~\n"), ("notes.jpg", "text", b"bought at the fair\n" * 40), ("utf16.png", "text in UTF-16", "fair".encode("utf-16") * 99),
        ("zero.jpg", "a megabyte of zeros", bytes(1 << 20)), ("ff.jpg", "a megabyte of 0xFF", b"\xff" * (1 << 20)), ("random.png", "noise", rng.randbytes(50_000)),
        ("photoshop.jpg", "a Photoshop file", b"8BPS\0\1" + bytes(500)),
    ]:  # fmt: skip
        yield Hostile(name, what, Reason.UNSUPPORTED_MEDIA, data)
    yield Hostile("car.bmp", "a text that begins with BM", Reason.UNDECODABLE, b"BMW is a maker of cars. " * 40)
    yield Hostile("wav.png", "an audio file named like an image: its bytes decide", GOOD, make.wav(0.5))
    yield Hostile("jpeg.mp4", "an image named like a video", GOOD, make.jpeg(7))
    for kind, start in {"jpg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF89a", "flac": b"fLaC", "ogg": b"OggS", "mp3": b"ID3\4\0",
                        "mp4": _FTYP, "webm": _EBML, "wav": b"RIFF\xf8\7\0\0WAVE", "ts": b"G" + bytes(187) + b"G"}.items():  # fmt: skip
        yield Hostile(
            f"noise.{kind}",
            f"the start of a .{kind} file before noise",
            Reason.UNDECODABLE,
            start + rng.randbytes(2032),
        )


def _polyglots() -> Iterator[Hostile]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../evil.sh", b"rm -rf ~")
    gif = make.image_file(make.picture(3, 64, 48), "GIF")
    for name, what, data in [
        ("zip.jpg", "a JPEG followed by a ZIP", make.jpeg(1) + archive.getvalue()),
        ("html.png", "a PNG followed by a web page", make.png(1) + b"<script>alert(1)</script>"),
        ("js.gif", "a GIF that is a script too", gif + b"/*" + b"*/=1;alert(1)"),
        ("html.jpg", "a JPEG with a web page as its comment", make.jpeg(2, comment=b"<script>alert(1)</script>")),
        ("php.png", "a PNG with a program as its text", _png(16, 16, _png_chunk(b"tEXt", b"Comment\0<?php system($_GET[0]); ?>"))),
        ("zip.wav", "a WAV followed by a ZIP", make.wav(0.4) + archive.getvalue()),
        ("html.mp4", "an MP4 with a web page in a free box", make.mp4(11) + _box(b"free", b"<script>alert(1)</script>")),
        ("two.jpg", "two JPEGs, one after the other: the first is read", make.jpeg(3) + make.jpeg(4)),
        ("thumbnail.jpg", "a JPEG with another one in its comment", make.jpeg(5, comment=make.jpeg(6)[:60_000])),
    ]:  # fmt: skip
        yield Hostile(name, what, GOOD, data)
    yield Hostile("pdf.jpg", "a PDF with a JPEG in it", Reason.UNSUPPORTED_MEDIA, b"%PDF-1.4\n" + make.jpeg(1))


def _playlists() -> Iterator[Hostile]:
    local = b"file:///etc/passwd"
    for name, what, data in [
        ("list.mp4", "an HLS playlist of a local file", b"#EXTM3U\n#EXTINF:1,\n" + local + b"\n#EXT-X-ENDLIST\n"),
        ("web.m3u8", "an HLS playlist of a cloud's secrets", b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data/\n"),
        ("concat.mp4", "a list of files to be joined", b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
        ("dash.mp4", "a DASH manifest", b"<?xml version='1.0'?><MPD><BaseURL>" + local + b"</BaseURL></MPD>"),
        ("session.mp4", "a session description", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
        ("movie.asx", "a Windows playlist", b"<asx><entry><ref href='" + local + b"'/></entry></asx>"),
        ("lavfi.mp4", "a filter graph", b"movie=/etc/passwd"),
    ]:  # fmt: skip
        yield Hostile(name, what, Reason.UNSUPPORTED_MEDIA, data)
    yield Hostile("list.mp3", "a playlist behind an ID3 tag", Reason.UNDECODABLE, b"ID3\4\0\0\0\0\0\0#EXTM3U\n" + local)
    yield Hostile(
        "list.ts",
        "a playlist posing as a transport stream",
        Reason.UNDECODABLE,
        (b"G\n#EXTM3U\n" + local + b"\n").ljust(188) + b"G" + bytes(187),
    )
    entry = _box(b"url ", bytes(4) + local + b"\0")
    yield Hostile("reference.mp4", "an MP4 that claims its frames are in a local file: its own are read", GOOD,
                  _grown(make.mp4(12), b"dref", bytes(4) + struct.pack(">I", 1) + entry))  # fmt: skip
    alias = bytes(4) + bytes(10) + b"\x05Macin" + bytes(200)
    yield Hostile(
        "alias.mov",
        "a QuickTime alias to another file",
        GOOD,
        _grown(make.mp4(13), b"dref", bytes(4) + struct.pack(">I", 1) + _box(b"alis", alias)),
    )


def _jpegs() -> Iterator[Hostile]:
    plain = make.jpeg(8)
    frame = b"\xff\xc0\0\x11\x08"
    for name, size, outcome in [
        ("65535", b"\xff\xff\xff\xff", Reason.TOO_LARGE),
        ("0", b"\0\0\0\0", Reason.UNDECODABLE),
        ("no-lines", b"\0\0\0\x40", Reason.UNDECODABLE),
    ]:
        yield Hostile(
            f"size-{name}.jpg",
            f"a JPEG whose header says {int.from_bytes(size[2:], 'big')} x {int.from_bytes(size[:2], 'big')}",
            outcome,
            _patched(plain, frame, 0, size),
        )
    exif = make.jpeg(8, exif=_turned())
    yield Hostile(
        "size-exif.jpg",
        "the same 65535 x 65535, with Exif data",
        Reason.TOO_LARGE,
        _patched(exif, frame, 0, b"\xff\xff\xff\xff"),
    )
    yield Hostile(
        "scans.jpg",
        "a progressive JPEG of 4,000 scans: half a minute's work in a megabyte",
        Reason.TOO_SLOW,
        make.many_scans(4000, 4000),
    )
    yield Hostile(
        "segments.jpg", "a JPEG with 100,000 empty segments", GOOD, plain[:2] + b"\xff\xfe\0\2" * 100_000 + plain[2:]
    )
    yield Hostile("fill.jpg", "a JPEG with a megabyte of fill bytes", GOOD, plain[:2] + b"\xff" * (1 << 20) + plain[2:])
    yield Hostile(
        "no-tables.jpg", "a JPEG without Huffman tables: libjpeg has its own", GOOD, _without(plain, b"\xff\xc4")
    )
    yield Hostile(
        "no-quantiser.jpg",
        "a JPEG without quantisation tables",
        Reason.UNDECODABLE,
        _without(plain, b"\xff\xdb"),
    )
    yield Hostile("twelve.jpg", "a JPEG of 12 bits", Reason.UNDECODABLE, _patched(plain, b"\xff\xc0\0\x11", 0, b"\x0c"))
    yield Hostile("lossless.jpg", "a lossless JPEG", Reason.UNDECODABLE, plain.replace(b"\xff\xc0", b"\xff\xc3", 1))
    yield Hostile(
        "exif-loop.jpg",
        "Exif data whose directory points to itself",
        GOOD,
        _with_exif(struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x8769, 4, 1, 8, 8)),
    )
    yield Hostile(
        "exif-lies.jpg",
        "Exif data that claims to have four billion values",
        GOOD,
        _with_exif(struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 2**32 - 1, 8, 0)),
    )
    yield Hostile(
        "exif-turned.jpg",
        "Exif data with an orientation of 65535",
        GOOD,
        _with_exif(struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, 65535, 0)),
    )


def _without(jpeg: bytes, marker: bytes) -> bytes:
    while (at := jpeg.find(marker)) > 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
    return jpeg


def _with_exif(tags: bytes) -> bytes:
    body = b"Exif\0\0" + tags
    plain = make.jpeg(9)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


def _pngs() -> Iterator[Hostile]:
    huge = 2**31 - 1
    yield Hostile("size.png", f"a PNG of {huge} x {huge} pixels", Reason.TOO_LARGE, _png(huge, huge, pixels=b""))
    yield Hostile(
        "bomb-1.png",
        "16,000 x 16,000 pixels in 32 kB",
        Reason.TOO_LARGE,
        _bomb(),
    )
    yield Hostile("empty-size.png", "a PNG of 0 x 0 pixels", Reason.UNDECODABLE, _png(0, 0))
    yield Hostile(
        "edge.png",
        "a PNG just under the pixel limit: 220 MB when decoded",
        GOOD,
        make.image_file(Image.new("L", (9400, 9400)), "PNG"),
    )
    yield Hostile(
        "text.png",
        "a PNG with 20 MB of zeros as its compressed text",
        Reason.UNDECODABLE,
        _png(16, 16, _png_chunk(b"zTXt", b"Comment\0\0" + _adler(20 << 20))),
    )
    yield Hostile(
        "profile.png",
        "a PNG with 20 MB of zeros as its colour profile",
        Reason.UNDECODABLE,
        _png(16, 16, _png_chunk(b"iCCP", b"p\0\0" + _adler(20 << 20))),
    )
    yield Hostile("much.png", "a PNG of 16 x 16 pixels with 20 MB of them", GOOD, _png(16, 16, pixels=bytes(20 << 20)))
    yield Hostile("few.png", "a PNG with half of its pixels", Reason.UNDECODABLE, _png(16, 16, pixels=bytes(400)))
    yield Hostile(
        "crc.png", "a PNG whose checksum is wrong", Reason.UNDECODABLE, _patched(_png(16, 16), b"IHDR", 13, b"\0\0\0\0")
    )
    yield Hostile("depth.png", "a PNG of 16 bits with a palette", Reason.UNDECODABLE, _png(16, 16, depth=16, colour=3))
    yield Hostile("no-palette.png", "a PNG without its palette", GOOD, _png(16, 16, colour=3, pixels=bytes(17 * 16)))
    yield Hostile(
        "interlace.png",
        "a PNG with an unknown interlacing",
        Reason.UNDECODABLE,
        _png(16, 16, interlace=7, pixels=b"\0"),
    )
    yield Hostile(
        "chunk.png",
        "a PNG with a chunk of 2 GB",
        Reason.UNDECODABLE,
        _png(16, 16)[:33] + b"\x7f\xff\xff\xffteXt" + bytes(100),
    )
    yield Hostile(
        "chunks.png", "a PNG with 100,000 empty chunks", GOOD, _png(16, 16, _png_chunk(b"teSt", b"") * 100_000)
    )
    yield Hostile(
        "frames.png",
        "an animated PNG that claims to have four billion frames",
        GOOD,
        _png(16, 16, _png_chunk(b"acTL", b"\xff\xff\xff\xff\0\0\0\0")),
    )
    yield Hostile(
        "zlib.png",
        "a PNG whose pixels are not a zlib stream",
        Reason.UNDECODABLE,
        _patched(_png(16, 16), b"IDAT", 0, b"\xff\xff\xff\xff"),
    )


def _other_images() -> Iterator[Hostile]:
    yield Hostile("size.gif", "a GIF of 65535 x 65535", Reason.TOO_LARGE, _gif(65535, 65535, _frame(65535, 65535)))
    yield Hostile(
        "frame.gif", "a GIF of 8 x 8 with a frame of 65535 x 65535", Reason.TOO_LARGE, _gif(8, 8, _frame(65535, 65535))
    )
    yield Hostile("zero.gif", "a GIF of 0 x 0", Reason.UNDECODABLE, _gif(0, 0, _frame(0, 0)))
    yield Hostile("none.gif", "a GIF without a frame", Reason.UNDECODABLE, _gif(8, 8))
    yield Hostile(
        "code.gif", "a GIF with an impossible LZW code size", Reason.UNDECODABLE, _gif(8, 8, _frame(8, 8, code=200))
    )
    yield Hostile(
        "outside.gif", "a GIF whose frame lies outside of it", Reason.UNDECODABLE, _gif(8, 8, _frame(8, 8, left=60000))
    )
    yield Hostile(
        "frames.gif",
        "a GIF of 100,000 frames: the first one counts",
        GOOD,
        make.image_file(make.picture(4, 16, 16), "GIF")[:-1] + _frame(1, 1) * 100_000 + b";",
    )
    yield Hostile(
        "extension.gif",
        "a GIF with an extension that never ends",
        Reason.UNDECODABLE,
        _gif(8, 8, b"!\xfe" + (b"\xff" + bytes(255)) * 1000),
    )
    lossless = make.image_file(Image.new("RGB", (8, 8)), "WEBP", lossless=True)
    yield Hostile(
        "size.webp",
        "a WebP whose header says 16384 x 16384",
        Reason.TOO_LARGE,
        _patched(lossless, b"\x2f", 0, b"\xff\xff\xff\x0f"),
    )
    extended = _riff(_chunk(b"VP8X", b"\x10\0\0\0" + b"\xff\xff\xff" * 2), lossless[12:], form=b"WEBP")
    yield Hostile("canvas.webp", "a WebP with a canvas of 16 million pixels a side", Reason.UNDECODABLE, extended)
    yield Hostile(
        "animation.webp",
        "an animated WebP without frames",
        Reason.UNDECODABLE,
        _riff(_chunk(b"VP8X", b"\x02\0\0\0" + b"\7\0\0" * 2), _chunk(b"ANIM", bytes(6)), form=b"WEBP"),
    )
    for name, what, outcome, data in [
        ("size", "a TIFF of 60,000 x 60,000", Reason.TOO_LARGE, _tiff(*_tiff_tags(60000, 60000))),
        ("pages", "a TIFF whose next page is itself: the first one counts", GOOD, _tiff(*_tiff_tags(), follow=8)),
        ("first", "a TIFF whose first page lies outside of it", Reason.UNDECODABLE, _tiff(*_tiff_tags(), first=2**32 - 2)),
        ("tags", "a TIFF that claims to have 65535 tags", GOOD, _tiff(*_tiff_tags(), count=65535)),
        ("samples", "a TIFF of 65535 samples a pixel", Reason.UNDECODABLE, _tiff(*_tiff_tags(samples=65535))),
        ("big", "a BigTIFF of zeros", Reason.UNDECODABLE, b"II+\0\x08\0\0\0" + bytes(500)),
        ("depth", "a TIFF of 65535 bits a sample", Reason.UNSUPPORTED_MEDIA, _tiff(*_tiff_tags(bits=65535))),
        ("packing", "a TIFF with an unknown compression", Reason.UNDECODABLE, _tiff(*_tiff_tags(compression=31337))),
        ("strip", "a TIFF whose strip has four billion bytes: it is longer than it needs", GOOD, _tiff(*_tiff_tags(bytes=2**32 - 1))),
        ("zero", "a TIFF of 0 x 0", Reason.UNDECODABLE, _tiff(*_tiff_tags(0, 0))),
        ("loop", "a TIFF whose Exif directory is itself", GOOD, _tiff(*_tiff_tags(), (0x8769, 4, 1, 8))),
        ("fax", "a TIFF packed as a fax, of noise", Reason.UNDECODABLE, _tiff(*_tiff_tags(2000, 2000, bits=1, compression=4))),
    ]:  # fmt: skip
        yield Hostile(f"{name}.tiff", what, outcome, data)
    for name, what, outcome, data in [
        ("size", "a BMP of 2^31 x 2^31", Reason.TOO_LARGE, _bmp(2**31 - 1, 2**31 - 1)),
        ("upside", "a BMP of a height of -2^31", Reason.TOO_LARGE, _bmp(8, -(2**31))),
        ("wide", "a BMP of a negative width", Reason.TOO_LARGE, _bmp(-8, 8)),
        ("head", "a BMP with a header of no bytes", Reason.UNDECODABLE, _bmp(8, 8, head=0)),
        ("colours", "a BMP of two billion colours", Reason.UNDECODABLE, _bmp(8, 8, bits=8, colours=2**31)),
        ("depth", "a BMP of no bits a pixel", Reason.UNDECODABLE, _bmp(8, 8, bits=0)),
        ("rle", "a BMP whose run-length code jumps out of the image: the rest is black", GOOD, _bmp(8, 8, bits=8, compression=1, data=bytes(1024) + b"\0\2\xff\xff" * 500)),
    ]:  # fmt: skip
        yield Hostile(f"{name}.bmp", what, outcome, data)
    for kind, data in (("avif", make.image_file(make.picture(0, 64, 48), "AVIF")), ("heic", _heic())):
        yield Hostile(
            f"size.{kind}",
            f"a .{kind} file that claims to have 2^31 x 2^31 pixels",
            Reason.UNDECODABLE,
            _patched(data, b"ispe", 4, b"\x7f\xff\xff\xff" * 2),
        )
        yield Hostile(
            f"place.{kind}",
            f"a .{kind} file whose image lies outside of it",
            Reason.UNDECODABLE,
            _patched(data, b"iloc", 4, b"\xff" * 24),
        )
        yield Hostile(
            f"boxes.{kind}",
            f"a .{kind} file whose boxes say other lengths",
            Reason.UNDECODABLE,
            _patched(data, b"meta", 4, b"\0\0\0\1"),
        )


def _waves() -> Iterator[Hostile]:
    nan = struct.pack("<f", float("nan")) * 1000
    extensible = struct.pack("<HHI", 22, 16, 4) + b"\x99" * 16
    adpcm = struct.pack("<HHH", 32, 0, 7) + bytes(28)
    for name, what, outcome, data in [
        ("no-channels", "a WAV of no channels", Reason.UNDECODABLE, _wave(channels=0)),
        ("channels", "a WAV of 1,000 channels", Reason.TOO_LARGE, _wave(bytes(200_000), channels=1000)),
        ("channels-65535", "a WAV of 65535 channels", Reason.UNDECODABLE, _wave(bytes(200_000), channels=65535, align=65534)),
        ("rate-0", "a WAV of 0 samples a second", Reason.UNDECODABLE, _wave(rate=0)),
        ("rate-1", "a WAV of 1 sample a second", Reason.UNSUPPORTED_MEDIA, _wave(rate=1)),
        ("rate", "a WAV of 4 billion samples a second", Reason.UNDECODABLE, _wave(rate=2**32 - 1)),
        ("bits-0", "a WAV of 0 bits", Reason.UNSUPPORTED_MEDIA, _wave(bits=0)),
        ("bits", "a WAV of 512 bits", Reason.UNSUPPORTED_MEDIA, _wave(bits=512)),
        ("align", "a WAV whose blocks have no bytes: libsndfile recomputes their size", GOOD, _wave(align=0)),
        ("no-format", "a WAV without a format", Reason.UNDECODABLE, _riff(_chunk(b"data", bytes(2000)))),
        ("late-format", "a WAV whose format comes after its samples", GOOD, _riff(_chunk(b"data", bytes(2000)), _format())),
        ("two-formats", "a WAV with two formats", GOOD, _riff(_format(), _format(channels=2), _chunk(b"data", bytes(2000)))),
        ("no-data", "a WAV without a chunk of samples", Reason.UNDECODABLE, _riff(_format())),
        ("data", "a WAV whose samples say they are longer than the file", GOOD, _riff(_format(), _chunk(b"data", bytes(2000), 10**9))),
        ("data-max", "a WAV of a stream: its length is 2^32 - 1", GOOD, _riff(_format(), _chunk(b"data", bytes(2000), 2**32 - 1))),
        ("chunk", "a WAV with a chunk of 4 GB in front", Reason.UNDECODABLE, _riff(_format(), _chunk(b"LIST", bytes(8), 2**32 - 8), _chunk(b"data", bytes(2000)))),
        ("tag", "a WAV of an unknown coding", Reason.UNSUPPORTED_MEDIA, _wave(tag=0x1234)),
        ("extensible", "an extensible WAV of an unknown kind", Reason.UNSUPPORTED_MEDIA, _wave(tag=0xFFFE, extra=extensible)),
        ("adpcm", "a WAV in ADPCM with blocks of no samples", Reason.UNDECODABLE, _wave(tag=2, bits=4, align=1, extra=adpcm)),
        ("ima", "a WAV in IMA ADPCM with blocks of no samples", Reason.UNDECODABLE, _wave(tag=0x11, bits=4, align=1, extra=struct.pack("<HH", 2, 0))),
        ("gsm", "a WAV in GSM: noise, but whole", GOOD, _wave(random.Random(SEED).randbytes(6500), tag=0x31, bits=0, align=65, extra=struct.pack("<HH", 2, 320))),
        ("nan", "a WAV whose samples are NaN", Reason.UNDECODABLE, _wave(nan, tag=3, bits=32)),
        ("loud", "a WAV of infinite loudness", Reason.UNDECODABLE, _wave(struct.pack("<d", float("inf")) * 500, tag=3, bits=64)),
        ("long", "a WAV of 6 hours", Reason.TOO_LARGE, _wave(bytes(22_000_000), rate=1000, bits=8)),
    ]:  # fmt: skip
        yield Hostile(f"{name}.wav", what, outcome, data)


def _sounds() -> Iterator[Hostile]:
    flac, ogg, opus = make.flac(), _ogg(), _ogg(subtype="OPUS")
    aiff = make.audio_file("AIFF")
    mp3 = make.mp3()
    big = b"\x7f\xff\xff\xff"
    comments = b"\x84" + (2**24 - 1).to_bytes(3, "big")
    for name, what, outcome, data in [
        ("count.flac", "a FLAC that claims to have 2^36 - 1 samples: those it has are heard", GOOD, _patched(flac, b"fLaC", 4 + 13, bytes([flac[21] | 15]) + b"\xff" * 4)),
        ("more.flac", "a FLAC that claims to have twice its samples", Reason.UNDECODABLE, _patched(flac, b"fLaC", 18, struct.pack(">I", 32000))),
        ("block.flac", "a FLAC that says its blocks have no samples: each says it again", GOOD, _patched(flac, b"fLaC", 4, bytes(4))),
        ("comments.flac", "a FLAC with a comment of 16 MB that is not there", Reason.UNDECODABLE, flac[:42].replace(b"fLaC\x80", b"fLaC\0") + comments + flac[42:]),
        ("frames.flac", "a FLAC whose frames are noise", Reason.UNDECODABLE, flac[:200] + random.Random(SEED).randbytes(len(flac) - 200)),
        ("crc.ogg", "an Ogg whose checksum is wrong", Reason.UNDECODABLE, _patched(ogg, b"OggS", 18, b"\0\0\0\0")),
        ("page.ogg", "an Ogg whose first page has no segments", Reason.UNDECODABLE, _patched(ogg, b"OggS", 22, b"\0")),
        ("vorbis-channels.ogg", "a Vorbis of 255 channels", Reason.UNDECODABLE, _patched(ogg, b"\1vorbis", 4, b"\xff")),
        ("vorbis-rate.ogg", "a Vorbis of 2^31 samples a second", Reason.UNDECODABLE, _patched(ogg, b"\1vorbis", 5, big[::-1])),
        ("end.ogg", "an Ogg without an end", Reason.UNDECODABLE, ogg[: ogg.rindex(b"OggS")]),
        ("opus-channels.ogg", "an Opus of 255 channels", Reason.UNDECODABLE, _patched(opus, b"OpusHead", 1, b"\xff")),
        ("opus-map.ogg", "an Opus of an unknown mapping", Reason.UNDECODABLE, _patched(opus, b"OpusHead", 10, b"\xfe")),
        ("granule.ogg", "an Ogg whose last page claims to end at sample 2^63: its samples are counted", GOOD, _late(ogg)),
        ("rate.aiff", "an AIFF whose rate is NaN", Reason.UNSUPPORTED_MEDIA, _patched(aiff, b"COMM", 12, b"\x7f\xff" + b"\xff" * 8)),
        ("rate-inf.aiff", "an AIFF of an infinite rate", Reason.UNSUPPORTED_MEDIA, _patched(aiff, b"COMM", 12, b"\x7f\xff\x80" + bytes(7))),
        ("channels.aiff", "an AIFF of no channels", Reason.UNDECODABLE, _patched(aiff, b"COMM", 4, b"\0\0")),
        ("frames.aiff", "an AIFF that claims to have 2^32 - 1 samples", GOOD, _patched(aiff, b"COMM", 6, b"\xff" * 4)),
        ("tag.mp3", "an MP3 with a tag of 256 MB that is not there", Reason.UNDECODABLE, b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3),
        ("tags.mp3", "an MP3 with 10,000 tags", GOOD, b"ID3\4\0\0\0\0\0\0" * 10_000 + mp3),
        ("noise.aac", "AAC frames of noise", Reason.UNDECODABLE, b"\xff\xf1\x50\x80\x10\x1f\xfc" + random.Random(SEED).randbytes(3000)),
        ("cover.mp3", "an MP3 with a bomb as its cover", GOOD, _covered(mp3)),
    ]:  # fmt: skip
        yield Hostile(name, what, outcome, data)


def _late(ogg: bytes) -> bytes:
    """With the greatest granule position on its last page, and the checksum mended."""
    at = ogg.rindex(b"OggS")
    page = bytearray(ogg[at:])
    page[6:14] = struct.pack("<q", 2**63 - 1)
    page[22:26] = bytes(4)
    crc = 0
    for byte in page:  # as RFC 3533 has it
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    page[22:26] = struct.pack("<I", crc)
    return ogg[:at] + bytes(page)


def _covered(mp3: bytes) -> bytes:
    picture = b"\0image/png\0\3\0" + _bomb()
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame + mp3[10 + int.from_bytes(mp3[9:10], "big") if mp3[:3] == b"ID3" else 0 :]


def _boxes() -> Iterator[Hostile]:
    mp4, most = make.mp4(14), b"\xff\xff\xff\xff"
    deep = b""
    for _ in range(5000):
        deep = _box(b"moov", deep)
    for name, what, outcome, data in [
        ("codec", "an MP4 of an unknown codec", Reason.UNSUPPORTED_MEDIA, mp4.replace(b"avc1\0", b"none\0")),
        ("no-moov", "an MP4 without its index", Reason.UNDECODABLE, mp4.replace(b"moov", b"none")),
        ("deep", "an MP4 with 5,000 nested boxes", Reason.UNDECODABLE, _FTYP + deep),
        ("endless", "an MP4 with a box of 2^63 bytes", Reason.UNDECODABLE, _FTYP + struct.pack(">I4sQ", 1, b"moov", 2**63)),
        ("sizes", "an MP4 that claims to have 2^32 - 1 frames", Reason.UNDECODABLE, _patched(mp4, b"stsz", 8, most)),
        ("times", "an MP4 that claims to have 2^32 - 1 times", Reason.UNDECODABLE, _patched(mp4, b"stts", 4, most)),
        ("place", "an MP4 whose frames lie outside of it", Reason.EMPTY_MEDIA, _patched(mp4, b"stco", 8, b"\x7f\xff\xff\xff")),
        ("scale", "an MP4 whose seconds have no parts", GOOD, _patched(mp4, b"mdhd", 12, bytes(4))),
        ("duration", "an MP4 that claims to last forever", GOOD, _patched(mp4, b"mvhd", 16, most)),
        ("slow", "an MP4 of 11 frames, each of which lasts for days", Reason.TOO_LARGE, _patched(mp4, b"stts", 12, b"\x7f\0\0\0")),
        ("matrix", "an MP4 that is turned by nothing", GOOD, _patched(mp4, b"tkhd", 40, bytes(36))),
        ("edit", "an MP4 whose edit begins at -2^31", Reason.EMPTY_MEDIA, _patched(mp4, b"elst", 12, b"\x80\0\0\0")),
        ("h264", "an MP4 whose video data are noise", Reason.UNDECODABLE, _noisy(mp4)),
        ("no-frames", "a video without frames", Reason.EMPTY_MEDIA, make.mp4(frames=0)),
    ]:  # fmt: skip
        yield Hostile(f"{name}.mp4", what, outcome, data)


def _noisy(mp4: bytes) -> bytes:
    at = mp4.index(b"mdat") + 4
    size = int.from_bytes(mp4[at - 8 : at - 4], "big") - 8
    return mp4[:at] + random.Random(SEED).randbytes(size) + mp4[at + size :]


def _streams() -> Iterator[Hostile]:
    webm, avi = make.webm(12), make.movie("avi", "mpeg4", 12)
    mkv = make.movie("matroska", "libx264", 13)
    unknown = b"\x01" + b"\xff" * 7
    nested = b""
    for _ in range(500):
        nested = _ebml(b"\x1f\x43\xb6\x75", nested)  # clusters
    for name, what, outcome, data in [
        ("endless.webm", "a WebM with an element of 2^56 bytes", Reason.UNDECODABLE, _EBML + _ebml(b"\x18\x53\x80\x67", b"", b"\x01" + b"\xff" * 6 + b"\xfe")),
        ("nested.webm", "a WebM with 500 nested clusters", Reason.EMPTY_MEDIA, _EBML + _ebml(b"\x18\x53\x80\x67", nested, unknown)),
        ("nan.mkv", "a Matroska whose duration is NaN", GOOD, _patched(mkv, b"\x44\x89\x88", 0, b"\x7f\xf8" + bytes(6))),
        ("size.webm", "a WebM that claims to have 65535 x 0 pixels", Reason.UNDECODABLE, _wide(webm)),
        ("tracks.mkv", "a Matroska of 100 tracks", Reason.TOO_LARGE, _tracks(100)),
        ("rate.avi", "an AVI whose rate is 0 / 0: FFmpeg takes 25 and the frames are counted", GOOD, _patched(avi, b"strh", 24, bytes(8))),
        ("size.avi", "an AVI that claims to have 2^31 x 2^31 pixels: its frames say 64 x 48", GOOD, _patched(avi, b"strf", 8, b"\xff\xff\xff\x7f" * 2)),
        ("lists.avi", "an AVI with 1,000 nested lists", Reason.UNDECODABLE, _lists(1000)),
        ("noise.avi", "an AVI whose frames are noise", Reason.UNDECODABLE, avi[: avi.index(b"movi") + 12] + random.Random(SEED).randbytes(len(avi) - avi.index(b"movi") - 12)),
        ("nan.flv", "an FLV with a NaN duration and no frames", Reason.UNDECODABLE, b"FLV\1\5\0\0\0\x09\0\0\0\0\x12\0\0\x20" + bytes(7) + b"\2\0\x0aonMetaData\x08\0\0\0\1\0\x08duration\0\x7f\xf8" + bytes(6)),
        ("pack.mpg", "an MPEG program stream of one pack", Reason.UNDECODABLE, b"\0\0\1\xba" + bytes(2000)),
    ]:  # fmt: skip
        yield Hostile(name, what, outcome, data)


def _wide(webm: bytes) -> bytes:
    """With 65535 x 0 instead of its 64 x 48 pixels, in as many bytes."""
    return webm.replace(b"\xb0\x81\x40\xba\x81\x30", b"\xb0\x82\xff\xff\xba\x80")


def _lists(deep: int) -> bytes:
    inner = b""
    for _ in range(deep):
        inner = _chunk(b"LIST", b"hdrl" + inner)
    return _riff(inner, form=b"AVI ")


def _names() -> Iterator[Hostile]:
    names = {
        "new\nline.png": "a line break", "escape\x1b[31m\x1b[2J.png": "terminal codes", "tab\t\r\x07.png": "control characters",
        "\u202egpj.png": "right-to-left letters", "café ☕ 猫.png": "letters of several scripts", "-rf --help.png": "a leading dash",
        "'\"`$(id);|&.png": "shell metacharacters", "[bold red]{0}%s%n.png": "markup and format strings", "a" * 251 + ".png": "255 letters",
        "\udcff\udcfe.png": "bytes that are not UTF-8", " .png": "a space",
    }  # fmt: skip
    for place, (name, what) in enumerate(names.items()):
        yield Hostile(name, f"an image whose name has {what}", GOOD, make.png(100 + place))
    for name in ("bad\nname\x1b[2J.jpg", "bad\udcff.jpg", "[bold]bad.jpg"):
        yield Hostile(name, "a broken image with such a name", Reason.UNDECODABLE, make.jpeg()[:-9])


def _entries() -> Iterator[Hostile]:
    yield Hostile("pipe.png", "a named pipe, which would block forever", Reason.MISSING_FILE, os.mkfifo)
    yield Hostile("socket.png", "a socket", Reason.MISSING_FILE, _listening)
    yield Hostile("device.png", "a link to /dev/zero", Reason.MISSING_FILE, lambda path: path.symlink_to("/dev/zero"))
    yield Hostile(
        "random.mp4", "a link to /dev/urandom", Reason.MISSING_FILE, lambda path: path.symlink_to("/dev/urandom")
    )
    yield Hostile("loop.png", "a link to itself", Reason.MISSING_FILE, lambda path: path.symlink_to(path.name))
    yield Hostile("nowhere.png", "a dangling link", Reason.MISSING_FILE, lambda path: path.symlink_to("nothing"))
    yield Hostile(
        "secret.png", "a link to /etc/passwd", Reason.UNSUPPORTED_MEDIA, lambda path: path.symlink_to("/etc/passwd")
    )
    yield Hostile(
        "maps.png",
        "a link to /proc/self/maps, a file that claims to have no bytes",
        Reason.EMPTY_MEDIA,
        lambda path: path.symlink_to("/proc/self/maps"),
    )
    yield Hostile("sparse.mp4", "a sparse file of two gigabytes", Reason.TOO_LARGE, _sparse)


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has 107 letters at most
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)
