"""Media as the arrays that the towers take: equal to the output of transformers' processors, and faster for tiny media."""

from functools import cache
from typing import NamedTuple

import numpy as np
from transformers.audio_utils import mel_filter_bank

from pipeline.scenes.model.model import FRAMES, HOP, MELS, MERGE, PATCH

RATE = 16_000
WINDOW = 400  # samples per spectrum, 25 ms


class Feature(NamedTuple):
    """One medium of a prompt, as a tower takes it.

    kind    image, video or audio
    values  image, video: float32 [patches, 1536]; audio: float32 [32, 10 ms frames]
    grid    image, video: (times, rows, columns) of patches; audio: zeros
    """

    kind: str
    values: np.ndarray
    grid: tuple[int, int, int] = (0, 0, 0)


def features(parts: list[tuple[str, object]]) -> list[str | Feature]:
    """A scene's parts in order: texts unchanged, media as Features."""
    return [_feature(kind, content) for kind, content in parts]


def _feature(kind, content) -> str | Feature:
    if isinstance(content, str):
        return content
    if kind == "audio":
        return Feature(kind, log_mel(content))
    return Feature(kind, *patchify(content if kind == "video" else [content]))


def patchify(frames: list) -> tuple[np.ndarray, tuple[int, int, int]]:
    """RGB pictures of one size (multiples of 32 pixels) -> float32 [patches, 1536] in -1..1, and the grid of patches.

    The patches of one token (2x2) are adjacent; a patch has the colours of both frames of its grid."""
    pixels = np.stack([np.asarray(frame, np.float32) for frame in frames]) / 127.5 - 1
    if len(pixels) % FRAMES:  # a picture is a video of two equal frames
        pixels = np.concatenate([pixels, pixels[-1:]])
    count, height, width, colours = pixels.shape
    t, h, w = count // FRAMES, height // PATCH, width // PATCH
    pixels = pixels.reshape(t, FRAMES, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH, colours)
    return pixels.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, -1), (t, h, w)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """float32 samples in -1..1 at 16 kHz -> float32 [32, 10 ms frames], Whisper's log-mel spectrogram."""
    padded = np.pad(wave, WINDOW // 2, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:-1]
    power = np.abs(np.fft.rfft(pieces * _window(), axis=-1)) ** 2
    loud = np.log10(np.maximum(power @ _mel_filters(), 1e-10))
    return ((np.maximum(loud, loud.max() - 8) + 4) / 4).astype(np.float32).T


@cache
def _window() -> np.ndarray:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@cache
def _mel_filters() -> np.ndarray:
    bank = mel_filter_bank(WINDOW // 2 + 1, MELS, 0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return bank.astype(np.float32)
