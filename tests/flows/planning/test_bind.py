"""Each step of a recipe is bound once, and nothing looks at what it was bound from again."""

import inspect
from collections import Counter

import pytest

from flows.planning import load, registry
from flows.planning.bind import version
from flows.runs import executor
from schemas.errors import RecipeError
from schemas.operator import OperatorSettings


@pytest.fixture
def counts(monkeypatch) -> Counter:
    """How often operators were found, settings parsed and source files read since."""
    found: Counter[str] = Counter()

    def counted(owner, name: str, what: str):
        call = getattr(owner, name)

        def counting(*args, **named):
            found[what] += 1
            return call(*args, **named)

        monkeypatch.setattr(owner, name, counting)

    counted(registry, "operator", "operators")
    counted(OperatorSettings, "__init__", "settings")
    counted(inspect, "findsource", "sources")
    return found


def test_opening_the_demo_binds_each_step_once(counts, tmp_path):
    """Thirteen steps and the splitters of judge.claims and judge.rule are 15 operators; the settings of its one model make 16."""
    run = executor.open_run("demo", out=tmp_path / "out", cache=tmp_path / "cache")
    run.close()
    assert len(run.recipe.steps) == 13
    assert counts == {"operators": 15, "settings": 16}


def test_a_class_of_settings_reads_no_source(counts):
    class Some(OperatorSettings):
        n: int = 1
        """its docstring is read when somebody asks for it"""

    assert Some().n == 1
    assert counts == {"settings": 1}


def bound(*steps):
    raw = {
        "name": "r",
        "models": {"m": {"engine": "vllm", "model": "data/models/tiny"}},
        "steps": ["source.scenes", *steps],
    }
    return load.checked(raw).steps[1:]


def test_a_step_knows_what_it_reads_leaves_and_asks():
    made, judged = bound({"make.sample": {"model": "m"}}, {"judge.rule": {"splitter": {"split.model": {"model": "m"}}}})
    assert (made.models, made.reads, made.leaves) == (("m",), {"samples"}, ("media", "candidates"))
    assert (judged.models, judged.reads) == (("m",), {"candidates"})  # its splitter asks
    assert judged.sees == {"candidates", "claims"}
    assert [(part.setting, part.title) for part in judged.parts] == [("splitter", "split.model")]


def test_from_says_for_each_table_whose_rows_a_step_sees():
    steps = bound(
        {"make.sample": {"name": "a", "model": "m"}}, {"make.sample": {"name": "b", "model": "m"}},
        {"judge.rule": {"from": ["a", "b"]}},
    )  # fmt: skip
    assert steps[-1].sources == {"media": {"a", "b"}, "candidates": {"a", "b"}}


def test_rest_is_what_the_share_before_it_left():
    shares = [
        {"make.sample": {"name": "a", "model": "m", "share": 0.25}},
        {"make.sample": {"name": "b", "model": "m", "share": "rest"}},
    ]
    assert [step.share for step in bound(*shares)] == [(0.0, 0.25), (0.25, 1.0)]


def test_only_settings_that_need_it_look_at_all_samples_first():
    plain, swapped = bound(
        {"make.sample": {"name": "a", "model": "m"}},
        {"make.sample": {"name": "b", "model": "m", "media": {"kind": "swap"}}},
    )
    assert plain.fit is None
    assert swapped.fit is swapped.module.fit


def test_a_step_has_another_version_with_another_model_and_is_itself_as_before():
    (step,) = bound({"make.sample": {"model": "m"}})
    one, two = step.of({"m": "one"}), step.of({"m": "two"})
    assert one.version != two.version
    assert one.version == version(step, {"m": "one"}) == step.of({"m": "one"}).version
    assert step.version == ""


def test_a_part_is_no_step():
    with pytest.raises(RecipeError, match=r"^patterns: split.patterns is not a step; name it"):
        bound("split.patterns")
