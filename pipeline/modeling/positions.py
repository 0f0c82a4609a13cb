"""Positions of tokens in prompts with videos, as vLLM numbers them.

Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni give each token three positions: time, row and column; a text has the same three. Their authors and
vLLM let the text after a media item begin after its largest position. transformers from 5.4 to at least 5.19 lets it begin inside a video of
more frames than rows and columns, and Qwen2.5-Omni's times are rounded in float32 there, in float64 in vLLM. A model trained on
other positions than it answers with would be trained on another prompt."""

import functools
import inspect
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

A_SECOND = {"qwen2_vl": 1.0, "qwen2_5_vl": 1.0, "qwen2_5_omni_thinker": 25.0}
"""positions per second of each family whose configuration does not set `tokens_per_second`"""
SECONDS = (
    "second_per_grid_ts",
    "second_per_grids",
)  # arguments of transformers' functions: seconds between a video's grids


def number_as_vllm(model) -> None:
    """Replaces the function by which a model of these families numbers positions; other models are unchanged."""
    if model.config.model_type not in A_SECOND:
        return
    owner = next(module for module in model.modules() if hasattr(module, "get_rope_index"))
    theirs, config = owner.get_rope_index, model.config
    arguments = inspect.signature(theirs)

    @functools.wraps(theirs)
    def get_rope_index(*args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        given = arguments.bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        ids, images, videos = (given.get(name) for name in ("input_ids", "image_grid_thw", "video_grid_thw"))
        if ids is None or (images is None and videos is None) or given.get("use_audio_in_video"):
            return theirs(*args, **kwargs)
        mask = given.get("attention_mask")
        seconds = next((given[name] for name in SECONDS if given.get(name) is not None), None)
        shapes = _shapes(config, images), _shapes(config, videos)
        steps = iter([] if videos is None else _steps(config, seconds, len(videos)))
        positions, beyond = torch.zeros(3, *ids.shape, dtype=torch.long), []
        for row, tokens in enumerate(ids.cpu()):
            real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask[row].cpu().bool()
            found = _number(tokens[real].numpy(), config, shapes, steps)
            positions[:, row, real] = torch.from_numpy(found)
            beyond.append([int(found.max()) + 1 - found.shape[1]])
        return positions.to(ids.device), torch.tensor(beyond, device=ids.device)

    owner.get_rope_index = get_rope_index


@contextmanager
def numbered_by_transformers(model) -> Generator[bool]:
    """Within the context, the model numbers positions as transformers does. Yields whether it does otherwise outside."""
    owner = next((module for module in model.modules() if "get_rope_index" in vars(module)), None)
    if owner is None:
        yield False
        return
    ours = vars(owner).pop("get_rope_index")
    try:
        yield True
    finally:
        owner.get_rope_index = ours


def _number(tokens: np.ndarray, config, shapes: tuple[Iterator, Iterator], steps: Iterator[float]) -> np.ndarray:
    """[3, tokens] time, row and column of each token. `shapes`: grids of the next images and videos; `steps`: positions between the
    grids of the next videos. A grid's time is truncated to a whole number."""
    images, videos = shapes
    out = np.empty((3, len(tokens)), np.int64)
    is_media = np.isin(tokens, (config.image_token_id, config.video_token_id))
    at = following = 0
    while at < len(tokens):
        if is_media[at]:
            image = tokens[at] == config.image_token_id
            grid = np.indices(next(images if image else videos))
            grid[0] = (grid[0] * (1.0 if image else next(steps))).astype(np.int64)
            end, places = at + grid[0].size, grid.reshape(3, -1)
        else:
            end = at + int(np.argmax(np.append(is_media[at:], True)))
            places = np.arange(end - at)
        out[:, at:end] = places + following
        following, at = int(out[:, at:end].max()) + 1, end
    return out


def _shapes(config, grids: torch.Tensor | None) -> Iterator[tuple[int, int, int]]:
    """(time, rows, columns) of each media item in tokens."""
    side = config.vision_config.spatial_merge_size
    return ((t, h // side, w // side) for t, h, w in ([] if grids is None else grids.tolist()))


def _steps(config, seconds: Any, videos: int) -> list[float]:
    """Positions between two grids of each video. Those of Qwen2-VL count grids: it has no times."""
    a_second = getattr(config.vision_config, "tokens_per_second", A_SECOND[config.model_type])
    if seconds is None or config.model_type == "qwen2_vl":
        return [float(a_second)] * videos
    return [second * a_second for second in torch.as_tensor(seconds, dtype=torch.float32).tolist()]
