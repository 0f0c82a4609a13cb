"""Binds the steps of a recipe: finds each operator, parses its settings, and determines what it reads, leaves and asks.

    recipe = bind(parse(document))
    recipe.steps[1].module, recipe.steps[1].settings, recipe.steps[1].models

Everything that runs, plans, estimates or shows a recipe uses the bound steps; settings are parsed only here."""

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
from schemas.recipe import PREDICATES, DatasetSettings, Price, Recipe, Rounds, Step, models, settings_of
from schemas.records import digest
from schemas.redact import without_signature
from schemas.text import did_you_mean

Loaded = tuple[EngineModule, EngineSettings]
"""(an engine's module, a model's settings for it)"""


@dataclass(frozen=True)
class Operator:
    """An operator with its typed settings, and the operators named in them."""

    module: OperatorModule
    settings: operators.OperatorSettings
    parts: tuple["Part", ...] = ()

    @property
    def longest(self) -> int:
        """Maximum tokens of an answer that it or one of its parts asks for; 0 if it asks for none."""
        return max([getattr(self.settings, "max_tokens", 0), *(part.operator.longest for part in self.parts)])


@dataclass(frozen=True)
class Part:
    """An operator named in a setting of another one, such as the splitter of a judge of claims."""

    setting: str
    verb: str  # the function of its module that is called
    title: str
    operator: Operator


def _editions(operator: Operator) -> Iterator[int]:
    """The EDITIONs of an operator and its parts that are not 0."""
    if edition := getattr(operator.module, "EDITION", 0):
        yield edition
    for part in operator.parts:
        yield from _editions(part.operator)


@dataclass(frozen=True, kw_only=True)
class Bound(Operator):
    """A step with everything needed to run it, except the engines. `version` is set by `of`, when the models are known."""

    step: Step
    models: tuple[str, ...] = ()
    """the recipe's names of the models used by it and its parts"""
    reads: frozenset[str] = frozenset()
    """tables it needs"""
    sees: frozenset[str] = frozenset()
    """tables it needs or looks at"""
    leaves: tuple[str, ...] = ()
    """tables it appends to"""
    fit: Callable[..., Fitted] | None = None
    """what it does with all samples before the first one, if it must look at them"""
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """table -> the steps of `from:` that leave rows in it"""
    share: tuple[float, float] = (0.0, 1.0)
    """the interval of [0, 1) in which it takes samples, by their hash"""
    version: str = ""
    """digest of everything that determines its rows"""
    fitted: Fitted | None = None
    """the result of the operator's `fit`"""
    ignored: frozenset[str] = frozenset()
    """judging steps whose judgements it does not see"""

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
        """The function that runs it."""
        return getattr(self.module, VERBS[self.family])

    @property
    def key(self) -> str:
        """A digest of everything that determines the step's rows, including which rows it gets. Needs `version` to be set."""
        own: list[Any] = [self.fitted.key] if self.fitted else []
        if self.step.contradictions == "keep":  # the default is not in it: keys from before stay
            own.append("contradictions")
        if "samples" in self.sources:  # likewise, for a step whose `from:` names no source
            own.append("samples")
        own += _editions(self)
        if self.ignored:
            own.append(sorted(self.ignored))
        return digest(self.step.name, self.version, self.step.sources, self.step.where, self.step.share, *own)

    def of(self, identities: Mapping[str, str]) -> "Bound":
        """The step with its version set; `identities` of its models by name."""
        return replace(self, version=version(self, identities))


@dataclass(frozen=True)
class BoundRecipe:
    """A recipe whose steps can all run."""

    name: str
    about: str
    models: dict[str, dict[str, Any]]
    """name -> engine and settings, as in the recipe"""
    prices: dict[str, Price]
    rounds: Rounds | None
    dataset: DatasetSettings
    steps: tuple[Bound, ...]
    engines: dict[str, Loaded]
    """name -> (engine, settings) of each of `models`"""

    @property
    def trained(self) -> dict[str, str]:
        """Name of a model that a step trains -> the model it is trained from."""
        return {
            bound.step.binds: model for bound in self.steps if bound.step.binds for model in models(bound.settings)[:1]
        }


def bind(recipe: Recipe, given: Iterable[str] = ()) -> BoundRecipe:
    """The recipe bound. `given`: tables that exist before the first step. RecipeError names the step that cannot run because no earlier
    step leaves a table it needs, or the operator, engine, setting or model that does not exist."""
    left, roles, known = set(given), set(PREDICATES), set(recipe.models)
    trained = {s.binds for s in recipe.steps if s.binds}
    bound: dict[str, Bound] = {}
    taken = 0.0  # the latest share; `share: rest` takes what it leaves
    for step in recipe.steps:
        current = bound_step(step)
        current = replace(current, sources=_sources(current, bound), share=_share(step, taken))
        _check_rows(current, left, roles)
        for model in models(current.settings):
            if model not in known:
                raise RecipeError(
                    f"{step.name}: unknown model '{model}'; {'only a later step trains it' if model in trained else did_you_mean(model, known)}"
                )
        if step.contradictions == "keep" and "pairs" not in current.leaves:
            raise RecipeError(f"{step.name}: `contradictions: keep` needs a step that leaves pairs; remove it")
        if step.same_reply == "keep" and (step.family != "judge" or not current.models):
            raise RecipeError(f"{step.name}: `same_reply: keep` needs a judge that asks a model; remove it")
        if step.binds:
            if step.family != "train":
                raise RecipeError(f"{step.name}: only a `train` step can have `as: {step.binds}`; remove it")
            if step.binds in known:
                raise RecipeError(
                    f"{step.name}: `as: {step.binds}` is already the name of another model; choose another name"
                )
            known.add(step.binds)
        bound[step.name] = current
        left.update(current.leaves)
        roles.update(getattr(current.module, "ROLES", ()))
        if role := getattr(current.settings, "role", None):
            roles.add(role)
        if isinstance(step.share, float):
            taken = step.share
    for name, model in (recipe.rounds.rebinds if recipe.rounds else {}).items():
        if name not in recipe.models or model not in trained:
            raise RecipeError(f"rounds: '{name}: {model}' must be a model of the recipe and the `as:` of a train step")
    engines = {name: registry.engine_of(spec, name) for name, spec in recipe.models.items()}
    for entry in bound.values():
        for model in entry.models:
            if model not in recipe.models and model not in trained:
                raise RecipeError(f"{entry.name}: unknown model '{model}'; {did_you_mean(model, recipe.models)}")
    return BoundRecipe(
        recipe.name,
        recipe.about,
        recipe.models,
        recipe.prices,
        recipe.rounds,
        recipe.dataset,
        tuple(bound.values()),
        engines,
    )


def bound_step(step: Step) -> Bound:
    """One step bound by itself, without `from` and `share`, which need the whole recipe. RecipeError as in `bind`."""
    module = registry.operator(step.family, step.operator)
    if not hasattr(module, "SCOPE"):
        raise RecipeError(f"{step.name}: {step.title} is not a step; name it in a setting of another operator")
    operator = _operator(module, step.settings, step.name)
    more = getattr(module, "reads", lambda settings: ())(operator.settings)
    reads = frozenset((*module.READS, *more))
    return Bound(
        module, operator.settings, operator.parts, step=step, models=tuple(dict.fromkeys(_models(operator))), reads=reads,
        sees=reads.union(getattr(module, "SEES", ())), leaves=tuple(module.LEAVES), fit=_fit(operator),
    )  # fmt: skip


def _sources(bound: Bound, before: Mapping[str, Bound]) -> dict[str, frozenset[str]]:
    """Table -> the steps of `from:` that leave rows in it. RecipeError if one of them leaves nothing that the step looks at."""
    found: dict[str, frozenset[str]] = {}
    seen = bound.sees | {"samples"}
    for source in bound.step.sources:
        if source not in before:
            raise RecipeError(f"{bound.name}: `from: {source}` is not an earlier step; {did_you_mean(source, before)}")
        if bound.module.SCOPE == "table" or bound.family == "source":
            what = "reads files" if bound.family == "source" else "takes the rows of all steps"
            raise RecipeError(f"{bound.name}: {bound.title} {what}, so `from: {source}` selects nothing; remove it")
        if seen.isdisjoint(before[source].leaves):
            choice = [name for name, step in before.items() if not seen.isdisjoint(step.leaves)]
            raise RecipeError(
                f"{bound.name}: `from: {source}` matches nothing: {source} leaves {' and '.join(before[source].leaves) or 'no rows'}, and "
                f"{bound.title} looks at {' and '.join(sorted(seen))}; name one of {', '.join(choice)}"
            )
        for table in before[source].leaves:
            found[table] = found.get(table, frozenset()) | {source}
    return found


def _check_rows(bound: Bound, left: set[str], roles: set[str]) -> None:
    """Checks that the tables a step needs are among those `left`, and that the predicates of `where:` are known."""
    for table in (*bound.module.READS, *sorted(bound.reads.difference(bound.module.READS))):
        if table not in left:
            raise RecipeError(
                f"{bound.name} ({bound.title}) needs {table}, but no earlier step leaves any; add one before it"
            )
    for predicate in bound.step.where:
        if predicate not in roles:
            raise RecipeError(f"{bound.name}: unknown predicate `where: {predicate}`; {did_you_mean(predicate, roles)}")


def _operator(module: OperatorModule, raw: Mapping[str, Any], where: str) -> Operator:
    """An operator with its parsed settings and its parts."""
    settings = settings_of(module, raw, where)
    return Operator(module, settings, tuple(_parts(module, settings, where)))


def _parts(module: OperatorModule, settings: operators.OperatorSettings, where: str) -> Iterator[Part]:
    for setting, verb in getattr(module, "BUILDS", {}).items():
        value = getattr(settings, setting)
        for entry in value if isinstance(value, list | tuple) else [value]:
            title, inner = _titled(entry, f"{where}.{setting}")
            family, _, name = title.partition(".")
            part = registry.operator(family, name or family)
            if not hasattr(part, verb):
                raise RecipeError(f"{where}: {title} cannot be used as {setting}; it has no `{verb}`")
            yield Part(setting, verb, title, _operator(part, inner, f"{where}.{setting}"))


def _titled(entry: Any, where: str) -> tuple[str, dict]:
    """(title, settings) of an operator, from `TITLE` or `{TITLE: settings}`."""
    match entry:
        case str():
            return entry, {}
        case {**only} if len(only) == 1:
            ((title, settings),) = only.items()
            if isinstance(title, str) and isinstance(settings or {}, dict):
                return title, settings or {}
    raise RecipeError(f"{where}: name one operator, like split.patterns or {{split.model: {{model: policy}}}}")


def _models(operator: Operator) -> Iterator[str]:
    yield from models(operator.settings)
    for part in operator.parts:
        yield from _models(part.operator)


def _fit(operator: Operator) -> Callable[..., Fitted] | None:
    needed = getattr(operator.module, "fits", lambda settings: True)(operator.settings)
    return getattr(operator.module, "fit", None) if needed else None


def _share(step: Step, taken: float) -> tuple[float, float]:
    """The interval of [0, 1) that the step takes, if an earlier step took the samples up to `taken`."""
    if step.share == "rest":
        return taken, 1.0
    return 0.0, 1.0 if step.share is None else float(step.share)


def all_settings(operator: Operator) -> Iterator[operators.OperatorSettings]:
    """The settings of an operator and of its parts, its own first."""
    yield operator.settings
    for part in operator.parts:
        yield from all_settings(part.operator)


def version(operator: Operator, identities: Mapping[str, str]) -> str:
    """A digest of everything that determines an operator's rows: code version, settings, prompts, models, parts."""
    module, settings = operator.module, operator.settings
    texts = getattr(module, "prompt_texts", lambda settings: ())(settings)
    files = [_contents(Path(p)) for p in getattr(module, "named_files", lambda settings: ())(settings)]
    decisive = getattr(module, "digested", lambda settings: settings.model_dump(mode="json"))(settings)
    return digest(
        registry.DIGESTED_AS.get(module.__name__, module.__name__), module.VERSION, _unsigned(decisive), [*texts, *files],
         [identities.get(model) for model in models(settings)],
        [version(part.operator, identities) for part in operator.parts],
    )  # fmt: skip


def _unsigned(value: Any) -> Any:
    """Settings without the parts of an address that change each time it is signed."""
    if isinstance(value, str):
        return without_signature(value) if ":" in value else value
    if isinstance(value, dict):
        return {key: _unsigned(item) for key, item in value.items()}
    return [_unsigned(item) for item in value] if isinstance(value, list) else value


def _contents(path: Path) -> str:
    """A digest of a file, or of the files in a folder. A missing path has one too: the operator reports it better."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return digest([_read(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


@lru_cache(4096)
def _read(file: Path, size: int, changed: int) -> str:
    """A digest of a file's bytes, cached while its size and time stay the same."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def build(operator: Operator, context: Context) -> Context:
    """The context with the operator's parts built: a callable per setting, or a list of them for a setting with a list."""
    built: dict[str, Any] = {}
    for part in operator.parts:
        inner = part.operator
        call = partial(getattr(inner.module, part.verb), settings=inner.settings, context=build(inner, context))
        if isinstance(getattr(operator.settings, part.setting), list | tuple):
            built.setdefault(part.setting, []).append(call)
        else:
            built[part.setting] = call
    return replace(context, built=built) if built else context
