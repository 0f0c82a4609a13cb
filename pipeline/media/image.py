"""Images: their facts, and their pixels as every model is to see them."""

import io
import struct
import warnings

from PIL import Image, ImageOps

from pipeline.media.sniff import Format, sniff, undecodable
from schemas.errors import RowError
from schemas.records import Reason

MAX_PIXELS = 89_478_485  # what Pillow holds for safe: 256 MB of RGB
_ORIENTATION = 0x0112
_FOREIGN = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error, Image.DecompressionBombError)

# Pillow warns of what MAX_PIXELS forbids and of odd metadata, once a process and without the file's name
warnings.filterwarnings("ignore", module=r"PIL\.")


def facts(data: bytes, form: Format, name: str) -> dict:
    """kind, mime, width and height (pixels, as shown: after EXIF rotation). RowError when it does not decode.

    A JPEG is decoded at an eighth of its size, which reads every byte but transforms few of them."""
    with undecodable(name, *_FOREIGN):
        image = _open(data, form, name)
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
        image.load()
    if turned:
        width, height = height, width
    return {"kind": "image", "mime": form.mime, "width": width, "height": height}


def decode_image(data: bytes, name: str = "the image") -> Image.Image:
    """An RGB picture: turned as its EXIF says, on white where it is transparent, the first picture of an animation.

    RowError when `data` is no image or does not decode."""
    form = sniff(data, name)
    if form.library != "pillow":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is {form.mime}, not an image; drop the row")
    with undecodable(name, *_FOREIGN):
        image = _open(data, form, name)
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def _open(data: bytes, form: Format, name: str) -> Image.Image:
    # only the sniffed format: Pillow would otherwise hand PostScript to an interpreter
    image = Image.open(io.BytesIO(data), formats=(form.name,))
    if image.width * image.height > MAX_PIXELS:
        raise RowError(
            Reason.UNSUPPORTED_MEDIA,
            f"{name} has {image.width} x {image.height} pixels, more than {MAX_PIXELS}; shrink it or drop the row",
        )
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith("I"):  # 16 bit grey, which convert() would clip to white
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")
