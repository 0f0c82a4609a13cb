import io

import numpy as np
from PIL import Image

from pipeline.media import phash
from pipeline.media.image import decode_image
from tests.support.media_files import image_file, mp4
from tests.support.photographs import photographs


def hashed(picture: Image.Image) -> np.ndarray:
    return phash.phash(phash.thumbnail(picture)[None])


def test_a_large_jpeg_is_decoded_small_and_hashes_the_same():
    for photo in photographs():
        data = image_file(photo.resize((1920, 1280)), "JPEG", quality=90)
        (small,) = phash.pictures(data, "image", 1, 64, "it")
        assert small.size == (240, 160)  # an eighth, the least that JPEG can give, and more than 64 each
        assert phash.distance(hashed(small), hashed(decode_image(data)))[0] <= 2


def test_a_turned_jpeg_is_hashed_upright():
    photo = photographs()[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    lying = image_file(photo.rotate(90, expand=True), "JPEG", exif=exif.tobytes())
    (shown,) = phash.pictures(lying, "image", 1, 64, "it")
    assert Image.open(io.BytesIO(lying)).size == (427, 640)
    assert phash.distance(hashed(shown), hashed(photo))[0] <= 2


def test_a_short_video_shows_its_last_frame_again():
    found = list(phash.pictures(mp4(2), "video", 4, 64, "it"))
    assert [np.asarray(f).mean() > 100 for f in found] == [False, True, True, True]  # grey 20, then 120


def test_distances_are_counted_in_bits():
    assert phash.distance(np.array([0b1011], np.uint64), np.array([0b0001], np.uint64)).tolist() == [2]
