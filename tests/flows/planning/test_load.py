"""Recipes whose file is no recipe: one line that names the file."""

import time

import pytest
import yaml

from flows.planning import load
from schemas import prompts
from schemas.errors import RecipeError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
WRONG = {
    "latin-1": ("name: é".encode("latin-1"), "not UTF-8; save it as UTF-8"),
    "utf-16": ("name: x".encode("utf-16"), "not UTF-8; save it as UTF-8"),
    "empty": (b"", "a recipe must be a mapping"),
    "a list": (b"- a", "a recipe must be a mapping"),
    "a bomb of aliases": (BOMB.encode(), "more than 100,000 values"),
    "an alias of itself": (b"a: &a [*a]", "nesting deeper"),
    "deep": (b"[" * 5000, "nested too deeply"),
    "tabs": (b"a:\n\t- b", "cannot start any token"),
    "a date": (b"name: 2026-01-01", "is a date; put quotes around it"),
    "no date": (b"name: 2026-99-01", "month must be in 1..12"),
    "a long number": (b"name: " + b"9" * 5000, "4300 digits"),
    "infinity": (b"name: .inf", "JSON cannot represent the number"),
    "a number for a key": (b"1: x", "the key '1' is not text"),
    "a list for a key": (b"? [a]\n: b", "unhashable key"),
    "half a surrogate pair": (b'name: "\\ud800"', "surrogate"),
    "NUL": (b"name: \x00", "special characters are not allowed"),
    "an object of Python": (b"a: !!python/object:os.system x", "could not determine a constructor"),
    "a set": (b"a: !!set {x}", "is a set"),
    "too long": (b"#" * (load.LONGEST + 1), "more than the 4,194,304 of a recipe"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_recipe_is_one_line_that_names_it(tmp_path, name):
    data, said = WRONG[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    started = time.process_time()
    with pytest.raises(RecipeError, match=f"mine.yaml.*{said}") as told:
        load.document(str(path))
    assert str(told.value).isprintable()
    assert time.process_time() - started < 5


def test_a_file_with_the_mark_of_utf_8_is_read(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfname: x\nsteps: [source.scenes]\nmodels: {}")
    assert load.document(str(tmp_path / "mine.yaml"))["name"] == "x"


@pytest.mark.parametrize("value", ["2026-01-01", "{1: 2}", ".nan", "[" * 5000])
def test_a_value_that_json_cannot_hold_is_refused_on_the_command_line_too(value):
    with pytest.raises(RecipeError, match="cannot parse the value"):
        load.override({"name": "x", "models": {}, "steps": [{"source.scenes": {"n": 1}}]}, f"scenes.n={value}")


@pytest.mark.parametrize("name", ["folder.yaml", "loop.yaml", "x" * 300 + ".yaml", "nul\0.yaml", "gone.yaml"])
def test_a_recipe_that_is_no_file_is_one_line(tmp_path, name):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    with pytest.raises(RecipeError, match=r"\.yaml") as told:
        load.document(f"{tmp_path}/{name}")
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latin", "not UTF-8; save it as UTF-8"),
        ("folder", "it is a folder or a device"),
        ("gone", "it does not exist"),
        ("nul\0", "not a valid file name"),
    ],
)
def test_a_prompt_file_that_cannot_be_read_is_one_line_that_names_it(tmp_path, name, said):
    (tmp_path / "latin").write_bytes("Für wen?".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecipeError, match=f"cannot read the prompt file .*{said}"):
        prompts.read(str(tmp_path / name), __file__, "x")


def test_a_date_is_refused_where_another_library_has_made_dates_texts(monkeypatch):
    timestamp = "tag:yaml.org,2002:timestamp"
    monkeypatch.setitem(yaml.SafeLoader.yaml_constructors, timestamp, yaml.SafeLoader.construct_yaml_str)
    monkeypatch.setattr(yaml.SafeLoader, "yaml_implicit_resolvers", {})
    with pytest.raises(RecipeError, match="cannot parse the value"):
        load.override({"name": "x", "steps": []}, "step.setting=2026-01-01")
