"""Detects the format of a file from its bytes, never from its name."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from schemas.errors import RowError
from schemas.records import Reason


class Format(NamedTuple):
    """A file format, and the library that reads it."""

    library: str  # pillow, soundfile, av
    name: str  # the library's name for the format
    mime: str  # for av without the kind, which only the streams inside determine


_STARTS = [
    (b"\xff\xd8\xff", Format("pillow", "JPEG", "image/jpeg")),
    (b"\x89PNG\r\n\x1a\n", Format("pillow", "PNG", "image/png")),
    (b"GIF87a", Format("pillow", "GIF", "image/gif")),
    (b"GIF89a", Format("pillow", "GIF", "image/gif")),
    (b"BM", Format("pillow", "BMP", "image/bmp")),
    (b"II*\0", Format("pillow", "TIFF", "image/tiff")),
    (b"MM\0*", Format("pillow", "TIFF", "image/tiff")),
    (b"II+\0", Format("pillow", "TIFF", "image/tiff")),
    (b"MM\0+", Format("pillow", "TIFF", "image/tiff")),
    (b"fLaC", Format("soundfile", "FLAC", "audio/flac")),
    (b"OggS", Format("soundfile", "OGG", "audio/ogg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("av", "asf", "x-ms-asf")),
    (b".snd", Format("soundfile", "AU", "audio/basic")),
    (b"caff\0\1", Format("soundfile", "CAF", "audio/x-caf")),
    (bytes.fromhex("726966662e91cf11a5d628db04c10000"), Format("soundfile", "W64", "audio/x-w64")),
    # MPEG audio of layers III and II; their versions are 2.5, 2 and 1
    *((bytes([0xFF, second]), Format("av", "mp3", "mpeg")) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)),
    *((bytes([0xFF, second]), Format("av", "mp3", "mpeg")) for second in (0xE4, 0xE5, 0xF4, 0xF5, 0xFC, 0xFD)),
    *((bytes([0xFF, second]), Format("av", "aac", "aac")) for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    (b"FLV\1", Format("av", "flv", "x-flv")),
    (b"\0\0\1\xba", Format("av", "mpeg", "mpeg")),
]
_FORMS = {  # RIFF and IFF have their form at byte 8
    b"WEBP": Format("pillow", "WEBP", "image/webp"),
    b"WAVE": Format("soundfile", "WAV", "audio/wav"),
    b"AIFF": Format("soundfile", "AIFF", "audio/aiff"),
    b"AIFC": Format("soundfile", "AIFF", "audio/aiff"),
    b"AVI ": Format("av", "avi", "x-msvideo"),
}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"}
_TRANSPORT = (
    (0, 188),
    (4, 192),
)  # offset of the first packet of a transport stream, size of each; 192 with times (AVCHD)
_UNKNOWN_SIZE = (
    0x7FFF_0000  # larger sizes are placeholders of programs that could not know it: espeak, SoX, GStreamer, FFmpeg ...
)
_PACKETS = (
    188,
    192,
    204,
)  # sizes of those of a transport stream: plain, with times, with error correction (ETSI EN 300 429)
_KBITS = {  # of MPEG audio, by version 1 or not, and layer (ISO/IEC 11172-3, 2.4.2.3; ISO/IEC 13818-3, 2.4.2.3)
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_HERTZ = (44_100, 48_000, 32_000)
_IN_A_ROW, _JOINED = 5, 8192  # packets that prove a stream; bytes in which the first of them begins
_QUICKTIME = (b"moov", b"mdat", b"wide")  # files from before brands


def sniff(data: bytes, name: str) -> Format:
    """The format of `data`. RowError: EMPTY_MEDIA (no bytes), UNSUPPORTED_MEDIA (unknown format), UNDECODABLE (the container declares
    more bytes than `data` has)."""
    if not data:
        raise RowError(Reason.EMPTY_MEDIA, f"{name} is empty; replace the file or remove the row")
    found = _format(data)
    if found is None:
        raise RowError(
            Reason.UNSUPPORTED_MEDIA,
            f"{name} is not an image, video or audio file of a known format, whatever its extension; "
            "convert it (JPEG, PNG, MP4, WebM, WAV, FLAC ...) or remove the row",
        )
    if len(data) < declared_size(data):
        raise broken(name)
    return found


def broken(name: str) -> RowError:
    """The error for a file that cannot be decoded."""
    return RowError(Reason.UNDECODABLE, f"{name} is truncated or corrupted; replace the file or remove the row")


def too_large(name: str, found: str, limit: str) -> RowError:
    """The error for a file that exceeds a limit, both given in words."""
    return RowError(Reason.TOO_LARGE, f"{name} has {found}, more than {limit}; reduce it or remove the row")


@contextmanager
def undecodable(name: str, *foreign: type[Exception]) -> Generator[None]:
    """Converts a decoder's errors into one RowError; their texts contain addresses and differ between versions."""
    try:
        yield
    except foreign as error:
        raise broken(name) from error


def _format(data: bytes) -> Format | None:
    if data.startswith(b"ID3"):
        behind = behind_id3(data)
        found = None if behind.startswith(b"ID3") else _format(behind)
        return found if found and found.name in ("AAC", "aac", "FLAC") else Format("av", "mp3", "mpeg")
    for start, found in _STARTS:
        if data.startswith(start):
            return Format("av", "ogg", "ogg") if start == b"OggS" and b"\x80theora" in data[:4096] else found
    if data[:4] in (b"RIFF", b"FORM"):
        return _FORMS.get(data[8:12])
    if data[:4] in (b"RF64", b"BW64") and data[8:12] == b"WAVE":
        return _FORMS[b"WAVE"]
    if data[4:8] == b"ftyp":
        brands = {data[at : at + 4] for at in range(8, min(int.from_bytes(data[:4], "big"), 64), 4)}
        if b"avif" in brands:
            return Format("pillow", "AVIF", "image/avif")
        return Format("pillow", "HEIF", "image/heic") if brands & _HEIF else Format("av", "mp4", "mp4")
    if data[4:8] in _QUICKTIME:
        return Format("av", "mov", "quicktime")
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return Format("av", "matroska", "webm" if b"webm" in data[:64] else "x-matroska")
    if any(data[at : at + 1] == data[at + size : at + size + 1] == b"G" for at, size in _TRANSPORT):
        return Format("av", "mpegts", "mp2t")
    return _joined_midway(data)


def _joined_midway(data: bytes) -> Format | None:
    """The format of a stream without a beginning whose first packet is incomplete, or behind something else: several follow each other."""
    for size in _PACKETS:
        for at in range(min(size, len(data) - size * (_IN_A_ROW - 1))):
            if data[at : at + size * _IN_A_ROW : size] == b"G" * _IN_A_ROW:
                return Format("av", "mpegts", "mp2t")
    start = data.find(b"\xff", 0, _JOINED)
    while start >= 0:
        at = start
        for _ in range(_IN_A_ROW):
            size = _audio_frame(data[at : at + 6])
            if not size or (data[at + 1] ^ data[start + 1]) & 0xFE:  # another version or layer
                break
            at += size
        else:
            adts = not data[start + 1] & 0b110
            return Format("av", "aac", "aac") if adts else Format("av", "mp3", "mpeg")
        start = data.find(b"\xff", start + 1, _JOINED)
    return None


def _audio_frame(head: bytes) -> int:
    """Size in bytes of the frame of MPEG audio or AAC (ADTS) that begins with `head`; 0 if none does."""
    if len(head) < 6 or head[0] != 0xFF or head[1] < 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    if layer == 4:  # ADTS (ISO/IEC 13818-7, 6.2)
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return size if head[1] >= 0xF0 and size > 7 else 0
    kbits = _KBITS.get((version == 3, layer), (0,) * 16)[head[2] >> 4]
    if version == 1 or head[2] >> 2 & 3 == 3 or not kbits:
        return 0
    samples = 576 if layer == 3 and version != 3 else 1152
    rate = _HERTZ[head[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]  # versions 1, 2 and 2.5
    return samples * kbits * 125 // rate + (head[2] >> 1 & 1)


def behind_id3(data: bytes) -> bytes:
    """What follows the ID3v2 tags at the start (id3.org, ID3v2.4.0 structure, 3.1)."""
    at = 0
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        footer = 10 if data[at + 5] & 16 else 0
        at += 10 + footer + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(data[at + 6 : at + 10]))
    return data[at:]


def declared_size(data: bytes) -> int:
    """Size in bytes that the container declares; 0 if it declares none (streamed files, formats without a length)."""
    if data[:1] == b"\xff":  # JPEG, MP3, AAC
        return 0
    if data[:4] in (b"RIFF", b"FORM"):
        size = int.from_bytes(data[4:8], "little" if data[:4] == b"RIFF" else "big")
        size = size + 8 if size < _UNKNOWN_SIZE else 0
        samples = samples_end(data) if data[8:12] == b"WAVE" else None
        return size if samples is None else min(size, samples)  # one of them is often wrong
    if data[4:8] in (b"ftyp", *_QUICKTIME):
        return _boxes_end(data)
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return _segment_end(data)
    return 0


def samples_end(data: bytes) -> int | None:
    """Where the samples of a WAV end according to the size of their chunk; 0 if that is unknown, None if there is no such chunk."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return at + 8 + size if size < _UNKNOWN_SIZE else 0
        at += 8 + size + size % 2
    return None


def _boxes_end(data: bytes) -> int:
    """End of the last top-level box of an MP4."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: until the end of the file; others are invalid
            return at
        at += size
    return at


def _segment_end(data: bytes) -> int:
    """End of the segment of a Matroska or WebM file; 0 if its length is unknown."""
    at = data.find(b"\x18\x53\x80\x67", 0, 4096) + 4
    if at < 4 or at >= len(data) or not data[at]:
        return 0
    length = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return 0 if size == (1 << 7 * length) - 1 else at + length + size
