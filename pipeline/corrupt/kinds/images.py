"""Corruptions of images and of each frame of a video: frames [n, height, width, 3] uint8 in, frames out.

Random parameters (a box, an angle, a hue) are drawn once for all frames of a clip; noise is drawn for each frame."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from pipeline.corrupt.kinds._kind import Kind, random_slice

STEPS = 1000  # diffusion steps
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Diffusion(Kind):
    """Gaussian diffusion noise after step `t` (POVID, SeVa, CHiP), on whole images, before a model's own preprocessing."""

    kind: Literal["diffusion"] = "diffusion"
    t: int = Field(500, ge=0, lt=STEPS)
    """diffusion step, of 1000; 500 in POVID and CHiP, 500 or 800 in SeVa"""


class Crop(Kind):
    """A small crop of the image: enlarged to the image's size (mDPO), or left at its own size (CHiP)."""

    kind: Literal["crop"] = "crop"
    area: tuple[float, float] = (0.01, 0.2)
    """smallest and largest share of the image's area"""
    pixels: tuple[int, int] | None = None
    """alternative: a crop of at most this width and height in pixels, not enlarged; [240, 320] in CHiP"""

    @model_validator(mode="after")
    def _check(self):
        if not 0 < self.area[0] <= self.area[1] < 1:
            raise ValueError("`area` must be two shares between 0 and 1, the smaller first")
        if self.pixels and min(self.pixels) < 1:
            raise ValueError("`pixels` must be positive")
        return self


class Rotate(Kind):
    """Rotated counter-clockwise at the same size, empty areas black (CHiP)."""

    kind: Literal["rotate"] = "rotate"
    degrees: tuple[float, float] = (10, 80)
    """smallest and largest angle"""


class Black(Kind):
    """A black image (CHiP)."""

    kind: Literal["black"] = "black"


class Blur(Kind):
    """A Gaussian blur (Image-DPO)."""

    kind: Literal["blur"] = "blur"
    sigma: float = Field(0.02, gt=0, le=1)
    """standard deviation, as a share of the longer side; no paper gives a value"""


class Pixelate(Kind):
    """Large blocks of uniform colour (Image-DPO)."""

    kind: Literal["pixelate"] = "pixelate"
    blocks: int = Field(16, ge=1, le=4_096)
    """number of blocks along the longer side; no paper gives a value"""


class Downscale(Kind):
    """A small image, left small (STIC)."""

    kind: Literal["downscale"] = "downscale"
    side: int = Field(20, ge=4, le=16_384)
    """length of the shorter side, in pixels"""


class Jitter(Kind):
    """Another brightness and another hue (STIC)."""

    kind: Literal["jitter"] = "jitter"
    brightness: float = Field(0.5, ge=0, le=1)
    """the brightness is multiplied by a factor between 1 - this and 1 + this"""
    hue: float = Field(0.3, ge=0, le=0.5)
    """the hue is rotated by at most this share of the colour wheel, in either direction"""


class PixelMask(Kind):
    """Pixels replaced by the image's mean colour (OPA-DPO)."""

    kind: Literal["pixel_mask"] = "pixel_mask"
    portion: float = Field(0.3, gt=0, le=1)
    """share of the pixels that is masked"""
    form: Literal["random", "block"] = "random"
    """scattered pixels, or one block with the image's aspect ratio"""


class RegionMask(Kind):
    """A box filled with the mean colour (LPOI: the box of the object in question)."""

    kind: Literal["region_mask"] = "region_mask"
    box: Box | None = None
    """left, top, right, bottom in pixels, or as shares of the sides if none is above 1; the facts' `bbox` by default"""
    levels: int = Field(1, ge=1, le=256)
    """above 1, for stored corruptions: `media_list` has the image, then `levels` images whose box fades step by step"""

    @model_validator(mode="after")
    def _check_box(self):
        if self.box and not (0 <= self.box[0] < self.box[2] and 0 <= self.box[1] < self.box[3]):
            raise ValueError("`box` must be [left, top, right, bottom], with left < right and top < bottom")
        return self


class Fade(RegionMask):
    """One image of a `region_mask` with a known box."""

    box: Box
    level: int
    """step of the fade, 1..levels; at the last one the box is filled"""


def alpha_bar() -> np.ndarray:
    """[STEPS] share of an image's variance left after each step: the cumulative product of 1 - beta, with beta rising from 1e-5 to
    5e-3 along a sigmoid over -6..6 (the schedule of VCD, arXiv 2311.16922, adopted by POVID, SeVa and CHiP)."""
    beta = (0.5e-2 - 1e-5) / (1 + np.exp(-np.linspace(-6, 6, STEPS))) + 1e-5
    return np.cumprod(1 - beta)


def diffusion(frames: np.ndarray, kind: Diffusion, rng: np.random.Generator) -> np.ndarray:
    """sqrt(alpha_bar) * x + sqrt(1 - alpha_bar) * normal noise, with pixels x scaled to -1..1; the result is clipped."""
    kept = alpha_bar()[kind.t]

    def noised(frame: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal(frame.shape, np.float32)
        return _bytes(127.5 * (math.sqrt(kept) * (frame / np.float32(127.5) - 1) + math.sqrt(1 - kept) * noise + 1))

    return np.stack([noised(frame) for frame in frames])


def crop(frames: np.ndarray, kind: Crop, rng: np.random.Generator) -> np.ndarray:
    """As torchvision's RandomResizedCrop: a share of the area, aspect ratio 3:4 to 4:3. A box larger than the image is clipped to it."""
    height, width = frames.shape[1:3]
    if kind.pixels:
        wide, high = min(width, kind.pixels[0]), min(height, kind.pixels[1])
    else:
        area = width * height * rng.uniform(*kind.area)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide = min(width, max(1, round(math.sqrt(area * ratio))))
        high = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    cut = frames[:, top : top + high, left : left + wide]
    return cut if kind.pixels else _resized(cut, width, height, Image.Resampling.BICUBIC)


def rotate(frames: np.ndarray, kind: Rotate, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(*kind.degrees)
    return _each(frames, lambda picture: picture.rotate(angle, Image.Resampling.BICUBIC))


def black(frames: np.ndarray, kind: Black, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(frames)


def blur(frames: np.ndarray, kind: Blur, rng: np.random.Generator) -> np.ndarray:
    import cv2

    sigma = kind.sigma * max(frames.shape[1:3])
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def pixelate(frames: np.ndarray, kind: Pixelate, rng: np.random.Generator) -> np.ndarray:
    height, width = frames.shape[1:3]
    small = _resized(frames, *_scaled(width, height, kind.blocks / max(width, height)), Image.Resampling.BOX)
    return _resized(small, width, height, Image.Resampling.NEAREST)


def downscale(frames: np.ndarray, kind: Downscale, rng: np.random.Generator) -> np.ndarray:
    height, width = frames.shape[1:3]
    return _resized(frames, *_scaled(width, height, min(1, kind.side / min(width, height))), Image.Resampling.BICUBIC)


def jitter(frames: np.ndarray, kind: Jitter, rng: np.random.Generator) -> np.ndarray:
    import cv2

    bright = rng.uniform(1 - kind.brightness, 1 + kind.brightness)
    turn = round(rng.uniform(-kind.hue, kind.hue) * 256)

    def jittered(frame: np.ndarray) -> np.ndarray:
        wheel = cv2.cvtColor(_bytes(frame * np.float32(bright)), cv2.COLOR_RGB2HSV_FULL)  # 256 hues
        wheel[..., 0] += np.uint8(turn % 256)
        return cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB_FULL)

    return np.stack([jittered(frame) for frame in frames])


def pixel_mask(frames: np.ndarray, kind: PixelMask, rng: np.random.Generator) -> np.ndarray:
    height, width = frames.shape[1:3]
    if kind.form == "block":
        share = math.sqrt(kind.portion)  # of each side
        masked = np.zeros((height, width), bool)
        masked[random_slice(height, share, rng), random_slice(width, share, rng)] = True
    else:
        masked = np.zeros(height * width, bool)
        masked[rng.permutation(height * width)[: round(height * width * kind.portion)]] = True
        masked = masked.reshape(height, width)
    return np.stack([np.where(masked[..., None], _mean(frame), frame) for frame in frames])


def fade(frames: np.ndarray, kind: Fade, rng: np.random.Generator) -> np.ndarray:
    """The box blended with the frame's mean colour, with opacity level / levels. A box outside the frame changes nothing."""
    height, width = frames.shape[1:3]
    opacity = kind.level / kind.levels
    sides = np.array([width, height] * 2)
    left, top, right, bottom = np.clip(np.array(kind.box) * (sides if max(kind.box) <= 1 else 1), 0, sides)
    where = slice(math.floor(top), math.ceil(bottom)), slice(math.floor(left), math.ceil(right))
    out = frames.copy()
    for frame in out:
        frame[where] = _bytes((1 - opacity) * frame[where] + opacity * _mean(frame).astype(float))
    return out


PICTURES: dict[type[Kind], Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    Diffusion: diffusion, Crop: crop, Rotate: rotate, Black: black, Blur: blur, Pixelate: pixelate, Downscale: downscale,
    Jitter: jitter, PixelMask: pixel_mask, Fade: fade,
}  # fmt: skip


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _mean(frame: np.ndarray) -> np.ndarray:
    return _bytes(frame.mean(axis=(0, 1)))


def _scaled(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(frames: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    return _each(frames, lambda picture: picture.resize((width, height), how))


def _each(frames: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(frame))) for frame in frames])
