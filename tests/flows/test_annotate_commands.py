"""What the commands that look after people say where there is nothing to look after: one line, exit code 2."""

import os
from itertools import product

import pytest
import yaml

from flows.runs import executor
from tests.support.asked import pairwright, write_recipe
from tests.support.serving import SECRET

pytestmark = pytest.mark.slow


@pytest.fixture
def environment():
    """No server is asked: none listens there."""
    return {
        **os.environ,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "k" * 40,
        "PAIRWRIGHT_SERVE_SECRET": SECRET,
    }


def no_folder(folder):
    return folder / "nowhere", "is not the folder of a run"


def a_file(folder):
    (folder / "file").write_text("x")
    return folder / "file", "is not the folder of a run"


def a_folder_of_something_else(folder):
    (folder / "notes.txt").write_text("x")
    return folder, "is not the folder of a run"


def a_run_without_people(folder):
    path = write_recipe(folder, "http://127.0.0.1:9/v1", 4)
    document = yaml.safe_load(path.read_text())
    document["steps"] = document["steps"][:2]
    path.write_text(yaml.safe_dump(document))
    executor.open_run(str(path), out=folder / "run", cache=folder / "cache").close()
    return folder / "run", "does not ask annotators"


def a_run_that_has_not_come_to_people(folder):
    path = write_recipe(folder, "http://127.0.0.1:9/v1", 4)
    executor.open_run(str(path), out=folder / "run", cache=folder / "cache").close()
    return folder / "run", "has not asked any annotators yet"


PLACES = [no_folder, a_file, a_folder_of_something_else, a_run_without_people, a_run_that_has_not_come_to_people]
SYNCS = [("annotate", what) for what in ("push", "pull", "reconcile")]  # one way in: two places say it


@pytest.mark.parametrize(
    ("command", "where"),
    [
        *product([("annotate", "status"), ("serve",)], PLACES),
        *product(SYNCS, [no_folder, a_run_that_has_not_come_to_people]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.__name__,
)
def test_where_nobody_was_asked_it_is_one_line_and_the_users_mistake(tmp_path, environment, command, where):
    folder, expected = where(tmp_path)
    said = pairwright(environment, *command, folder, code=2)
    assert expected in said
    assert len(said.splitlines()) == 1
