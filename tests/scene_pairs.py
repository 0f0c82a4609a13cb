"""Pairs of answers to drawn scenes, as rows of a file: the true answer is better than one with a word of it exchanged."""

import json
import random
import re
from pathlib import Path

from pipeline.source.scenes import encode, is_flac, load_world, scenes
from tests.small_run import SWAPS

SUFFIXES = {"image/png": ".png", "video/mp4": ".mp4", "audio/wav": ".wav", "audio/flac": ".flac"}


def write(folder: Path, n: int, seed: int = 5) -> Path:
    """`pairs.jsonl` in the folder, its media beside it: question, image, video or audio, chosen, rejected, category (the medium)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(scene, f"{seed}/{i}", folder, i) for i, scene in enumerate(scenes(load_world(), n, seed))]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def _row(scene, name: str, folder: Path, number: int) -> dict:
    rng = random.Random(name)
    task = rng.choice([task for task in scene.tasks() if _words(task.answer)])
    question, media = "", {}
    for kind, content in scene.parts():
        if kind == "text":
            question += content
            continue
        data, mime = encode(kind, content, is_flac(scene))
        path = f"{number}-{len(media.get(kind, ()))}{SUFFIXES[mime]}"
        (folder / path).write_bytes(data)
        media.setdefault(kind, []).append(path)
        question += f"<{kind}>" if scene.kind == "multi_image" else ""
    rejected = exchanged(task.answer, rng)
    return {
        "question": question + task.question,
        **media,
        "chosen": task.answer,
        "rejected": rejected,
        "category": scene.kind,
    }


def exchanged(answer: str, rng: random.Random) -> str:
    """The answer with a word of it exchanged."""
    word, group = rng.choice(_words(answer))
    return re.sub(rf"\b{word}\b", rng.choice([w for w in group if w != word]), answer, count=1)


def _words(answer: str) -> list[tuple[str, list[str]]]:
    """The words that may be exchanged, and for what."""
    return [(word, group) for group in SWAPS for word in group if re.search(rf"\b{word}\b", answer)]
