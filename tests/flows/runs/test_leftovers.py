"""What killed processes leave half written in a run's folder."""

from flows.runs import leftovers

LEFT = [".run.json.17", "dataset.part", "dataset-1.part", "passes/pass0-pair/.00003-0123456789abcdef.4711",
        "passes/pass0-pair/.done.json.4711", "steps/.train.new", "steps/train/.done.json.5"]  # fmt: skip
KEPT = [".lock", "run.json", "dataset", "dataset.old", "logs/pass0.log", "people/judge/.lock", "passes/pass0-pair/00003-0123456789abcdef",
        "passes/pass0-pair/done.json", "steps/train/model"]  # fmt: skip


def test_what_is_half_written_goes_and_the_rest_stays(tmp_path):
    for number, name in enumerate([*LEFT, *KEPT]):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % 2 and place.suffix != ".17":
            place.mkdir()
            (place / "samples.arrow").write_text("rows")
        else:
            place.write_text("{}")
    leftovers.clear(tmp_path)
    assert [name for name in LEFT if (tmp_path / name).exists()] == []
    assert [name for name in KEPT if not (tmp_path / name).exists()] == []


def test_a_folder_without_a_run_is_nothing_to_clear(tmp_path):
    leftovers.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
