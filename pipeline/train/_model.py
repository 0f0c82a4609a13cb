"""Loads a model, trains it and saves the new checkpoint."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.train._settings import Training
from schemas.operator import Context


def run_training(
    learn: Callable[[Any, Any, str], dict], kinds: Mapping[str, int], settings: Training, context: Context
) -> dict:
    """Runs `learn(model, encoder, folder of the model)` and returns its result with `seconds` and `model` (path of the checkpoint). TrainError
    for a model that cannot be trained, or not on rows of these `kinds` (kind of a sample -> number of rows).

    The trained checkpoint is in `context.folder`, in the layout of the one it started from."""
    import torch

    from pipeline.modeling.checkpoint import folder_of
    from pipeline.modeling.encode import Encoder
    from pipeline.modeling.load import adapt, freeze, load, merge, save
    from pipeline.modeling.trainable import look, refuse_media

    if not torch.cuda.is_available():  # more threads than free cores would make small models ten times slower
        torch.set_num_threads(int(os.environ.get("TORCH_NUM_THREADS", "1")))
    torch.manual_seed(settings.seed)
    source = str(folder_of(context.models[settings.model]))
    look(Path(source))
    refuse_media(Path(source), kinds)
    encoder = Encoder(source, **context.media_limits.get(settings.model, {}))
    model = load(source)
    freeze(model, settings.freeze)
    if settings.lora:
        model = adapt(model, settings.lora)
    context.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    result = learn(model, encoder, source)
    result["seconds"] = time.perf_counter() - started
    save(merge(model), source, context.folder)
    return result | {"model": str(context.folder)}
