"""Audio: metadata, and samples as models receive them. Runs in the decoder process (see decode.py)."""

import contextlib
import io
from collections.abc import Iterator

import av
import numpy as np
import soundfile
import soxr

from pipeline.media.container import check_audio, decoded, not_too_long, opened, picture_track, sound_track
from pipeline.media.limits import HEARD_SECONDS, MAX_SECONDS, RATES
from pipeline.media.sniff import Format, behind_id3, broken, samples_end, sniff, undecodable
from schemas.errors import RowError
from schemas.records import Reason

_BLOCK = 1 << 16  # samples
_SPOKEN = 16_000  # samples per second, as used by the audio encoders of common models
_STREAMED = ("aac", "mp3", "mp3float", "opus", "libopus", "vorbis")  # codecs in MP4 and WebM that browsers play
_PLAIN = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")
_FRAME = 0.15  # seconds by which the decoders of an MP3 may differ: two frames of 8 kHz, at most
_LATE = 0.05  # seconds by which sound may come late unnoticed (ITU-R BT.1359: 0.045)
# FFmpeg's names for the formats of libsndfile, for codecs in them that libsndfile does not know
_FFMPEG = {"WAV": "wav", "AIFF": "aiff", "FLAC": "flac", "OGG": "ogg", "AU": "au", "CAF": "caf", "W64": "w64"}


def facts(data: bytes, form: Format, name: str) -> dict:
    """kind, mime, seconds, rate (samples per second) and channels: of the samples that are heard, without an encoder's padding. RowError if
    it cannot be decoded, has no samples, exceeds a limit or contains NaN or infinities."""
    mime = form.mime if "/" in form.mime else f"audio/{form.mime}"
    read = _stream_facts if (form := _reader(data, form)).library == "av" else _file_facts
    rate, channels, seconds = read(data, form, name)
    return {"kind": "audio", "mime": mime, "rate": rate, "channels": channels, "seconds": seconds}


def decode_audio(
    data: bytes, rate: int = 16000, name: str = "the audio", max_seconds: float = HEARD_SECONDS
) -> np.ndarray:
    """Samples [n] float32, mono (mean of the channels), about -1..1, `rate` per second. Cut off after `max_seconds`. Of a video, its audio from
    the first frame on: with silence before it if it begins later, without what is heard earlier.

    RowError if there is no audio, or it cannot be decoded."""
    form = sniff(data, name)
    if form.library == "pillow":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is {form.mime}, not audio; remove the row")
    form = _reader(data, form)
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


def portable(data: bytes, name: str, api: bool) -> bytes | None:
    """The whole of its sound as a WAV of 16 bits, mono, 16 kHz, or as an MP3 if it lasts more than ten minutes. None if `data` is a WAV (PCM or
    floating point) whose header is true, or an MP3; unless for an `api`, also FLAC, Ogg Vorbis, Opus and AAC, which browsers and `datasets` read.
    RowError as decode_audio."""
    if _is_plain(data, sniff(data, name), name, api):
        return None
    wave, file = decode_audio(data, _SPOKEN, name, MAX_SECONDS), io.BytesIO()
    form, subtype = ("WAV", "PCM_16") if len(wave) <= HEARD_SECONDS * _SPOKEN else ("MP3", "MPEG_LAYER_III")
    soundfile.write(file, wave, _SPOKEN, subtype=subtype, format=form)
    return file.getvalue()


def _is_plain(data: bytes, form: Format, name: str, api: bool) -> bool:
    if form.name == "mp3":
        at = len(data) - len(behind_id3(data))
        if data[at : at + 1] != b"\xff" or data[at + 1] & 0b110 != 0b010:  # not layer III
            return False
        # of files put one behind the other many readers only hear the first, whose header has its length
        with contextlib.suppress(soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(data)) as file:
            return abs(file.frames / file.samplerate - _stream_facts(data, form, name)[2]) < _FRAME
        return False
    if form.name == "WAV" and _reader(data, form).library == "soundfile":
        end, whole = samples_end(data), int.from_bytes(data[4:8], "little") + 8
        sized = data[:4] == b"RIFF" and end and end <= whole <= len(data)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return bool(sized) and file.subtype in _PLAIN
    if api:
        return False
    if form.name == "aac" and (data[0] != 0xFF or b"ID3" in data):  # behind or between tags
        return False
    if form.name in ("FLAC", "OGG"):
        return data[:3] != b"ID3" and _reader(data, form).library == "soundfile" and len(_links(data)) == 1
    if form.name not in ("mp4", "mov", "aac") and form.mime != "webm":
        return False
    with opened(data, form, name) as container:
        stream = sound_track(container, name)
        return bool(stream) and stream.codec_context.name in _STREAMED


def _file_facts(data: bytes, form: Format, name: str) -> tuple[int, int, float]:
    rate, channels, seconds = 0, 0, 0.0
    for link in _links(data):
        with undecodable(name, soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(link)) as file:
            check_audio(file.samplerate, file.channels, name)
            not_too_long(seconds + file.frames / file.samplerate, name)
            if form.name == "OGG" and not _ended(link):
                raise broken(name)
            block = np.empty((_BLOCK, file.channels), np.float32)
            count = 0
            for part in file.blocks(out=block):
                count += len(part)
                if not np.isfinite(part).all():
                    raise _not_finite(name)
            if count < file.frames:
                raise broken(name)
            rate, channels = rate or file.samplerate, channels or file.channels
            seconds += count / file.samplerate
    if not seconds:
        raise _silent(name)
    return rate, channels, round(seconds, 6)


def _reader(data: bytes, form: Format) -> Format:
    """The format with the library that reads this file: FFmpeg where libsndfile does not know the codec, cannot tell how many samples there are
    (MP3 and GSM in a WAV, a FLAC written into a pipe), or sees none since their size is given as 0."""
    if form.library != "soundfile":
        return form
    with contextlib.suppress(soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(data)) as file:
        if 0 < file.frames <= MAX_SECONDS * RATES[1] and file.seekable() and not file.subtype.startswith("MPEG"):
            return form
    return Format("av", _FFMPEG[form.name], form.mime)


def _links(data: bytes) -> list[bytes]:
    """The links of a chained Ogg file, which begin after all streams before them have ended (RFC 3533, section 4); other files as they are."""
    if not data.startswith(b"OggS"):
        return [data]
    starts, ended, at = [0], False, 0
    while 0 <= at < len(data) - 5:
        first, last = data[at + 5] & 2, data[at + 5] & 4
        if first and ended:
            starts.append(at)
        ended = bool(last) or (ended and not first)
        at = data.find(b"OggS\0", at + 27)
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)])]


def _stream_facts(data: bytes, form: Format, name: str) -> tuple[int, int, float]:
    """All of it is decoded: packets also hold what a coder adds at both ends."""
    seconds, rate, channels = 0.0, 0, 0
    for link in _links(data):
        with opened(link, form, name) as container:
            stream = sound_track(container, name)
            for frame in decoded(container, stream) if stream else ():
                if not rate:
                    rate, channels = frame.sample_rate, frame.layout.nb_channels
                    check_audio(rate, channels, name)
                seconds += frame.samples / frame.sample_rate
                not_too_long(seconds, name)
    if not seconds:
        raise _silent(name)
    return rate, channels, round(seconds, 6)


def _file_parts(data: bytes, form: Format, name: str) -> Iterator[tuple[np.ndarray, int]]:
    rate = 0
    for link in _links(data):
        with undecodable(name, soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(link)) as file:
            check_audio(file.samplerate, file.channels, name)
            rate = rate or file.samplerate
            other = soxr.ResampleStream(file.samplerate, rate, 1) if file.samplerate != rate else None
            for part in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                mono = part.mean(axis=1)
                yield other.resample_chunk(mono, file.tell() == file.frames) if other else mono, rate


def _stream_parts(data: bytes, form: Format, name: str) -> Iterator[tuple[np.ndarray, int]]:
    start, rate, early = _start_of_picture(data, form, name), 0, 0  # early: samples before the picture
    for link in _links(data):
        with opened(link, form, name) as container:
            stream = sound_track(container, name)
            if stream is None:
                raise _silent(name)
            check_audio(stream.rate, stream.channels, name)
            rate = rate or stream.rate
            planes, shape = av.AudioResampler(format="fltp", rate=rate), None
            for frame in decoded(container, stream):
                late = 0.0 if start is None or frame.time is None else frame.time - start
                if late > _LATE:
                    yield np.zeros(round(late * rate), np.float32), rate
                early += round(-late * rate) if late < -_LATE else 0
                start = None
                if shape != (shape := (frame.format.name, frame.layout.name, frame.sample_rate)):  # it may change
                    planes = av.AudioResampler(format="fltp", rate=rate)
                for part in planes.resample(frame):
                    mono = part.to_ndarray().mean(axis=0)
                    yield mono[early:], rate
                    early = max(0, early - len(mono))


def _start_of_picture(data: bytes, form: Format, name: str) -> float | None:
    """When a video's first frame is shown, in the container's seconds; None of a sound."""
    with opened(data, form, name) as container:
        stream = picture_track(container, name)
        first = next(decoded(container, stream), None) if stream else None
        return first.time if first else None


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
