"""Recipes: named models and a list of steps, each of which is an operator of a family."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas import operator as operators
from schemas.errors import RecipeError
from schemas.operator import OperatorModule
from schemas.ports import EngineModule
from schemas.redact import clean
from schemas.text import did_you_mean

PREDICATES = ("right", "wrong", "has_answer", "no_answer", "best")  # allowed in `where:`; anything else must be a role
STEP_KEYS = ("name", "from", "where", "share", "contradictions", "same_reply", "as")
RECIPE_KEYS = ("name", "about", "models", "steps", "rounds", "dataset")


class Step(BaseModel):
    """One step: an operator, its settings, and the rows that it processes."""

    model_config = ConfigDict(frozen=True)
    name: str = Field(pattern=r"^\w[\w-]*$")  # used as a folder name
    family: str
    operator: str
    settings: dict[str, Any]
    sources: tuple[str, ...] = ()  # `from:` only rows of these steps
    where: tuple[str, ...] = ()
    share: Annotated[float, Field(gt=0, le=1)] | Literal["rest"] | None = None
    contradictions: Literal["drop", "keep"] = "drop"  # pairs that contradict one of this step
    same_reply: Literal["drop", "keep"] = (
        "drop"  # pairs that rest on this judge alone, if it gives one reply to nearly every question
    )
    binds: str | None = None  # `as:` name of the model that it leaves

    @property
    def title(self) -> str:
        return self.family if self.family == self.operator else f"{self.family}.{self.operator}"


class Rounds(BaseModel):
    """All steps, `n` times in total; from the second time on, the model NAME is the one that the step `as: VALUE` left."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str]  # ty: ignore[incompatible-mutable-override]  pydantic reads the type of `extra` here
    n: int = Field(ge=1, le=100)

    @property
    def rebinds(self) -> dict[str, str]:
        """{NAME: VALUE}."""
        return dict(self.model_extra or {})


class DatasetSettings(BaseModel):
    """How the dataset is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    media: Literal["portable", "original"] = "portable"
    """form of the media: `portable` converts what `datasets`, Pillow, browsers or hosted models would not show as it was shown to models (see
    docs/media.md) and leaves other files as they are; `original` are the files as they were read"""


class Price(BaseModel):
    """The price of a model. Not part of its settings, as it does not affect any row."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    prompt: float = Field(0, ge=0)  # per million tokens
    answer: float = Field(0, ge=0)  # per million tokens
    request: float = Field(0, ge=0)  # per request
    currency: str = Field("USD", min_length=1)


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    about: str = ""
    models: dict[str, dict[str, Any]] = {}
    """name -> engine and settings"""
    prices: dict[str, Price] = {}
    steps: tuple[Step, ...]
    rounds: Rounds | None = None
    dataset: DatasetSettings = DatasetSettings()


def parse(raw: Any) -> Recipe:
    """The typed recipe of a parsed YAML document. RecipeError names the first error."""
    if not isinstance(raw, dict):
        raise RecipeError("a recipe must be a mapping with `name`, `models` and `steps`")
    for key in raw:
        if key not in RECIPE_KEYS:
            raise RecipeError(f"unknown key '{key}' in the recipe; {did_you_mean(str(key), RECIPE_KEYS)}")
    if not isinstance(raw.get("name"), str) or not raw["name"]:
        raise RecipeError("the recipe has no `name`; add one, like `name: demo`")
    if not isinstance(raw.get("steps"), list) or not raw["steps"]:
        raise RecipeError("the recipe has no `steps`; add a list like `- make.sample: {model: policy, n: 4}`")
    models = raw.get("models") or {}
    if not isinstance(models, dict) or not all(
        isinstance(m, dict) and isinstance(m.get("engine"), str) for m in models.values()
    ):
        raise RecipeError("each model needs an `engine`, like `policy: {engine: vllm, model: data/models/tiny}`")
    prices = {name: _price(name, m["price"]) for name, m in models.items() if "price" in m}
    models = {name: {k: v for k, v in m.items() if k != "price"} for name, m in models.items()}
    steps = tuple(_step(entry, place) for place, entry in enumerate(raw["steps"], 1))
    names = [s.name for s in steps]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two steps have the name '{name}'; give one of them another `name:`")
    try:
        return Recipe(
            name=clean(raw["name"]), about=clean(str(raw.get("about") or "")), models=models, prices=prices, steps=steps,
            rounds=raw.get("rounds"), dataset=raw.get("dataset") or {},
        )  # fmt: skip
    except ValidationError as error:
        raise RecipeError(_first_error(error, "recipe")) from None


def _step(entry: Any, place: int) -> Step:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise RecipeError(f"step {place} must be a single operator with its settings, like `- make.sample: {{n: 4}}`")
    title, settings = next(iter(entry.items()))
    if not isinstance(settings or {}, dict):
        raise RecipeError(f"step {place} ({title}): its settings must be a mapping, like {{n: 4}}")
    settings = dict(settings or {})
    family, _, operator = str(title).partition(".")
    keys = STEP_KEYS if family != "corrupt" else [k for k in STEP_KEYS if k != "as"]  # in this family `as` is a setting
    own = {k: settings.pop(k) for k in keys if k in settings}
    where, sources = own.get("where") or (), own.get("from") or ()
    try:
        return Step(
            name=own.get("name") or operator or family, family=family, operator=operator or family, settings=settings,
            sources=(sources,) if isinstance(sources, str) else tuple(sources),
            where=(where,) if isinstance(where, str) else tuple(where),
            share=own.get("share"), contradictions=own.get("contradictions", "drop"),
            same_reply=own.get("same_reply", "drop"), binds=own.get("as"),
        )  # fmt: skip
    except (ValidationError, TypeError) as error:
        cause = _first_error(error, str(title)) if isinstance(error, ValidationError) else str(error)
        raise RecipeError(f"step {place} ({title}): {cause}") from None


def _price(model: str, value: Any) -> Price:
    example = "price: {prompt: 2.5, answer: 10}, per million tokens"
    try:
        return Price.model_validate(value)
    except ValidationError as error:
        raise RecipeError(f"models.{model}.price: {_first_error(error, 'price')}; write it like {example}") from None


def without_prices(raw: dict) -> dict:
    """A recipe's document without prices, which do not affect any row."""
    models = {
        name: {k: v for k, v in spec.items() if k != "price"} if isinstance(spec, dict) else spec
        for name, spec in (raw.get("models") or {}).items()
    }
    return {**raw, "models": models} if "models" in raw else raw


def _first_error(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or where}: {first['msg']}"


def override(raw: dict, assignment: str, read: Callable[[str], Any]) -> None:
    """Applies `STEP.setting=value` or `models.NAME.setting=value` in place to a recipe's document, as given to `parse`.

    `read` parses the value's text. RecipeError for a malformed assignment or an unknown step or model."""
    key, equals, text = assignment.partition("=")
    path = key.strip().split(".")
    if not equals or len(path) < 2:
        raise RecipeError(f"'{assignment}' must have the form STEP.setting=value or models.NAME.setting=value")
    value = read(text)
    if path[0] == "models" and len(path) == 3:
        models = raw.get("models") or {}
        if path[1] not in models:
            raise RecipeError(f"'{assignment}': unknown model '{path[1]}'; {did_you_mean(path[1], models)}")
        models[path[1]][path[2]] = value
        return
    if path[0] in ("rounds", "dataset"):
        raw[path[0]] = {**(raw.get(path[0]) or {}), path[1]: value}
        return
    steps = {}
    for place, entry in enumerate(raw.get("steps") or [], 1):
        step = _step(entry, place)
        steps[step.name] = place - 1
    if path[0] not in steps:
        raise RecipeError(f"'{assignment}': unknown step '{path[0]}'; {did_you_mean(path[0], [*steps, 'models'])}")
    entry = raw["steps"][steps[path[0]]]
    if isinstance(entry, str):
        entry = raw["steps"][steps[path[0]]] = {entry: {}}
    title = next(iter(entry))
    entry[title] = entry[title] or {}
    target = entry[title]
    for name in path[1:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise RecipeError(f"'{assignment}': {name} has no nested settings; set {name} itself")
    target[path[-1]] = value


def settings_of(
    module: OperatorModule | EngineModule, settings: Mapping[str, Any], where: str
) -> operators.OperatorSettings:
    """The typed settings of an operator or engine. RecipeError names the key and the valid ones."""
    try:
        return cast(operators.OperatorSettings, module.Settings(**settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"{where}: unknown setting '{key}'; {did_you_mean(key, module.Settings.model_fields)}"
            ) from None
        raise RecipeError(f"{where}: {key or 'settings'}: {first['msg']}") from None


def models(settings: Any) -> tuple[str, ...]:
    """The recipe's models that an operator's settings name: its `model`, the pool `models`, the `reference` model, and the model that corrupts
    its `media`."""
    named = (
        getattr(settings, "model", None),
        getattr(getattr(settings, "media", None), "model", None),
        *(getattr(settings, "models", None) or ()),
        getattr(settings, "reference", None),
    )
    return tuple(name for name in named if name)
