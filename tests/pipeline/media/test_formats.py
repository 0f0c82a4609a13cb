"""Every way a picture or a sound may be stored comes out as the same colours and the same tone."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pillow_heif
import pytest
import soundfile
from PIL import Image

from pipeline.media import container, decode, timeline, video
from pipeline.media.probe import probe
from pipeline.media.sniff import sniff
from schemas.errors import RowError
from schemas.records import Reason
from tests.support import media_files as make

GREEN = (30, 200, 90)


def saved(image: Image.Image, form: str, **options) -> bytes:
    return make.image_file(image, form, **options)


def plain(mode: str, colour) -> Image.Image:
    return Image.new(mode, (16, 8), colour)


def heic(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def tiff(rows: np.ndarray, kind: int = 1, photometric: int = 1) -> bytes:
    """A TIFF of one strip: the types and depths that Pillow cannot write. `kind`: 1 whole numbers, 3 floating point."""
    height, width = rows.shape[:2]
    samples = rows.shape[2] if rows.ndim == 3 else 1
    bits, start = rows.dtype.itemsize * 8, 8
    pixels = rows.astype(rows.dtype.newbyteorder("<")).tobytes()
    depths = start + len(pixels)  # where the samples' depths stand
    shorts = struct.pack(f"<{samples}H", *[bits] * samples)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, samples, depths if samples > 2 else bits),
            (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, start), (277, 3, 1, samples), (278, 3, 1, height),
            (279, 4, 1, len(pixels)), (339, 3, 1, kind)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, depths + len(shorts)) + pixels + shorts + directory


def inverted(jpeg: bytes) -> bytes:
    """The JPEG without its Adobe segment."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


PICTURES = {  # a picture of one colour, and that colour as red, green, blue
    "jpeg": (saved(plain("RGB", GREEN), "JPEG", quality=95), GREEN),
    "grey jpeg": (saved(plain("L", 77), "JPEG", quality=95), (77, 77, 77)),
    "png": (saved(plain("RGB", GREEN), "PNG"), GREEN),
    "webp": (saved(plain("RGB", GREEN), "WEBP", lossless=True), GREEN),
    "lossy webp": (saved(plain("RGB", GREEN), "WEBP", quality=95), GREEN),
    "tiff": (saved(plain("RGB", GREEN), "TIFF"), GREEN),
    "deflated tiff": (saved(plain("RGB", GREEN), "TIFF", compression="tiff_deflate"), GREEN),
    "first page": (saved(plain("RGB", GREEN), "TIFF", save_all=True, append_images=[plain("RGB", "red")]), GREEN),
    "first frame": (saved(plain("RGB", GREEN), "GIF", save_all=True, append_images=[plain("RGB", "red")]), GREEN),
    "first frame of a webp": (
        saved(plain("RGB", GREEN), "WEBP", save_all=True, lossless=True, append_images=[plain("RGB", "red")]), GREEN),
    "bmp": (saved(plain("RGB", GREEN), "BMP"), GREEN),
    "avif": (saved(plain("RGB", GREEN), "AVIF", quality=95), GREEN),
    "heic": (heic(plain("RGB", GREEN)), GREEN),
    "palette": (saved(plain("RGB", GREEN).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), GREEN),
    "one bit, white": (saved(plain("1", 1), "PNG"), (255, 255, 255)),
    "one bit, black": (saved(plain("1", 0), "TIFF"), (0, 0, 0)),
    # half of the ink's cyan: red is 255 - 128; a key of 51 takes 51 / 255 = a fifth of all: 127 * 204 / 255, 255 * 204 / 255
    "cmyk jpeg": (saved(plain("CMYK", (128, 0, 0, 51)), "JPEG", quality=100), (102, 204, 204)),
    # Pillow writes as Adobe does, 255 for no ink; every reader takes a four-ink JPEG so, with the segment and without
    "cmyk jpeg that does not say Adobe": (
        inverted(saved(plain("CMYK", (128, 0, 0, 51)), "JPEG", quality=100)), (102, 204, 204)),
    "cmyk tiff": (saved(plain("CMYK", (128, 0, 0, 51)), "TIFF"), (102, 204, 204)),
    # the upper byte of 0x8040
    "16 bits of grey": (saved(Image.fromarray(np.full((8, 16), 0x8040, np.uint16)), "PNG"), (0x80, 0x80, 0x80)),
    "16 bits of grey in a tiff": (tiff(np.full((8, 16), 0x8040, np.uint16)), (0x80, 0x80, 0x80)),
    "48 bits of colour": (
        tiff(np.full((8, 16, 3), (0x1E40, 0xC8F0, 0x5A00), np.uint16), photometric=2), (0x1E, 0xC8, 0x5A)),
    # L* = 65.1, a* = -30, b* = 30 under D50, by CIE 15 and the matrix of sRGB adapted to D50 (Bradford)
    "lab tiff": (tiff(np.full((8, 16, 3), (166, 226, 30), np.uint8), photometric=8), (114, 172, 102)),
    "big tiff": (saved(plain("RGB", GREEN), "TIFF", big_tiff=True), GREEN),
    "floating point, 0 to 1": (tiff(np.full((8, 16), 0.4, np.float32), kind=3), (102, 102, 102)),  # .4 * 255
    "floating point, 0 to 255": (tiff(np.full((8, 16), 200.4, np.float32), kind=3), (200, 200, 200)),
    "no numbers": (tiff(np.full((8, 16), np.nan, np.float32), kind=3), (0, 0, 0)),
    # half of green on white: (30 * 128 + 255 * 127) / 255 = 142.06, (200 * 128 + 255 * 127) / 255 = 227.4, 172.2
    "half transparent": (saved(plain("RGBA", (*GREEN, 128)), "PNG"), (142, 227, 172)),
    "transparent gif": (saved(plain("P", 0), "GIF", transparency=0), (255, 255, 255)),
    "transparent palette": (saved(plain("P", 0), "PNG", transparency=0), (255, 255, 255)),
    "transparent grey": (saved(plain("LA", (9, 0)), "PNG"), (255, 255, 255)),
    "transparent webp": (saved(plain("RGBA", (*GREEN, 0)), "WEBP", lossless=True, exact=True), (255, 255, 255)),
}  # fmt: skip
LOSSY = {"jpeg", "grey jpeg", "lossy webp", "avif", "heic", "cmyk jpeg", "cmyk jpeg that does not say Adobe",
         "half transparent"}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_its_colour(name):
    data, colour = PICTURES[name]
    found = probe(data, "x")
    picture = decode.decode_image(data)
    assert (found.kind, found.width, found.height) == ("image", 16, 8)
    assert (picture.mode, picture.size) == ("RGB", (16, 8))
    off = np.abs(np.asarray(picture.getpixel((8, 4)), int) - colour).max()
    assert off <= (2 if name in LOSSY else 0), (name, picture.getpixel((8, 4)))


def test_a_tiff_of_a_kind_that_is_not_read_is_not_called_corrupted():
    data = tiff(np.full((8, 16, 3), 0.4, np.float32), kind=3, photometric=2)
    with pytest.raises(RowError, match="x is a TIFF of an unsupported kind of pixels, or damaged; convert it to 8"):
        probe(data, "x")
    with pytest.raises(RowError, match="x is truncated or corrupted"):
        probe(data[:200], "x")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIC"])
def test_a_picture_stands_as_its_exif_says(form):
    # the left half is red; turned by 90 degrees clockwise, it comes up
    picture = plain("RGB", "blue").resize((64, 32))
    picture.paste("red", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    # AVIF and HEIC say it in a box of their own, which their writers make from the Exif data
    data = heic(picture, exif=exif.tobytes()) if form == "HEIC" else saved(picture, form, exif=exif)
    found, upright = probe(data, "x"), decode.decode_image(data)
    assert (found.width, found.height) == upright.size == (32, 64)
    red, _, blue = upright.getpixel((16, 8))
    assert red > 200
    assert blue < 60


TONES = {
    **{kind: ("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")},
    "extensible": ("WAVEX", "PCM_24"), "flac": ("FLAC", "PCM_16"), "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
}  # fmt: skip


@pytest.mark.parametrize("name", TONES)
def test_a_tone_is_heard_from_each_kind_of_file(name):
    form, subtype = TONES[name]
    file = io.BytesIO()
    stereo = np.stack([make.tone(1, 48000), np.zeros(48000, np.float32)], axis=1)
    soundfile.write(file, stereo, 48000, subtype=subtype, format=form)
    heard(file.getvalue(), half=True)


@pytest.mark.parametrize("data", [make.mp3(), make.m4a(), make.mp4(sound=True)], ids=["mp3", "m4a", "mp4"])
def test_a_tone_is_heard_from_a_container(data):
    heard(data, half=False)


def heard(data: bytes, half: bool) -> None:
    """The tone of 440 Hz and amplitude .5, at 16 kHz; where it is in one of two channels, half as loud."""
    wave = decode.decode_audio(data, 16000)
    spectrum = np.abs(np.fft.rfft(wave[:16000])) / 8000  # bins of 1 Hz, 1 for an amplitude of 1
    assert spectrum.argmax() == 440
    assert spectrum[440] == pytest.approx(0.25 if half else 0.5, rel=0.1)
    assert probe(data, "x").seconds == pytest.approx(1, abs=0.1)


def test_a_sound_is_cut_where_it_is_too_long():
    for data in (make.wav(seconds=3), make.mp3(seconds=3)):
        assert len(decode.decode_audio(data, 16000, max_seconds=2)) == 32000
        assert len(decode.decode_audio(data, 8000, max_seconds=0.5)) == 4000


def clip(times: list[int], width: int = 64, height: int = 48, codec: str = "libx264") -> bytes:
    """A video whose frame i has the grey 20 + 20 i and is shown at times[i] tenths of a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, 10)
        stream.codec_context.time_base = Fraction(1, 10)
        for i, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 20 + 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def test_frames_are_drawn_by_time_where_the_rate_varies():
    # shown at 0, .1, .2, .3, 4 and 8 s; three at even distances in time are those at 0, 4 and 8: frames 0, 4, 5
    frames, times, shown, _ = decode.decode_clip(clip([0, 1, 2, 3, 40, 80]), max_frames=3)
    assert (times, shown) == ((0, 4, 8), (0, 1, 2))
    assert np.abs(frames.mean(axis=(1, 2, 3)) - [20, 100, 120]).max() <= 2


def test_a_frame_is_shown_at_every_even_moment_of_a_pause():
    # six moments: 0, 1.6, 3.2, 4.8, 6.4, 8 s, and what is on the screen then: frame 0, then 3 (since .3 s) until 4 at 4 s, until 5 at 8 s.
    # Nearest to 6.4 s is frame 5, but nobody sees it before 8 s, and a frame usually lasts .1 s
    data = clip([0, 1, 2, 3, 40, 80])
    frames, times, shown, _ = decode.decode_clip(data)
    assert (len(frames), times, shown) == (4, (0, 0.3, 4, 8), (0, 1, 1, 2, 2, 3))
    even, fps = decode.decode_video(data)
    assert fps == pytest.approx(5 / 8)
    assert np.abs(even.mean(axis=(1, 2, 3)) - [20, 80, 80, 100, 100, 120]).max() <= 2  # frame i is grey, 20 + 20 i


@pytest.mark.parametrize(("most", "rate"), [(64, 2.0), (8, 2.0), (4, 2.0), (2, 2.0), (64, 3.7), (300, 30.0), (1, 2.0)])
def test_frame_k_is_at_k_over_fps(most, rate):
    """10 s at 30 frames a second, each frame with its number: half a frame's distance is 1/60 s."""
    frames, fps = decode.decode_video(numbered(300, 30), rate, most)
    at = (frames[:, 0, 0, 0].astype(int) + frames[:, 40, 0, 0].astype(int) // 8 * 256) / 30
    assert len(at) == min(most, round(10 * rate))
    assert np.abs(at - np.arange(len(at)) / fps).max() < 0.02
    clip = decode.decode_clip(numbered(300, 30), rate, most)
    assert clip.times == pytest.approx(at, abs=0.001)  # the container counts milliseconds


def numbered(count: int, rate: int) -> bytes:
    """A video whose frames have their number in grey: modulo 256 in the upper half, times 8 the rest in the lower half."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr0"
        for i in range(count):
            picture = np.empty((64, 64, 3), np.uint8)
            picture[:32], picture[32:] = i % 256, i // 256 * 8
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())
    return file.getvalue()


def test_large_frames_are_scaled_down():
    data = clip([0, 1], width=256, height=64)
    assert decode.decode_video(data)[0].shape == (2, 64, 256, 3)
    assert video.decode_clip(data, max_side=128)[0].shape == (2, 32, 128, 3)


def test_a_video_tells_of_its_sound():
    assert (probe(make.mp4(sound=True), "x").rate, probe(make.mp4(sound=True), "x").channels) == (16000, 1)
    assert (probe(make.mp4(), "x").rate, probe(make.mp4(), "x").channels) == (None, None)


def test_the_sound_of_a_video_becomes_a_wav():
    wave, rate = soundfile.read(io.BytesIO(decode.portable(make.mp4(sound=True), "input_audio", "x")))
    assert rate == 16000
    assert np.abs(np.fft.rfft(wave[:16000])).argmax() == 440


@pytest.mark.parametrize(
    ("data", "cap", "least"),
    [
        (make.mp4(frames=30, seconds=3), "MAX_FRAMES", 29),
        (make.mp4(frames=30, seconds=3), "MAX_SECONDS", 2),
        (make.mp4(sound=True), "MAX_TRACKS", 1),
        (make.mp4(), "MAX_PIXELS", 64 * 48 - 1),
    ],
)
def test_a_video_over_a_cap_is_too_large(monkeypatch, data, cap, least):
    monkeypatch.setattr(
        timeline if cap == "MAX_FRAMES" else container, cap, least
    )  # in this process: the decoder itself is called
    with pytest.raises(RowError, match=r"x has .* more than .*; reduce it or remove the row") as caught:
        video.facts(data, sniff(data, "x"), "x")
    assert caught.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(("rate", "reason"), [(900_000, Reason.UNSUPPORTED_MEDIA), (1, Reason.UNSUPPORTED_MEDIA)])
def test_a_rate_that_no_recording_has_is_refused(rate, reason):
    data = bytearray(make.wav())
    data[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(RowError, match="samples per second") as caught:
        probe(bytes(data), "x")
    assert caught.value.reason == reason


def test_a_sound_of_many_channels_is_too_large():
    file = io.BytesIO()
    soundfile.write(file, np.zeros((10, 33), np.float32), 8000, format="WAV")
    with pytest.raises(RowError, match="33 channels, more than 32") as caught:
        probe(file.getvalue(), "x")
    assert caught.value.reason == Reason.TOO_LARGE


def test_samples_that_are_no_numbers_are_refused():
    file = io.BytesIO()
    soundfile.write(file, np.array([0, np.nan, np.inf], np.float32), 8000, format="WAV", subtype="FLOAT")
    with pytest.raises(RowError, match="NaN or infinite") as caught:
        probe(file.getvalue(), "x")
    assert caught.value.reason == Reason.UNDECODABLE
