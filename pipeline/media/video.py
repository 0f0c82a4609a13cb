"""Videos: their facts, and some of their frames. Runs in the decoder's process (see decode.py)."""

from collections.abc import Iterable

import av
import numpy as np

from pipeline.media.container import Track, audible, moving_pictures, opened, walk
from pipeline.media.limits import FRAME_SIDE
from pipeline.media.sniff import Format, broken, sniff
from schemas.errors import RowError
from schemas.records import Reason


def facts(data: bytes, form: Format, name: str) -> dict | None:
    """kind, mime, width and height (pixels, as shown: after rotation), frames, fps (mean) and seconds; of a video with
    sound also its rate and channels.

    None when there is sound but no picture. RowError when it does not decode, has no frame or is over a cap."""
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


def decode_video(
    data: bytes, fps: float | None = None, max_frames: int = 32, name: str = "the video", max_side: int = FRAME_SIDE
) -> tuple[np.ndarray, float]:
    """Frames [T, height, width, 3] uint8 RGB at even distances in time from the first to the last, and how many a second.

    T is `fps` times the length (every frame when None), at least 1 and at most `max_frames` and all there are. A frame
    whose longer side is above `max_side` pixels is scaled down to it. The file is decoded once, in order.
    RowError when it is no video, does not decode or has no frame."""
    form = sniff(data, name)
    found = _look(data, form, name) if form.library == "av" else None
    if found is None:
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is not a video; drop the row")
    track, _, _ = found
    seconds = track.seconds or 1.0
    wanted = track.packets if fps is None else round(seconds * fps)
    chosen = _spread(track, max(1, min(wanted, track.packets, max_frames)))
    with opened(data, form, name) as container:
        decoded = container.decode(moving_pictures(container))
        frames = _upright((frame for index, frame in enumerate(decoded) if index in chosen), max_side)
    if not len(frames):
        raise broken(name)
    return frames, len(frames) / seconds


def _look(data: bytes, form: Format, name: str) -> tuple[Track, av.VideoFrame, dict] | None:
    """The track of the pictures, its first frame, and rate and channels of the sound beside them; None when there is only sound."""
    with opened(data, form, name) as container:
        stream = moving_pictures(container)
        sound = {}
        if container.streams.audio:
            first = container.streams.audio[0]
            if first.rate:
                audible(first.rate, first.channels, name)
                sound = {"rate": first.rate, "channels": first.channels}
            if stream is None:
                return None
        track = walk(container, stream, name) if stream else None
    if track is None or track.first is None:
        raise RowError(Reason.EMPTY_MEDIA, f"{name} is a video without frames; replace the file or drop the row")
    return track, track.first, sound


def _spread(track: Track, wanted: int) -> set[int]:
    """`wanted` places among the frames at even distances in time, both ends included; by number where times are missing."""
    if track.times:
        moments = np.linspace(track.times[0], track.times[-1], wanted)
        places = np.interp(moments, track.times, np.arange(track.packets)).round(6)
    else:
        places = np.linspace(0, track.packets - 1, wanted)
    return set(places.round().astype(int).tolist())


def _upright(frames: Iterable[av.VideoFrame], max_side: int) -> np.ndarray:
    """Frames as RGB, all of the first one's size: a stream may change it on its way."""
    pictures, size = [], {}
    convert = av.video.reformatter.VideoReformatter()  # a frame's own would be set up anew for each, in milliseconds
    for frame in frames:
        size = size or _within(frame.width, frame.height, max_side)
        pictures.append(np.rot90(convert.reformat(frame, format="rgb24", **size).to_ndarray(), _quarter_turns(frame)))
    return np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def _within(width: int, height: int, side: int) -> dict[str, int]:
    by = min(1, side / max(width, height))
    return {"width": max(1, round(width * by)), "height": max(1, round(height * by))}


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How many times a frame is to be turned by 90 degrees against the clock to stand upright."""
    return round(frame.rotation / 90)
