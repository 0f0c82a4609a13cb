import hashlib
import subprocess
import sys

import pytest
from PIL import Image

from pipeline.media.probe import probe, probe_and_store, take
from pipeline.storage.media_store import FolderStore
from schemas.errors import RowError
from schemas.records import Media, Reason
from tests.support import media_files as make


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return make.jpeg(exif=exif)


def image(mime: str, width: int = 64, height: int = 48) -> dict:
    return {"kind": "image", "mime": mime, "width": width, "height": height}


def sound(mime: str, seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> dict:
    return {"kind": "audio", "mime": mime, "seconds": seconds, "rate": rate, "channels": channels}


def video(mime: str) -> dict:
    # 10 frames in 1 second
    return {"kind": "video", "mime": mime, "width": 64, "height": 48, "frames": 10, "fps": 10.0, "seconds": 1.0}


PICTURE = make.picture(0, 64, 48)
GOOD = {
    "jpeg": (make.jpeg(), image("image/jpeg")),
    "progressive": (make.jpeg(progressive=True), image("image/jpeg")),
    "turned": (rotated(6), image("image/jpeg", 48, 64)),
    "mirrored": (rotated(2), image("image/jpeg")),
    "tiny": (make.jpeg(width=1, height=1), image("image/jpeg", 1, 1)),
    "png": (make.png(), image("image/png")),
    "gif": (make.image_file(PICTURE, "GIF"), image("image/gif")),
    "webp": (make.image_file(PICTURE, "WEBP"), image("image/webp")),
    "avif": (make.image_file(PICTURE, "AVIF"), image("image/avif")),
    "bmp": (make.image_file(PICTURE, "BMP"), image("image/bmp")),
    "tiff": (make.image_file(PICTURE, "TIFF"), image("image/tiff")),
    "mp4": (make.mp4(), video("video/mp4")),
    "mp4 with sound": (make.mp4(sound=True), video("video/mp4") | {"rate": 16000, "channels": 1}),
    "webm": (make.webm(), video("video/webm")),
    "avi": (make.movie("avi", "mpeg4"), video("video/x-msvideo")),
    "wav": (make.wav(), sound("audio/wav")),
    "flac": (make.flac(rate=48000, channels=2), sound("audio/flac", rate=48000, channels=2)),
    "ogg": (make.audio_file("OGG"), sound("audio/ogg")),
    "aiff": (make.audio_file("AIFF"), sound("audio/aiff")),
    # AAC has frames of 1024 samples: 16 of them and one of priming, which this file does not mark as such: 17408 / 16000
    "m4a": (make.m4a(), sound("audio/mp4", seconds=1.088)),
    # MP3 at 16 kHz has frames of 576 samples: 30 of them, of which the file says which samples are padding
    "mp3": (make.mp3(), sound("audio/mpeg", seconds=1.0)),
}
LONGER_THAN_ITS_BYTES = [name for name in GOOD if name not in ("mp3", "tiny")]  # an MP3 does not say how long it is


@pytest.mark.parametrize("name", GOOD)
def test_the_facts_of_a_good_file(name):
    data, facts = GOOD[name]
    found = probe(data, "here")
    assert found == Media(hashlib.sha256(data).hexdigest(), size=len(data), source="here", **facts)
    assert probe(data, "here") == found


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", LONGER_THAN_ITS_BYTES)
def test_a_cut_off_file_is_found(name, share):
    data, _ = GOOD[name]
    refused(data[: int(len(data) * share)], Reason.UNDECODABLE)


BAD = {
    "no bytes": (b"", Reason.EMPTY_MEDIA),
    "a wav without samples": (make.wav(seconds=0), Reason.EMPTY_MEDIA),
    "a video without frames": (make.mp4(frames=0), Reason.EMPTY_MEDIA),
    "text": (b"What a nice picture this is.\n" * 100, Reason.UNSUPPORTED_MEDIA),
    "utf-16": ("text".encode("utf-16"), Reason.UNSUPPORTED_MEDIA),
    "an empty heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(1000), Reason.UNDECODABLE),
    "a broken jpeg": (make.jpeg()[:3] + bytes(1000), Reason.UNDECODABLE),
    "a broken png": (make.png().replace(b"IDAT", b"IDAX"), Reason.UNDECODABLE),
    "a broken mp4": (make.mp4().replace(b"moov", b"none"), Reason.UNDECODABLE),
    "an unknown codec": (make.mp4().replace(b"avc1\0", b"none\0"), Reason.UNSUPPORTED_MEDIA),
    "a bomb": (make.image_file(Image.new("1", (10_000, 10_000)), "PNG"), Reason.TOO_LARGE),
    "a greater bomb": (make.image_file(Image.new("1", (16_000, 16_000)), "PNG"), Reason.TOO_LARGE),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_line(name):
    refused(*BAD[name])


def refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(RowError) as caught:
        probe(data, "cat.png")
    assert caught.value.reason == reason
    assert str(caught.value).startswith("cat.png ")
    assert "row" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_the_file_is_kept_only_when_it_is_good(tmp_path):
    store = FolderStore(tmp_path / "store")
    (tmp_path / "cat.jpg").write_bytes(make.jpeg())
    found = take(str(tmp_path / "cat.jpg"), "cat.jpg", store)
    assert store.read(found.id) == make.jpeg()
    assert found.source == "cat.jpg"
    cut = make.jpeg()[:-100]
    with pytest.raises(RowError):
        probe_and_store(cut, "cut.jpg", store)
    with pytest.raises(KeyError):
        store.read(hashlib.sha256(cut).hexdigest())


def test_what_is_no_file_is_missing(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path, "/dev/zero", f"{tmp_path}/a\0b"):
        with pytest.raises(RowError, match=r"it (does not exist|is not a file)") as caught:
            take(str(path), "it", FolderStore(tmp_path))
        assert caught.value.reason == Reason.MISSING_FILE


def test_images_load_no_library_of_video_or_sound():
    code = (
        "import io, sys; from PIL import Image; from pipeline.media.probe import probe\n"
        "file = io.BytesIO(); Image.new('RGB', (8, 8)).save(file, 'PNG'); probe(file.getvalue(), 'x')\n"
        "sys.exit(', '.join({'av', 'soundfile', 'soxr', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
