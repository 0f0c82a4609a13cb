"""Videos: metadata and frames. Runs in the decoder process (see decode.py)."""

import io
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type

from pipeline.media import audio
from pipeline.media.container import check_audio, decoded, opened, picture_track, sound_track
from pipeline.media.limits import FRAME_SIDE, MAX_SECONDS
from pipeline.media.sniff import Format, broken, sniff
from pipeline.media.timeline import Timeline, by_decoding, by_packets
from schemas.errors import RowError
from schemas.records import Reason

_CODECS = ("h264", "vp8", "vp9", "av1", "libdav1d")  # of videos that servers, `datasets` and browsers decode
_FRAMES = 3600  # of a portable video: two minutes at 30 per second
_SOUND = 48_000  # samples per second of its sound
_TICKS = 90_000  # units of its times per second


def facts(data: bytes, form: Format, name: str) -> dict | None:
    """kind, mime, width and height (pixels, upright), frames (those shown), fps (mean) and seconds; for a video with audio also its rate and
    channels.

    None if there is audio but no video stream. RowError if it cannot be decoded, has no frames or exceeds a limit."""
    line, sound = _look(data, form, name)
    if line is None and sound is not None:
        return None
    if line is None or line.first is None:
        raise _without_frames(name)
    width, height = line.first.width, line.first.height
    if _turn(line.first).swapped:
        width, height = height, width
    count = len(line.times)
    return {
        "kind": "video", "mime": f"video/{form.mime}", "width": width, "height": height, "frames": count,
        "fps": round(count / line.seconds, 6) if line.seconds else None, "seconds": line.seconds, **(sound or {}),
    }  # fmt: skip


def decode_clip(
    data: bytes, fps: float | None = None, max_frames: int = 32, name: str = "the video", max_side: int = FRAME_SIDE
) -> tuple[np.ndarray, list[float], list[int], float]:
    """(frames [T, height, width, 3] uint8 RGB, the time of each in seconds, what is shown at even moments, seconds).

    The moments are `fps` times the length many (None: as many as frames), at least 1 and at most `max_frames` and the number of frames, at
    even distances from the first frame to the last. For each there is the index of its frame among those returned: the nearest one, or
    the one before where that one would come early (see `_spread`); a frame that is shown at several of these times is returned once. Times are
    counted from the video's first frame, so they begin with 0; the last value is the length of the video. Frames whose longer side exceeds
    `max_side` pixels are scaled down to it.
    RowError if it is not a video, cannot be decoded or has no frames."""
    form = sniff(data, name)
    for whole in (False, True):
        line = _look(data, form, name, whole)[0] if form.library == "av" else None
        if line is None:
            raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is not a video; remove the row")
        if line.first is None:
            raise _without_frames(name)
        seconds = line.seconds or 1.0
        wanted = len(line.times) if fps is None else round(seconds * fps)
        shown = _spread(line.times, max(1, min(wanted, len(line.times), max_frames)))
        chosen = sorted(set(shown.tolist()))
        with opened(data, form, name) as container:
            stream = picture_track(container, name)
            frames = _upright(_at(decoded(container, stream), line.stamps, chosen), max_side)
        if len(frames) == len(chosen):  # otherwise packets promised a frame that is damaged
            times = [round(line.times[i] - line.times[chosen[0]], 6) for i in chosen]
            return frames, times, np.searchsorted(chosen, shown).tolist(), seconds
    raise broken(name)


def portable(data: bytes, name: str) -> bytes | None:
    """The video as an MP4 of H.264 (4:2:0, 8 bits, sides of at most FRAME_SIDE pixels, padded to even ones) and AAC, with its frames at their
    times: all of them, or _FRAMES at even moments if there are more. None if `data` is such an MP4 or a WebM, upright and not trimmed.
    RowError as decode_clip."""
    form = sniff(data, name)
    if form.library != "av":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is not a video; remove the row")
    line, heard = _look(data, form, name)
    if line is None or line.first is None:
        raise _without_frames(name)
    if _is_plain(data, form, line, name):
        return None
    chosen = (
        sorted(set(_spread(line.times, _FRAMES).tolist())) if len(line.times) > _FRAMES else [*range(len(line.times))]
    )
    sound = audio.decode_audio(data, _SOUND, name, MAX_SECONDS) if heard else None
    with opened(data, form, name) as container:
        stream = picture_track(container, name)
        frames = _pixels(_at(decoded(container, stream), line.stamps, chosen), FRAME_SIDE)
        return _mp4(frames, [line.times[i] for i in chosen], line.seconds or 1.0, sound)


def _is_plain(data: bytes, form: Format, line: Timeline, name: str) -> bool:
    if not (form.name in ("mp4", "mov") or form.mime == "webm") or not line.plain or _turn(line.first) != _Turn():
        return False
    with opened(data, form, name) as container:
        stream = picture_track(container, name)
        context = stream.codec_context if stream else None
        if not stream or not context or context.name not in _CODECS or context.pix_fmt not in ("yuv420p", "yuvj420p"):
            return False
        # browsers stretch pixels that are not square, and show what is behind transparent ones
        square = stream.sample_aspect_ratio in (None, 0, 1)
        return square and stream.metadata.get("alpha_mode") != "1"


def _mp4(frames: Iterable[np.ndarray], times: list[float], seconds: float, sound: np.ndarray | None) -> bytes:
    """Encoded by one thread, without the macroblock tree, so that the same frames give the same bytes."""
    file = io.BytesIO()
    ends = {round(at * _TICKS): round(end * _TICKS) for at, end in zip(times, [*times[1:], seconds], strict=True)}
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        options = {"preset": "veryfast", "crf": "18", "bf": "0", "x264-params": "mbtree=0"}
        stream = out.add_stream("libx264", rate=Fraction(len(times) / seconds).limit_denominator(1001), options=options)
        stream.codec_context.thread_count, stream.codec_context.time_base = 1, Fraction(1, _TICKS)
        stream.pix_fmt = "yuv420p"
        track = out.add_stream("aac", rate=_SOUND, layout="mono") if sound is not None else None
        started = False
        for pixels, at in zip(frames, ends, strict=True):
            height, width = pixels.shape[:2]
            if not started:
                stream.height, stream.width, started = height + height % 2, width + width % 2, True
            even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, _TICKS)
            out.mux(_lasting(stream.encode(frame), ends))
        out.mux(_lasting(stream.encode(None), ends))
        if track and sound is not None:
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[None], np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = _SOUND, 0
            out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return file.getvalue()


def _lasting(packets: list[av.Packet], ends: dict[int, int]) -> list[av.Packet]:
    """The packets with their lengths, of which an MP4 needs the last one."""
    for packet in packets:
        packet.duration = ends[packet.pts] - packet.pts
    return packets


def _look(data: bytes, form: Format, name: str, whole: bool = False) -> tuple[Timeline | None, dict | None]:
    """(when its frames are shown, rate and channels of its audio); None if it has no video stream, or no audio. `whole`: by decoding all of it in
    any case."""
    line = None
    with opened(data, form, name) as container:
        shown = picture_track(container, name)
        heard = _sound(container, name, required=shown is None)
        if shown and not whole:
            line = by_packets(container, shown, form, name)
    if shown and (line is None or not line.whole):
        with opened(data, form, name) as container:
            found = by_decoding(container, picture_track(container, name), name)
        line = found._replace(plain=line is not None and line.plain and line.stamps == found.stamps)
    return line, heard


def _sound(container: av.container.InputContainer, name: str, required: bool) -> dict | None:
    stream = sound_track(container, name, required)
    if stream is None or not stream.rate:
        return None if stream is None else {}
    check_audio(stream.rate, stream.channels, name)
    return {"rate": stream.rate, "channels": stream.channels}


def _without_frames(name: str) -> RowError:
    return RowError(Reason.EMPTY_MEDIA, f"{name} is a video without frames; replace the file or remove the row")


def _spread(times: list[float], wanted: int) -> np.ndarray:
    """For `wanted` moments at even distances from the first frame to the last, the index of the frame to show.

    That is the nearest frame. Where it comes later than its moment by more than frames usually last, as behind a pause, it is the one before,
    which is on the screen at that moment."""
    moments = np.linspace(times[0], times[-1], wanted)
    nearest = np.interp(moments, times, np.arange(len(times))).round(6).round().astype(int)
    usual = median(later - earlier for earlier, later in pairwise(times)) if len(times) > 1 else 0
    return nearest - (np.array(times)[nearest] - moments > usual)


def _at(frames: Iterable[av.VideoFrame], stamps: list[int], chosen: list[int]) -> Iterable[av.VideoFrame]:
    """The frames at the chosen indices, by their time stamps if these are known."""
    if stamps:
        wanted = {stamps[i] for i in chosen}
        return (frame for frame in frames if frame.pts in wanted)
    wanted = set(chosen)
    return (frame for i, frame in enumerate(frames) if i in wanted)


def _upright(frames: Iterable[av.VideoFrame], max_side: int) -> np.ndarray:
    pictures = list(_pixels(frames, max_side))
    return np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def _pixels(frames: Iterable[av.VideoFrame], max_side: int) -> Iterator[np.ndarray]:
    """Frames as RGB, all in the size of the first one: a stream may change its size."""
    size = {}
    convert = (
        av.video.reformatter.VideoReformatter()
    )  # a frame's own is set up again for each frame, which takes milliseconds
    for frame in frames:
        size = size or _within(frame.width, frame.height, max_side)
        yield _turn(frame).apply(convert.reformat(frame, format="rgb24", **size).to_ndarray())


def _within(width: int, height: int, side: int) -> dict[str, int]:
    scale = min(1, side / max(width, height))
    return {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}


class _Turn(NamedTuple):
    """How a picture is shown: rows and columns swapped first, then mirrored."""

    swapped: bool = False
    left_right: bool = False
    up_down: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.swapaxes(0, 1) if self.swapped else pixels
        pixels = pixels[:, ::-1] if self.left_right else pixels
        return pixels[::-1] if self.up_down else pixels


def _turn(frame: av.VideoFrame) -> _Turn:
    """From the frame's display matrix (ISO/IEC 14496-12, 6.2.2): pixel (x, y) is shown at (a x + c y, b x + d y), and moved into view.
    Turns other than by multiples of 90 degrees count as the nearest of these."""
    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None:
        return _Turn()
    a, b, _, c, d = struct.unpack("=5i", bytes(side)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Turn(True, c < 0, b < 0)
    return _Turn(False, a < 0, d < 0)
