"""Videos: their facts, and some of their frames."""

from collections.abc import Iterable

import av
import numpy as np

from pipeline.media.container import Track, moving_pictures, opened, walk
from pipeline.media.sniff import Format, sniff
from schemas.errors import RowError
from schemas.records import Reason


def facts(data: bytes, form: Format, name: str) -> dict | None:
    """kind, mime, width and height (pixels, as shown: after rotation), frames, fps (mean) and seconds.

    None when there is sound but no picture. RowError when it does not decode or has no frame."""
    with opened(data, form, name) as container:
        stream = moving_pictures(container)
        if stream is None and container.streams.audio:
            return None
        track = walk(container, stream) if stream else Track(0, None, None)
    if track.first is None:
        raise RowError(Reason.EMPTY_MEDIA, f"{name} is a video without frames; replace the file or drop the row")
    width, height = track.first.width, track.first.height
    if _quarter_turns(track.first) % 2:
        width, height = height, width
    return {
        "kind": "video", "mime": f"video/{form.mime}", "width": width, "height": height, "frames": track.packets,
        "fps": round(track.packets / track.seconds, 6) if track.seconds else None, "seconds": track.seconds,
    }  # fmt: skip


def decode_video(
    data: bytes, fps: float | None = None, max_frames: int = 32, name: str = "the video"
) -> tuple[np.ndarray, float]:
    """Frames [T, height, width, 3] uint8 RGB at even distances from the first to the last, and how many a second.

    T is `fps` times the length (every frame when None), at least 1 and at most `max_frames` and all there are.
    The file is decoded once, in order. RowError when it is no video, does not decode or has no frame."""
    form = sniff(data, name)
    known = facts(data, form, name) if form.library == "av" else None
    if known is None:
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is not a video; drop the row")
    total, seconds = known["frames"], known["seconds"] or 1.0
    wanted = total if fps is None else round(seconds * fps)
    wanted = max(1, min(wanted, total, max_frames))
    chosen = set(np.linspace(0, total - 1, wanted).round().astype(int).tolist())
    with opened(data, form, name) as container:
        decoded = container.decode(moving_pictures(container))
        frames = _upright(frame for index, frame in enumerate(decoded) if index in chosen)
    return frames, len(frames) / seconds


def _upright(frames: Iterable[av.VideoFrame]) -> np.ndarray:
    """Frames as RGB, all of the first one's size: a stream may change it on its way."""
    pictures, size = [], {}
    convert = av.video.reformatter.VideoReformatter()  # a frame's own would be set up anew for each, in milliseconds
    for frame in frames:
        size = size or {"width": frame.width, "height": frame.height}
        pictures.append(np.rot90(convert.reformat(frame, format="rgb24", **size).to_ndarray(), _quarter_turns(frame)))
    return np.stack(pictures)


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How many times a frame is to be turned by 90 degrees against the clock to stand upright."""
    return round(frame.rotation / 90)
