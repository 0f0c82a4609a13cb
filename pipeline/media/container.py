"""Reads containers with streams (MP4, WebM, AVI, MP3 ...) through PyAV: from bytes, in order, on one thread.

What is decoded is the truth: a container's own words (durations, numbers of frames, sizes) may differ from what is shown."""

import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import av

from pipeline.media.limits import MAX_CHANNELS, MAX_PIXELS, MAX_SECONDS, MAX_TRACKS, RATES
from pipeline.media.sniff import Format, too_large, undecodable
from schemas.errors import RowError
from schemas.records import Reason

_COVER = av.stream.Disposition.attached_pic


@contextmanager
def opened(data: bytes, form: Format, name: str) -> Generator[av.container.InputContainer]:
    """Opens a container; FFmpeg's errors become RowErrors."""
    # the format is given explicitly, so that bytes cannot pose as a playlist of other files
    with (
        undecodable(name, av.FFmpegError),
        av.open(io.BytesIO(data), format=form.name, metadata_errors="ignore") as container,
    ):
        tracks = [stream for stream in container.streams if stream.type != "attachment" and not _is_cover(stream)]
        if len(tracks) > MAX_TRACKS:
            raise too_large(name, f"{len(tracks)} tracks", str(MAX_TRACKS))
        yield container


def picture_track(container: av.container.InputContainer, name: str) -> av.VideoStream | None:
    """The first video stream that is not a cover image; None if there is none. RowError if none of them has a known codec, or its frames are
    too large."""
    stream = _first_known([stream for stream in container.streams.video if not _is_cover(stream)], name, "video")
    if stream and stream.width * stream.height > MAX_PIXELS:
        raise too_large(name, f"{stream.width} x {stream.height} pixels", f"{MAX_PIXELS:,}")
    return stream


def sound_track(container: av.container.InputContainer, name: str, required: bool = True) -> av.AudioStream | None:
    """The first audio stream of a known codec; None if there is none. RowError if there are only others, unless it is not `required`."""
    return _first_known(container.streams.audio, name, "audio" if required else None)


def _first_known(streams, name: str, kind: str | None):
    known = [stream for stream in streams if stream.codec_context is not None]
    if streams and not known and kind:
        detail = f"{name} has an unknown {kind} codec; convert it or remove the row"
        raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
    for stream in known[:1]:
        stream.codec_context.thread_count = 1
    return known[0] if known else None


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & _COVER)


def decoded(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator:
    """The frames of a stream, in the order shown. What cannot be decoded before the first of them is passed over: a recording that was
    joined midway begins with references to frames that it lacks. So are tags between the frames of MP3 and AAC, as in files that were
    put one behind the other."""
    begun, failed = False, None
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                begun = True
                yield frame
        except av.error.InvalidDataError as error:
            foreign = container.format.name in ("mp3", "aac") and bytes(packet)[:1] != b"\xff"
            if begun and not foreign:
                raise
            failed = failed or error
    if failed and not begun:
        raise failed


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
