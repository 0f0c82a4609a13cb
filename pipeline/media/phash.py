"""Perceptual hashes: 64 bits of what a picture looks like, nearly the same after it was shrunk or compressed anew.

The hash is imagehash's pHash (Zauner 2010): 32 x 32 grey values, their DCT, of its 8 x 8 lowest frequencies which are
above the median; the DCT is one product of matrices for all pictures at once."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from pipeline.media.decode import decode_image, decode_video

SIDE, LOW = 32, 8
BITS = LOW * LOW
_DCT = np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) / (2 * SIDE))  # DCT-II, as far as it is used


def thumbnail(picture: Image.Image) -> np.ndarray:
    """The SIDE x SIDE grey values that are hashed."""
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def phash(thumbnails: np.ndarray) -> np.ndarray:
    """Hashes [n] uint64 of thumbnails [n, SIDE, SIDE]."""
    low = (_DCT @ thumbnails.astype(float) @ _DCT.T).reshape(-1, BITS)
    above = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").ravel().astype(np.uint64)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In how many of their 64 bits hashes differ."""
    return np.bitwise_count(a ^ b)


def pictures(data: bytes, kind: str, frames: int, edge: int, name: str) -> Iterable[Image.Image]:
    """What there is to see: the image itself, or `frames` frames of a video at even distances, the last again where there
    are fewer. Images need not be larger than `edge` pixels. RowError when it does not decode."""
    if kind == "image":
        return [decode_image(data, name, edge)]
    found, _ = decode_video(data, max_frames=frames, name=name)
    return [Image.fromarray(found[min(i, len(found) - 1)]) for i in range(frames)]
