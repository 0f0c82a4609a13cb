"""Turns the steps of a recipe into units in order. Steps of the same model share a pass if that changes no row."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from flows.planning.bind import Bound, BoundRecipe
from pipeline.engines.local.device import fits_in_memory
from schemas.records import digest

INGEST = ("source", "prompt", "filter")  # families of the ingesting steps at the start of a recipe
MOVE = ("make", "judge")  # families whose steps only add rows, so that they can be reordered
BY_JUDGEMENT = {"right", "wrong", "best"}  # predicates of `where:` that depend on judgements


@dataclass(frozen=True)
class Unit:
    """A unit of work, finished or not as a whole. `child`: it holds a model and runs in a process of its own."""

    name: str
    kind: str  # pass, table, dataset
    steps: tuple[Bound, ...]
    round: int = 1
    child: bool = False

    @property
    def trains(self) -> bool:
        """Whether the unit contains a train step."""
        return any(step.family == "train" for step in self.steps)


def ingesting(steps: Sequence[Bound]) -> tuple[Bound, ...]:
    """The ingesting steps: the first ones of a recipe, before any model is asked."""
    return tuple(takewhile(lambda step: step.family in INGEST, steps))


def plan(
    recipe: BoundRecipe, dataset_given: bool = False, ingested: bool = False, passes: Sequence[Sequence[str]] = ()
) -> list[Unit]:
    """The units of a recipe in order. A pass ends at a step of scope `table`, before a step with `fit` (it looks at all samples first),
    before a step whose in-process model does not fit beside the others, and, if `ingested`, after the ingesting steps. A maker or judge
    runs before steps of another model if it needs none of their rows.

    `passes`: step names of each pass if that was decided before, perhaps on another machine."""
    units: list[Unit] = []
    for round in range(1, (recipe.rounds.n if recipe.rounds else 1) + 1):
        prefix = f"round{round}-" if recipe.rounds else ""
        units += _round(recipe, prefix, round, dataset_given, ingesting(recipe.steps) if ingested else (), passes)
    return units


def passes_fit_memory(units: Sequence[Unit], recipe: BoundRecipe) -> bool:
    """Whether the models of each pass fit into the memory of this machine."""
    return not any(unit.kind == "pass" and _crowded(unit.steps, recipe) for unit in units)


def passes_of(units: Sequence[Unit]) -> list[list[str]]:
    """The step names of each pass of the first round, as `plan` takes them."""
    return [[step.name for step in unit.steps] for unit in units if unit.kind == "pass" and unit.round == 1]


def _round(
    recipe: BoundRecipe,
    prefix: str,
    round: int,
    written: bool,
    ingested: Sequence[Bound],
    decided: Sequence[Sequence[str]],
) -> list[Unit]:
    units: list[Unit] = []
    waiting: list[Bound] = []

    def flush() -> None:
        for steps in _as_decided(waiting, decided) or _passes(waiting, recipe):
            name = f"{prefix}pass{sum(u.kind == 'pass' for u in units)}-{steps[-1].name}"
            units.append(Unit(name, "pass", tuple(steps), round, any(_shares(s, recipe) for s in steps)))
        waiting.clear()

    def pairs() -> bool:
        return any("pairs" in step.leaves for unit in units for step in unit.steps)

    for step in recipe.steps:
        if step.fit or (ingested and step not in ingested and all(s in ingested for s in waiting)):
            flush()
        if step.module.SCOPE == "sample":
            waiting.append(step)
            continue
        flush()
        trains = step.family == "train"
        if trains and not written and pairs():
            units.append(Unit(f"{prefix}dataset", "dataset", (), round))
            written = True
        units.append(Unit(f"{prefix}{step.name}", "table", (step,), round, trains or bool(_shares(step, recipe))))
    flush()
    if not written and pairs():
        units.append(Unit(f"{prefix}dataset", "dataset", (), round))
    return units


def _as_decided(steps: Sequence[Bound], passes: Sequence[Sequence[str]]) -> list[list[Bound]]:
    """The steps grouped into the given passes; empty if a step is in none of them."""
    found = [group for names in passes if (group := [step for step in steps if step.name in names])]
    return found if sum(map(len, found)) == len(steps) else []


def _passes(steps: Sequence[Bound], recipe: BoundRecipe) -> list[list[Bound]]:
    """Consecutive steps of scope `sample` grouped into passes. Each pass takes, in order, every step whose models fit beside those it
    already has and which no skipped step must precede."""
    passes: list[list[Bound]] = []
    left = list(steps)
    while left:
        taken: list[Bound] = []
        skipped: list[Bound] = []
        for step in left:
            waits = any(_precedes(other, step) for other in skipped) or (taken and _crowded([*taken, step], recipe))
            (skipped if waits else taken).append(step)
        passes.append(taken)
        left = skipped
    return passes


def _precedes(step: Bound, later: Bound) -> bool:
    """Whether `step` must run before `later`, which follows it in the recipe. Not if both only add rows and neither looks at rows of
    the other."""
    if step.family not in MOVE or later.family not in MOVE:
        return True
    return _sees(later, step) or _sees(step, later)


def _sees(step: Bound, other: Bound) -> bool:
    """Whether `step` looks at rows of `other`. `from:` restricts this in the tables that its steps leave."""
    if BY_JUDGEMENT.intersection(step.step.where) and "judgements" in other.leaves:
        return True
    return any(
        table not in step.sources or other.name in step.sources[table] for table in step.sees.intersection(other.leaves)
    )


def _crowded(steps: Sequence[Bound], recipe: BoundRecipe) -> bool:
    taken = {name: share for step in steps for name, share in _shares(step, recipe).items()}
    return len(taken) > 1 and not fits_in_memory(taken.values())


def _shares(step: Bound, recipe: BoundRecipe) -> dict[str, float]:
    """Share of the device's memory that each in-process model of the step takes. Different names of the same model count once; a trained
    model takes as much as its base model."""
    trained = recipe.trained
    found = {}
    for name in step.models:
        base = name
        while base in trained:
            base = trained[base]
        module, settings = recipe.engines[base]
        if share := getattr(module, "share", None):
            found[digest(recipe.models[name]) if name == base else name] = share(settings)
    return found
