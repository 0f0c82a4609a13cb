"""Images: their facts, and their pixels as every model is to see them."""

import io
import re
import struct
import warnings

from PIL import Image, ImageOps

from pipeline.media.sniff import Format, sniff, undecodable
from schemas.errors import RowError
from schemas.records import Reason

MAX_PIXELS = 89_478_485  # what Pillow holds for safe: 256 MB of RGB
_ORIENTATION = 0x0112
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # neither stuffing, nor a restart, nor a fill byte
_END, _APP1, _FRAMES = 0xD9, 0xE1, (0xC0, 0xC1, 0xC2)
_FOREIGN = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error, Image.DecompressionBombError)

# Pillow warns of what MAX_PIXELS forbids and of odd metadata, once a process and without the file's name
warnings.filterwarnings("ignore", module=r"PIL\.")


def facts(data: bytes, form: Format, name: str) -> dict:
    """kind, mime, width and height (pixels, as shown: after EXIF rotation). RowError when it does not decode.

    Of a plain JPEG only the segments are followed, to the end of the picture: that finds every file which is cut off,
    for a twentieth of what decoding costs. Every other image is decoded."""
    size = _whole_jpeg(data) if form.name == "JPEG" else None
    if size is None or size[0] * size[1] > MAX_PIXELS:
        with undecodable(name, *_FOREIGN):
            image = _open(data, form, name)
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            size = image.size[::-1] if turned else image.size
            image.load()
    return {"kind": "image", "mime": form.mime, "width": size[0], "height": size[1]}


def decode_image(data: bytes, name: str = "the image", edge: int | None = None) -> Image.Image:
    """An RGB picture: turned as its EXIF says, on white where it is transparent, the first picture of an animation.

    Where `edge` pixels a side are enough, a larger JPEG is decoded at an eighth to a half of its size, for as little.
    RowError when `data` is no image or does not decode."""
    form = sniff(data, name)
    if form.library != "pillow":
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is {form.mime}, not an image; drop the row")
    with undecodable(name, *_FOREIGN):
        image = _open(data, form, name)
        if edge:
            image.draft("RGB", (edge, edge))
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def _whole_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG whose segments (ITU-T T.81, annex B) lead to its end-of-image marker.

    None when it must be decoded to be sure: no such end, Exif data (it may be turned), or a
    frame that is not the common one of 8 bits, sequential or progressive."""
    size, at = None, 2
    while marker := _MARKER.search(data, at):
        code, at = data[marker.end() - 1], marker.end()
        if code == _END:
            return size
        if code == _APP1:
            return None
        if code in _FRAMES and data[at + 2 : at + 3] == b"\x08":
            size = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 3 : at + 5], "big")
            if 0 in size:
                return None
        at += int.from_bytes(data[at : at + 2], "big")
    return None


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
