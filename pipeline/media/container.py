"""Files that hold streams (MP4, WebM, AVI, MP3 ...), through PyAV: read from bytes, in order, on one thread."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import av

from pipeline.media.sniff import Format, undecodable
from schemas.errors import RowError
from schemas.records import Reason


class Track(NamedTuple):
    """What one pass over a stream's packets tells."""

    packets: int  # of video: its frames
    seconds: float | None  # from the first packet's start to the last one's end; None when it cannot be known
    first: av.VideoFrame | av.AudioFrame | None  # the first frame, decoded; None when there is none


@contextmanager
def opened(data: bytes, form: Format, name: str) -> Generator[av.container.InputContainer]:
    """The container, whose errors are RowErrors."""
    # the format is named, so that bytes cannot pose as a playlist of other files
    with (
        undecodable(name, av.FFmpegError),
        av.open(io.BytesIO(data), format=form.name, metadata_errors="ignore") as container,
    ):
        for stream in (*container.streams.video, *container.streams.audio):
            if stream.codec_context is None:
                raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} has an unknown codec; convert it or drop the row")
            stream.codec_context.thread_count = 1
        yield container


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is not the cover of a song."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def walk(container: av.container.InputContainer, stream: av.stream.Stream) -> Track:
    """Counts and times the packets of a stream, and decodes its first frame."""
    count, start, last, end, first = 0, None, None, None, None
    for packet in container.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)
        if not packet.size:
            continue
        count += 1
        at = packet.dts if packet.pts is None else packet.pts
        if at is not None:
            start = at if start is None else min(start, at)
            last = at if last is None else max(last, at)
            end = max(end or at, at + (packet.duration or 0))
    if start is None:
        return Track(count, None, first)
    if end == last and count > 1:  # no duration given: the last packet lasts as long as the mean of those before it
        end = last + (last - start) / (count - 1)
    seconds = round(float((end - start) * stream.time_base), 6)
    return Track(count, seconds or None, first)
