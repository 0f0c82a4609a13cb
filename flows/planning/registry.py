"""From a name in a recipe to its module: an operator is one file, its folder is its family, its file name its name."""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from schemas.errors import RecipeError
from schemas.operator import Context
from schemas.recipe import models, settings_of
from schemas.records import digest
from schemas.redact import unsigned
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
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.ispkg and not info.name.startswith("_")]


def operator(family: str, name: str) -> ModuleType:
    """The module of an operator. RecipeError lists what exists."""
    if family not in HOME:
        raise RecipeError(f"no family of operators is called '{family}': {did_you_mean(family, HOME)}")
    name = RENAMED.get(f"{family}.{name}", f"{family}.{name}").partition(".")[2]
    return _module(f"{HOME[family]}.{family}", name, f"{family} operator")


def engine(name: str) -> ModuleType:
    """The module of an engine. RecipeError lists what exists."""
    return _module("pipeline.engines", name, "engine")


def engine_of(spec: Mapping[str, Any], name: str) -> tuple[ModuleType, Any]:
    """The module and the settings of a model's engine."""
    module = engine(spec["engine"])
    return module, settings_of(module, {k: v for k, v in spec.items() if k != "engine"}, f"models.{name}")


def _module(folder: str, name: str, what: str) -> ModuleType:
    known = names(folder)
    if name not in known:
        raise RecipeError(f"no {what} is called '{name}': {did_you_mean(name, known)}")
    return importlib.import_module(f"{folder}.{name}")


def parts(module: ModuleType, settings, where: str) -> Iterator[tuple[str, str, str, ModuleType, Any]]:
    """The operators among an operator's own settings: (setting, verb, title, module, settings), in order."""
    for setting, verb in getattr(module, "BUILDS", {}).items():
        value = getattr(settings, setting)
        for entry in value if isinstance(value, list | tuple) else [value]:
            title, inner = _titled(entry, f"{where}.{setting}")
            family, _, name = title.partition(".")
            part = operator(family, name or family)
            if not hasattr(part, verb):
                raise RecipeError(f"{where}: {title} cannot serve as {setting}: it has no `{verb}`")
            yield setting, verb, title, part, settings_of(part, inner, f"{where}.{setting}")


def _titled(entry: Any, where: str) -> tuple[str, dict]:
    """An operator's title and its settings, from `TITLE` or `{TITLE: settings}`."""
    match entry:
        case str():
            return entry, {}
        case {**only} if len(only) == 1:
            ((title, settings),) = only.items()
            if isinstance(title, str) and isinstance(settings or {}, dict):
                return title, settings or {}
    raise RecipeError(f"{where}: name one operator, like split.patterns or {{split.model: {{model: policy}}}}")


def models_of(family: str, name: str, settings: Mapping[str, Any]) -> list[str]:
    """The names of the models that a step and its parts use."""
    module = operator(family, name)
    return list(dict.fromkeys(_models(module, settings_of(module, settings, name), name)))


def _models(module: ModuleType, settings, where: str) -> Iterator[str]:
    yield from models(settings)
    for *_, part, inner in parts(module, settings, where):
        yield from _models(part, inner, where)


def version(module: ModuleType, settings, identity: Mapping[str, str], where: str) -> str:
    """A digest of everything that decides what an operator makes of its rows: code version, settings, prompts, models, parts."""
    texts = module.prompt_texts(settings) if hasattr(module, "prompt_texts") else ()
    files = [_contents(Path(p)) for p in module.named_files(settings)] if hasattr(module, "named_files") else ()
    said = module.digested(settings) if hasattr(module, "digested") else settings.model_dump(mode="json")
    return digest(
        DIGESTED_AS.get(module.__name__, module.__name__), module.VERSION, _unsigned(said), [*texts, *files],
        [identity.get(model) for model in models(settings)],
        [version(part, inner, identity, where) for *_, part, inner in parts(module, settings, where)],
    )  # fmt: skip


def _unsigned(value: Any) -> Any:
    """Settings without what changes in an address each time that it is signed."""
    if isinstance(value, str):
        return unsigned(value) if ":" in value else value
    if isinstance(value, dict):
        return {key: _unsigned(of) for key, of in value.items()}
    return [_unsigned(of) for of in value] if isinstance(value, list) else value


def _contents(path: Path) -> str:
    """A digest of a file, or of the files in a folder; of what is not there too, which the operator says better."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return digest([_read(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


@lru_cache(4096)
def _read(file: Path, size: int, changed: int) -> str:
    """A digest of a file's bytes, which are read once while its size and time stay."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def fits(module: ModuleType, settings) -> bool:
    """Whether the operator must look at all samples before the first."""
    return hasattr(module, "fit") and getattr(module, "fits", lambda settings: True)(settings)


def build(module: ModuleType, settings, context: Context) -> Context:
    """The context with the operator's parts built: a callable for a setting, a list of them for a list."""
    built: dict[str, Any] = {}
    for setting, verb, _, part, inner in parts(module, settings, context.step):
        bound = partial(getattr(part, verb), settings=inner, context=build(part, inner, context))
        if isinstance(getattr(settings, setting), list | tuple):
            built.setdefault(setting, []).append(bound)
        else:
            built[setting] = bound
    return replace(context, built=built) if built else context
