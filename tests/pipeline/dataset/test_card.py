import shutil
from collections import Counter

import pytest
import yaml

from pipeline.dataset.card import write_card
from pipeline.dataset.columns import columns
from pipeline.dataset.hub import _cleaned
from pipeline.dataset.write import write
from tests import small_run
from tests.small_run import ListTables


@pytest.fixture(scope="module")
def dataset(exported, tmp_path_factory):
    """The small run's dataset with its card."""
    folder = shutil.copytree(exported.folder, tmp_path_factory.mktemp("card") / "dataset")
    write_card(folder, small_run.summarised(exported.tables), small_run.RECIPE)
    return folder


def table(card: str, heading: str) -> list[list[str]]:
    """The cells below the header of the first table after a heading."""
    rows = card[card.index(f"## {heading}") :].partition("--- |\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@pytest.mark.parametrize("kind", ["image", "multi_image", "video", "audio"])
def test_datasets_finds_every_config_by_the_card(dataset, exported, hub_cache, kind):
    import datasets

    rows = datasets.load_dataset(str(dataset), kind, split="train", cache_dir=str(hub_cache))
    assert len(rows) == exported.counts[kind]


def test_the_front_matter_says_licence_size_and_kinds(dataset):
    front = yaml.safe_load((dataset / "README.md").read_text().split("---\n")[1])
    assert (front["license"], front["size_categories"]) == ("cc0-1.0", ["n<1K"])
    assert [c["config_name"] for c in front["configs"]] == ["image", "multi_image", "video", "audio"]


def test_the_counts_are_those_of_the_run(dataset, exported):
    rows = {
        kind: [int(n.replace(",", "")) for n in numbers]
        for kind, *numbers in table((dataset / "README.md").read_text(), "Counts")
    }
    kinds = {s.id: s.kind for s in exported.tables.rows["samples"]}
    for column, name in enumerate(("samples", "candidates", "judgements", "pairs")):
        records = exported.tables.rows[name]
        counts = Counter(kinds[r.id if name == "samples" else r.sample] for r in records)
        assert {kind: numbers[column] for kind, numbers in rows.items()} == {**counts, "all": len(records)}


def test_rejections_are_listed_by_step_and_reason(dataset):
    card = (dataset / "README.md").read_text()
    assert "| scenes | duplicate | 1 |" in card
    assert "| pair | no_margin |" in card


def test_margins_and_lengths_are_the_means_of_the_pairs(dataset, exported):
    kinds = {s.id: s.kind for s in exported.tables.rows["samples"]}
    margins = [p.margin for p in exported.tables.rows["pairs"] if kinds[p.sample] == "image"]
    (image, *_) = table((dataset / "README.md").read_text(), "Scores and lengths")
    assert image[:2] == ["image", str(round(sum(margins) / len(margins), 3))]


def test_every_column_is_explained(dataset):
    explained = {name.strip("`"): meaning for name, _, meaning in table((dataset / "README.md").read_text(), "Columns")}
    assert set(explained) == {c.name for kind in ("image", "video", "audio") for c in columns(kind)}
    assert all(explained.values())


def test_a_source_that_numbers_its_rows_is_named_once(dataset, exported):
    pairs = str(len(exported.tables.rows["pairs"]))
    assert table((dataset / "README.md").read_text(), "Sources") == [["scenes train", pairs]]


def test_the_card_of_a_dataset_without_pairs_says_so(tmp_path):
    write(ListTables({}), None, tmp_path / "dataset", {})
    empty = {
        "name": "none",
        "samples": {},
        "candidates": {},
        "judgements": {},
        "pairs": {},
        "rejections": {},
        "judges": {},
        "questions_asked": 0,
        "questions_cached": 0,
        "tokens": {"prompt": 0, "answer": 0},
        "tokens_cached": {"prompt": 0, "answer": 0},
        "money": {},
    }
    card = write_card(tmp_path / "dataset", empty, {"steps": ["source.scenes"]}).read_text()
    assert "0 preference pairs" in card
    assert "No row was dropped." in card


def test_people_are_in_the_card_when_any_were_asked(dataset, exported):
    assert "## People" not in (dataset / "README.md").read_text()
    asked = small_run.people()
    summary = small_run.summarised(exported.tables) | {
        "people": {"asked": asked, "nobody came": {**asked, "quality": None}}
    }
    rows = table(write_card(dataset, summary, small_run.RECIPE).read_text(), "People")
    assert [row[:2] for row in rows] == [
        ["asked", name] for name in ("all", "person:1", "person:2", "person:3", "person:4")
    ]
    together, one = asked["quality"]["agreement"]["preference"], asked["quality"]["annotators"]["person:1"]
    assert [float(x) for x in rows[0][2:5]] == [240, together["percent"], together["alpha"]["ordinal"]]
    assert rows[1][2:] == ["60", str(one["agreement"]), "", str(one["skill"]), str(one["gold"]["share"])]


def test_a_push_takes_the_card_as_it_is(dataset):
    before = (dataset / "README.md").read_text()
    _cleaned(dataset / "README.md")
    assert (dataset / "README.md").read_text() == before
