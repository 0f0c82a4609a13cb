"""`pairwright steps` says of every operator what a recipe's author must know, from the operator itself."""

import re
from pathlib import Path

import pytest
from pydantic import Field

from flows.commands import steps
from flows.planning import reasons, registry
from schemas.errors import RecipeError
from schemas.operator import OperatorSettings
from schemas.records import REMEDIES, Reason

EVERY = [(family, name) for family, room in registry.HOME.items() for name in registry.names(f"{room}.{family}")]


def titles(**asked) -> list[str]:
    return [one.title for one in steps.listed(**asked)]


def test_every_operator_is_in_the_list_with_what_it_is_for():
    found = steps.listed()
    assert [one.title for one in found] == [family if family == name else f"{family}.{name}" for family, name in EVERY]
    assert [one.title for one in found if len(one.what) < 20] == []


def test_the_list_is_of_those_that_read_leave_and_handle_what_was_asked():
    assert titles(reads="pairs") == ["filter.length", "judge.probe"]
    assert titles(leaves="claims") == ["judge.claims"]
    assert titles(reads="candidates", leaves="candidates") == ["make.continue", "make.rewrite", "judge.people"]
    assert titles(media="multi_image", reads="samples", leaves="pairs") == ["corrupt"]
    assert titles(reads="claims", leaves="pairs") == []
    assert "prompt.compose_media" in titles(media="image")
    assert "prompt.compose_media" not in titles(media="audio")


@pytest.mark.parametrize(("asked", "said"), [
    ({"reads": "judgments"}, "unknown table 'judgments'; did you mean 'judgements'?"),
    ({"media": "picture"}, "unknown kind of sample 'picture'; available: audio, image, multi_image, text, video"),
])  # fmt: skip
def test_an_unknown_word_is_answered_with_those_that_exist(asked, said):
    with pytest.raises(RecipeError, match=re.escape(said)):
        steps.listed(**asked)


class Base(OperatorSettings):
    model: str
    """which model
    is asked"""


class Some(Base):
    n: int = Field(3, ge=1, le=1_000)
    """how many"""
    kind: str | None = Field(None, alias="as")
    """what it is called"""
    words: tuple[str, ...] = ("a",)


class Module:
    Settings = Some


def test_a_setting_is_shown_with_its_type_bounds_default_and_sentence():
    assert steps.settings(Module) == [
        ("model", "str", "required", "which model is asked"),
        ("n", "int (>= 1, <= 1,000)", "3", "how many"),
        ("as", "str | none", "null", "what it is called"),
        ("words", "tuple[str, ...]", '["a"]', ""),
    ]


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_every_setting_of_every_operator_has_a_sentence(family, name):
    found = steps.settings(registry.operator(family, name))
    assert [setting.name for setting in found if not setting.what] == []


@pytest.mark.parametrize(("title", "found"), [
    # its own three, and none of the helpers that it does not call (over_cap of pair/_scores.py); contradiction: of all that leave pairs; same_reply: of all pair rules
    ("pair.best_worst", {"equal_answers", "no_verdict", "no_margin", "contradiction", "same_reply"}),
    ("pair.all_pairs", {"no_verdict", "no_margin", "over_cap", "contradiction", "same_reply"}),  # over_cap is pair/_scores.py's, which it calls
    ("prompt.template", {"bad_row", "superseded"}),  # it leaves samples, so it supersedes those it was given
    ("judge.rule", {"bad_row"}),  # an answer that cannot be parsed: rules/answers.py, rules/sandbox.py
    ("judge.claims", set()),
])  # fmt: skip
def test_the_reasons_are_those_that_its_code_and_the_code_it_calls_name(title, found):
    family, _, name = title.partition(".")
    assert set(map(str, reasons.reasons_of(family, registry.operator(family, name)))) == found


def test_a_maker_passes_on_why_its_model_did_not_answer_and_a_judge_does_not():
    assert reasons.passes_on(registry.operator("make", "sample"))
    assert not reasons.passes_on(registry.operator("judge", "pairwise"))


def test_every_reason_that_an_operators_own_source_names_is_among_its_reasons():
    for family, name in EVERY:
        module = registry.operator(family, name)
        named = set(re.findall(r"Reason\.([A-Z_]+)", Path(module.__file__).read_text()))
        assert {reason.name for reason in reasons.reasons_of(family, module)} >= named, (family, name)


def test_there_is_a_remedy_for_every_reason():
    assert REMEDIES.keys() == set(Reason)


def test_one_step_is_shown_whole(capsys):
    steps.show("pair.best_worst", steps.Console(width=200))
    said = capsys.readouterr().out
    assert said.startswith("pair.best_worst  ")
    assert "  reads: candidates, judgements\n  leaves: pairs\n" in said
    assert "  min_margin: float, default 1.0\n" in said
    assert f"  no_margin: {REMEDIES[Reason.NO_MARGIN]}\n" in said


def test_an_old_name_of_a_step_shows_the_new_one(capsys):
    steps.show("source.shards", steps.Console(width=200))
    assert capsys.readouterr().out.startswith("source.webdataset  ")
