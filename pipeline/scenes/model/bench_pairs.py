"""Labelled preference pairs with their media, for benchmarking judges.

    python -m pipeline.scenes.model.bench_pairs --out FOLDER

Scenes and answers are drawn from all combinations, so some are new to the demo's model."""

import json
import random
from pathlib import Path
from typing import Annotated

import typer

from pipeline.scenes.model.judging import pair
from pipeline.scenes.world import Scene, encode, is_flac, load_world, scenes

NAME = "pairs.jsonl"
SUFFIXES = {"image/png": ".png", "video/mp4": ".mp4", "audio/wav": ".wav", "audio/flac": ".flac"}


def write(
    out: Annotated[Path, typer.Option(help="folder for pairs.jsonl and its media")],
    n: Annotated[int, typer.Option(min=1, help="number of pairs")] = 200,
    seed: Annotated[int, typer.Option(help="random seed of the scenes")] = 0,
) -> None:
    """Write `n` pairs, one per row: question, image, video or audio (paths relative to the file), chosen, rejected,
    category (the media type). The same seed gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_row(scene, i, seed, out)) for i, scene in enumerate(scenes(load_world(), n, seed, "eval"))]
    (out / NAME).write_text("\n".join(lines) + "\n")


def _row(scene: Scene, i: int, seed: int, out: Path) -> dict:
    rng = random.Random(f"bench {seed}/{i}")
    task = rng.choice(scene.tasks())
    worse, better = sorted(pair(scene, task, rng, tie=False), key=lambda answer: answer.quality.rating)
    media, words = {}, ""
    for kind, content in scene.parts():
        if isinstance(content, str):
            words += content
            continue
        data, mime = encode(kind, content, is_flac(scene))
        paths = media.setdefault(kind, [])
        path = f"{i}-{len(paths)}{SUFFIXES[mime]}"
        (out / path).write_bytes(data)
        paths.append(path)
        words += f"<{kind}>" if scene.kind == "multi_image" else ""  # its labels go between the pictures
    columns = {kind: paths if len(paths) > 1 else paths[0] for kind, paths in media.items()}
    return {
        "question": words + task.question,
        **columns,
        "chosen": better.text,
        "rejected": worse.text,
        "category": scene.kind,
    }


if __name__ == "__main__":
    typer.run(write)
