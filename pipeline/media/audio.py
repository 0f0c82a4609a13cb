"""Audio: metadata, and samples as models receive them. Runs in the decoder process (see decode.py)."""

import io
from collections.abc import Iterator

import av
import numpy as np
import soundfile
import soxr

from pipeline.media.container import check_audio, not_too_long, opened, scan_packets
from pipeline.media.limits import HEARD_SECONDS
from pipeline.media.sniff import Format, broken, sniff, undecodable
from schemas.errors import RowError
from schemas.records import Reason

_BLOCK = 1 << 16  # samples
_SPOKEN = 16_000  # samples per second, as used by the audio encoders of common models


def facts(data: bytes, form: Format, name: str) -> dict:
    """kind, mime, seconds, rate (samples per second) and channels. RowError if it cannot be decoded, has no samples, exceeds a limit or
    contains NaN or infinities."""
    if form.library == "soundfile":
        rate, channels, seconds = _file_facts(data, form, name)
    else:
        rate, channels, seconds = _stream_facts(data, form, name)
    mime = form.mime if "/" in form.mime else f"audio/{form.mime}"
    return {"kind": "audio", "mime": mime, "rate": rate, "channels": channels, "seconds": seconds}


def decode_audio(
    data: bytes, rate: int = 16000, name: str = "the audio", max_seconds: float = HEARD_SECONDS
) -> np.ndarray:
    """Samples [n] float32, mono (mean of the channels), about -1..1, `rate` per second; of a video, its audio. Cut off after `max_seconds`.

    RowError if there is no audio, or it cannot be decoded."""
    form = sniff(data, name)
    if form.library == "pillow":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is {form.mime}, not audio; remove the row")
    read = _file_parts if form.library == "soundfile" else _stream_parts
    parts, left, found = [], None, rate
    for part, found in read(data, form, name):
        left = round(max_seconds * found) if left is None else left
        parts.append(part[:left])
        left -= len(parts[-1])
        if left <= 0:
            break
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not len(samples):
        raise _silent(name)
    if not np.isfinite(samples).all():
        raise _not_finite(name)
    return samples if found == rate else soxr.resample(samples, found, rate)


def as_wav(data: bytes, name: str) -> bytes:
    """The audio of `data` as a 16-bit WAV file, for servers that accept no containers. Raises RowError like decode_audio."""
    file = io.BytesIO()
    soundfile.write(file, decode_audio(data, _SPOKEN, name), _SPOKEN, subtype="PCM_16", format="WAV")
    return file.getvalue()


def _file_facts(data: bytes, form: Format, name: str) -> tuple[int, int, float]:
    with undecodable(name, soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(data)) as file:
        check_audio(file.samplerate, file.channels, name)
        not_too_long(file.frames / file.samplerate, name)
        if form.name == "OGG" and not _ended(data):
            raise broken(name)
        block = np.empty((_BLOCK, file.channels), np.float32)
        count = 0
        for part in file.blocks(out=block):
            count += len(part)
            if not np.isfinite(part).all():
                raise _not_finite(name)
        if count < file.frames:
            raise broken(name)
        if not count:
            raise _silent(name)
        return file.samplerate, file.channels, round(count / file.samplerate, 6)


def _stream_facts(data: bytes, form: Format, name: str) -> tuple[int, int, float | None]:
    with opened(data, form, name) as container:
        track = scan_packets(container, container.streams.audio[0], name) if container.streams.audio else None
        if track is None or track.first is None:
            raise _silent(name)
        rate, channels = track.first.sample_rate, track.first.layout.nb_channels
        check_audio(rate, channels, name)
        return rate, channels, track.seconds


def _file_parts(data: bytes, form: Format, name: str) -> Iterator[tuple[np.ndarray, int]]:
    with undecodable(name, soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(data)) as file:
        check_audio(file.samplerate, file.channels, name)
        for part in file.blocks(_BLOCK, dtype="float32", always_2d=True):
            yield part.mean(axis=1), file.samplerate


def _stream_parts(data: bytes, form: Format, name: str) -> Iterator[tuple[np.ndarray, int]]:
    with opened(data, form, name) as container:
        if not container.streams.audio:
            raise _silent(name)
        stream = container.streams.audio[0]
        check_audio(stream.rate, stream.channels, name)
        planes = av.AudioResampler(format="fltp", rate=stream.rate)
        for frame in container.decode(stream):
            for part in planes.resample(frame):
                yield part.to_ndarray().mean(axis=0), stream.rate


def _ended(data: bytes) -> bool:
    """Whether the last page of an Ogg file is complete and marked as the last."""
    page = data.rfind(b"OggS")
    body = page + 27 + data[page + 26] if page + 26 < len(data) else len(data) + 1
    return bool(data[page + 5] & 4) and body + sum(data[page + 27 : body]) <= len(data)


def _silent(name: str) -> RowError:
    return RowError(Reason.EMPTY_MEDIA, f"{name} has no audio samples; replace the file or remove the row")


def _not_finite(name: str) -> RowError:
    return RowError(
        Reason.UNDECODABLE, f"{name} contains samples that are NaN or infinite; replace the file or remove the row"
    )
