"""Perceptual hashes: 64 bits that hardly change when an image is resized or recompressed.

The hash is imagehash's pHash (Zauner 2010): of the DCT of 32 x 32 grey values, which of the 8 x 8 lowest frequencies are above their
median. The DCT of all images is one matrix product."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from pipeline.media.decode import decode_clip, decode_image

SIDE, LOW = 32, 8
BITS = LOW * LOW
_DCT = np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE))  # DCT-II, lowest frequencies only


def thumbnail(picture: Image.Image) -> np.ndarray:
    """The SIDE x SIDE grey values that are hashed (uint8)."""
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def phash(thumbnails: np.ndarray) -> np.ndarray:
    """Hashes [n] uint64 of thumbnails [n, SIDE, SIDE]."""
    low = (_DCT @ thumbnails.astype(float) @ _DCT.T).reshape(-1, BITS)
    above = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").ravel().astype(np.uint64)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of differing bits (0 to 64), element-wise."""
    return np.bitwise_count(a ^ b)


def pictures(data: bytes, kind: str, frames: int, edge: int, name: str) -> Iterable[Image.Image]:
    """The image itself, or `frames` frames of a video at even intervals, repeating the last if there are fewer. Images may be decoded at
    a reduced size of at least `edge` pixels per side. RowError if it cannot be decoded."""
    if kind == "image":
        return [decode_image(data, name, edge)]
    found = decode_clip(data, max_frames=frames, name=name).frames
    return [Image.fromarray(found[min(i, len(found) - 1)]) for i in range(frames)]
