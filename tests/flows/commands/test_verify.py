"""`pairwright verify`: what is stored is what was written, or each damage is named with what to do about it."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from flows.runs import executor, shards
from tests.faults.stored import Copy, command, flipped, made, rows_of

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def line(said: str, area: str) -> str:
    (found,) = [line for line in said.splitlines() if line.startswith(f"  {area} ")]
    return " ".join(found.split())


def test_a_run_that_is_well_is_gone_through_area_by_area(copy):
    code, said = command("verify", copy.run)
    assert code == 0
    assert line(said, "records") == "records intact 7 files"
    assert line(said, "passes").startswith("passes intact 2 shards,")
    assert line(said, "steps") == "steps intact 1 step, 1 file"
    assert line(said, "dataset") == "dataset intact 1 file, 7 rows"
    assert line(said, "media").startswith("media intact 19 media,")
    assert line(said, "answers") == "answers intact 24 answers"
    assert said.endswith("everything is intact\n")


def test_every_damage_is_named_at_once_and_one_build_repairs_them_all(copy):
    (copy.run / "steps" / "length" / "rejections.arrow").unlink()
    table = next(copy.run.glob("passes/pass1-*/*/pairs.arrow"))
    os.truncate(table, 100)
    parquet = next(copy.run.glob("dataset/*/*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-1])
    for pack in copy.cache.glob("media/*.pack"):
        pack.write_bytes(bytes(pack.stat().st_size))
    code, said = command("verify", copy.run)
    assert code == 1
    for what in (
        "rejections.arrow is missing",
        f"{table.parent}: pairs.arrow has 100 bytes",
        "train-00000.parquet has",
        ".sum.pack: media item",
    ):
        assert any(what in said_of and "build" in said_of for said_of in said.splitlines() if "damaged: " in said_of), (
            what
        )
    before = made().endpoint.questions.total()
    code, said = copy.build()
    assert code == 0
    assert said.count("repaired: ") >= 3
    assert made().endpoint.questions.total() == before
    assert copy.dataset() == rows_of(made().folder / "run")
    assert command("verify", copy.run)[0] == 0


def test_a_dataset_without_its_run_and_a_folder_that_is_neither(copy, tmp_path):
    whole = copy.run / "dataset"
    code, said = command("verify", whole)
    assert (code, line(said, "dataset")) == (0, "dataset intact 1 file, 7 rows")
    next(whole.glob("*/*.parquet")).unlink()
    assert command("verify", whole)[0] == 1
    code, said = command("verify", tmp_path)
    assert code == 2
    assert "neither the folder of a run nor an exported dataset" in said
    assert command("verify", tmp_path / "nothing")[0] == 2


def test_a_damaged_answer_is_taken_out_and_a_broken_file_of_answers_is_named(copy):
    path = copy.cache / "answers.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update answers set v = replace(v, 'sto', 'stp') where rowid = 1")
        db.execute("update answers set v = cast('x' || v as blob) where rowid = 2")
    code, said = command("verify", copy.run)
    assert code == 1
    assert "2 of 24 answers were damaged and have been removed" in said
    assert command("verify", copy.run)[0] == 0
    path.write_bytes(b"no database" * 100)
    code, said = command("verify", copy.run)
    assert code == 1
    assert f"{path} is damaged" in said
    path.unlink()
    assert command("verify", copy.run)[0] == 1


def test_an_unfinished_run_is_gone_through_as_far_as_it_came(copy):
    (copy.run / "summary.json").unlink()
    shutil.rmtree(copy.run / "steps")
    shutil.rmtree(copy.run / "dataset")
    (copy.run / "passes" / "pass1-corrupt" / "done.json").unlink()
    code, said = command("verify", copy.run)
    assert code == 0, said
    assert line(said, "passes").startswith("passes intact 2 shards,")


def test_without_a_sound_run_json_nothing_else_is_believed(copy, tmp_path):
    import random

    flipped(random.Random(3), copy.run / "run.json")
    code, said = command("verify", copy.run)
    assert code == 1
    assert "run.json" in said
    assert "choose another --out" in said


def test_a_finished_step_whose_model_was_changed_is_not_taken_for_finished(tmp_path):
    """Of a training: what it left are files that nobody else looks at."""
    from pipeline.storage import checksum

    recipe = {
        "name": "train", "models": {"policy": {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}},
        "steps": [{"source.scenes": {"n": 1}}, {"train": {"model": "policy", "as": "trained"}}],
    }  # fmt: skip
    shards.write_json(tmp_path / "run.json", {"recipe": recipe, "cache": str(tmp_path), "version": 2})
    run = executor.reopen(tmp_path)
    unit = run.units[-1]
    model = run.unit_folder(unit) / "model" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    shards.write_table(run.unit_folder(unit) / "rejections.arrow", "rejections", [])
    files = checksum.file_checksums(run.unit_folder(unit), ["rejections.arrow", "model/model.safetensors"])
    key = "k"
    run.key = lambda unit, bound=None: key  # ty: ignore[invalid-assignment]
    shards.write_json(
        run.unit_folder(unit) / "done.json", {"unit": unit.name, "key": key, "seconds": 1.0, "files": files}
    )
    assert run.finished(unit)
    model.write_bytes(b"weighty")
    assert not run.finished(unit)
    assert run.repaired == [
        f"{unit.name} was damaged (model/model.safetensors is damaged (its checksum differs)); redone"
    ]
