"""Finds the module of an operator or engine by its name in a recipe: one file each, in the folder of its family."""

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
"""old operator names that still work -> current names; `train` depends on its settings (see `current`)"""
DIGESTED_AS = {
    "pipeline.source.webdataset": "pipeline.source.shards", "pipeline.train.dpo": "pipeline.train.train", "pipeline.train.grpo": "pipeline.train.train",
}  # fmt: skip
"""modules that have moved -> their names in digests, so that a move changes no key"""


def current(title: str, settings: Mapping[str, Any]) -> str:
    """The current name of an operator that a recipe calls `title`."""
    if title == "train":
        return "train.grpo" if settings.get("loss") == "grpo" else "train.dpo"
    return RENAMED.get(title, title)


@cache
def names(folder: str) -> list[str]:
    """The operators or engines in a folder: its modules that do not start with `_`. None is imported."""
    package = importlib.import_module(folder)
    return [
        info.name for info in pkgutil.iter_modules(package.__path__) if not info.ispkg and not info.name.startswith("_")
    ]


def operator(family: str, name: str) -> OperatorModule:
    """The module of an operator. RecipeError if it does not exist (with suggestions) or violates its contract."""
    if family not in HOME:
        raise RecipeError(f"unknown operator family '{family}'; {did_you_mean(family, HOME)}")
    name = RENAMED.get(f"{family}.{name}", f"{family}.{name}").partition(".")[2]
    module = _module(f"{HOME[family]}.{family}", name, f"{family} operator")
    contracts.check_operator(module, family)
    return cast(OperatorModule, module)


def engine(name: str) -> EngineModule:
    """The module of an engine. RecipeError if it does not exist (with suggestions) or violates its contract."""
    module = _module("pipeline.engines", name, "engine")
    contracts.check_engine(module)
    return cast(EngineModule, module)


def engine_of(spec: Mapping[str, Any], name: str) -> tuple[EngineModule, EngineSettings]:
    """(module, settings) of a model's engine. RecipeError if the engine or a setting is unknown. `spec` as in the recipe."""
    module = engine(spec["engine"])
    settings = settings_of(module, {k: v for k, v in spec.items() if k != "engine"}, f"models.{name}")
    return module, cast(EngineSettings, settings)


def _module(folder: str, name: str, what: str) -> ModuleType:
    known = names(folder)
    if name not in known:
        raise RecipeError(f"unknown {what} '{name}'; {did_you_mean(name, known)}")
    return importlib.import_module(f"{folder}.{name}")
