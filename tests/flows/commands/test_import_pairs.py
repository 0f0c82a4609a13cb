"""Existing preference sets as runs: every format by a recipe, `pairwright import`, and our own dataset back again."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from flows.planning import load
from flows.runs import executor
from pipeline.dataset.read import read_examples
from pipeline.media.probe import probe
from schemas.arrow import from_batch
from tests.flows.test_cli import pairwright
from tests.support.preference_sets import MORE, SETS, jsonl, with_media
from tests.support.recipe_runs import completed

pytestmark = pytest.mark.slow

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("pairs_*.yaml"))
# by hand from tests/support/preference_sets.py: pairs of each kind in the dataset
PAIRS = {
    "trl": {"image": 2, "multi_image": 1, "text": 1},
    "llama_factory": {"image": 2, "video": 1, "text": 1},
    "ms_swift": {"image": 4},  # its prompt of a video has no answers
    "rlaif_v": {"image": 2},
    "vlfeedback": {"image": 2},  # on Helpfulness gpt4v has 5, llava 3
    "mm_rlhf": {"image": 3, "video": 1},  # a tie makes none, a mixed-up image one of its own
    "mmpr": {"image": 1, "multi_image": 1, "text": 1},
    "llava": {"image": 2},
    "ultrafeedback": {"text": 1},
    "distilabel": {"image": 1, "text": 2},  # the pair that is there, and the rule's of the same two answers
    "label_studio": {"image": 2},  # the second is contested: left and a tie, so left is the more probable one
    "pairwright": {"image": 2, "multi_image": 1, "text": 1},
}


def ours(folder: Path) -> None:
    """A dataset that Pairwright exported: TRL's set, imported."""
    SETS["trl"](with_media(folder.parent / "theirs"))
    built("trl", folder.parent / "theirs", folder.parent / "before")
    shutil.copytree(folder.parent / "before" / "dataset", folder, dirs_exist_ok=True)


def built(name: str, path: Path, out: Path) -> dict:
    recipe = next(r for r in RECIPES if r.stem == f"pairs_{name}")
    run = executor.open_run(str(recipe), [f"pairs.path={path}"], out=out, cache=out.parent / "cache")
    return completed(run)


def rows(out: Path, table: str) -> list:
    return [row for batch in executor.reopen(out).tables().batches(table) for row in from_batch(table, batch)]


def test_every_format_has_a_recipe_and_figures():
    assert {r.stem.removeprefix("pairs_") for r in RECIPES} == set(PAIRS) == {*SETS, "pairwright"}


@pytest.mark.parametrize("name", PAIRS)
def test_a_set_becomes_a_dataset(tmp_path, name):
    folder = with_media(tmp_path / "set")
    (ours if name == "pairwright" else SETS[name])(folder)
    summary = built(name, folder, tmp_path / "out")
    assert summary["pairs"] == PAIRS[name]
    found = list(read_examples(tmp_path / "out" / "dataset"))
    assert Counter(example.kind for example in found) == PAIRS[name]
    for example in found:
        assert example.chosen.strip()
        assert [probe(data, "a medium").kind for _, data in example.media] == [kind for kind, _ in example.media]


def test_every_other_format_is_detected_in_one_import(tmp_path):
    for name, fill in MORE.items():
        fill(with_media(tmp_path / name))
    paths = f"pairs.path=[{','.join(str(tmp_path / name) for name in MORE)}]"
    said = pairwright(
        "import", "auto", tmp_path / "rlhf_v", paths, "--out", tmp_path / "out", "--cache", tmp_path / "cache"
    )
    assert all(f"of format {name}: " in said for name in MORE)
    # by hand from tests/support/preference_sets.py: nemo_rl, openai, argilla, pku_saferlhf, helpsteer, hh_rlhf and two of orpo_mix; rlhf_v,
    # llava_rlhf, openai, pick_a_pic, data_juicer and verl_omni; openai; verl_omni and omni_preference
    assert executor.reopen(tmp_path / "out").summary()["pairs"] == {"text": 8, "image": 6, "audio": 1, "video": 2}
    lost = {left.reason for left in rows(tmp_path / "out", "rejections") if left.table != "candidates"}
    assert lost == {"unsafe_answer", "no_margin"}


def test_what_is_not_read_is_named_at_the_end_in_the_report_and_by_show(tmp_path):
    row = {"prompt": "?", "chosen": "a", "rejected": "b"}
    jsonl(tmp_path / "one.jsonl", row | {"n": 1, "tags": ["x"]}, row | {"prompt": "!", "n": 2})
    jsonl(tmp_path / "two.jsonl", row | {"prompt": "?!", "n": 3, "tags": ["y"]})
    line = "one.jsonl and 1 more file, not read: n (3 rows), tags (2 rows)"
    said = pairwright("import", "auto", tmp_path, "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert line in said
    assert line in pairwright("show", tmp_path / "out")
    assert line in (tmp_path / "out" / "report.html").read_text()


def test_an_exported_dataset_comes_back_as_it_was(tmp_path):
    ours(tmp_path / "set")
    built("pairwright", tmp_path / "set", tmp_path / "out")
    before, after = ({e.id: e for e in read_examples(tmp_path / name / "dataset")} for name in ("before", "out"))
    assert len(before) == 4
    assert before == after  # prompts, media, answers, margins and even ids, which are digests of them
    assert {s.source for s in rows(tmp_path / "out", "samples")} == {f"train.parquet#{i}" for i in (1, 2, 4)}


def test_all_pairs_of_a_prompt_are_in_one_sample_and_nothing_is_lost(tmp_path):
    set_ = with_media(tmp_path / "set")
    asked = [
        {"prompt": f"What is {i % 700}?", "chosen": f"good {i}", "rejected": "bad", "image": "cat.jpg"}
        for i in range(1400)
    ]
    jsonl(set_ / "rows.jsonl", *asked, asked[0])
    summary = built("trl", set_ / "rows.jsonl", tmp_path / "out")  # 700 samples in shards of 512
    assert (summary["samples"], summary["pairs"]) == ({"image": 700}, {"image": 1400})
    assert summary["rejections"] == {"pairs": {"duplicate": 1}}
    per_prompt = Counter(pair.sample for pair in rows(tmp_path / "out", "pairs"))
    assert set(per_prompt.values()) == {2}
    answers = Counter(c.sample for c in rows(tmp_path / "out", "candidates"))
    assert set(answers.values()) == {3}  # two good ones, and "bad" once


def test_import_says_what_came_in_and_what_did_not(tmp_path):
    set_ = with_media(tmp_path / "set")
    row = {"prompt": "What?", "chosen": "A cat.", "rejected": "A dog.", "image": "cat.jpg"}
    more = [row, row, row | {"image": "horse.jpg"}, row | {"chosen": "A dog."}, row | {"prompt": "Hm?", "image": None}]
    jsonl(set_ / "rows.jsonl", *more)
    out = tmp_path / "out"
    said = " ".join(
        pairwright("import", "auto", set_, "pairs.licence=CC0", "--out", out, "--cache", tmp_path / "cache").split()
    )
    assert "1 file of format trl: columns chosen, rejected, and none specific to another format" in said
    assert "│ pairs │ 1 │ 1 │ 2 │" in said  # text, image, all
    assert all(f"1 {reason}" in said for reason in ("duplicate", "equal_answers", "missing_file"))
    assert "rows.jsonl#3: horse.jpg does not exist; correct the path or remove the row" in said
    assert "rows.jsonl#2: duplicate pair; remove one of them" in said
    assert "rows.jsonl#4: chosen and rejected are the same text" in said
    assert "finished" in pairwright("show", out)
    assert {s.licence for s in rows(out, "samples")} == {"CC0"}
    assert "license: cc0" in (out / "dataset" / "README.md").read_text()


def test_a_second_run_reads_again_and_writes_nothing(tmp_path):
    set_ = with_media(tmp_path / "set")
    SETS["trl"](set_)
    first = built("trl", set_, tmp_path / "out")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "passes").rglob("*.arrow")}
    assert built("trl", set_, tmp_path / "out")["pairs"] == first["pairs"]
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "passes").rglob("*.arrow")}


def test_the_roles_of_a_set_may_be_asked_for():
    steps = [{"source.pairs": {"path": "x"}}, {"judge.rule": {"where": "chosen"}}]
    assert load.checked({"name": "roles", "steps": steps}).steps[1].step.where == ("chosen",)


def test_prompts_alone_are_samples_without_a_dataset(tmp_path):
    set_ = with_media(tmp_path / "set")
    jsonl(set_ / "rows.jsonl", {"prompt": "What?", "image": "cat.jpg"}, {"prompt": "Why?"})
    summary = built("trl", set_, tmp_path / "out")
    assert (summary["samples"], summary["pairs"]) == ({"text": 1, "image": 1}, {})


MISTAKES = {
    "nothing there": ("auto", "none.jsonl", "does not exist"),
    "no rows": ("auto", "pictures", "is not a row file"),
    "another format": ("mmpr", "rows.jsonl", "first error: rows.jsonl#1: question is missing"),
    "no format": ("auto", "strange.jsonl", "of no known format: its columns are text"),
    "an unknown format": ("trk", "rows.jsonl", "Input should be 'auto', 'trl'"),
    "media that are not there": ("auto", "far.jsonl", "first error: far.jsonl#1: horse.jpg does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_run(tmp_path, name):
    form, path, word = MISTAKES[name]
    with_media(tmp_path / "pictures")
    jsonl(tmp_path / "rows.jsonl", {"prompt": "?", "chosen": "a", "rejected": "b"})
    jsonl(tmp_path / "strange.jsonl", {"text": "x"})
    jsonl(tmp_path / "far.jsonl", {"prompt": "?", "chosen": "a", "rejected": "b", "image": "horse.jpg"})
    said = pairwright("import", form, tmp_path / path, "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=2)
    assert word in said
    assert len([line for line in said.splitlines() if "Error" in line]) == 1
    assert not (tmp_path / "out").exists()
