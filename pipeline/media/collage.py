"""Combines images into one: a numbered grid, or a small image inside a large one."""

import io
import math

from PIL import Image, ImageDraw, ImageFont, ImageOps

_INSET = 0.35  # relative to the sides of the large image
_QUALITY = 95


def grid(pictures: list[Image.Image], side: int) -> bytes:
    """A JPEG of the images in a grid, each within `side` x `side` pixels on grey, with its number (from 1) in a corner."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "grey")
    draw = ImageDraw.Draw(sheet)
    size = max(12, side // 8)
    font = ImageFont.load_default(size)
    for index, picture in enumerate(pictures):
        x, y = index % columns * side, index // columns * side
        small = ImageOps.contain(picture, (side, side))
        sheet.paste(small, (x + (side - small.width) // 2, y + (side - small.height) // 2))
        draw.rectangle((x, y, x + size * 1.2, y + size * 1.3), fill="white", outline="black")
        draw.text((x + size * 0.6, y + size * 0.65), str(index + 1), fill="black", font=font, anchor="mm")
    return _jpeg(sheet)


def inset(large: Image.Image, small: Image.Image, corner: int, side: int) -> bytes:
    """A JPEG of `large`, within 2 `side` x 2 `side` pixels, with `small` in a white frame in one of its corners (0 to 3)."""
    sheet = ImageOps.contain(large, (2 * side, 2 * side))
    room = (max(1, round(sheet.width * _INSET)), max(1, round(sheet.height * _INSET)))
    framed = ImageOps.expand(ImageOps.contain(small, room), 2, "white")
    x = (sheet.width - framed.width) * (corner % 2)
    y = (sheet.height - framed.height) * (corner // 2)
    sheet.paste(framed, (x, y))
    return _jpeg(sheet)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
