"""Whether the models that a recipe trains can be trained, before anything is run: by files that are on this machine."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.planning.bind import Bound, BoundRecipe
from pipeline.modeling import trainable
from pipeline.modeling.checkpoint import cached_folder
from schemas.errors import RecipeError, TrainError
from schemas.recipe import models

LOCAL = ("vllm", "hf")  # engines whose `model` is a folder or a name on the Hub


def check_trained(recipe: BoundRecipe, rows: Mapping[str, int] | None = None) -> None:
    """RecipeError if a step trains a model that cannot be trained, or a text-only one on media: on `rows` (kind of a sample -> number), or
    because no source makes anything else."""
    sources = [step for step in recipe.steps if step.family == "source"]
    for step, folder in _trained(recipe):
        with _named(step):
            trainable.look(folder)
            trainable.refuse_media(folder, rows or {})
        if (
            sources
            and not any("text" in source.module.MEDIA for source in sources)
            and trainable.reads_only_text(folder)
        ):
            raise RecipeError(
                f"{step.name}: {folder} reads only text, but {sources[0].title} makes samples with media; train a multimodal model"
            )


def _trained(recipe: BoundRecipe) -> Iterator[tuple[Bound, Path]]:
    """(step, folder of the model from which it starts), for the models that are on this machine."""
    for step in recipe.steps:
        name = next(iter(models(step.settings)), None) if step.family == "train" else None
        while name in recipe.trained:
            name = recipe.trained[name]
        if name is None or recipe.models[name].get("engine") not in LOCAL:
            continue
        if folder := cached_folder(recipe.models[name]["model"], recipe.models[name].get("revision")):
            yield step, folder


@contextmanager
def _named(step: Bound) -> Generator[None]:
    try:
        yield
    except TrainError as error:
        raise RecipeError(f"{step.name}: {error}") from None
