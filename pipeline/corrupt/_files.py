"""A corrupted file of a file: decoded where nothing can happen, changed as arrays, written so that the same comes out as the same bytes.

Pictures become PNG; sounds WAV of 16 bits, mono, at their own rate; videos MP4 (H.264 and AAC), at most FRAMES frames at even distances,
at most SIDE pixels a side, as long as they were."""

import copy
import io
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from pipeline.corrupt.kinds._kind import Kind
from pipeline.corrupt.kinds.clips import FRAMES as ORDERS
from pipeline.corrupt.kinds.images import PICTURES
from pipeline.corrupt.kinds.sounds import SOUNDS
from pipeline.media import decode
from pipeline.media.sniff import sniff
from schemas.errors import RowError
from schemas.records import Reason

if TYPE_CHECKING:
    import av

FRAMES, SIDE = 128, 768  # of a video: more than models look at, and 230 MB at most
RATE = 48_000  # samples a second of a video's sound
MEDIA = ("image", "video", "audio")


def takes(kind: Kind) -> tuple[str, ...]:
    """The kinds of media that a kind of corruption is for; a video stands for its own sound too."""
    of = type(kind)
    pictures, orders, sounds = of in PICTURES, of in ORDERS, of in SOUNDS
    return tuple(m for m, it in zip(MEDIA, (pictures, pictures or orders or sounds, sounds)) if it)


def corrupted(data: bytes, medium: str, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    """The file of a `medium` (image, video, audio) that `kind` makes of `data`.

    RowError as the decoders raise it; EMPTY_MEDIA when a kind for sounds finds none in a video; UNCHANGED when what comes out is what went in:
    a video of one frame has no other order."""
    return {"image": _image, "video": _video, "audio": _audio}[medium](data, kind, rng, name)


def _image(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    before = np.asarray(decode.decode_image(data, name))[None]
    return png(_other(before, PICTURES[type(kind)](before, kind, rng), kind, name)[0])


def _audio(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    rate = decode.facts(data, sniff(data, name), name)["rate"]
    return wav(_heard(decode.decode_audio(data, rate, name), rate, kind, rng, name), rate)


def _video(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    frames, fps = decode.decode_video(data, max_frames=FRAMES, name=name, max_side=SIDE)
    sounds = "rate" in decode.facts(data, sniff(data, name), name)
    sound = decode.decode_audio(data, RATE, name) if sounds else None
    shown = PICTURES.get(type(kind)) or ORDERS.get(type(kind))
    same = copy.deepcopy(rng)  # pieces of the sound come in the order of the frames
    if shown:
        frames = _other(frames, shown(frames, kind, rng), kind, name)
    elif sound is None:
        detail = f"{name} has no sound for {kind.kind} to change; use a kind for pictures, or drop the row"
        raise RowError(Reason.EMPTY_MEDIA, detail)
    if sound is not None and (not shown or getattr(kind, "sound", False)):
        sound = _heard(sound, RATE, kind, same, name)
    return mp4(frames, fps, sound)


def _heard(samples: np.ndarray, rate: int, kind: Kind, rng: np.random.Generator, name: str) -> np.ndarray:
    """The samples as `kind` changes them, made quieter where they would be cut off."""
    after = _other(samples, SOUNDS[type(kind)](samples, rate, kind, rng), kind, name)
    return after / max(1.0, float(np.abs(after).max()))


def _other(before: np.ndarray, after: np.ndarray, kind: Kind, name: str) -> np.ndarray:
    if np.array_equal(before, after):
        detail = f"{name} is the same after {kind.kind}; use another kind or other settings, or drop the row"
        raise RowError(Reason.UNCHANGED, detail)
    return after


def png(picture: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    # level 1: a half to three quarters of the time for a few percent more bytes
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def wav(samples: np.ndarray, rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype="PCM_16", format="WAV")
    return file.getvalue()


def mp4(frames: np.ndarray, fps: float, sound: np.ndarray | None) -> bytes:
    """A video that browsers, vLLM and FFmpeg read, by one thread: with several the bytes would differ."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(100_000)
        # x264's macroblock tree reads memory that nobody wrote: with it the same frames gave other bytes in half of all sizes
        options = {"preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        height, width = frames.shape[1:3]
        stream.height, stream.width = height + height % 2, width + width % 2  # yuv420p has half as much of its colours
        stream.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for number, pixels in enumerate(frames):
            even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track and sound is not None:
            container.mux(track.encode(_as_frame(sound)))
            container.mux(track.encode(None))
    return file.getvalue()


def _as_frame(sound: np.ndarray) -> "av.AudioFrame":
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    return frame
