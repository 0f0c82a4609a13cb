import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.media import statistics
from tests.support.photographs import photographs


def test_entropy_of_one_two_and_all_values():
    assert statistics.entropy(np.full((8, 8), 9, np.uint8)) == 0
    assert statistics.entropy(np.repeat([0, 255], 32).astype(np.uint8).reshape(8, 8)) == 1
    assert statistics.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8)


def test_edges_are_counted_once_a_pixel():
    # a step between columns 3 and 4 of 8 x 8: the 8 pixels to its left have it; a step of 31 is none
    half = np.repeat([[0, 0, 0, 0, 32, 32, 32, 32]], 8, 0).astype(np.uint8)
    assert statistics.edges(half) == 8 / 64
    assert statistics.edges(half - half // 32) == 0


def page(ground: Image.Image, size: int) -> Image.Image:
    """Lines of text from top to bottom."""
    sheet = ground.copy()
    draw = ImageDraw.Draw(sheet)
    for y in range(10, sheet.height - 2 * size, round(1.5 * size)):
        draw.text((10, y), "the quick brown fox jumps over a lazy dog and runs", "black", ImageFont.load_default(size))
    return sheet


@pytest.mark.parametrize("size", [16, 24, 40])
def test_writing_is_found_on_paper_and_not_on_photographs(size):
    text = statistics.writing(statistics.grey(page(Image.new("RGB", (640, 427), "white"), size)))
    assert text > 0.25
    assert all(statistics.writing(statistics.grey(photo)) < 0.02 for photo in photographs())
    assert statistics.writing(np.zeros((64, 64), np.uint8)) == 0


def test_a_large_picture_is_measured_small():
    assert statistics.grey(Image.new("RGB", (2048, 1024))).shape == (256, 512)
