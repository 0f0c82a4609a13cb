"""Corrupted copies of files: decoded in an isolated process, changed as arrays, encoded deterministically (same input, same bytes).

Images become PNG; audio clips WAV, 16 bits, mono, at their own rate; videos MP4 (H.264 and AAC) of the same duration, from at most FRAMES
evenly spaced frames of at most SIDE pixels per side."""

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

FRAMES, SIDE = 128, 768  # of a video: more than models use, and at most 230 MB
RATE = 48_000  # Hz, of a video's audio
MEDIA = ("image", "video", "audio")


def supported_media(kind: Kind) -> tuple[str, ...]:
    """The media types that a kind of corruption applies to; audio kinds also apply to a video's own audio."""
    cls = type(kind)
    pictures, orders, sounds = cls in PICTURES, cls in ORDERS, cls in SOUNDS
    return tuple(m for m, applies in zip(MEDIA, (pictures, pictures or orders or sounds, sounds)) if applies)


def corrupted_file(data: bytes, medium: str, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    """The bytes of `data`, a file of type `medium` (image, video, audio), corrupted by `kind`. `name` is used in messages.

    RowError as the decoders raise it; EMPTY_MEDIA if an audio kind gets a video without audio; UNCHANGED if the result equals the
    input, as with a reversed video of one frame."""
    return {"image": _image, "video": _video, "audio": _audio}[medium](data, kind, rng, name)


def _image(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    before = np.asarray(decode.decode_image(data, name))[None]
    return png(_checked(before, PICTURES[type(kind)](before, kind, rng), kind, name)[0])


def _audio(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    rate = decode.facts(data, sniff(data, name), name)["rate"]
    return wav(_corrupted_sound(decode.decode_audio(data, rate, name), rate, kind, rng, name), rate)


def _video(data: bytes, kind: Kind, rng: np.random.Generator, name: str) -> bytes:
    clip = decode.decode_clip(data, max_frames=FRAMES, name=name, max_side=SIDE)
    frames, fps = clip.frames, len(clip.frames) / clip.seconds
    has_sound = "rate" in decode.facts(data, sniff(data, name), name)
    sound = decode.decode_audio(data, RATE, name) if has_sound else None
    change = PICTURES.get(type(kind)) or ORDERS.get(type(kind))
    same_rng = copy.deepcopy(rng)  # the audio's segments get the same order as the frames
    if change:
        frames = _checked(frames, change(frames, kind, rng), kind, name)
    elif sound is None:
        detail = f"{name} has no audio for {kind.kind} to change; use a kind for images, or remove the row"
        raise RowError(Reason.EMPTY_MEDIA, detail)
    if sound is not None and (not change or getattr(kind, "sound", False)):
        sound = _corrupted_sound(sound, RATE, kind, same_rng, name)
    return mp4(frames, fps, sound)


def _corrupted_sound(samples: np.ndarray, rate: int, kind: Kind, rng: np.random.Generator, name: str) -> np.ndarray:
    """The samples changed by `kind`, scaled down if they would clip."""
    after = _checked(samples, SOUNDS[type(kind)](samples, rate, kind, rng), kind, name)
    return after / max(1.0, float(np.abs(after).max()))


def _checked(before: np.ndarray, after: np.ndarray, kind: Kind, name: str) -> np.ndarray:
    """`after`. RowError UNCHANGED if it equals `before`."""
    if np.array_equal(before, after):
        detail = f"{name} is unchanged by {kind.kind}; use another kind or other settings, or remove the row"
        raise RowError(Reason.UNCHANGED, detail)
    return after


def png(picture: np.ndarray) -> bytes:
    """A PNG of an image [height, width, 3] uint8."""
    from PIL import Image

    file = io.BytesIO()
    # level 1 takes half to three quarters of the time for a few percent more bytes
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV, 16 bits, of mono samples [n] float in -1..1 at `rate` Hz."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype="PCM_16", format="WAV")
    return file.getvalue()


def mp4(frames: np.ndarray, fps: float, sound: np.ndarray | None) -> bytes:
    """An MP4 that browsers, vLLM and FFmpeg read, encoded by one thread: with several the bytes would differ.

    frames [n, height, width, 3] uint8 (odd sides are padded by one pixel), sound [n] float32 at RATE or None."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(100_000)
        # x264's macroblock tree reads uninitialised memory: with it, the same frames gave different bytes for half of all sizes
        options = {"preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        height, width = frames.shape[1:3]
        stream.height, stream.width = height + height % 2, width + width % 2  # yuv420p: even sides
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
