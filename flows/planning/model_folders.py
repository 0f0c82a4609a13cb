"""Whether the folders of a recipe's models exist, before anything is run."""

import re
from pathlib import Path

from flows.planning.bind import BoundRecipe
from flows.planning.trainable import LOCAL
from schemas.errors import RecipeError

ON_HUB = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")  # NAME or OWNER/NAME


def check_folders(recipe: BoundRecipe) -> None:
    """RecipeError if the `model` of an engine on this machine is neither a folder nor can be a name on the Hub."""
    for name, spec in recipe.models.items():
        model = spec.get("model")
        if (
            spec.get("engine") in LOCAL
            and isinstance(model, str)
            and not Path(model).is_dir()
            and not ON_HUB.fullmatch(model)
        ):
            remedy = (
                "`make real` sets it up"
                if model == "data/models/real"
                else "correct the path; a model on the Hub is OWNER/NAME"
            )
            raise RecipeError(f"models.{name}: the folder {model} does not exist; {remedy}")
