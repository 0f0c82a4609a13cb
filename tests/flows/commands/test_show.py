import shutil

import pytest
import yaml

from flows.commands import verify
from flows.commands.show import show
from flows.runs import executor, shards
from schemas.errors import OutputError
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a finished run over three rows, two of which cannot be used."""
    folder = tmp_path_factory.mktemp("show")
    (folder / "rows.jsonl").write_text('{"prompt": "why ?"}\n{"prompt": ""}\n{"prompt": "why ?"}\n')
    with served(Endpoint()) as url:
        recipe = {
            "name": "small",
            "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url}},
            "steps": [
                {"source.rows": {"path": str(folder / "rows.jsonl")}},
                {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
                {"judge.pointwise": {"model": "policy", "media": False}},
                {"pair.best_worst": {"axis": "rating"}},
            ],
        }
        (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
        run = executor.open_run(str(folder / "small.yaml"), out=folder / "run", cache=folder / "cache")
        completed(run)
    return folder / "run"


def joined(text: str) -> str:
    """What a table says, without the line ends and spaces with which it wraps a long path."""
    return "".join(text.split())


def test_a_finished_run_shows_its_units_counts_and_where_rows_went(built, capsys):
    show(built)
    text = capsys.readouterr().out
    assert "finished" in text
    assert "not started" not in text
    assert "empty_prompt" in text
    assert "report.html" in joined(text)


def test_an_unfinished_run_shows_how_far_it_is_where_rows_went_so_far_and_how_to_go_on(built, tmp_path, capsys):
    half = shutil.copytree(built, tmp_path / "half")
    (half / "summary.json").unlink()
    (unit,) = (half / "passes").iterdir()
    (unit / "done.json").unlink()
    shutil.rmtree(half / "steps")
    show(half)
    text = capsys.readouterr().out
    assert "1 shards so far" in text
    assert "not started" in text
    assert "1 empty_prompt" in text
    assert "continues from here" in text


def test_the_summary_of_another_run_is_not_shown_as_its_own(built, tmp_path, capsys):
    mixed = shutil.copytree(built, tmp_path / "mixed")
    summary = shards.read_json(mixed / "summary.json")
    (unit,) = (name for name in summary["units"] if name.startswith("pass"))
    summary["units"][unit] = "0" * 16  # sealed again as another run would have
    shards.write_json(mixed / "summary.json", summary)
    show(mixed)
    text = capsys.readouterr().out
    assert "continues from here" in text
    assert "report.html" not in joined(text)
    (records, *_) = verify.verify(mixed)
    assert records.damages == [(f"{mixed / 'summary.json'} does not belong to the units in this folder", shards.REMEDY)]


def test_the_summary_of_an_older_version_which_does_not_name_its_units_is_shown(built, tmp_path, capsys):
    older = shutil.copytree(built, tmp_path / "older")
    summary = shards.read_json(older / "summary.json")
    del summary["units"]
    shards.write_json(older / "summary.json", summary)
    show(older)
    assert "report.html" in joined(capsys.readouterr().out)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match="not the folder of a run"):
        show(tmp_path)
