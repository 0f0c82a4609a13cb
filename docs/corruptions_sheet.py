"""Draws docs/corruptions.png: a picture, frames or a spectrogram of each kind of corruption, with default settings.

    .venv/bin/python docs/corruptions_sheet.py

The photographs are scikit-learn's; the clip pans over one of them, the melody is synthesised here."""

import asyncio
import io
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from pipeline.corrupt import _files, corrupt
from pipeline.corrupt._registry import KINDS
from pipeline.corrupt.kinds import swap
from pipeline.engines import hf
from pipeline.media.decode import decode_audio, decode_image, decode_video
from pipeline.media.probe import probe_and_store
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.operator import Context, SampleRows
from schemas.records import Part, Sample, sample

HERE = Path(__file__).parent
PICTURES = ("diffusion", "crop", "rotate", "black", "blur", "pixelate", "downscale", "jitter", "pixel_mask", "region_mask", "swap",
            "adversarial")  # fmt: skip
CLIPS = ("drop", "freeze", "shuffle", "reverse")
SOUNDS = ("noise", "mute", "pitch", "stretch", "reverb", "shuffle", "reverse")
BOX = (0.05, 0.1, 0.62, 0.8)  # the temple in the photograph
FRAMES, RATE = 8, 16_000
COLUMNS = 5


def clip(photograph: Image.Image) -> bytes:
    """An MP4 of eight numbered frames, panning from left to right."""
    frames = []
    for number in range(FRAMES):
        left = number * (photograph.width - 360) // (FRAMES - 1)
        frame = photograph.crop((left, 40, left + 360, 310))
        ImageDraw.Draw(frame).text(
            (12, 4), str(number + 1), "white", ImageFont.load_default(80), stroke_width=6, stroke_fill="black"
        )
        frames.append(np.asarray(frame))
    return _files.mp4(np.stack(frames), 4.0, None)


def melody() -> bytes:
    """A WAV of four rising, decaying tones with harmonics."""
    tones = []
    for pitch in (440, 554, 659, 880):
        at = np.arange(RATE // 2) / RATE
        tone = sum(np.sin(2 * np.pi * pitch * n * at) / n for n in (1, 2, 3)) * np.exp(-6 * at)
        tones.append(0.4 * tone)
    return _files.wav(np.concatenate(tones), RATE)


def sample_of(store: FolderStore, data: bytes) -> Sample:
    media = probe_and_store(data, "the sheet", store)
    return sample((messages.user(Part(media.kind, media=media.id), "What is there?"),))


async def corrupted(kind: str, row: Sample, context: Context) -> bytes:
    """The sample's file after this kind of corruption, with default settings if the kind has them."""
    settings = {"adversarial": {"model": "tiny"}, "region_mask": {"box": BOX}}.get(kind, {})
    *_, new = await corrupt.corrupt(SampleRows(row), corrupt.Settings(kind={"kind": kind, **settings}), context)
    return context.media.read(new.media[0])


async def all_files() -> dict[str, dict[str, bytes]]:
    """Part of the sheet (picture, clip, sound) -> kind -> file."""
    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        tiny = await hf.connect(hf.Settings(model=str(HERE.parent / "data" / "models" / "tiny")), store)
        picture, other = (sample_of(store, _files.png(np.asarray(image))) for image in (china, flower))
        pool = swap.fit([SampleRows(picture), SampleRows(other)], KINDS["swap"](), Context("sheet", "", store)).value
        context = Context("sheet", "", store, engines={"tiny": tiny}, fitted=pool)
        originals = {
            "picture": (picture, PICTURES),
            "clip": (sample_of(store, clip(china)), CLIPS),
            "sound": (sample_of(store, melody()), SOUNDS),
        }
        found = {
            part: {
                "as it is": store.read(row.media[0]),
                **{kind: await corrupted(kind, row, context) for kind in kinds},
            }
            for part, (row, kinds) in originals.items()
        }
        await tiny.close()
        return found


def draw(found: dict[str, dict[str, bytes]]) -> bytes:
    """The sheet as a PNG."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlepad": 4})
    pictures, clips, sounds = found["picture"], found["clip"], found["sound"]
    rows = -(-len(pictures) // COLUMNS), len(clips), -(-len(sounds) // 4)
    figure = plt.figure(figsize=(11, 15.5), dpi=100, layout="constrained")
    above, middle, below = figure.subfigures(3, 1, height_ratios=(rows[0] * 1.45, rows[1] * 1.05, rows[2] * 1.5))
    for axes, (kind, data) in zip(above.subplots(rows[0], COLUMNS).flat, pictures.items()):
        axes.imshow(decode_image(data), interpolation="nearest")
        axes.set_title(kind)
    for axes, (kind, data) in zip(middle.subplots(rows[1], 1), clips.items()):
        frames, _ = decode_video(data)
        blank = np.full((FRAMES - len(frames), *frames.shape[1:]), 255, np.uint8)
        axes.imshow(np.concatenate([*frames, *blank], axis=1))
        axes.set_title(kind)
    for axes, (kind, data) in zip(below.subplots(rows[2], 4, sharex=True, sharey=True).flat, sounds.items()):
        samples = decode_audio(data, RATE)
        hiss = np.random.default_rng(0).normal(0, 1e-5, len(samples))  # silence has no logarithm
        axes.specgram(samples + hiss, NFFT=512, Fs=RATE, noverlap=384, vmin=-120, vmax=-30)
        axes.set(title=kind, ylim=(0, 4000), xlim=(0, 2))
    for part in (above, middle):
        for axes in part.axes:
            axes.axis("off")
    for axes in below.axes[len(sounds) :]:
        axes.axis("off")
    below.supxlabel("seconds, 0 to 4 kHz")
    file = io.BytesIO()
    figure.savefig(file, metadata={"Software": None})
    return file.getvalue()


if __name__ == "__main__":
    sheet = Image.open(io.BytesIO(draw(asyncio.run(all_files())))).convert("RGB")
    sheet.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1).save(HERE / "corruptions.png", optimize=True)
