"""A recipe's steps, each bound once: its operator is found, its settings are parsed and what it reads, leaves and asks is known.

    recipe = bind(parse(document))
    recipe.steps[1].module, recipe.steps[1].settings, recipe.steps[1].models

Whatever runs, plans, estimates or shows a recipe takes these; nobody parses settings a second time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from flows.planning import registry
from schemas import operator as operators
from schemas.errors import RecipeError
from schemas.operator import VERBS, Context, Fitted, OperatorModule
from schemas.ports import EngineModule, EngineSettings
from schemas.recipe import PREDICATES, Price, Recipe, Rounds, Step, models, settings_of
from schemas.records import digest
from schemas.redact import unsigned
from schemas.text import did_you_mean

Loaded = tuple[EngineModule, EngineSettings]
"""an engine's module and the settings of one model for it"""


@dataclass(frozen=True)
class Operator:
    """An operator with its typed settings, and the operators among them."""

    module: OperatorModule
    settings: operators.OperatorSettings
    parts: tuple["Part", ...] = ()


@dataclass(frozen=True)
class Part:
    """An operator that a setting of another one names: the splitter of a judge of claims."""

    setting: str
    verb: str  # what it is called as
    title: str
    operator: Operator


@dataclass(frozen=True, kw_only=True)
class Bound(Operator):
    """A step with everything that is needed to run it, but for the engines. `version` is set in a unit, where the models are known."""

    step: Step
    models: tuple[str, ...] = ()
    """the recipe's names of the models that it and its parts use"""
    reads: frozenset[str] = frozenset()
    """tables that it needs"""
    sees: frozenset[str] = frozenset()
    """tables that it needs or looks at"""
    leaves: tuple[str, ...] = ()
    """tables that it appends to"""
    fit: Callable[..., Fitted] | None = None
    """what it does with all samples before the first, where it must look at them"""
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """table -> the steps among `from:` that leave rows in it"""
    share: tuple[float, float] = (0.0, 1.0)
    """of the samples, placed between 0 and 1, those that it takes"""
    version: str = ""
    """digest of everything that decides what it makes of its rows"""
    fitted: Fitted | None = None
    """what the operator's `fit` found"""

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def family(self) -> str:
        return self.step.family

    @property
    def title(self) -> str:
        return self.step.title

    @property
    def verb(self) -> Callable[..., Any]:
        """What runs it."""
        return getattr(self.module, VERBS[self.family])

    @property
    def key(self) -> str:
        own = (self.fitted.key,) if self.fitted else ()
        return digest(self.step.name, self.version, self.step.sources, self.step.where, self.step.share, *own)

    def of(self, identities: Mapping[str, str]) -> "Bound":
        """The step where its models have these identities."""
        return replace(self, version=version(self, identities))


@dataclass(frozen=True)
class BoundRecipe:
    """A recipe whose steps can all run."""

    name: str
    about: str
    models: dict[str, dict[str, Any]]
    """name -> engine and settings, as the recipe says them"""
    prices: dict[str, Price]
    rounds: Rounds | None
    steps: tuple[Bound, ...]
    engines: dict[str, Loaded]
    """name -> the engine of one of `models`"""

    @property
    def trained(self) -> dict[str, str]:
        """Name of a model that a step leaves -> the model that it is trained from."""
        return {of.step.binds: model for of in self.steps if of.step.binds for model in models(of.settings)[:1]}


def bind(recipe: Recipe, given: Iterable[str] = ()) -> BoundRecipe:
    """The recipe bound. RecipeError says which step cannot run on the tables `given` and those that earlier steps leave, or which
    operator, engine, setting or model there is not."""
    left, roles, known = set(given), set(PREDICATES), set(recipe.models)
    trained = {s.binds for s in recipe.steps if s.binds}
    bound: dict[str, Bound] = {}
    taken = 0.0  # the share of the last step that has one, which `rest` leaves over
    for step in recipe.steps:
        of = replace(bound_step(step), sources=_sources(step, bound), share=_share(step, taken))
        _check_rows(of, left, roles)
        for model in models(of.settings):
            if model not in known:
                raise RecipeError(
                    f"{step.name}: no model '{model}': {'a later step makes it' if model in trained else did_you_mean(model, known)}"
                )
        if step.binds:
            if step.family != "train":
                raise RecipeError(f"{step.name}: only a `train` step leaves a model to call `as: {step.binds}`")
            if step.binds in known:
                raise RecipeError(f"{step.name}: `as: {step.binds}` is the name of another model already")
            known.add(step.binds)
        bound[step.name] = of
        left.update(of.leaves)
        roles.update(getattr(of.module, "ROLES", ()))
        if role := getattr(of.settings, "role", None):
            roles.add(role)
        if isinstance(step.share, float):
            taken = step.share
    for name, model in (recipe.rounds.rebinds if recipe.rounds else {}).items():
        if name not in recipe.models or model not in trained:
            raise RecipeError(f"rounds: '{name}: {model}' must name a model of the recipe and what a step leaves `as:`")
    engines = {name: registry.engine_of(spec, name) for name, spec in recipe.models.items()}
    for of in bound.values():
        for model in of.models:
            if model not in recipe.models and model not in trained:
                raise RecipeError(f"{of.name}: no model '{model}': {did_you_mean(model, recipe.models)}")
    return BoundRecipe(
        recipe.name, recipe.about, recipe.models, recipe.prices, recipe.rounds, tuple(bound.values()), engines
    )


def bound_step(step: Step) -> Bound:
    """One step bound, by itself: which rows `from` and `share` give it is known of a whole recipe's only. RecipeError as `bind`."""
    module = registry.operator(step.family, step.operator)
    if not hasattr(module, "SCOPE"):
        raise RecipeError(
            f"{step.name}: {step.title} is not a step but a part of one: name it in a setting of another operator"
        )
    of = _operator(module, step.settings, step.name)
    more = getattr(module, "reads", lambda settings: ())(of.settings)
    reads = frozenset((*module.READS, *more))
    return Bound(
        module, of.settings, of.parts, step=step, models=tuple(dict.fromkeys(_models(of))), reads=reads,
        sees=reads.union(getattr(module, "SEES", ())), leaves=tuple(module.LEAVES), fit=_fit(of),
    )  # fmt: skip


def _sources(step: Step, before: Mapping[str, Bound]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for source in step.sources:
        if source not in before:
            raise RecipeError(f"{step.name}: `from: {source}` names no step before it: {did_you_mean(source, before)}")
        for table in before[source].leaves:
            found[table] = found.get(table, frozenset()) | {source}
    return found


def _check_rows(of: Bound, left: set[str], roles: set[str]) -> None:
    """That there are the rows which a step needs: tables that were `left` and the words that `where:` knows."""
    for table in (*of.module.READS, *sorted(of.reads.difference(of.module.READS))):
        if table not in left:
            raise RecipeError(
                f"{of.name} ({of.title}) needs {table}, and no step before it makes any: put one before it"
            )
    for predicate in of.step.where:
        if predicate not in roles:
            raise RecipeError(f"{of.name}: unknown `where: {predicate}`: {did_you_mean(predicate, roles)}")


def _operator(module: OperatorModule, said: Mapping[str, Any], where: str) -> Operator:
    """An operator with the settings that were `said`, and with its parts."""
    settings = settings_of(module, said, where)
    return Operator(module, settings, tuple(_parts(module, settings, where)))


def _parts(module: OperatorModule, settings: operators.OperatorSettings, where: str) -> Iterator[Part]:
    for setting, verb in getattr(module, "BUILDS", {}).items():
        value = getattr(settings, setting)
        for entry in value if isinstance(value, list | tuple) else [value]:
            title, inner = _titled(entry, f"{where}.{setting}")
            family, _, name = title.partition(".")
            part = registry.operator(family, name or family)
            if not hasattr(part, verb):
                raise RecipeError(f"{where}: {title} cannot serve as {setting}: it has no `{verb}`")
            yield Part(setting, verb, title, _operator(part, inner, f"{where}.{setting}"))


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


def _models(of: Operator) -> Iterator[str]:
    yield from models(of.settings)
    for part in of.parts:
        yield from _models(part.operator)


def _fit(of: Operator) -> Callable[..., Fitted] | None:
    return getattr(of.module, "fit", None) if getattr(of.module, "fits", lambda settings: True)(of.settings) else None


def _share(step: Step, taken: float) -> tuple[float, float]:
    """Which samples, placed between 0 and 1, the step takes, where a step before it took those up to `taken`."""
    if step.share == "rest":
        return taken, 1.0
    return 0.0, 1.0 if step.share is None else float(step.share)


def all_settings(of: Operator) -> Iterator[operators.OperatorSettings]:
    """The settings of an operator and of its parts, its own first."""
    yield of.settings
    for part in of.parts:
        yield from all_settings(part.operator)


def version(of: Operator, identities: Mapping[str, str]) -> str:
    """A digest of everything that decides what an operator makes of its rows: code version, settings, prompts, models, parts."""
    module, settings = of.module, of.settings
    texts = getattr(module, "prompt_texts", lambda settings: ())(settings)
    files = [_contents(Path(p)) for p in getattr(module, "named_files", lambda settings: ())(settings)]
    said = getattr(module, "digested", lambda settings: settings.model_dump(mode="json"))(settings)
    return digest(
        registry.DIGESTED_AS.get(module.__name__, module.__name__), module.VERSION, _unsigned(said), [*texts, *files],
         [identities.get(model) for model in models(settings)],
        [version(part.operator, identities) for part in of.parts],
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


def build(of: Operator, context: Context) -> Context:
    """The context with the operator's parts built: a callable for a setting, a list of them for a list."""
    built: dict[str, Any] = {}
    for part in of.parts:
        inner = part.operator
        call = partial(getattr(inner.module, part.verb), settings=inner.settings, context=build(inner, context))
        if isinstance(getattr(of.settings, part.setting), list | tuple):
            built.setdefault(part.setting, []).append(call)
        else:
            built[part.setting] = call
    return replace(context, built=built) if built else context
