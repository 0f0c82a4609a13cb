"""Simple statistics of an image: complexity, and how much of it is writing."""

import numpy as np
from PIL import Image

EDGE = 512  # pixels of the longer side of the measured image
_STRONG = 32  # difference in grey levels between adjacent pixels that counts as an edge


def grey(picture: Image.Image) -> np.ndarray:
    """The grey values [height, width] uint8 to measure, reduced to at most EDGE on the longer side."""
    small = picture.convert("L")
    small.thumbnail((EDGE, EDGE))
    return np.asarray(small)


def entropy(grey: np.ndarray) -> float:
    """Shannon entropy of the grey-value histogram in bits per pixel, 0 (one colour) to 8 (uniform)."""
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum()) + 0.0


def edges(grey: np.ndarray) -> float:
    """Share of pixels, 0 to 1, that differ by _STRONG or more from the next pixel to the right or below."""
    wide = grey.astype(np.int16)
    strong = np.zeros(grey.shape, bool)
    strong[:, :-1] |= np.abs(np.diff(wide, axis=1)) >= _STRONG
    strong[:-1] |= np.abs(np.diff(wide, axis=0)) >= _STRONG
    return float(strong.mean())


def writing(grey: np.ndarray) -> float:
    """Share of the image, 0 to 1, in boxes that look like lines of writing: dense strong strokes, wider than high.

    A heuristic (OpenCV morphology): it finds lines on a plain background, few of those on a busy photograph, and takes some roofs and
    fences for writing."""
    import cv2

    strokes = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    _, ink = cv2.threshold(strokes, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    ink[strokes < 2 * _STRONG] = 0
    lines = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, (9, 1)))
    count, _, boxes, _ = cv2.connectedComponentsWithStats(lines)
    found = np.zeros(grey.shape, bool)
    for x, y, width, height, filled in boxes[1:count]:
        inside = ink[y : y + height, x : x + width] > 0
        changes = np.count_nonzero(np.diff(inside, axis=1)) / height  # edges of strokes per pixel row of the box
        if (
            6 <= height <= 96
            and width >= 2 * height
            and filled >= 0.45 * width * height
            and changes >= width / height * 1.2
        ):
            found[y : y + height, x : x + width] = True
    return float(found.mean())
