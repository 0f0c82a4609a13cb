"""The times of a video's frames, in the form that each model family reads.

Most families read a video's metadata: the number of each frame, divided by frames per second, is its time. Frames are numbered in
milliseconds, so that any time can be expressed. Families in EVEN support only one distance between frames: they get what is on the screen
at even intervals. Families in ARGUMENT get that distance as an argument of their processor, because they do not read the metadata."""

from typing import TYPE_CHECKING, Any

from pipeline.media.decode import Clip

if TYPE_CHECKING:
    import numpy as np

CLOCK = 1000  # frame numbers per second
ARGUMENT = frozenset({"qwen2_5_omni", "qwen2_5_omni_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker"})
EVEN = ARGUMENT | {"qwen2_vl", "qwen2_5_vl"}
"""`model_type` of families whose positions count frames"""


def with_times(clip: Clip, family: str) -> "tuple[np.ndarray, dict[str, Any]]":
    """(frames [T, height, width, 3], metadata as processors of transformers and vLLM take it) for a `model_type`.

    Times are in milliseconds, from the first frame. `total_num_frames` is such that T frames at their mean distance last as long."""
    frames, times = clip.frames, clip.times
    if family in EVEN:
        frames, times = clip.even, tuple(k / clip.fps for k in range(len(clip.shown)))
    length = len(clip.shown) / clip.fps
    return frames, {
        "fps": float(CLOCK), "frames_indices": [round(time * CLOCK) for time in times],
        "total_num_frames": max(1, round(length * CLOCK)), "duration": length,
    }  # fmt: skip


def rate(metadata: dict[str, Any]) -> float:
    """Frames per second of the frames shown: what a family that supports one distance gets, by the formula of all processors."""
    return len(metadata["frames_indices"]) / metadata["total_num_frames"] * metadata["fps"]
