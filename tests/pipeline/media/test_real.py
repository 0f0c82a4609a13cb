"""Real photographs, which scikit-learn brings along, and a clip with sound as a camera makes one."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from pipeline.media import decode
from pipeline.media.probe import probe
from tests.support import media_files as make

PHOTOS = sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_photograph_keeps_its_pixels(path):
    data = path.read_bytes()
    found = probe(data, path.name)
    assert (found.kind, found.mime, found.width, found.height) == ("image", "image/jpeg", 640, 427)
    assert (np.asarray(decode.decode_image(data)) == np.asarray(Image.open(path).convert("RGB"))).all()


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "TIFF", "PNG"])
def test_a_photograph_looks_the_same_in_each_format(form):
    assert PHOTOS
    photo = Image.open(PHOTOS[0]).convert("RGB")
    decoded = decode.decode_image(make.image_file(photo, form, quality=90))
    assert np.abs(np.asarray(decoded, int) - np.asarray(photo, int)).mean() < 5


def speech(seconds: float, rate: int) -> np.ndarray:
    """Like a voice: a buzz of 120 Hz with overtones, in syllables of a quarter of a second, with noise between them."""
    at = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * at) / k for k in range(1, 20))
    loud = np.sin(np.pi * 4 * at) ** 2
    hiss = np.random.default_rng(0).normal(0, 0.05, len(at))
    return (0.3 * buzz * loud + hiss).clip(-1, 1).astype(np.float32)


def filmed(seconds: int, rate: int = 44100) -> bytes:
    """A pan over a photograph at 24 frames a second, with stereo speech, as MP4."""
    photo = np.asarray(Image.open(PHOTOS[0]).convert("RGB"))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video, sound = out.add_stream("libx264", rate=24), out.add_stream("aac", rate=rate, layout="stereo")
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for i in range(24 * seconds):
            view = np.ascontiguousarray(photo[60:300, 2 * i : 2 * i + 320])
            out.mux(video.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        out.mux(video.encode())
        wave = speech(seconds, rate)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(
                np.tile(wave[start : start + 1024], (2, 1)), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return file.getvalue()


def test_a_clip_as_a_camera_makes_it():
    data = filmed(3)
    found = probe(data, "clip.mp4")
    assert (found.kind, found.width, found.height, found.frames) == ("video", 320, 240, 72)
    assert (found.fps, found.seconds, found.rate, found.channels) == (24.0, 3.0, 44100, 2)
    frames, fps = decode.decode_video(data, fps=2, max_frames=64)
    # from frame 0 to frame 71 at 24 per second: five distances
    assert (frames.shape, fps) == ((6, 240, 320, 3), pytest.approx(5 / (71 / 24)))
    # the last frame shows what is 142 pixels further right than the first one does
    assert np.abs(frames[5][:, :150].astype(int) - frames[0][:, 142:292]).mean() < 8
    wave = decode.decode_audio(data, 16000)
    assert len(wave) == pytest.approx(48000, abs=1024)
    heard = speech(3, 16000)
    # the same loudness syllable by syllable, whatever the coder did to the phases
    loudness = [np.sqrt((w[:47104].reshape(-1, 512) ** 2).mean(axis=1)) for w in (wave, heard)]
    assert np.corrcoef(*loudness)[0, 1] > 0.9
