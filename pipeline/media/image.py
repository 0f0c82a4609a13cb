"""Images: metadata, and pixels as models receive them. Runs in the decoder process (see decode.py)."""

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps

from pipeline.media.limits import MAX_PIXELS
from pipeline.media.sniff import Format, sniff, too_large, undecodable
from schemas.errors import RowError
from schemas.records import Reason

_ORIENTATION = 0x0112
_FOREIGN = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error)

# Pillow warns about large images, which `_open` checks itself, and about odd metadata, once per process and without the file's name
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


def facts(data: bytes, form: Format, name: str) -> dict:
    """kind, mime, width and height (pixels, after EXIF rotation). RowError if it cannot be decoded."""
    with undecodable(name, *_FOREIGN):
        image = _open(data, form, name)
        image.load()  # applies the orientation of a TIFF
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        size = image.size[::-1] if turned else image.size
    return {"kind": "image", "mime": form.mime, "width": size[0], "height": size[1]}


def decode_image(data: bytes, name: str = "the image", edge: int | None = None) -> Image.Image:
    """An RGB image: rotated by EXIF, on white where transparent, the first frame of an animation or first page of a file. Colour profiles
    are not applied.

    With `edge`, if that many pixels per side suffice, a larger JPEG is decoded at 1/2 to 1/8 of its size, which is cheaper.
    RowError: `data` is not an image, has too many pixels or cannot be decoded."""
    form = sniff(data, name)
    if form.library != "pillow":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is {form.mime}, not an image; remove the row")
    with undecodable(name, *_FOREIGN):
        image = _open(data, form, name)
        if edge:
            image.draft("RGB", (edge, edge))
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def _open(data: bytes, form: Format, name: str) -> Image.Image:
    if form.name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    # only the detected format: Pillow would otherwise pass PostScript to an interpreter
    image = Image.open(io.BytesIO(data), formats=(form.name,))
    if image.width * image.height > MAX_PIXELS:
        raise too_large(name, f"{image.width} x {image.height} pixels", f"{MAX_PIXELS:,}")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey, which convert() would clip to white
        values = np.asarray(image).astype(np.int64)
        grey = (values >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(np.where(values == clear, 255, grey) if isinstance(clear, int) else grey).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_grey(np.asarray(image))).convert("RGB")
    if (
        image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255
    ):  # of 16 bits, of which Pillow reads the upper 8
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> np.ndarray:
    """Floating-point grey as bytes: 0..1 is black to white, or 0..255 if any value exceeds 1; NaN and infinities are black."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return (values * (255 if values.max() <= 1 else 1)).round().clip(0, 255).astype(np.uint8)
