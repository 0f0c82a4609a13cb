"""Loads recipes: finds them by name or path, applies key=value overrides, parses them, and checks them as a whole."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from flows.planning import registry
from flows.planning.bind import BoundRecipe, bind
from schemas import recipe as recipes
from schemas.disk import disk, place, short_path
from schemas.errors import RecipeError
from schemas.text import did_you_mean

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parents[1] / "recipes"
LONGEST = 4 << 20  # bytes of a recipe file
NODES, DEPTH = 100_000, 50  # values in a recipe; nesting depth


def known() -> dict[str, Path]:
    """The bundled recipes by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe: a path ending in .yaml or .yml, else a bundled name. RecipeError if there is none."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        with place(path, kind=RecipeError):
            found = path.exists()
        if not found:
            raise RecipeError(f"recipe file {short_path(name)} does not exist; correct the path")
        if not path.is_file():
            raise RecipeError(f"{short_path(name)} is a folder or a device; give the recipe's file")
        return path
    if name not in known():
        raise RecipeError(
            f"unknown recipe '{short_path(name)}'; {did_you_mean(name, known())}; or give the path of a .yaml file"
        )
    return known()[name]


def document(name: str, settings: Sequence[str] = ()) -> dict:
    """The parsed YAML of a recipe with the overrides applied. RecipeError if it cannot be read or parsed."""
    path = find(name)
    with disk(path, RecipeError):
        data = path.read_bytes()
    if len(data) > LONGEST:
        raise RecipeError(
            f"{path} has {len(data):,} bytes, more than the {LONGEST:,} of a recipe; give the recipe's file"
        )
    try:
        raw = _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise RecipeError(f"cannot read {path} as YAML: it is not UTF-8; save it as UTF-8") from None
    except ValueError as error:
        raise RecipeError(f"cannot read {path} as YAML: {' '.join(str(error).split())}") from None
    try:
        recipes.parse(raw)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    for assignment in settings:
        override(raw, assignment)
    return raw


class _Loader(yaml.SafeLoader):
    """SafeLoader, unaffected by what other libraries in this process have changed in it."""


_TIMESTAMP = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::?\d\d)?))?)?", re.ASCII
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:timestamp", _TIMESTAMP, list("0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_timestamp)


def _parsed(text: str) -> Any:
    """The value of a YAML text. ValueError if it is not YAML, or contains something that JSON cannot represent, or too much."""
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a key that is a list
        raise ValueError(_trouble(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(value, [NODES])
    return value


def _check(value: Any, left: list[int], depth: int = 0) -> None:
    """ValueError if JSON cannot represent a value. `left`: how many more values are allowed; aliases count each time."""
    left[0] -= 1
    if left[0] < 0 or depth > DEPTH:
        raise ValueError(
            f"it has more than {NODES:,} values, or nesting deeper than {DEPTH}, possibly through aliases (*)"
        )
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {str(key)[:40]!r} is not text; put quotes around it")
            _check(key, left, depth + 1)
            _check(inner, left, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, left, depth + 1)
    elif isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("it contains an unpaired surrogate (\\ud800 to \\udfff); remove it")
    elif isinstance(value, int):
        if value.bit_length() > 1024:
            raise ValueError("it contains a number that is too large")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON cannot represent the number {value}")
    elif value is not None:
        raise ValueError(f"the value {str(value)[:40]!r} is a {type(value).__name__}; put quotes around it")


def _trouble(error: Exception) -> str:
    """What is wrong and where. Does not quote the line, which may hold secrets."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or error}{where}"


def override(raw: dict, assignment: str) -> None:
    """Applies one key=value to a recipe's document, in place."""
    recipes.override(raw, assignment, _value)


def _value(text: str):
    try:
        value = _parsed(text)
    except ValueError:
        raise RecipeError(f"cannot parse the value '{short_path(text)}'") from None
    if isinstance(value, str):  # YAML 1.1 reads 4e-4 as a string
        try:
            return float(value)
        except ValueError:
            return value
    return value


def comparable(raw: dict) -> dict:
    """A recipe's document reduced to what determines results, with current operator names. Equal results mean the same recipe."""
    raw = recipes.without_prices(raw)
    return {**raw, "steps": [_current(entry) for entry in raw["steps"]]} if isinstance(raw.get("steps"), list) else raw


def without_memory(raw: dict) -> dict:
    """A document as `comparable` returns it, without the `memory` of trainings, which does not affect what they learn."""
    trains = lambda entry: isinstance(entry, dict) and any(title.startswith("train.") for title in entry)
    steps = [
        {title: {k: v for k, v in settings.items() if k != "memory"} for title, settings in entry.items()}
        if trains(entry)
        else entry
        for entry in raw.get("steps") or []
    ]
    return {**raw, "steps": steps}


def _current(entry: Any) -> Any:
    """A step of a recipe's document under its operator's current name, keeping the step's own name."""
    if not isinstance(entry, dict) or len(entry) != 1:
        return entry
    ((title, settings),) = entry.items()
    settings = dict(settings or {})
    family, _, name = title.partition(".")
    new = registry.current(title, settings)
    if new != title:
        settings.setdefault("name", name or family)
    if family == "train" and settings.get("loss") == new.partition(".")[2]:
        del settings["loss"]  # implied by the operator's name
    return {new: settings}


def checked(raw: dict, given: tuple[str, ...] = ()) -> BoundRecipe:
    """The recipe with its steps bound. RecipeError unless every step can run on the tables `given` and those that earlier steps leave."""
    recipe = recipes.parse(raw)
    bound = bind(recipe, given)
    for step in recipe.steps:
        if (new := registry.current(step.title, step.settings)) != step.title:
            log.warning("%s is now called %s; the old name still works", step.title, new)
    return bound
