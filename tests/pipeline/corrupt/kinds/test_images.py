import math

import numpy as np
import pytest
from PIL import Image

from pipeline.corrupt.kinds import images
from pipeline.corrupt.kinds.images import PICTURES
from tests.support.media_files import picture

MEAN = picture(1, 64, 48)


def done(kind, frames: np.ndarray, seed: int = 0) -> np.ndarray:
    return PICTURES[type(kind)](frames, kind, np.random.default_rng(seed))


def one(kind, shown: np.ndarray, seed: int = 0) -> np.ndarray:
    (out,) = done(kind, shown[None], seed)
    return out


@pytest.fixture
def field() -> np.ndarray:
    """A smooth coloured field, 64 x 48."""
    return np.asarray(MEAN)


@pytest.fixture
def places() -> np.ndarray:
    """256 x 256 pixels; red is how far to the right a pixel is, green how far down."""
    right, down = np.meshgrid(np.arange(256), np.arange(256))
    return np.stack([right, down, np.zeros_like(right)], axis=-1).astype(np.uint8)


# diffusion


def test_the_schedule_is_that_of_the_papers():
    # beta(x) = 0.00499 * sigmoid(x) + 0.00001 at 1000 places from -6 to 6, 0.012012 apart; the integral of a sigmoid is ln(1 + e^x).
    # Up to number 500, half a place beyond the middle of 0..1000: (ln(1 + e^0.012) - ln(1 + e^-6)) / 0.012012 * 0.00499 + 501 * 0.00001
    # = 0.6967 / 0.012012 * 0.00499 + 0.005 = 0.2944; e^-0.2944 = 0.745
    # To the end: 6.006 / 0.012012 * 0.00499 + 0.01 = 2.505, and since -ln(1 - beta) is beta + beta^2 / 2, where half the betas are near 0.005,
    # 450 * 0.005^2 / 2 = 0.006 more; e^-2.511 = 0.0812
    found = images.alpha_bar()
    assert len(found) == 1000
    assert found[500] == pytest.approx(0.745, abs=0.0005)
    assert found[999] == pytest.approx(0.0812, abs=0.0003)
    left = 1.0  # and exactly, product by product
    for step in range(501):
        left *= 1 - (0.00499 / (1 + math.exp(6 - 12 * step / 999)) + 0.00001)
    assert found[500] == pytest.approx(left, rel=1e-12)


def test_noise_is_as_strong_as_the_schedule_says():
    # up to step 100: (ln(1 + e^-4.8) - ln(1 + e^-6)) / 0.012012 * 0.00499 + 101 * 0.00001 = 0.00338; the deviation of the noise is
    # sqrt(1 - e^-0.00338) = 0.0581 of half of 255, 7.41; rounding to whole levels makes it sqrt(7.41^2 + 1/12) = 7.42
    grey = np.full((96, 128, 3), 128, np.uint8)
    noised = one(images.Diffusion(t=100), grey).astype(float)
    assert noised.std() == pytest.approx(7.42, rel=0.03)
    assert noised.mean() == pytest.approx(128, abs=0.2)
    # the picture itself is weakened by sqrt(alpha_bar): at t=999 a white and a black picture are 255 * sqrt(0.0812) = 73 apart, less
    # what is cut off at both ends
    white, black = (one(images.Diffusion(t=999), np.full_like(grey, v)).mean() for v in (255, 0))
    assert 40 < white - black < 73


def test_every_frame_has_noise_of_its_own():
    first, second = done(images.Diffusion(), np.full((2, 48, 64, 3), 128, np.uint8))
    assert (first != second).mean() > 0.9


# places


def test_a_crop_is_a_small_piece_enlarged_again(places):
    areas, ratios = [], []
    for seed in range(60):
        cut = one(images.Crop(), places, seed)
        assert cut.shape == places.shape
        wide, high = (int(np.ptp(cut[..., c])) + 1 for c in (0, 1))
        areas.append(wide * high / 256**2)
        ratios.append(wide / high)
    assert 0.008 < min(areas) < 0.05  # 0.01 to 0.2; an enlarged ramp loses or wins a pixel at its ends
    assert 0.15 < max(areas) < 0.215
    assert min(ratios) > 3 / 4 * 0.9
    assert max(ratios) < 4 / 3 * 1.1


def test_chips_crop_stays_as_it_was_cut(places):
    wide = np.concatenate([places, places], axis=1)  # 512 x 256
    cut = one(images.Crop(pixels=(240, 320)), wide)
    assert cut.shape == (256, 240, 3)  # no higher than the picture is
    left = np.flatnonzero(wide[0, :, 0] == cut[0, 0, 0])
    assert any(np.array_equal(wide[:, at : at + 240], cut) for at in left)


@pytest.mark.parametrize("size", [(1000, 3), (3, 1000), (1, 1)])
def test_a_crop_of_a_thin_picture_is_cut_to_fit(size):
    shown = np.asarray(picture(1, *size))
    assert one(images.Crop(), shown).shape == shown.shape


def test_a_turned_square_loses_its_corners():
    # a square turned by 45 degrees covers a regular octagon of the old one: 2 * (sqrt 2 - 1) = 0.828 of it
    turned = one(images.Rotate(degrees=(45, 45)), np.full((200, 200, 3), 255, np.uint8))
    assert turned.mean() / 255 == pytest.approx(0.828, abs=0.01)
    assert (turned[0, 0].max(), turned[100, 100].min()) == (0, 255)


def test_it_is_turned_against_the_clock(places):
    # what stood right of the middle stands above it after a quarter turn
    turned = one(images.Rotate(degrees=(90, 90)), places)
    assert np.abs(turned[40, 128].astype(int) - places[128, 215]).max() <= 2


def test_what_is_drawn_is_the_same_in_all_frames(places):
    frames = np.stack([places, places])
    for kind in (images.Crop(), images.Rotate(), images.Jitter(), images.PixelMask()):
        first, second = done(kind, frames)
        assert np.array_equal(first, second)


# less of it


def test_black_is_black(field):
    assert one(images.Black(), field).max() == 0


def test_a_blurred_edge_is_a_normal_distribution():
    # a step between columns 99 and 100, blurred with 0.05 * 200 = 10 pixels; column 110 is 10.5 behind it: 255 * Phi(1.05) = 217.5
    step = np.zeros((200, 200, 3), np.uint8)
    step[:, 100:] = 255
    blurred = one(images.Blur(sigma=0.05), step)
    assert blurred[100, 110] == pytest.approx(217.5, abs=2)
    assert blurred[100, 89] == pytest.approx(255 - 217.5, abs=2)  # as far on the other side


def test_pixels_become_the_means_of_blocks(field):
    # 16 blocks along 64 pixels: 4 x 4 pixels a block
    blocks = one(images.Pixelate(), field).reshape(12, 4, 16, 4, 3)
    assert (np.ptp(blocks, axis=(1, 3)) == 0).all()
    assert np.abs(blocks[:, 0, :, 0] - field.reshape(12, 4, 16, 4, 3).mean(axis=(1, 3))).max() <= 1


def test_a_small_picture_stays_small(field):
    assert one(images.Downscale(), field).shape == (20, 27, 3)  # 48 to 20, 64 to 26.7
    assert one(images.Downscale(side=48), field).shape == field.shape


def test_brightness_and_hue_stay_in_their_ranges():
    grey, red = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    levels = [one(images.Jitter(hue=0), grey, seed)[0, 0] for seed in range(40)]
    assert all(np.ptp(level) == 0 for level in levels)
    assert (50 <= min(level[0] for level in levels) < 65, 135 < max(level[0] for level in levels) <= 150) == (
        True,
        True,
    )
    turned = [one(images.Jitter(brightness=0), red, seed)[0, 0] for seed in range(40)]
    assert all(pixel.max() >= 253 for pixel in turned)
    # 0.3 of the wheel is 108 degrees: red turned by 60 is yellow or magenta, by 120 it would be green or blue; so of two
    # channels one stays the least, and the third passes red by no more than (120 - 108) / 60 = 0.2 of 255
    assert all(sorted(pixel)[0] <= 3 and pixel[0] >= 255 * 0.2 - 3 for pixel in turned)
    assert len({tuple(pixel) for pixel in turned}) > 20


def test_masked_pixels_have_the_mean_colour(field):
    # 0.3 * 64 * 48 = 921.6
    masked = one(images.PixelMask(), field)
    mean = field.mean(axis=(0, 1)).round()
    assert (masked == mean).all(axis=-1).sum() - (field == mean).all(axis=-1).sum() == pytest.approx(922, abs=5)
    kept = (masked == field).all(axis=-1)
    assert (masked[~kept] == mean).all()
    # a block of sqrt(0.3) = 0.548 of each side: 35.05 x 26.29
    block = (one(images.PixelMask(form="block"), field) == mean).all(axis=-1)
    rows, columns = np.flatnonzero(block.mean(axis=1) > 0.5), np.flatnonzero(block.mean(axis=0) > 0.5)
    assert (len(rows), len(columns)) == (26, 35)
    assert (np.ptp(rows), np.ptp(columns)) == (25, 34)


@pytest.mark.parametrize("box", [(0.25, 0.25, 0.75, 0.75), (16, 12, 48, 36)])
def test_a_box_fades_to_the_mean_colour_and_nothing_else_does(field, box):
    mean = field.mean(axis=(0, 1)).round()
    half, full = (one(images.Fade(box=box, levels=2, level=level), field) for level in (1, 2))
    assert (full[12:36, 16:48] == mean).all()
    assert np.abs(half[12:36, 16:48] - (field[12:36, 16:48] + mean) / 2).max() <= 1
    for out in (half, full):
        out = out.copy()
        out[12:36, 16:48] = field[12:36, 16:48]
        assert np.array_equal(out, field)


def test_kinds_leave_what_they_are_given(field):
    frames = field[None].copy()
    for cls in PICTURES:
        kind = cls(box=(0, 0, 1, 1), levels=1, level=1) if cls is images.Fade else cls()
        assert done(kind, frames).dtype == np.uint8
        assert np.array_equal(frames[0], field)


def test_a_picture_of_any_size_is_no_trouble():
    for size in ((1, 1), (1, 300), (300, 1)):
        shown = np.asarray(Image.new("RGB", size, "red"))
        for cls in PICTURES:
            kind = cls(box=(0, 0, 1, 1), levels=1, level=1) if cls is images.Fade else cls()
            out = one(kind, shown)
            assert (out.ndim, out.dtype) == (3, np.uint8)
            assert out.size > 0
