import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pillow_heif
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.dataset.columns import columns
from pipeline.dataset.read import read_examples
from pipeline.dataset.write import write
from pipeline.media.decode import decode_image
from pipeline.storage.media_store import FolderStore
from schemas import messages, records
from schemas.errors import InputError, OutputError, RunError, StoreError
from schemas.records import SAMPLE_KINDS, Part, Span
from tests.support import media_files
from tests.support.small_run import ListTables

ROOT = Path(__file__).parents[3]


def pair_of(sample, **known):
    good, bad = (records.candidate(sample.id, "make", text) for text in ("good", "bad"))
    return records.pair(sample.id, "pair", good, bad, **known)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_pair_comes_back_with_its_prompt_and_media_in_order(exported):
    samples = {s.id: s for s in exported.tables.rows["samples"]}
    pairs = {p.id: p for p in exported.tables.rows["pairs"]}
    examples = list(read_examples(exported.folder))
    assert Counter(e.kind for e in examples) == exported.counts
    assert sorted(e.id for e in examples) == sorted(pairs)
    for e in examples:
        pair, sample = pairs[e.id], samples[e.sample]
        shown = [part for message in sample.prompt for part in message.parts if part.media]
        assert (e.chosen, e.rejected, e.margin) == (pair.chosen, pair.rejected, pair.margin)
        assert (e.messages, e.kind) == (sample.prompt, sample.kind)
        assert e.media == tuple((part.type, exported.media.read(part.media)) for part in shown)


def test_examples_follow_the_order_of_kinds_and_within_a_kind_that_of_the_pairs(exported):
    kinds = {s.id: s.kind for s in exported.tables.rows["samples"]}
    pairs = sorted(exported.tables.rows["pairs"], key=lambda p: SAMPLE_KINDS.index(kinds[p.sample]))  # a stable sort
    assert [e.id for e in read_examples(exported.folder)] == [p.id for p in pairs]


def test_the_same_rows_give_the_same_bytes_however_they_are_batched(exported, tmp_path):
    again = ListTables(exported.tables.rows, size=7)
    write(again, exported.media, tmp_path / "again", {"recipe": "small"})
    assert files_of(tmp_path / "again") == files_of(exported.folder)


@pytest.mark.parametrize("kind", ["image", "multi_image", "video", "audio"])
def test_datasets_loads_each_config_and_every_row_of_it(exported, hub_cache, kind):
    import datasets

    rows = datasets.load_dataset(str(exported.folder), data_dir=kind, split="train", cache_dir=str(hub_cache))
    examples = [e for e in read_examples(exported.folder) if e.kind == kind]
    assert rows.column_names == [c.name for c in columns(kind)]
    assert len(rows) == len(examples)
    for row, example in zip(rows, examples, strict=True):
        if kind in ("image", "multi_image"):
            assert [image.size for image in row["images"]] == [(64, 64)] * len(example.media)
        else:
            assert [(kind, file["bytes"]) for file in row[f"{kind}s"]] == list(example.media)
        assert row["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": example.chosen}]}]
        assert row[f"rejected_{example.media[0][0]}s"] is None


def test_interleaved_pictures_keep_their_places_in_the_prompt(exported):
    (prompt, *_) = pq.read_table(exported.folder / "multi_image", columns=["prompt"])["prompt"].to_pylist()
    assert [part["text"] or part["type"] for part in prompt[0]["content"]][:4] == [
        "picture one", "image", "picture two", "image",
    ]  # fmt: skip


def test_all_that_a_pair_knows_is_written(tmp_path):
    media = FolderStore(tmp_path / "media")
    shas = [media.add(media_files.png(seed)) for seed in (1, 2)]
    sample = records.sample((messages.user(Part("image", media=shas[0]), "what?"),), answer="cat", facts='{"yes": []}')
    known = {
        "pair_kind": "mixed", "margin": 1.5, "reward_chosen": 2.0, "reward_rejected": 0.5, "confidence": 0.75, "soft_label": 0.9,
        "rank": 1, "hardness": 0.25, "needs_media": True, "rejected_media": (shas[1],), "media_op": "crop", "media_list": tuple(shas),
        "chosen_spans": (Span(0, 4, 1.0, "object", 0.5, "dog"),), "rejected_spans": (), "critique_chosen": "fine",
        "critique_rejected": "poor", "ref_logp_chosen": -3.5, "ref_logp_rejected": -4.5, "ref_stamp": "m",
        "judgements": ("j1", "j2"), "recipe": "r", "seed": 7,
    }  # fmt: skip
    pair = pair_of(sample, **known)
    write(ListTables({"samples": [sample], "pairs": [pair]}), media, tmp_path / "out", {})
    (row,) = pq.read_table(tmp_path / "out" / "image").to_pylist()
    lists = {name: list(value) for name, value in known.items() if isinstance(value, tuple)}
    assert {name: row[name] for name in known} == known | lists | {"chosen_spans": [known["chosen_spans"][0]._asdict()]}
    assert [file["bytes"] for file in row["images"] + row["rejected_images"]] == [media.read(sha) for sha in shas]
    assert [file["bytes"] for file in row["ranked_images"]] == [media.read(sha) for sha in shas]
    assert (row["answer"], row["facts"], row["media"]) == ("cat", '{"yes": []}', [shas[0]])


def test_media_behind_the_rejected_answer_come_back_in_the_order_of_the_prompt(tmp_path, hub_cache):
    import datasets

    media = FolderStore(tmp_path / "media")
    files = {
        "picture": media_files.png(1),
        "clip": media_files.mp4(4),
        "other": media_files.png(2),
        "muted": media_files.mp4(5),
    }
    shas = {name: media.add(data) for name, data in files.items()}
    sample = records.sample(
        (messages.user(Part("image", media=shas["picture"]), Part("video", media=shas["clip"]), "?"),)
    )
    both = pair_of(sample, rejected_media=(shas["other"], shas["muted"]))._replace(id="0")
    none, same = pair_of(sample, rejected_media=())._replace(id="1"), pair_of(sample)._replace(id="2")
    write(ListTables({"samples": [sample], "pairs": [both, none, same]}), media, tmp_path / "out", {})
    shown = (("image", files["picture"]), ("video", files["clip"]))
    found = {e.id: (e.media, e.rejected_media) for e in read_examples(tmp_path / "out")}
    assert found == {
        "0": (shown, (("image", files["other"]), ("video", files["muted"]))), "1": (shown, ()), "2": (shown, None),
    }  # fmt: skip
    rows = datasets.load_dataset(str(tmp_path / "out"), data_dir="video", split="train", cache_dir=str(hub_cache))
    assert rows[0]["rejected_images"][0].size == (64, 48)
    assert rows[0]["rejected_videos"][0]["bytes"] == files["muted"]
    assert (rows[1]["rejected_images"], rows[2]["rejected_images"]) == ([], None)


def test_a_clip_and_a_sound_in_one_prompt_are_both_kept(tmp_path):
    media = FolderStore(tmp_path / "media")
    sound, clip = media_files.wav(0.1), media_files.mp4(4)
    sample = records.sample(
        (messages.user(Part("audio", media=media.add(sound)), Part("video", media=media.add(clip)), "?"),)
    )
    write(ListTables({"samples": [sample], "pairs": [pair_of(sample)]}), media, tmp_path / "out", {})
    (example,) = read_examples(tmp_path / "out")
    assert example.media == (("audio", sound), ("video", clip))


def test_a_text_prompt_has_a_config_without_media_columns_and_an_unpaired_answer_says_whether_it_is_good(tmp_path):
    sample = records.sample((messages.user("why?"),))
    pair = pair_of(sample, label=True)._replace(rejected=None, rejected_id=None)
    assert write(ListTables({"samples": [sample], "pairs": [pair]}), None, tmp_path / "out", {}) == {"text": 1}
    (row,) = pq.read_table(tmp_path / "out" / "text").to_pylist()
    assert (row["rejected"], row["desirable"], "images" in row) == (None, True, False)
    (example,) = read_examples(tmp_path / "out")
    assert example.rejected is None


def test_pairs_that_share_a_picture_store_it_once(tmp_path):
    media = FolderStore(tmp_path / "media")
    picture = media_files.image_file(media_files.picture(1, 256, 256), "PNG")
    sample = records.sample((messages.user(Part("image", media=media.add(picture)), "?"),))
    pairs = [pair_of(sample)._replace(id=f"{i:032}") for i in range(20)]
    write(ListTables({"samples": [sample], "pairs": pairs}), media, tmp_path / "out", {})
    (file,) = (tmp_path / "out" / "image").iterdir()
    assert len(picture) < file.stat().st_size < 2 * len(picture)  # 20 copies would be 20 times as much


def test_media_are_ranked_for_prompts_with_one_medium_only(tmp_path):
    media = FolderStore(tmp_path / "media")
    parts = [Part("image", media=media.add(media_files.png(seed))) for seed in (1, 2)]
    sample = records.sample((messages.user(*parts, "?"),))
    pair = pair_of(sample, media_list=tuple(p.media for p in parts))
    with pytest.raises(RunError, match="ranks media, but its prompt has 2"):
        write(ListTables({"samples": [sample], "pairs": [pair]}), media, tmp_path / "out", {})


def test_without_pairs_the_dataset_is_an_empty_folder_which_cannot_be_read(tmp_path):
    assert write(ListTables({}), None, tmp_path / "out", {}) == {}
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(InputError, match="contains no exported dataset"):
        next(read_examples(tmp_path / "out"))


def test_an_older_export_is_replaced_whole(exported, tmp_path):
    write(exported.tables, exported.media, tmp_path / "out", {})
    (tmp_path / "out" / "README.md").write_text("card")
    sample = records.sample((messages.user("why?"),))
    write(ListTables({"samples": [sample], "pairs": [pair_of(sample)]}), None, tmp_path / "out", {})
    assert list(files_of(tmp_path)) == ["out/.manifest.json", "out/text/train-00000.parquet"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        write(ListTables({}), None, tmp_path, {})
    assert (tmp_path / "thesis.tex").exists()


def test_a_pair_whose_sample_is_not_live_stops_the_export_and_leaves_no_dataset(tmp_path):
    sample = records.sample((messages.user("why?"),))
    with pytest.raises(RunError, match="1 pairs"):
        write(ListTables({"samples": [], "pairs": [pair_of(sample)]}), None, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_a_picture_that_the_store_lost_is_named(tmp_path):
    sample = records.sample((messages.user(Part("image", media="a" * 64), "what?"),))
    with pytest.raises(StoreError, match=f"image {'a' * 64} is missing"):
        write(
            ListTables({"samples": [sample], "pairs": [pair_of(sample)]}), FolderStore(tmp_path), tmp_path / "out", {}
        )


def test_a_dataset_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "text").mkdir()
    schema = pa.schema([("id", pa.string())], metadata={"pairwright": '{"version": 99}'})
    pq.write_table(schema.empty_table(), tmp_path / "text" / "train-00000.parquet")
    with pytest.raises(InputError, match="export the dataset again"):
        list(read_examples(tmp_path))


FLAT = """
import sys
from schemas import messages, records
from schemas.arrow import to_batch
from pipeline.dataset.write import write

class Media:
    def read(self, sha):
        return sha.encode() * 344  # 64 * 344 = 22 kB

class Tables:
    def batches(self, table, columns=None):
        for start in range(0, int(sys.argv[1]), 500):
            rows = [self.row(table, i) for i in range(start, start + 500)]
            yield to_batch(table, rows).select(columns) if columns else to_batch(table, rows)
    def row(self, table, i):
        sample = records.sample((messages.user(records.Part("image", media=f"{i:064}"), "what?"),))
        if table == "samples":
            return sample
        return records.pair(sample.id, "pair", *(records.candidate(sample.id, "make", t) for t in ("good", "bad")))

write(Tables(), Media(), sys.argv[2], {}, "original")
# not ru_maxrss: that begins with what the parent held when it forked
print(next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(n: int, out: Path) -> int:
    """Peak memory, in MB, of a process that exports n pairs with pictures of 22 kB."""
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(n), str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path):
    small, large = (peak(n, tmp_path / str(n)) for n in (4_000, 20_000))  # 88 and 440 MB of pictures
    assert large - small < 60
    assert large < 300


def test_every_picture_can_be_opened_by_pillow_and_is_the_one_that_models_saw(tmp_path, hub_cache):
    """A row whose picture a reader cannot open would end every iteration over its config."""
    from datasets import load_dataset

    turned = Image.Exif()
    turned[0x0112] = 6
    heic = io.BytesIO()
    pillow_heif.from_pillow(media_files.picture(1, 96, 64)).save(heic)
    files = [
        media_files.jpeg(1, exif=turned), heic.getvalue(), media_files.jpeg(2),
        media_files.image_file(Image.fromarray(np.full((8, 8), 0x4080, np.uint16)), "PNG"),
        media_files.image_file(Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "PNG"),
    ]  # fmt: skip
    media = FolderStore(tmp_path / "media")
    samples = [records.sample((messages.user(Part("image", media=media.add(data)), "what ?"),)) for data in files]
    pairs = [pair_of(sample) for sample in samples]
    for form in ("portable", "original"):
        tables = ListTables({"samples": samples, "pairs": pairs})
        write(tables, media, tmp_path / form, {}, form)
    shown = load_dataset(str(tmp_path / "portable" / "image"), split="train")
    for row, data in zip(shown, files, strict=True):
        assert np.array_equal(np.asarray(row["images"][0].convert("RGB")), np.asarray(decode_image(data)))
    (path,) = (tmp_path / "portable" / "image").glob("*.parquet")
    stored = [row[0]["bytes"] for row in pq.read_table(path)["images"].to_pylist()]
    assert stored[2] == files[2]  # a plain JPEG
    assert stored[0] != files[0]
    (path,) = (tmp_path / "original" / "image").glob("*.parquet")
    assert [row[0]["bytes"] for row in pq.read_table(path)["images"].to_pylist()] == files


def test_a_file_that_cannot_be_converted_is_exported_as_it_is(tmp_path):
    media = FolderStore(tmp_path / "media")
    broken = media_files.image_file(media_files.picture(1, 64, 48), "GIF")[:-20]
    sample = records.sample((messages.user(Part("image", media=media.add(broken)), "what ?"),))
    write(ListTables({"samples": [sample], "pairs": [pair_of(sample)]}), media, tmp_path / "out", {})
    (example,) = read_examples(tmp_path / "out")
    assert example.media == (("image", broken),)


def test_large_files_are_read_a_row_group_at_a_time(exported, tmp_path, monkeypatch):
    """Four clips of 10 MB: groups are full at 8 MB, so each has a group; a reader that batched by rows would hold all four."""
    import pipeline.dataset.read as module

    shas = [f"{i:064x}" for i in range(4)]
    store = type("Store", (), {"read": lambda self, sha: sha.encode()[:1] * (10 << 20)})()
    samples = [records.sample((messages.user(Part("video", media=sha), "?"),), step="s") for sha in shas]
    tables = ListTables({"samples": samples, "pairs": [pair_of(s) for s in samples]})
    write(tables, store, tmp_path / "dataset", {}, "original")
    sizes = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        module.pq.ParquetFile, "iter_batches",
        lambda self, *args, **known: (sizes.append(batch.nbytes) or batch for batch in real(self, *args, **known)),
    )  # fmt: skip
    assert [len(e.media[0][1]) for e in read_examples(tmp_path / "dataset")] == [10 << 20] * 4
    assert len(sizes) == 4
    assert max(sizes) < 11 << 20
