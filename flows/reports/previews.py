"""Media as small self-contained HTML: an image, a video with some of its frames, an audio clip with its waveform."""

import base64
import io
from collections.abc import Callable
from fractions import Fraction
from html import escape

import av
import numpy as np
import soundfile
from PIL import Image

from pipeline.media.decode import decode_audio, decode_image, decode_video
from schemas.errors import RowError

SIDE = 320  # pixels of the longer side of an image
FRAMES, STRIP = 32, 6  # frames of a clip; frames in the strip below it
RATE, SECONDS = 16_000, 20  # sample rate and maximum length of an audio clip
BARS = 100  # bars of a waveform


def preview(kind: str, data: bytes, name: str) -> str:
    """HTML for a media item, labelled `name`. If it cannot be decoded, the error message."""
    try:
        return _PREVIEWS[kind](data, name)
    except RowError as error:
        return f"<p>{escape(error.detail)}</p>"


def _image(data: bytes, name: str) -> str:
    return f"<figure>{_picture(decode_image(data), f'picture {name}')}</figure>"


def _video(data: bytes, name: str) -> str:
    frames, fps = decode_video(data, max_frames=FRAMES)
    pictures = [_small(Image.fromarray(frame)) for frame in frames]
    some = [pictures[i] for i in np.linspace(0, len(pictures) - 1, min(STRIP, len(pictures))).round().astype(int)]
    strip = "".join(_picture(picture, f"frame {i} of {len(some)}") for i, picture in enumerate(some, 1))
    clip = _uri(_webm(pictures, fps), "video/webm")
    return (
        f'<figure class="clip"><video controls loop muted playsinline preload="auto" aria-label="video {name}" '
        f'src="{clip}"></video><div class="strip">{strip}</div></figure>'
    )


def _audio(data: bytes, name: str) -> str:
    wave = decode_audio(data, RATE)[: SECONDS * RATE]
    out = io.BytesIO()
    soundfile.write(out, wave, RATE, format="MP3")
    peaks = [float(np.abs(part).max()) for part in np.array_split(wave, min(BARS, len(wave)))]
    top = max(*peaks, 1e-6)
    bars = "".join(
        f'<rect x="{3 * i}" y="{20 - 19 * p / top:.1f}" width="2" height="{38 * p / top + 0.5:.1f}"/>'
        for i, p in enumerate(peaks)
    )
    label = f"waveform of audio {name}, {len(wave) / RATE:.1f} seconds"
    return (
        f'<figure class="sound"><svg viewBox="0 0 {3 * BARS} 40" preserveAspectRatio="none" role="img" aria-label="{label}">{bars}</svg>'
        f'<audio controls aria-label="audio {name}" src="{_uri(out.getvalue(), "audio/mpeg")}"></audio></figure>'
    )


_PREVIEWS: dict[str, Callable[[bytes, str], str]] = {"image": _image, "video": _video, "audio": _audio}


def _small(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    return image


def _picture(image: Image.Image, alt: str) -> str:
    image = _small(image)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=85)
    return f'<img alt="{alt}" width="{image.width}" height="{image.height}" src="{_uri(out.getvalue(), "image/webp")}">'


def _webm(pictures: list[Image.Image], fps: float) -> bytes:
    """A silent clip that every browser plays, at two frames per second or more."""
    out = io.BytesIO()
    step = Fraction(1 / max(fps, 2)).limit_denominator(1000)  # slower clips are sped up
    with av.open(
        out, "w", format="webm", options={"fflags": "+bitexact"}
    ) as container:  # otherwise it contains a random id
        stream = container.add_stream("libvpx", rate=round(1 / step) or 1)
        width, height = (side + side % 2 for side in pictures[0].size)  # chroma is subsampled: sides must be even
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 400_000
        stream.codec_context.time_base = stream.time_base = step
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture.resize((width, height)))
            frame.pts, frame.time_base = i, step
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
