"""One self-contained page about a run: what went in, what came out, who judged, whether training helped."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from flows.progress import FIGURES, verdict
from pipeline.media.audio import decode_audio
from pipeline.media.image import decode_image
from pipeline.media.video import decode_video
from schemas.arrow import from_batch
from schemas.chat import text_of
from schemas.operator import Tables
from schemas.ports import MediaStore
from schemas.records import SAMPLE_KINDS

SHOWN = 3  # pairs of each kind
COLOURS = ("#4063d8", "#389826", "#9558b2", "#cb3c33")


def write_report(folder: Path, summary: dict, tables: Tables, media: MediaStore) -> Path:
    """Writes folder/report.html, which loads nothing from anywhere; returns its path."""
    import matplotlib

    matplotlib.use("svg")
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    kinds = [k for k in SAMPLE_KINDS if summary["samples"].get(k)]
    page = env.get_template("report.html.j2").render(
        summary=summary, kinds=kinds, figures=FIGURES, verdict=verdict(summary["evaluate"]), funnel=_funnel(summary, kinds),
        scores=_scores(tables), lengths=_lengths(tables), evaluation=_evaluation(summary["evaluate"]), pairs=_pairs(tables, media),
    )  # fmt: skip
    path = folder / "report.html"
    path.write_text(page)
    return path


def _svg(figure) -> str:
    """The figure as inline SVG without the XML head."""
    import matplotlib.pyplot as plt

    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight")
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _axes(width: float = 6.4, height: float = 2.6):
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "svg.hashsalt": "pairwright",
            "font.size": 9,
            "text.color": "#777",
            "axes.labelcolor": "#777",
            "xtick.color": "#777",
            "ytick.color": "#777",
            "axes.edgecolor": "#999",
        }
    )
    figure, axes = plt.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _funnel(summary: dict, kinds: list[str]) -> str:
    figure, axes = _axes()
    names = ("samples", "candidates", "pairs")
    for i, kind in enumerate(kinds):
        values = [summary[n].get(kind, 0) for n in names]
        bars = axes.bar(
            np.arange(len(names)) + (i - (len(kinds) - 1) / 2) * 0.18, values, 0.17, label=kind, color=COLOURS[i % 4]
        )
        axes.bar_label(bars, fontsize=7, color="#777")
    axes.set_xticks(range(len(names)), names)
    axes.set_yscale("log")
    axes.legend(frameon=False, ncols=len(kinds), loc="upper left", bbox_to_anchor=(0, 1.18))
    return _svg(figure)


def _histogram(chosen: Sequence[float], rejected: Sequence[float], label: str) -> str:
    if not chosen:
        return ""
    figure, axes = _axes(height=2.2)
    low, high = min(*chosen, *rejected), max(*chosen, *rejected)
    bins = np.linspace(low - 0.5, high + 0.5, min(40, int(high - low) + 2))
    axes.hist([chosen, rejected], bins, label=["chosen", "rejected"], color=COLOURS[1::2][:1] + COLOURS[3:])
    axes.set_xlabel(label)
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    return _svg(figure)


def _column(tables: Tables, name: str) -> list:
    return [v for batch in tables.batches("pairs", [name]) for v in batch.column(name).to_pylist() if v is not None]


def _scores(tables: Tables) -> str:
    return _histogram(_column(tables, "reward_chosen"), _column(tables, "reward_rejected"), "score")


def _lengths(tables: Tables) -> str:
    return _histogram(*([len(t.split()) for t in _column(tables, side)] for side in ("chosen", "rejected")), "words")


def _evaluation(evaluations: dict) -> str:
    """Hallucination of each evaluation by media kind, with its interval."""
    if not evaluations:
        return ""
    figure, axes = _axes(7.2, 3)
    kinds = list(next(iter(evaluations.values())))
    for i, (name, found) in enumerate(evaluations.items()):
        values = np.array([[found[k]["hallucination"][v] for v in ("value", "low", "high")] for k in kinds]).T
        places = np.arange(len(kinds)) + (i - (len(evaluations) - 1) / 2) * 0.25
        bars = axes.bar(places, values[0], 0.23, label=name, color=COLOURS[(3, 1, 2, 0)[i % 4]])
        axes.errorbar(
            places,
            values[0],
            [values[0] - values[1], values[2] - values[0]],
            fmt="none",
            ecolor="#888",
            capsize=2,
            lw=1,
        )
        axes.bar_label(bars, fmt="%.2f", padding=8, fontsize=7, color="#777")
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("hallucinated answers")
    axes.legend(frameon=False)
    return _svg(figure)


def _pairs(tables: Tables, media: MediaStore) -> dict[str, list[dict]]:
    """A few pairs of each kind, with what can be shown of their media and the claims that the judge refuted."""
    pairs: dict[str, object] = {}
    for batch in tables.batches("pairs"):
        for pair in from_batch("pairs", batch):
            pairs.setdefault(pair.sample, pair)
    out: dict[str, list[dict]] = {}
    samples = {}
    for batch in tables.batches("samples"):
        for sample in from_batch("samples", batch):
            if sample.id in pairs and len(out.setdefault(sample.kind, [])) < SHOWN:
                samples[sample.id] = sample
                out[sample.kind].append(
                    {"sample": sample, "pair": pairs[sample.id], "question": text_of(sample.prompt)}
                )
    refuted = _refuted(tables, set(samples))
    for shown in (s for found in out.values() for s in found):
        shown["media"] = [
            m
            for message in shown["sample"].prompt
            for p in message.parts
            if p.media
            for m in [_show(p.type, media.read(p.media))]
        ]
        shown["refuted"] = refuted.get(shown["pair"].rejected_id, [])
    return {k: out[k] for k in SAMPLE_KINDS if out.get(k)}


def _refuted(tables: Tables, samples: set[str]) -> dict[str, list[str]]:
    verdicts = {}
    for batch in tables.batches("judgements", ["sample", "axis", "value", "items", "prob"]):
        for row in batch.to_pylist():
            if row["sample"] in samples and row["axis"] == "claim" and row["value"] == 0:
                verdicts[row["items"][0]] = row["prob"]
    out: dict[str, list[str]] = {}
    for batch in tables.batches("claims", ["sample", "id", "candidate", "question", "wanted"]):
        for row in batch.to_pylist():
            if row["id"] in verdicts:
                out.setdefault(row["candidate"], []).append(
                    f"{row['question']} {'yes' if row['wanted'] else 'no'}: probability {verdicts[row['id']]:.2f}"
                )
    return out


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _png(image: Image.Image, side: int) -> str:
    image = image.copy()
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "PNG")
    return _uri(out.getvalue(), "image/png")


def _show(kind: str, data: bytes) -> str:
    """HTML that shows one medium and needs nothing else."""
    if kind == "image":
        return f'<img alt="image of the prompt" src="{_png(decode_image(data), 320)}">'
    if kind == "video":
        frames = decode_video(data, max_frames=8)[0]
        strip = Image.fromarray(np.concatenate(list(frames), 1))
        return (
            f'<video controls muted loop playsinline src="{_uri(data, "video/mp4")}"></video>'
            f'<img class="strip" alt="frames of the clip" src="{_png(strip, 960)}">'
        )
    wave = decode_audio(data)
    peaks = np.abs(wave[: len(wave) // 160 * 160].reshape(160, -1)).max(1) if len(wave) >= 160 else np.abs(wave)
    bars = "".join(
        f'<rect x="{2 * i}" y="{20 - 20 * p:.1f}" width="1.4" height="{max(0.6, 40 * p):.1f}"/>'
        for i, p in enumerate(peaks)
    )
    mime = "audio/flac" if data[:4] == b"fLaC" else "audio/wav" if data[:4] == b"RIFF" else "audio/mpeg"
    title = html.escape(f"waveform, {len(wave) / 16000:.1f} seconds")
    return f'<audio controls src="{_uri(data, mime)}"></audio><svg class="wave" role="img" aria-label="{title}" viewBox="0 0 320 40">{bars}</svg>'
