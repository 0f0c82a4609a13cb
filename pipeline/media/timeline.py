"""When the frames of a video are shown: by decoding all of them, or by its packets alone where those provably say the same. Runs in the
decoder process (see decode.py)."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import av

from pipeline.media.container import decoded, not_too_long
from pipeline.media.limits import MAX_FRAMES
from pipeline.media.sniff import Format, too_large

_CONTAINERS = ("mp4", "mov", "matroska")  # formats whose packets have times and hold one whole picture each
_PAUSE = 1.5  # times the usual distance of frames: less than if one were missing
_ROUNDED = 2  # units by which a length may differ from the distance to the next frame


class Timeline(NamedTuple):
    """The frames of a video that are shown."""

    first: av.VideoFrame | None  # None: there are none
    stamps: list[
        int
    ]  # time stamp of each frame in units of its stream, ascending; empty if some are missing or out of order
    times: list[float]  # seconds of each frame from the first one on
    seconds: float | None  # from the first frame to the end of the last; None if unknown
    plain: bool = False  # each packet is one of these frames
    whole: bool = True  # False: there is a pause in which a packet may be missing


def by_decoding(container: av.container.InputContainer, stream: av.VideoStream, name: str) -> Timeline:
    """Decodes the whole stream, without filters that only change what its frames look like. RowError if it exceeds a limit."""
    first, stamps, lengths = None, [], []
    stream.codec_context.options = {"skip_loop_filter": "all"}
    for frame in decoded(container, stream):
        first = first or frame
        stamps.append(frame.pts)
        lengths.append(frame.duration or 0)
        _check(stamps, name)
    return _timeline(first, stamps, lengths, stream, name)


def by_packets(
    container: av.container.InputContainer, stream: av.VideoStream, form: Format, name: str
) -> Timeline | None:
    """The same from the packets and the first frame alone, in a fraction of the time; None where packets do not prove what is shown.

    They do in MP4 and Matroska files of H.264, HEVC, VP8, VP9 and AV1 if the first packet needs no earlier picture, none is shown before it,
    each has its own time and holds one whole picture, and those that are not shown are marked: by the container (edit lists) or
    in their header (VP8, VP9)."""
    codec = stream.codec_context.name
    if form.name not in _CONTAINERS or codec not in _SHOWN:
        return None
    first, start, hidden = None, None, False
    found: list[tuple[int, int]] = []
    try:
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(packet.decode()), None)
            if not packet.size:
                continue
            shown = _SHOWN[codec](stream, packet, start is None)
            start = packet.pts if start is None else start
            if shown not in (0, 1) or packet.pts is None or packet.pts < start or packet.is_corrupt:
                return None
            hidden |= packet.is_discard
            if shown and not packet.is_discard:
                found.append((packet.pts, packet.duration or 0))
                _check(found, name)
    except av.error.InvalidDataError:
        return None
    stamps, lengths = ([one[i] for one in sorted(found)] for i in (0, 1))
    if (
        first is None
        or not stamps
        or first.interlaced_frame
        or first.pts != stamps[0]
        or len(set(stamps)) < len(stamps)
    ):
        return None
    line = _timeline(first, stamps, lengths, stream, name)
    gaps = [later - earlier for earlier, later in pairwise(stamps)]
    return line._replace(plain=not hidden, whole=not gaps or max(gaps) <= _PAUSE * median(gaps))


def _check(found: list, name: str) -> None:
    if len(found) > MAX_FRAMES:
        raise too_large(name, "an endless stream", f"{MAX_FRAMES:,} frames")


def _timeline(
    first: av.VideoFrame | None, stamps: list[int], lengths: list[int], stream: av.VideoStream, name: str
) -> Timeline:
    base = stream.time_base
    distances = [later - earlier for earlier, later in pairwise(stamps)] if None not in stamps else []
    if not distances or min(distances) <= 0:  # a single frame, or times that restart: one length after the other
        usual = median([length for length in lengths if length] or [0]) or (
            1 / (stream.average_rate * base) if stream.average_rate and len(stamps) > 1 else 0
        )
        times = [round(float(i * usual * base), 6) for i in range(len(stamps))]
        seconds = round(float(len(stamps) * usual * base), 6)
        stamps = stamps if len(stamps) == 1 and None not in stamps else []
    else:
        # the last frame's length is trusted if those of the others are right: MP4 has decoding distances, WebM often a guess
        told = all(abs(length - distance) <= _ROUNDED for length, distance in zip(lengths, distances))
        last = lengths[-1] if told and lengths[-1] else median(distances)
        times = [round(float((stamp - stamps[0]) * base), 6) for stamp in stamps]
        seconds = round(float((stamps[-1] - stamps[0] + last) * base), 6)
    not_too_long(seconds, name)
    return Timeline(first, stamps, times, seconds or None)


def _h264(stream: av.VideoStream, packet: av.Packet, first: bool) -> int | None:
    """Number of pictures in a packet; None if that is not certain. (ITU-T H.264, 7.3.1 and 7.3.3; ISO/IEC 14496-15, 5.3.3.)"""
    head, data = stream.codec_context.extradata or b"", memoryview(packet)
    if len(head) < 7 or head[0] != 1:
        return None
    kinds = [(data[at] & 31, data[at + 1]) for at in _units(data, (head[4] & 3) + 1)]
    if first and not any(kind == 5 for kind, _ in kinds):  # not an instantaneous refresh
        return None
    return sum(kind in (1, 2, 5) and after >= 128 for kind, after in kinds)  # slices that begin with macroblock 0


def _hevc(stream: av.VideoStream, packet: av.Packet, first: bool) -> int | None:
    """As _h264. (ITU-T H.265, 7.3.1.2 and 7.3.6.1; ISO/IEC 14496-15, 8.3.3.)"""
    head, data = stream.codec_context.extradata or b"", memoryview(packet)
    if len(head) < 23 or head[0] != 1:
        return None
    units = [
        (data[at] >> 1 & 63, data[at + 2])
        for at in _units(data, (head[21] & 3) + 1)
        if at + 2 < len(data) and not data[at + 1] >> 3
    ]
    kinds = {kind for kind, _ in units}
    if kinds & {36, 37} or (first and not kinds & {16, 17, 18, 19, 20}):  # an end of the sequence; no refresh
        return None
    if not first and any(
        16 <= kind <= 23 and after >= 192 for kind, after in units
    ):  # drops pictures that are not shown yet
        return None
    return sum(kind < 32 and after >= 128 for kind, after in units)


def _units(data: memoryview, prefix: int) -> Iterator[int]:
    """Offsets of the units of a packet, each after its length of `prefix` bytes."""
    at = 0
    while at + prefix + 1 < len(data):
        yield at + prefix
        at += prefix + int.from_bytes(data[at : at + prefix], "big")


def _vp8(stream: av.VideoStream, packet: av.Packet, first: bool) -> int:
    """1 if the picture is shown, 0 if it only serves others. (RFC 6386, 9.1.)"""
    return memoryview(packet)[0] >> 4 & 1


def _vp9(stream: av.VideoStream, packet: av.Packet, first: bool) -> int:
    """Number of pictures of a packet that are shown. (VP9 Bitstream Specification 0.6, 6.2 and annex B.)"""
    data = bytes(packet)
    count, width = (data[-1] & 7) + 1, (data[-1] >> 3 & 3) + 1
    index = data[-2 - count * width :]
    starts = [0]
    if data[-1] >> 5 == 6 and len(index) == 2 + count * width and index[0] == data[-1]:
        for at in range(1, 1 + (count - 1) * width, width):
            starts.append(starts[-1] + int.from_bytes(index[at : at + width], "little"))
    heads = [data[at] << (data[at] >> 4 & 3 == 3) for at in starts if at < len(data)]  # profile 3 has a bit more
    return sum(bool(head & 0b1010) for head in heads)  # an earlier picture is shown, or this one


def _av1(stream: av.VideoStream, packet: av.Packet, first: bool) -> int:
    """A packet is a temporal unit, which shows one picture. (AV1 Bitstream Specification, 7.5.)"""
    return 1


_SHOWN = {"h264": _h264, "hevc": _hevc, "vp8": _vp8, "vp9": _vp9, "av1": _av1, "libdav1d": _av1}
