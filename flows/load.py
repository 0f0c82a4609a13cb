"""Recipes from their files: found by name or path, overridden by key=value, parsed, and checked as a whole."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from flows import plug
from schemas import recipe as recipes
from schemas.errors import RecipeError

FOLDER = Path(__file__).parent / "recipes"


def known() -> dict[str, Path]:
    """The bundled recipes by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe: a path as it is, else a bundled name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {name}")
        return path
    if name not in known():
        raise RecipeError(
            f"no recipe is called '{name}': {recipes.near(name, known())}; or give the path of a .yaml file"
        )
    return known()[name]


def document(name: str, settings: Sequence[str] = ()) -> dict:
    """The parsed YAML of a recipe with the overrides applied."""
    path = find(name)
    try:
        raw = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not readable YAML: {_trouble(error)}") from None
    recipes.parse(raw)
    for assignment in settings:
        override(raw, assignment)
    return raw


def _trouble(error: Exception) -> str:
    """What is wrong and where, without the line itself, which may hold anything."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


def override(raw: dict, assignment: str) -> None:
    """Applies one key=value to a recipe's document, in place."""
    recipes.override(raw, assignment, _value)


def _value(text: str):
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"'{text}' is not a readable value") from None
    if isinstance(value, str):  # YAML 1.1 reads 4e-4 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def checked(raw: dict, given: tuple[str, ...] = ()) -> recipes.Recipe:
    """The typed recipe, when every step of it can run on what is `given` and what the steps leave. RecipeError otherwise."""
    recipe = recipes.parse(raw)
    recipes.check(recipe, plug.operator, given)
    for name, spec in recipe.models.items():
        module = plug.engine(spec["engine"])
        recipes.settings_of(module, {k: v for k, v in spec.items() if k != "engine"}, f"models.{name}")
    for step in recipe.steps:
        for model in plug.models_of(step.family, step.operator, step.settings):
            if model not in recipe.models and model not in {s.binds for s in recipe.steps}:
                raise RecipeError(f"{step.name}: no model '{model}': {recipes.near(model, recipe.models)}")
    return recipe
