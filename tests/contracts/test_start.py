"""Commands that a person waits for load no library that they do not need: each would cost a tenth of a second and more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts import kept

ROOT = Path(__file__).parents[2]
MODELS = {"torch", "transformers", "vllm", "prefect", "datasets", "ray"}
SLOW = MODELS | {"pandas", "matplotlib", "scipy", "av", "soundfile", "fsspec", "aiohttp", "botocore", "pyarrow.compute"}


def loaded(*words: str) -> set[str]:
    """The modules in memory when a command has ended."""
    script = f"""
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.argv = ["pairwright", *{words!r}]
from flows import cli
cli.main()"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [("--help",), ("recipes",), ("build", "--help")])
def test_help_and_the_list_of_recipes_load_no_operator_and_no_arrow(words):
    found = loaded(*words)
    assert found & (SLOW | {"numpy", "pyarrow", "PIL"}) == set()
    assert {name for name in found if name.startswith(("pipeline", "annotators"))} == set()


def test_show_loads_what_it_shows_and_nothing_that_is_slow(tmp_path):
    kept.unpack(tmp_path)
    assert loaded("show", str(tmp_path / "out")) & SLOW == set()
