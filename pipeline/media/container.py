"""Reads containers with streams (MP4, WebM, AVI, MP3 ...) through PyAV: from bytes, in order, on one thread."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import av

from pipeline.media.limits import MAX_CHANNELS, MAX_FRAMES, MAX_PIXELS, MAX_SECONDS, MAX_TRACKS, RATES
from pipeline.media.sniff import Format, too_large, undecodable
from schemas.errors import RowError
from schemas.records import Reason


class Track(NamedTuple):
    """The result of one pass over a stream's packets."""

    packets: int  # for video: the number of frames
    seconds: float | None  # from the start of the first packet to the end of the last; None if unknown
    first: av.VideoFrame | av.AudioFrame | None  # the first frame, decoded; None if there is none
    times: list[int]  # presentation times of the packets, ascending; empty if any is missing


@contextmanager
def opened(data: bytes, form: Format, name: str) -> Generator[av.container.InputContainer]:
    """Opens a container; FFmpeg's errors become RowErrors."""
    # the format is given explicitly, so that bytes cannot pose as a playlist of other files
    with (
        undecodable(name, av.FFmpegError),
        av.open(io.BytesIO(data), format=form.name, metadata_errors="ignore") as container,
    ):
        if len(container.streams) > MAX_TRACKS:
            raise too_large(name, f"{len(container.streams)} tracks", str(MAX_TRACKS))
        for stream in (*container.streams.video, *container.streams.audio):
            if stream.codec_context is None:
                raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} has an unknown codec; convert it or remove the row")
            stream.codec_context.thread_count = 1
        for stream in container.streams.video:
            if stream.width * stream.height > MAX_PIXELS:
                raise too_large(name, f"{stream.width} x {stream.height} pixels", f"{MAX_PIXELS:,}")
        yield container


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is not a cover image; None if there is none."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def scan_packets(container: av.container.InputContainer, stream: av.stream.Stream, name: str) -> Track:
    """Counts and times the packets of a stream, and decodes its first frame. RowError if it exceeds a limit."""
    count, start, last, end, first = 0, None, None, None, None
    times: list[int] = []
    max_packets = (
        MAX_FRAMES if stream.type == "video" else RATES[1] * MAX_SECONDS
    )  # an audio packet has at least one sample
    for packet in container.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:
            continue
        count += 1
        if count > max_packets:
            raise too_large(name, "an endless stream", f"{max_packets:,} packets")
        if packet.pts is not None and stream.type == "video":
            times.append(packet.pts)
        at = packet.dts if packet.pts is None else packet.pts
        if at is not None:
            start = at if start is None else min(start, at)
            last = at if last is None else max(last, at)
            end = max(end or at, at + (packet.duration or 0))
    times = sorted(times) if len(times) == count else []
    if start is None:
        return Track(count, None, first, times)
    if end == last and count > 1:  # no duration given: assume the mean of the previous packets for the last one
        end = last + (last - start) / (count - 1)
    seconds = round(float((end - start) * stream.time_base), 6)
    not_too_long(seconds, name)
    return Track(count, seconds or None, first, times)


def not_too_long(seconds: float, name: str) -> None:
    """Raises RowError for more than MAX_SECONDS."""
    if seconds > MAX_SECONDS:
        raise too_large(name, f"{seconds:,.0f} seconds", f"{MAX_SECONDS:,}")


def check_audio(rate: int, channels: int, name: str) -> None:
    """Raises RowError for an unsupported sampling rate or number of channels."""
    if not RATES[0] <= rate <= RATES[1]:
        detail = f"{name} has {rate} samples per second, not {RATES[0]} to {RATES[1]}; resample it or remove the row"
        raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
    if channels > MAX_CHANNELS:
        raise too_large(name, f"{channels} channels", str(MAX_CHANNELS))
