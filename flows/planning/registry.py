"""From a name in a recipe to its module: an operator is one file, its folder is its family, its file name its name."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, cast

from flows.planning import contracts
from schemas.errors import RecipeError
from schemas.operator import OperatorModule
from schemas.ports import EngineModule, EngineSettings
from schemas.recipe import settings_of
from schemas.text import did_you_mean

HOME = {
    "source": "pipeline", "prompt": "pipeline", "make": "pipeline", "corrupt": "pipeline", "pair": "pipeline", "filter": "pipeline", "train": "pipeline",
    "evaluate": "pipeline", "judge": "annotators", "split": "annotators", "score": "annotators",
}  # fmt: skip

RENAMED = {"source.shards": "source.webdataset"}
"""old names of operators, which recipes may go on using, and the new ones; `train` is both of its own (registry.current)"""
DIGESTED_AS = {
    "pipeline.source.webdataset": "pipeline.source.shards", "pipeline.train.dpo": "pipeline.train.train", "pipeline.train.grpo": "pipeline.train.train",
}  # fmt: skip
"""modules that have moved, and what digests call them: a move makes nothing anew"""


def current(title: str, settings: Mapping[str, Any]) -> str:
    """What an operator that a recipe calls `title` is called now."""
    if title == "train":
        return "train.grpo" if settings.get("loss") == "grpo" else "train.dpo"
    return RENAMED.get(title, title)


@cache
def names(folder: str) -> list[str]:
    """The modules of a folder, each an operator or an engine; those that begin with `_` help them. None is imported to find out."""
    package = importlib.import_module(folder)
    return [
        info.name for info in pkgutil.iter_modules(package.__path__) if not info.ispkg and not info.name.startswith("_")
    ]


def operator(family: str, name: str) -> OperatorModule:
    """The module of an operator. RecipeError lists what exists, or says how the module breaks its contract."""
    if family not in HOME:
        raise RecipeError(f"no family of operators is called '{family}': {did_you_mean(family, HOME)}")
    name = RENAMED.get(f"{family}.{name}", f"{family}.{name}").partition(".")[2]
    module = _module(f"{HOME[family]}.{family}", name, f"{family} operator")
    contracts.check_operator(module, family)
    return cast(OperatorModule, module)


def engine(name: str) -> EngineModule:
    """The module of an engine. RecipeError lists what exists, or says how the module breaks its contract."""
    module = _module("pipeline.engines", name, "engine")
    contracts.check_engine(module)
    return cast(EngineModule, module)


def engine_of(spec: Mapping[str, Any], name: str) -> tuple[EngineModule, EngineSettings]:
    """The module and the settings of a model's engine."""
    module = engine(spec["engine"])
    settings = settings_of(module, {k: v for k, v in spec.items() if k != "engine"}, f"models.{name}")
    return module, cast(EngineSettings, settings)


def _module(folder: str, name: str, what: str) -> ModuleType:
    known = names(folder)
    if name not in known:
        raise RecipeError(f"no {what} is called '{name}': {did_you_mean(name, known)}")
    return importlib.import_module(f"{folder}.{name}")
