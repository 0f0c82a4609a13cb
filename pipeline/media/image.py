"""Images: metadata, and pixels as models receive them. Runs in the decoder process (see decode.py)."""

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from pipeline.media.limits import MAX_PIXELS
from pipeline.media.sniff import Format, sniff, too_large, undecodable
from schemas.errors import RowError
from schemas.records import Reason

_ORIENTATION = 0x0112
_LOSSY = ("JPEG", "HEIF", "AVIF", "WEBP")
_SMALL = 1 << 20  # pixels up to which a photograph becomes a PNG
_LARGE = 4 << 20  # bytes above which a PNG becomes a JPEG: hosted APIs take 5 MB in base64
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


def portable(data: bytes, name: str) -> bytes | None:
    """The picture of `decode_image` as a PNG, or as a JPEG where that would be too large for servers; None if `data` shows it to every decoder
    as it is: JPEG, PNG and WebP with 8 bits per channel, upright, opaque and not animated. RowError as decode_image."""
    form = sniff(data, name)
    if form.library == "pillow":
        with undecodable(name, *_FOREIGN):
            if _is_plain(_open(data, form, name), data):
                return None
    picture, file = decode_image(data, name), io.BytesIO()
    if form.name not in _LOSSY or picture.width * picture.height <= _SMALL:
        picture.save(file, "PNG")
    if not 0 < file.tell() <= _LARGE:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _is_plain(image: Image.Image, data: bytes) -> bool:
    if image.format not in ("JPEG", "MPO", "PNG", "WEBP") or image.mode not in ("1", "L", "P", "RGB", "LA", "RGBA"):
        return False
    deep = image.format == "PNG" and data[24] > 8  # bits per sample of IHDR
    animated = image.format != "MPO" and getattr(image, "is_animated", False)
    if deep or animated:
        return False
    told = image.format != "PNG" or any(
        word in data for word in (b"eXIf", b"rientation", b"Raw profile")
    )  # in a PNG it may come last
    if told and image.getexif().get(_ORIENTATION, 1) != 1:
        return False
    return not image.has_transparency_data or image.convert("RGBA").getchannel("A").getextrema()[0] == 255


def _open(data: bytes, form: Format, name: str) -> Image.Image:
    if form.name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    # only the detected format: Pillow would otherwise pass PostScript to an interpreter
    try:
        image = Image.open(io.BytesIO(data), formats=(form.name,))
    except UnidentifiedImageError:
        _check_kind(data, form, name)
        raise
    if image.width * image.height > MAX_PIXELS:
        raise too_large(name, f"{image.width} x {image.height} pixels", f"{MAX_PIXELS:,}")
    return image


def _check_kind(data: bytes, form: Format, name: str) -> None:
    """Raises RowError if it is a TIFF of a kind that Pillow does not read: colours in floating point, 32 bits, six channels ..."""
    if form.name != "TIFF":
        return
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        if "unknown pixel mode" in str(error):
            detail = (
                f"{name} is a TIFF of an unsupported kind of pixels, or damaged; convert it to 8 bits or remove the row"
            )
            raise RowError(Reason.UNSUPPORTED_MEDIA, detail) from error


def _rgb(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey, which convert() would clip to white
        values = np.asarray(image).astype(np.int64)
        grey = (values >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(np.where(values == clear, 255, grey) if isinstance(clear, int) else grey).convert("RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").point(image)
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
