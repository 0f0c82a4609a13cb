"""The form in which media go to servers, to people and into datasets: it shows what engines in this process are shown."""

import io
import sqlite3
from contextlib import closing

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.media import decode, portable
from pipeline.media.probe import probe
from pipeline.storage.media_store import FolderStore
from schemas.errors import RowError
from tests.support import media_files as make
from tests.support import odd_media as odd


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def heic(image: Image.Image) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file)
    return file.getvalue()


SMALL = make.picture(3, 64, 48)
PLAIN = {
    "JPEG": make.jpeg(),
    "grey JPEG": make.image_file(SMALL.convert("L"), "JPEG"),
    "progressive JPEG": make.jpeg(progressive=True),
    "JPEG, Exif says upright": make.jpeg(exif=exif(1)),
    "JPEG, Exif is garbage": make.jpeg(exif=b"Exif\0\0" + bytes(range(7, 60))),
    "JPEG, XMP is cut off": make.jpeg(xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF"),
    "PNG": make.png(),
    "PNG of a palette": make.image_file(SMALL.convert("P"), "PNG"),
    "PNG of one bit": make.image_file(SMALL.convert("1"), "PNG"),
    "opaque PNG": make.image_file(SMALL.convert("RGBA"), "PNG"),
    "WebP": make.image_file(SMALL, "WEBP"),
}
CHANGED = {
    **{f"JPEG, orientation {i}": make.jpeg(exif=exif(i)) for i in range(2, 9)},
    "PNG, orientation 6": make.image_file(SMALL, "PNG", exif=exif(6)),
    "CMYK JPEG": make.image_file(SMALL.convert("CMYK"), "JPEG"),
    "transparent PNG": make.image_file(Image.new("RGBA", (8, 8), (9, 9, 9, 100)), "PNG"),
    "transparent palette": make.image_file(SMALL.convert("P"), "PNG", transparency=SMALL.convert("P").getpixel((0, 0))),
    "transparent WebP": make.image_file(Image.new("RGBA", (8, 8), (9, 9, 9, 100)), "WEBP", lossless=True),
    "PNG of 16 bits": odd.deep_grey(3),
    "PNG of 16 bits, transparent": odd.deep_grey(0x2040),
    "animated PNG": make.image_file(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(180)]),
    "animated WebP": make.image_file(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(180)]),
    "GIF": make.image_file(SMALL, "GIF"),
    "TIFF": make.image_file(SMALL, "TIFF"),
    "BMP": make.image_file(SMALL, "BMP"),
    "AVIF": make.image_file(SMALL, "AVIF"),
    "HEIC": heic(SMALL),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_picture_that_everybody_shows_alike_is_passed_on_unchanged(name):
    assert decode.portable(PLAIN[name], "image", "x") is None


@pytest.mark.parametrize("name", CHANGED)
def test_another_picture_becomes_a_png_of_what_models_are_shown(name):
    made = decode.portable(CHANGED[name], "image", "x")
    assert made is not None
    stored = Image.open(io.BytesIO(made))  # by Pillow alone, as a reader of the dataset has it
    assert (stored.format, stored.mode, stored.getexif().get(0x0112)) == ("PNG", "RGB", None)
    assert np.array_equal(np.asarray(stored), np.asarray(decode.decode_image(CHANGED[name])))
    assert decode.portable(made, "image", "x") is None


def test_a_large_photograph_becomes_a_jpeg_that_hardly_differs():
    # 1200 x 900 is more than 2^20 pixels
    data = make.jpeg(width=1200, height=900, exif=exif(6))
    made = decode.portable(data, "image", "x")
    stored = Image.open(io.BytesIO(made))
    assert (stored.format, stored.size) == ("JPEG", (900, 1200))
    off = np.abs(np.asarray(stored).astype(int) - np.asarray(decode.decode_image(data)))
    assert off.mean() < 1  # of 255
    assert len(made) < 4 << 20
    assert decode.portable(made, "image", "x") is None


def test_a_drawing_that_would_be_too_large_as_a_png_becomes_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (1300, 1300, 3), np.uint8)  # 5 MB, which no PNG makes smaller
    made = decode.portable(make.image_file(Image.fromarray(noise), "TIFF"), "image", "x")
    assert Image.open(io.BytesIO(made)).format == "JPEG"


STREAMED = ("MP4, H.264", "MP4 in fragments", "MP4, AV1", "MP4, VP9", "MP4 that starts late", "MP4, B-frames", "MP4, pauses",
            "MP4, a single", "MP4, the sound", "MP4, a sound", "WebM")  # fmt: skip


@pytest.mark.parametrize("name", odd.FILMS)
def test_a_film_becomes_an_mp4_of_the_frames_that_models_are_shown(name):
    data = odd.FILMS[name]()
    made = decode.portable(data, "video", "x")
    plain = name.startswith(STREAMED) and "4:4:4" not in name and "transparent" not in name
    assert (made is None) == plain
    if made is None:
        return
    before, after = probe(data, "x"), probe(made, "x")
    assert (after.mime, after.frames, after.width, after.height) == (
        "video/mp4",
        before.frames,
        before.width,
        before.height,
    )
    assert after.seconds == pytest.approx(before.seconds, abs=1e-4)
    assert (after.rate is None) == (before.rate is None)
    old, new = (decode.decode_clip(file, max_frames=100) for file in (data, made))
    assert new.times == pytest.approx(old.times, abs=1e-4)
    assert np.abs(new.frames.astype(int) - old.frames).mean() < 3  # of 255: H.264 once more
    assert decode.portable(made, "video", "x") is None
    assert decode.portable(data, "video", "x") == made


def test_sounds_that_browsers_and_datasets_read_stay_but_for_apis():
    for data, dataset, api in [
        (make.wav(), True, True), (make.mp3(), True, True), (make.flac(), True, False), (make.m4a(), True, False),
        (odd.SOUNDS["Ogg Vorbis"](), True, False), (odd.SOUNDS["Ogg Speex"](), False, False),
        (odd.SOUNDS["chained Ogg Vorbis"](), False, False), (odd.SOUNDS["MP2"](), False, False),
        (odd.SOUNDS["WAV by FFmpeg into a pipe"](), False, False), (odd.SOUNDS["RF64"](), False, False),
        (odd.SOUNDS["WAV, size 8 too large"](), False, False), (odd.SOUNDS["WAV, size 0 around true samples"](), False, False),
        (odd.SOUNDS["MP3 behind zeros"](), False, False), (odd.SOUNDS["AAC behind ID3"](), False, False),
    ]:  # fmt: skip
        for kind, plain in (("audio", dataset), ("input_audio", api)):
            made = decode.portable(data, kind, "x")
            assert (made is None) == plain
            if made:
                assert np.abs(decode.decode_audio(made, 16000) - decode.decode_audio(data, 16000)).max() < 1e-4
                assert decode.portable(made, kind, "x") is None


def test_a_form_is_made_once_and_kept(tmp_path, monkeypatch):
    store = FolderStore(tmp_path)
    ids = store.add(CHANGED["HEIC"]), store.add(PLAIN["JPEG"])
    made = [portable.portable_id(store, sha, "image") for sha in ids]
    assert made[0] != ids[0]
    assert made[1] == ids[1]
    store.sync()
    store.close()
    again = FolderStore(tmp_path)
    monkeypatch.setattr(portable, "portable", None)  # would be called to make one
    assert [portable.portable_id(again, sha, "image") for sha in ids] == made
    assert portable.portable_id(again, made[0], "image") == made[0]
    assert portable.portable_file(again, ids[0], "image/heic") == (made[0], "image/png")
    assert portable.portable_file(again, ids[1], "image/jpeg") == (ids[1], "image/jpeg")


def test_nothing_is_made_where_only_what_is_known_is_looked_up(tmp_path):
    store = FolderStore(tmp_path)
    sha = store.add(CHANGED["HEIC"])
    assert portable.known_id(store, sha, "image") == sha


def test_a_file_that_cannot_be_converted_says_so(tmp_path):
    store = FolderStore(tmp_path)
    sha = store.add(CHANGED["GIF"][:-20])
    with pytest.raises(RowError, match=f"image {sha} is truncated or corrupted; replace the file or remove the row"):
        portable.portable_id(store, sha, "image")
    assert portable.portable_file(store, sha, "image/gif") == (sha, "image/gif")


def test_a_store_of_an_older_version_gets_its_table_of_forms_when_one_is_kept(tmp_path):
    store = FolderStore(tmp_path)
    sha = store.add(CHANGED["BMP"])
    store.sync()
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master")]
    assert "forms" not in tables
    again = FolderStore(tmp_path)
    assert again.form(sha, "image 1") is None
    made = portable.portable_id(again, sha, "image")
    again.sync()
    assert FolderStore(tmp_path).form(sha, "image 1") == made


def test_a_form_that_was_lost_is_made_again(tmp_path):
    store = FolderStore(tmp_path)
    sha = store.add(CHANGED["BMP"])
    store.keep_form(sha, f"image {portable.EDITION}", "f" * 64)
    assert store.read(portable.portable_id(store, sha, "image")).startswith(b"\x89PNG")
