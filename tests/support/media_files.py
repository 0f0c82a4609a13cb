"""Small real media files, made on the spot: the same arguments give the same pixels and samples."""

import io

import av
import numpy as np
import soundfile
from PIL import Image


def picture(seed: int, width: int, height: int) -> Image.Image:
    """A smooth coloured field."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(seed: int = 0, width: int = 64, height: int = 48, **options) -> bytes:
    return image_file(picture(seed, width, height), "JPEG", quality=80, **options)


def many_scans(side: int, times: int) -> bytes:
    """A small progressive JPEG, each of whose many scans makes a decoder go over the whole picture again."""
    whole = image_file(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=50)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * times + whole[-2:]


def png(seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    return image_file(picture(seed, width, height), "PNG")


def image_file(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def mp4(frames: int = 10, seconds: float = 1.0, sound: bool = False) -> bytes:
    return movie("mp4", "libx264", frames, seconds, sound)


def webm(frames: int = 10, seconds: float = 1.0) -> bytes:
    return movie("webm", "libvpx", frames, seconds)


def movie(form: str, codec: str, frames: int = 10, seconds: float = 1.0, sound: bool = False) -> bytes:
    """A video of 64 x 48 pixels. Frame i is grey, brighter with i; no frames make a video without frames."""
    width, height = 64, 48
    file = io.BytesIO()
    options = {} if frames else {"movflags": "empty_moov"}
    with av.open(file, "w", format=form, options=options) as container:
        video = container.add_stream(codec, rate=round(frames / seconds) or 1)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        track = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        if not frames:
            container.start_encoding()
        for index in range(frames):
            grey = np.full((height, width, 3), 20 + 200 * index // frames, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(video.encode() if frames else [])
        if track:
            container.mux(track.encode(_frame(seconds)))
            container.mux(track.encode())
    return file.getvalue()


def m4a(seconds: float = 1.0) -> bytes:
    """Sound in a video's container."""
    return _sound("mp4", "aac", seconds)


def mp3(seconds: float = 1.0) -> bytes:
    return _sound("mp3", "libmp3lame", seconds)


def wav(seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> bytes:
    """A tone of 440 Hz, the same in every channel, between -0.5 and 0.5."""
    return audio_file("WAV", seconds, rate, channels)


def flac(seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> bytes:
    return audio_file("FLAC", seconds, rate, channels)


def audio_file(form: str, seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.tile(tone(seconds, rate)[:, None], channels), rate, format=form)
    return file.getvalue()


def tone(seconds: float, rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _sound(form: str, codec: str, seconds: float) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        track = container.add_stream(codec, rate=16000, layout="mono")
        container.mux(track.encode(_frame(seconds)))
        container.mux(track.encode())
    return file.getvalue()


def _frame(seconds: float) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(tone(seconds, 16000)[None], format="fltp", layout="mono")
    frame.sample_rate = 16000
    return frame
