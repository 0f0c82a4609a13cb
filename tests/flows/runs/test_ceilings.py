"""Every count that a recipe may say has a ceiling: a slip of the keyboard does not exhaust the machine."""

import importlib
import math
from pathlib import Path

import pytest
from annotated_types import Le, Lt
from pydantic import BaseModel

from flows.planning import load, registry
from schemas.errors import RecipeError
from schemas.recipe import Rounds

ROOT = Path(__file__).parents[3]
# they name a draw, take from what is there already, or are made by us
FREE = {"seed", "limit", "budget", "filter.subsample n", "source.reading.row_files n", "corrupt.kinds.images level"}
RECIPE = {
    "name": "counts",
    "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": "http://127.0.0.1:9/v1"}},
    "steps": [
        {"source.scenes": {"n": 8}},
        {"make.sample": {"model": "policy", "n": 2}},
        {"judge.pointwise": {"model": "policy"}},
        {"pair.best_worst": {"axis": "rating"}},
        {"train": {"model": "policy", "as": "trained"}},
    ],
}


def settings() -> dict[str, type[BaseModel]]:
    """All that a recipe may set: the settings of operators, their parts and engines, by the end of their module's name."""
    for room in ("pipeline", "annotators"):
        for path in (ROOT / room).rglob("*.py"):
            if "Settings" in (text := path.read_text()) and "class " in text and path.parent.name != "tiny":
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found, left = {}, [BaseModel]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith(("pipeline.", "annotators.")):
            found[f"{'.'.join(kind.__module__.split('.')[1:])} {kind.__name__}"] = kind
    return found


SETTINGS = settings()


def without(name: str) -> list[str]:
    """The counts among some settings that have no ceiling."""
    fields = SETTINGS[name].model_fields.items()
    counts = {field: info.metadata for field, info in fields if info.annotation in (int, int | None)}
    return [field for field, bounds in counts.items() if not any(isinstance(b, Le | Lt) for b in bounds)]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_count_has_a_ceiling(name):
    assert [field for field in without(name) if not FREE & {field, f"{name.split()[0]} {field}"}] == []


def test_every_allowance_is_needed():
    needed = {said for name in SETTINGS for field in without(name) for said in (field, f"{name.split()[0]} {field}")}
    assert FREE - needed == set()


def test_the_settings_of_operators_and_engines_are_among_them():
    assert SETTINGS.keys() >= {
        "make.sample Settings",
        "judge.pairwise Settings",
        "engines.openai Settings",
        "corrupt.kinds.sounds Noise",
    }
    assert len(SETTINGS) > 60
    assert any(isinstance(bound, Le) for bound in Rounds.model_fields["n"].metadata)
    assert registry.engine("openai").Settings in SETTINGS.values()


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("models.policy.slots=1000000", "models.policy: slots: .*less than or equal to 4096"),
        ("models.policy.retries=1000", "models.policy: retries: .*less than or equal to 100"),
        ("models.policy.timeout=1e9", "models.policy: timeout: .*less than or equal to 86400"),
        ("rounds.n=1000000", "n: .*less than or equal to 100"),
        ("scenes.n=100000000000000000000", "scenes: n: .*less than or equal to 10000000"),
        ("sample.n=100000", "sample: n: .*less than or equal to 1000"),
        ("sample.max_tokens=1000000000", "sample: max_tokens: .*less than or equal to 1000000"),
        ("train.epochs=1000000", "train: epochs: .*less than or equal to 1000"),
        ("train.batch_size=1000000", "train: batch_size: .*less than or equal to 65536"),
    ],
)
def test_beyond_it_one_line_says_the_limit(assignment, said):
    raw = {
        **RECIPE,
        "models": {n: dict(m) for n, m in RECIPE["models"].items()},
        "steps": [{t: dict(s)} for step in RECIPE["steps"] for t, s in step.items()],
    }
    load.override(raw, assignment)
    with pytest.raises(RecipeError, match=said) as error:
        load.checked(raw)
    assert "\n" not in str(error.value)


def test_a_ceiling_is_a_number():
    bounds = [
        b.le
        for kind in SETTINGS.values()
        for info in kind.model_fields.values()
        for b in info.metadata
        if isinstance(b, Le)
    ]
    assert bounds
    assert all(math.isfinite(bound) for bound in bounds)
