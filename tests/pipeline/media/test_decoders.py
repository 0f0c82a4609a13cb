import io

import numpy as np
import pytest
from PIL import Image

from pipeline.media.audio import decode_audio
from pipeline.media.decode import decode_clip, decode_video
from pipeline.media.image import decode_image
from pipeline.media.jpeg import size_of_whole
from pipeline.media.probe import probe
from schemas.errors import RowError
from schemas.records import Reason
from tests.support import media_files as make


def test_an_image_stands_upright():
    picture = Image.new("RGB", (64, 32), "blue")
    picture.paste("red", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes up
    upright = decode_image(make.image_file(picture, "PNG", exif=exif))
    assert upright.size == (32, 64)
    assert upright.getpixel((16, 8)) == (255, 0, 0)
    assert upright.getpixel((16, 56)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    decoded = decode_image(make.image_file(picture, "PNG"))
    assert (decoded.mode, decoded.getpixel((4, 4))) == ("RGB", (255, 255, 255))


def test_sixteen_bits_of_grey_become_eight():
    deep = Image.fromarray(np.full((8, 8), 0x8040, np.uint16))
    assert decode_image(make.image_file(deep, "PNG")).getpixel((0, 0)) == (0x80, 0x80, 0x80)


def test_every_frame_of_a_video_comes_in_order():
    frames, fps = decode_video(make.mp4(frames=10, seconds=2))
    assert frames.shape == (10, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert fps == 5
    # frame i has the grey 20 + 20 i; H.264 in limited range is off by 2 at most
    assert np.abs(frames.mean(axis=(1, 2, 3)) - (20 + 20 * np.arange(10))).max() <= 2


def test_frames_are_drawn_at_even_distances():
    # 4 of the frames 0..9: 0, 3, 6, 9, which are at 0, 0.6, 1.2 and 1.8 s: 3 distances in 1.8 s
    clip = decode_clip(make.mp4(frames=10, seconds=2), fps=2)
    frames = clip.frames
    assert frames.shape[0] == 4
    assert clip.times == (0, 0.6, 1.2, 1.8)
    assert clip.fps == pytest.approx(3 / 1.8)
    assert clip.seconds == 2
    assert np.abs(frames.mean(axis=(1, 2, 3)) - [20, 80, 140, 200]).max() <= 2
    assert decode_video(make.mp4(frames=10, seconds=2), max_frames=3)[0].shape[0] == 3
    assert decode_video(make.mp4(frames=10, seconds=2), fps=0.01)[0].shape[0] == 1
    assert decode_video(make.mp4(frames=10, seconds=2), fps=1000)[0].shape[0] == 10


def test_a_video_stands_upright():
    data = make.mp4()
    at = data.index(b"tkhd") + 44  # behind the type: version, times, ids, layer and volume
    clockwise = [0, 1 << 16, 0, (-1 << 16) % (1 << 32), 0, 0, 0, 0, 1 << 30]
    turned = data[:at] + b"".join(number.to_bytes(4, "big") for number in clockwise) + data[at + 36 :]
    assert (probe(turned, "x").width, probe(turned, "x").height) == (48, 64)
    assert decode_video(turned)[0].shape == (10, 64, 48, 3)


def test_decoding_is_the_same_every_time():
    first, again = decode_video(make.mp4(), fps=3), decode_video(make.mp4(), fps=3)
    assert (first[0] == again[0]).all()
    assert (decode_audio(make.mp3(), 8000) == decode_audio(make.mp3(), 8000)).all()


def test_sound_is_one_channel_at_the_wanted_rate():
    heard = decode_audio(make.flac(seconds=1, rate=48000, channels=2), 16000)
    assert (heard.dtype, heard.shape) == (np.float32, (16000,))
    assert np.abs(heard - make.tone(1, 16000))[100:-100].max() < 1e-3  # the resampler rings at both ends


def test_channels_are_averaged():
    assert np.abs(decode_audio(make.wav(rate=8000, channels=2), 8000) - make.tone(1, 8000)).max() < 1e-4  # 16 bits


@pytest.mark.parametrize("data", [make.mp3(), make.m4a(), make.mp4(sound=True)], ids=["mp3", "m4a", "mp4"])
def test_sound_comes_out_of_containers(data):
    heard = decode_audio(data, 16000)
    spectrum = np.abs(np.fft.rfft(heard[:16000]))
    assert spectrum.argmax() == 440  # bins of 1 Hz


def test_the_wrong_medium_is_refused():
    for decode, data in [
        (decode_image, make.mp4()), (decode_image, make.wav()), (decode_video, make.jpeg()), (decode_video, make.wav()),
        (decode_video, make.m4a()), (decode_audio, make.png()),
    ]:  # fmt: skip
        with pytest.raises(RowError) as caught:
            decode(data)
        assert caught.value.reason == Reason.UNSUPPORTED_MEDIA
    with pytest.raises(RowError, match="no audio samples") as caught:
        decode_audio(make.mp4())
    assert caught.value.reason == Reason.EMPTY_MEDIA


@pytest.mark.parametrize(
    ("decode", "data"),
    [(decode_image, make.jpeg()), (decode_video, make.mp4()), (decode_audio, make.flac())],
    ids=["image", "video", "audio"],
)
def test_a_cut_off_file_is_refused(decode, data):
    with pytest.raises(RowError) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.reason == Reason.UNDECODABLE


def test_a_jpeg_is_whole_when_its_segments_lead_to_its_end():
    whole = make.jpeg()
    assert size_of_whole(whole) == Image.open(io.BytesIO(whole)).size
    for end in range(2, len(whole)):  # cut off anywhere, its end is not there
        assert size_of_whole(whole[:end]) is None
    assert size_of_whole(whole + b"what a camera adds") is not None
    assert (
        size_of_whole(whole[: len(whole) // 2] + bytes(len(whole) // 2)) is None
    )  # a download that filled up with zeros


def test_a_jpeg_inside_another_ones_metadata_does_not_end_it():
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", comment=make.jpeg()[:60_000])
    whole = file.getvalue()
    assert size_of_whole(whole) == (64, 48)
    assert size_of_whole(whole[:-2]) is None


@pytest.mark.parametrize("cut", [1, 2, 20, 300])
def test_a_jpeg_that_is_cut_off_is_refused(cut):
    with pytest.raises(RowError, match="truncated or corrupted"):
        probe(make.jpeg()[:-cut], "x")
