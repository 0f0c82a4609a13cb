"""Corruptions of sounds: samples [n] float32, mono, about -1..1, in, samples out. No paper gives values; the defaults are ours."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.corrupt.kinds._kind import Kind
from pipeline.corrupt.kinds.clips import Reverse, Shuffle, reverse, shuffle


class Noise(Kind):
    """White noise added to the sound."""

    kind: Literal["noise"] = "noise"
    snr: float = Field(0, ge=-60, le=60)
    """signal-to-noise ratio in decibels; 0 means noise as loud as the sound"""


class Mute(Kind):
    """Silent stretches."""

    kind: Literal["mute"] = "mute"
    portion: float = Field(0.5, gt=0, le=1)
    """share of the sound that is silenced; 1 is silence throughout"""
    spans: int = Field(3, ge=1, le=10_000)
    """number of silent stretches, of equal length"""


class Pitch(Kind):
    """Higher or lower, with the same duration."""

    kind: Literal["pitch"] = "pitch"
    semitones: float = Field(6, ge=-12, le=12)
    """how much higher; negative is lower"""


class Stretch(Kind):
    """Faster or slower, at the same pitch."""

    kind: Literal["stretch"] = "stretch"
    tempo: float = Field(1.5, ge=0.5, le=4)
    """speed factor: at 2 the sound takes half as long"""


class Reverb(Kind):
    """An echo as in a large hall."""

    kind: Literal["reverb"] = "reverb"
    seconds: float = Field(1.5, gt=0, le=10)
    """time in which the echo decays by 60 decibels"""


def noise(samples: np.ndarray, rate: int, kind: Noise, rng: np.random.Generator) -> np.ndarray:
    """Adds noise of exactly the power that the ratio asks for; silence stays silent."""
    white = rng.standard_normal(len(samples))
    power = np.mean(samples.astype(float) ** 2) / 10 ** (kind.snr / 10)
    return samples + white * np.sqrt(power / np.mean(white**2))


def mute(samples: np.ndarray, rate: int, kind: Mute, rng: np.random.Generator) -> np.ndarray:
    total = round(len(samples) * kind.portion)
    ends = np.linspace(0, total, kind.spans + 1).round().astype(int)
    before = np.sort(rng.integers(len(samples) - total + 1, size=kind.spans))  # unmuted samples before each span
    out = samples.copy()
    for start, end, unmuted in zip(ends, ends[1:], before):
        out[unmuted + start : unmuted + end] = 0
    return out


def pitch(samples: np.ndarray, rate: int, kind: Pitch, rng: np.random.Generator) -> np.ndarray:
    """Resampled, which changes length and pitch together, then stretched back to the original length."""
    factor = 2 ** (kind.semitones / 12)
    filters = [("asetrate", str(round(rate * factor))), ("aresample", str(rate)), ("atempo", f"{1 / factor:.6f}")]
    return _filtered(samples, rate, filters)


def time_stretch(samples: np.ndarray, rate: int, kind: Stretch, rng: np.random.Generator) -> np.ndarray:
    return _filtered(samples, rate, [("atempo", f"{kind.tempo:.6f}")])


def reverb(samples: np.ndarray, rate: int, kind: Reverb, rng: np.random.Generator) -> np.ndarray:
    """The sound plus an echo: the sound convolved with exponentially decaying noise of unit energy (Moorer 1979). The length stays."""
    from scipy.signal import fftconvolve

    count = min(len(samples), round(kind.seconds * rate))
    room = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / (kind.seconds * rate))
    echo = fftconvolve(samples, room / np.sqrt((room**2).sum()))[: len(samples)]
    return samples + echo


SOUNDS: dict[type[Kind], Callable[[np.ndarray, int, Any, np.random.Generator], np.ndarray]] = {
    Noise: noise, Mute: mute, Pitch: pitch, Stretch: time_stretch, Reverb: reverb,
    Shuffle: lambda samples, rate, kind, rng: shuffle(samples, kind, rng),
    Reverse: lambda samples, rate, kind, rng: reverse(samples, kind, rng),
}  # fmt: skip


def _filtered(samples: np.ndarray, rate: int, filters: list[tuple[str, str]]) -> np.ndarray:
    """The samples passed through FFmpeg filters (atempo: overlapping segments, WSOLA)."""
    import av

    graph = av.filter.Graph()
    last = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono")
    source = last
    for name, settings in [*filters, ("aformat", "sample_fmts=flt")]:
        following = graph.add(name, settings)
        last.link_to(following)
        last = following
    sink = graph.add("abuffersink")
    last.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    source.push(frame)
    source.push(None)
    parts = []
    while True:
        try:
            parts.append(sink.pull().to_ndarray()[0])
        except (av.BlockingIOError, av.EOFError):
            break
    return np.concatenate(parts) if parts else samples[:0]
