"""Videos: metadata and frames. Runs in the decoder process (see decode.py)."""

from collections.abc import Iterable

import av
import numpy as np

from pipeline.media.container import Track, check_audio, moving_pictures, opened, scan_packets
from pipeline.media.limits import FRAME_SIDE
from pipeline.media.sniff import Format, broken, sniff
from schemas.errors import RowError
from schemas.records import Reason


def facts(data: bytes, form: Format, name: str) -> dict | None:
    """kind, mime, width and height (pixels, after rotation), frames, fps (mean) and seconds; for a video with audio also its rate and
    channels.

    None if there is audio but no video stream. RowError if it cannot be decoded, has no frames or exceeds a limit."""
    found = _look(data, form, name)
    if found is None:
        return None
    track, first, sound = found
    width, height = first.width, first.height
    if _quarter_turns(first) % 2:
        width, height = height, width
    return {
        "kind": "video", "mime": f"video/{form.mime}", "width": width, "height": height, "frames": track.packets,
        "fps": round(track.packets / track.seconds, 6) if track.seconds else None, "seconds": track.seconds, **sound,
    }  # fmt: skip


def decode_clip(
    data: bytes, fps: float | None = None, max_frames: int = 32, name: str = "the video", max_side: int = FRAME_SIDE
) -> tuple[np.ndarray, list[float], list[int], float]:
    """(frames [T, height, width, 3] uint8 RGB, the time of each in seconds, what is shown at even moments, seconds).

    The moments are `fps` times the length many (None: as many as frames), at least 1 and at most `max_frames` and the number of frames, at
    even distances from the first frame to the last. For each there is the index of its frame among those returned: the nearest one, or
    the one before where that one would come early (see `_spread`); a frame that stands for several moments is returned once. Times are
    counted from the video's first frame, so they begin with 0; the last value is the length of the video. Frames whose longer side exceeds
    `max_side` pixels are scaled down to it. The file is decoded once, in order.
    RowError if it is not a video, cannot be decoded or has no frames."""
    form = sniff(data, name)
    found = _look(data, form, name) if form.library == "av" else None
    if found is None:
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is not a video; remove the row")
    track, _, _ = found
    seconds = track.seconds or 1.0
    wanted = track.packets if fps is None else round(seconds * fps)
    shown = _spread(track, max(1, min(wanted, track.packets, max_frames)))
    chosen = set(shown.tolist())
    places: list[tuple[int, float | None]] = []  # index and time stamp of each chosen frame
    with opened(data, form, name) as container:
        decoded = enumerate(container.decode(moving_pictures(container)))
        kept = (places.append((index, frame.time)) or frame for index, frame in decoded if index in chosen)
        frames = _upright(kept, max_side)
    if not len(frames):
        raise broken(name)
    among = (
        np.searchsorted([index for index, _ in places], shown, "right") - 1
    )  # fewer may be decoded than the file promises
    return frames, _since_first(places, seconds / track.packets), among.clip(0).tolist(), seconds


def _since_first(places: list[tuple[int, float | None]], distance: float) -> list[float]:
    """Seconds of frames since the first of them, by their time stamps; if any is missing, by their indices, `distance` seconds apart."""
    (first, start), *_ = places
    stamps = [stamp for _, stamp in places if stamp is not None]
    if start is None or len(stamps) < len(places):
        return [round((index - first) * distance, 6) for index, _ in places]
    return [round(stamp - start, 6) for stamp in stamps]


def _look(data: bytes, form: Format, name: str) -> tuple[Track, av.VideoFrame, dict] | None:
    """(video track, its first frame, rate and channels of the audio if any); None if there is only audio."""
    with opened(data, form, name) as container:
        stream = moving_pictures(container)
        sound = {}
        if container.streams.audio:
            first = container.streams.audio[0]
            if first.rate:
                check_audio(first.rate, first.channels, name)
                sound = {"rate": first.rate, "channels": first.channels}
            if stream is None:
                return None
        track = scan_packets(container, stream, name) if stream else None
    if track is None or track.first is None:
        raise RowError(Reason.EMPTY_MEDIA, f"{name} is a video without frames; replace the file or remove the row")
    return track, track.first, sound


def _spread(track: Track, wanted: int) -> np.ndarray:
    """For `wanted` moments at even distances from the first frame to the last, the index of the frame to show; by index if times are
    missing.

    That is the nearest frame. Where it comes later than its moment by more than frames usually last, as behind a pause, it is the one before,
    which is on the screen at that moment."""
    if not track.times:
        return np.linspace(0, track.packets - 1, wanted).round().astype(int)
    times = np.array(track.times)
    moments = np.linspace(times[0], times[-1], wanted)
    nearest = np.interp(moments, times, np.arange(track.packets)).round(6).round().astype(int)
    usual = np.median(np.diff(times)) if len(times) > 1 else 0
    return nearest - (times[nearest] - moments > usual)


def _upright(frames: Iterable[av.VideoFrame], max_side: int) -> np.ndarray:
    """Frames as RGB, all in the size of the first one: a stream may change its size."""
    pictures, size = [], {}
    convert = (
        av.video.reformatter.VideoReformatter()
    )  # a frame's own is set up again for each frame, which takes milliseconds
    for frame in frames:
        size = size or _within(frame.width, frame.height, max_side)
        pictures.append(np.rot90(convert.reformat(frame, format="rgb24", **size).to_ndarray(), _quarter_turns(frame)))
    return np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def _within(width: int, height: int, side: int) -> dict[str, int]:
    scale = min(1, side / max(width, height))
    return {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Number of counterclockwise 90-degree turns that make a frame upright."""
    return round(frame.rotation / 90)
