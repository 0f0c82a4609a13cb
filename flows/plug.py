"""From a name in a recipe to its module: an operator is one file, its folder is its family, its file name its name."""

import importlib
import pkgutil
from types import ModuleType

from schemas.errors import RecipeError
from schemas.operator import VERBS
from schemas.recipe import near

HOME = {
    "source": "pipeline", "make": "pipeline", "pair": "pipeline", "filter": "pipeline", "train": "pipeline",
    "evaluate": "pipeline", "judge": "annotators", "split": "annotators", "score": "annotators",
}  # fmt: skip


def names(family: str) -> list[str]:
    """The operators of a family: the modules of its folder that have Settings and the family's verb."""
    folder = importlib.import_module(f"{HOME[family]}.{family}")
    found = []
    for info in pkgutil.iter_modules(folder.__path__):
        text = importlib.util.find_spec(f"{folder.__name__}.{info.name}").loader.get_source(None) if not info.ispkg else ""
        if "class Settings(" in text and f"def {VERBS[family]}(" in text:
            found.append(info.name)
    return found


def operator(family: str, name: str) -> ModuleType:
    """The module of an operator. RecipeError lists what exists."""
    if family not in HOME:
        raise RecipeError(f"no family of operators is called '{family}': {near(family, HOME)}")
    known = names(family)
    if name not in known:
        raise RecipeError(f"no {family} operator is called '{name}': {near(name, known)}")
    return importlib.import_module(f"{HOME[family]}.{family}.{name}")


def engine(name: str) -> ModuleType:
    """The module of an engine. RecipeError lists what exists."""
    folder = importlib.import_module("pipeline.engines")
    known = [i.name for i in pkgutil.iter_modules(folder.__path__) if i.name in ("vllm", "openai", "hf")]
    if name not in known:
        raise RecipeError(f"no engine is called '{name}': {near(name, known)}")
    return importlib.import_module(f"pipeline.engines.{name}")
