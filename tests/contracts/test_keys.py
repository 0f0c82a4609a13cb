"""Ids, unit keys and cache keys are what they were when they were first stored."""

import json

import pytest

from tests.contracts import keys

KEPT = json.loads(keys.KEPT.read_text())


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(keys.HERE.parents[1])
        return keys.now()


def test_ids_and_cache_keys_stay(now):
    assert now["ids"] == KEPT["ids"]


@pytest.mark.parametrize("recipe", sorted(KEPT["units"]))
def test_the_keys_of_a_bundled_recipes_units_stay(now, recipe):
    assert now["units"][recipe] == KEPT["units"][recipe]


def test_no_bundled_recipe_is_left_out(now):
    assert now["units"].keys() == KEPT["units"].keys()
