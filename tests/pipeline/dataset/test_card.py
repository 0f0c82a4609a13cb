import itertools
import shutil
from collections import Counter

import pytest
import yaml

from pipeline.dataset.card import write_card
from pipeline.dataset.columns import columns
from pipeline.dataset.hub import _clean_card
from pipeline.dataset.write import write
from schemas.markdown import line, plain
from tests.support import small_run
from tests.support.plants import PLANTS, assert_only_text, everywhere, planted_summary
from tests.support.small_run import ListTables


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
    assert "No rows were dropped." in card


def planted(exported, folder, texts):
    """The small run's card where sources, licences, names, models, steps, judges, people, reasons, currencies and settings say `texts`; its name."""
    said = itertools.cycle(texts)
    samples = [s._replace(source=next(said), licence=next(said)) for s in exported.tables.rows["samples"]]
    tables = ListTables(exported.tables.rows | {"samples": samples})
    write(tables, exported.media, folder, {})
    summary = planted_summary(small_run.summarised(tables), said) | {
        "people": {f"asked {next(said)}": small_run.people()}
    }
    for judge in summary["judges"].values():
        judge["agreement_with_truth"] = {
            f"{axis} {next(said)}": of for axis, of in judge["agreement_with_truth"].items()
        }
    for of in summary["people"].values():
        of["quality"] |= {
            "annotators": {f"{name} {next(said)}": one for name, one in of["quality"]["annotators"].items()}
        }
    recipe = {
        **small_run.RECIPE,
        "about": f"About {next(said)}",
        "steps": [everywhere(step, said) for step in small_run.RECIPE["steps"]],
    }
    return write_card(folder, summary, recipe), summary["name"]


@pytest.mark.parametrize("start", range(8))
def test_no_text_of_rows_or_servers_becomes_part_of_the_page(exported, tmp_path, start):
    from huggingface_hub import DatasetCard

    card, name = planted(exported, tmp_path / "dataset", PLANTS[start::8])
    read = DatasetCard.load(card)
    assert read.data.to_dict().keys() == {
        "pretty_name",
        "license",
        "license_name",
        "size_categories",
        "tags",
        "configs",
    }
    assert read.data.license == "other"
    assert read.data.pretty_name == line(name)
    assert [config["config_name"] for config in read.data.configs] == ["image", "multi_image", "video", "audio"]
    assert_only_text(read.text, plain(name))


def front_matter(exported, folder, licences):
    """The card's data, as the Hub's client reads it, of a dataset whose samples have these licences in turn."""
    from huggingface_hub import DatasetCard

    said = itertools.cycle(licences)
    samples = [s._replace(licence=next(said)) for s in exported.tables.rows["samples"]]
    tables = ListTables(exported.tables.rows | {"samples": samples})
    write(tables, exported.media, folder, {})
    return DatasetCard.load(write_card(folder, small_run.summarised(tables), small_run.RECIPE)).data


@pytest.mark.parametrize(
    ("licences", "said", "words", "link"),
    [
        (["CC0-1.0"], "cc0-1.0", None, None),
        (["CC BY-NC 4.0"], "cc-by-nc-4.0", None, None),
        (["https://creativecommons.org/licenses/by/4.0/"], "cc-by-4.0", None, None),
        (["MIT", "MIT License", "mit"], "mit", None, None),  # three spellings of one licence
        (["llama3.1"], "llama3.1", None, None),
        (["mit\n---\nlicense: apache-2.0"], "other", "mit --- license: apache-2.0", None),
        (["[x](y)"], "other", "[x](y)", None),
        (["null"], "other", "null", None),
        (["CC BY-NC"], "other", "CC BY-NC", None),
        (["https://example.org/terms"], "other", "https://example.org/terms", "https://example.org/terms"),
        (["", None], "other", "not stated", None),
        (["a" * 999], "other", "a" * 199 + "…", None),
    ],
)
def test_a_licence_is_a_name_of_the_hub_or_other_with_its_words(exported, tmp_path, licences, said, words, link):
    card = front_matter(exported, tmp_path / "dataset", licences)
    assert (card.license, card.get("license_name"), card.get("license_link")) == (said, words, link)


def test_several_licences_are_named_most_frequent_first(exported, tmp_path):
    # of each four samples two are under CC BY 4.0; no name may stand for all rows
    card = front_matter(exported, tmp_path / "dataset", ["mit", "CC BY 4.0", "cc-by-4.0", "our own"])
    assert (card.license, card.license_name) == ("other", "cc-by-4.0, mit, our own")


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
    _clean_card(dataset / "README.md")
    assert (dataset / "README.md").read_text() == before


def test_a_dataset_that_is_exported_again_is_loaded_with_its_new_rows(exported, tmp_path, hub_cache):
    """The copy that `datasets` keeps is named by folder and card header; the digest of the content is in the header."""
    import datasets

    folder = tmp_path / "dataset"

    def loaded(rows: dict) -> list[str]:
        tables = ListTables(rows)
        write(tables, exported.media, folder, {})
        write_card(folder, small_run.summarised(tables), small_run.RECIPE)
        return datasets.load_dataset(str(folder), "image", split="train", cache_dir=str(hub_cache / "copies"))["id"][:]

    first = loaded(exported.tables.rows)
    fewer = exported.tables.rows | {"pairs": [p for p in exported.tables.rows["pairs"] if p.id != first[0]]}
    assert loaded(fewer) == first[1:]
    header = (folder / "README.md").read_text()
    assert loaded(exported.tables.rows) == first
    assert loaded(fewer) == first[1:]
    assert (folder / "README.md").read_text() == header  # the same rows, the same card


def test_only_the_config_whose_rows_have_changed_gets_another_digest(exported, tmp_path):
    from pipeline.dataset import manifest

    kinds = {s.id: s.kind for s in exported.tables.rows["samples"]}
    pairs = exported.tables.rows["pairs"]
    lost = next(p for p in pairs if kinds[p.sample] == "audio")
    write(
        ListTables(exported.tables.rows | {"pairs": [p for p in pairs if p is not lost]}),
        exported.media,
        tmp_path / "d",
        {"recipe": "small"},
    )
    before, after = manifest.digests(exported.folder), manifest.digests(tmp_path / "d")
    assert {kind for kind in before if before[kind] != after[kind]} == {"audio"}
