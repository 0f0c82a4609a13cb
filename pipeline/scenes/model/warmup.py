"""Pretraining of the towers, the counterpart of CLIP and Whisper: each tower learns to classify its media before any text.

The linear classification heads are discarded afterwards, and the towers are frozen."""

import random
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch.nn import Linear
from torch.nn.functional import cross_entropy

from pipeline.scenes.model.features import log_mel, patchify
from pipeline.scenes.model.model import FRAMES, Thinker
from pipeline.scenes.world import MAX_BEEPS, RATE, AudioScene, ImageScene, Scene, VideoScene, World, draw_as

Report = Callable[[int, str], None]
S = TypeVar("S", bound=Scene)
PICTURES, VIDEOS, SOUNDS = 48, 32, 32  # scenes per step
TOKENS = 25  # of a sound, 40 ms each
SHOWN_EVERY = 50  # steps


def _scenes(world: World, kind: type[S], name: str, step: int, count: int) -> list[S]:
    return [draw_as(kind, world, f"warm-up {name}/{step}/{i}") for i in range(count)]


def _train(parameters, steps: int, rate: float, losses, report: Report | None) -> dict[str, float]:
    """AdamW with linear decay. `losses(step)` returns the loss and accuracies; returns the mean accuracies of the last steps."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    recent: list[dict[str, float]] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * max(0.03, 1 - step / steps)
        loss, right = losses(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recent = [*recent[-SHOWN_EVERY + 1 :], right]
        if report:
            last = (step + 1) % SHOWN_EVERY == 0 or step + 1 == steps
            report(step + 1, _sentence(recent) if last else "")
    return _mean(recent)


def _mean(rights: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([right[name] for right in rights])) for name in rights[0]}


def _sentence(rights: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in _mean(rights).items())


def _right(scores: torch.Tensor, truth: torch.Tensor) -> float:
    return (scores.argmax(-1) == truth).float().mean().item()


def warm_up_vision(
    model: Thinker, world: World, steps: int, seed: int, report: Report | None = None
) -> dict[str, float]:
    """Trains the vision tower: colour, shape and cell of each token of a picture; colour, shape and direction of each video.

    Returns the accuracies over the last steps, 0..1, by name; `report` gets (step, text)."""
    torch.manual_seed(seed)
    colours, shapes, directions = len(world.colours), len(world.shapes), len(world.directions)
    cells, width = len(world.cells), model.config.text_config.hidden_size
    on_picture = Linear(width, colours + 1 + shapes + 1 + cells)  # one more class each: empty
    on_video = Linear(width, colours + shapes + directions)

    def losses(step):
        pictures = _scenes(world, ImageScene, str(seed), step, PICTURES)
        videos = _scenes(world, VideoScene, str(seed), step, VIDEOS)
        pixels = [patchify([scene.parts()[0][1]]) for scene in pictures] + _two_frames(videos, step)
        seen = model.get_image_features(
            torch.from_numpy(np.concatenate([values for values, _ in pixels])),
            torch.tensor([grid for _, grid in pixels]),
            return_dict=True,
        )
        tokens = torch.cat(seen.pooler_output)
        colour, shape, cell = on_picture(tokens[: PICTURES * cells]).split([colours + 1, shapes + 1, cells], -1)
        moving = tokens[PICTURES * cells :].view(VIDEOS, cells, width).mean(1)
        hue, form, direction = on_video(moving).split([colours, shapes, directions], -1)
        is_colour, is_shape, is_cell = _picture_truth(world, pictures)
        is_hue, is_form, is_direction = _video_truth(world, videos)
        loss = cross_entropy(colour, is_colour) + cross_entropy(shape, is_shape) + cross_entropy(cell, is_cell) / 2
        loss = loss + cross_entropy(hue, is_hue) / 2 + cross_entropy(direction, is_direction) / 2
        loss = loss + 1.5 * cross_entropy(form, is_form)  # shapes between two cells are the hardest
        there = is_colour < colours
        return loss, {
            "colour": _right(colour[there], is_colour[there]), "shape": _right(shape[there], is_shape[there]),
            "cell": _right(cell, is_cell), "moving colour": _right(hue, is_hue),
            "moving shape": _right(form, is_form), "direction": _right(direction, is_direction),
        }  # fmt: skip

    parameters = [*model.visual.parameters(), *on_picture.parameters(), *on_video.parameters()]
    return _train(parameters, steps, 2e-3, losses, report)


def _two_frames(videos, step: int):
    """Two neighbouring frames of each video, as in one grid of tokens."""
    rng = random.Random(step)
    starts = [FRAMES * rng.randrange(4) for _ in videos]
    return [patchify(video.frames()[start : start + FRAMES]) for video, start in zip(videos, starts)]


def _picture_truth(world: World, scenes) -> tuple[torch.Tensor, ...]:
    """int64 [scenes * cells] each: colour, shape, cell."""
    truth = np.empty((len(scenes), len(world.cells), 3), np.int64)
    truth[:] = len(world.colours), len(world.shapes), 0
    truth[:, :, 2] = np.arange(len(world.cells))
    for row, scene in zip(truth, scenes):
        for cell, colour, shape in scene.things:
            row[world.cells.index(cell), :2] = world.colours.index(colour), world.shapes.index(shape)
    return torch.from_numpy(truth).view(-1, 3).unbind(-1)


def _video_truth(world: World, scenes) -> tuple[torch.Tensor, ...]:
    """int64 [scenes] each: colour, shape, direction."""
    names = (("colour", world.colours), ("shape", world.shapes), ("direction", world.directions))
    return tuple(torch.tensor([words.index(getattr(s, name)) for s in scenes]) for name, words in names)


def warm_up_audio(
    model: Thinker, world: World, steps: int, seed: int, report: Report | None = None
) -> dict[str, float]:
    """Trains the audio tower: whether a beep falls into each 40 ms and its pitch; the total number of beeps.

    Returns the accuracies over the last steps, 0..1, by name; `report` gets (step, text)."""
    torch.manual_seed(seed)
    width = model.config.text_config.hidden_size
    on_token, on_sound = Linear(width, 1 + len(world.pitches)), Linear(width, MAX_BEEPS)

    def losses(step):
        scenes = _scenes(world, AudioScene, str(seed), step, SOUNDS)
        heard = torch.from_numpy(np.stack([log_mel(scene.wave()) for scene in scenes]))
        mask = torch.ones(SOUNDS, heard.shape[2], dtype=torch.long)
        tokens = model.get_audio_features(heard, mask, return_dict=True).last_hidden_state.view(SOUNDS, TOKENS, width)
        beep, number = on_token(tokens), on_sound(tokens.mean(1))
        is_beep, is_number = _beeps(world, scenes), torch.tensor([scene.number - 1 for scene in scenes])
        loss = 3 * cross_entropy(beep.flatten(0, 1), is_beep.flatten()) + cross_entropy(number, is_number)
        there = is_beep > 0
        return loss, {
            "beep": _right(beep[there], is_beep[there]), "silence": _right(beep[~there], is_beep[~there]),
            "number": _right(number, is_number),
        }  # fmt: skip

    parameters = [*model.audio_tower.parameters(), *on_token.parameters(), *on_sound.parameters()]
    return _train(parameters, steps, 3e-3, losses, report)


def _beeps(world: World, scenes: list[AudioScene]) -> torch.Tensor:
    """int64 [scenes, 25]: 1 + the pitch of the beep whose middle falls into the token, else 0."""
    out = torch.zeros(len(scenes), TOKENS, dtype=torch.long)
    for row, scene in zip(out, scenes):
        for start in scene.starts():
            row[(start + RATE // 20) * TOKENS // RATE] = 1 + world.pitches.index(scene.pitch)
    return out
