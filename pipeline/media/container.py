"""Files that hold streams (MP4, WebM, AVI, MP3 ...), through PyAV: read from bytes, in order, on one thread."""

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
    """What one pass over a stream's packets tells."""

    packets: int  # of video: its frames
    seconds: float | None  # from the first packet's start to the last one's end; None when it cannot be known
    first: av.VideoFrame | av.AudioFrame | None  # the first frame, decoded; None when there is none
    times: list[int]  # when each packet is shown, ascending; empty when not all of them say so


@contextmanager
def opened(data: bytes, form: Format, name: str) -> Generator[av.container.InputContainer]:
    """The container, whose errors are RowErrors."""
    # the format is named, so that bytes cannot pose as a playlist of other files
    with (
        undecodable(name, av.FFmpegError),
        av.open(io.BytesIO(data), format=form.name, metadata_errors="ignore") as container,
    ):
        if len(container.streams) > MAX_TRACKS:
            raise too_large(name, f"{len(container.streams)} tracks", str(MAX_TRACKS))
        for stream in (*container.streams.video, *container.streams.audio):
            if stream.codec_context is None:
                raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} has an unknown codec; convert it or drop the row")
            stream.codec_context.thread_count = 1
        for stream in container.streams.video:
            if stream.width * stream.height > MAX_PIXELS:
                raise too_large(name, f"{stream.width} x {stream.height} pixels", f"{MAX_PIXELS:,}")
        yield container


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is not the cover of a song."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def walk(container: av.container.InputContainer, stream: av.stream.Stream, name: str) -> Track:
    """Counts and times the packets of a stream, and decodes its first frame. RowError when it is too long."""
    count, start, last, end, first = 0, None, None, None, None
    times: list[int] = []
    most = MAX_FRAMES if stream.type == "video" else RATES[1] * MAX_SECONDS  # a packet of sound holds a sample or more
    for packet in container.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:
            continue
        count += 1
        if count > most:
            raise too_large(name, "a stream without end", f"{most:,} packets")
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
    if end == last and count > 1:  # no duration given: the last packet lasts as long as the mean of those before it
        end = last + (last - start) / (count - 1)
    seconds = round(float((end - start) * stream.time_base), 6)
    not_too_long(seconds, name)
    return Track(count, seconds or None, first, times)


def not_too_long(seconds: float, name: str) -> None:
    if seconds > MAX_SECONDS:
        raise too_large(name, f"{seconds:,.0f} seconds", f"{MAX_SECONDS:,}")


def audible(rate: int, channels: int, name: str) -> None:
    """RowError for a sampling rate or a number of channels that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        detail = f"{name} has {rate} samples a second, not {RATES[0]} to {RATES[1]}; resample it or drop the row"
        raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
    if channels > MAX_CHANNELS:
        raise too_large(name, f"{channels} channels", str(MAX_CHANNELS))
