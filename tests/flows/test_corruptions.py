"""The sample recipes of corruptions, run on real files: what is stored behind rejected answers, what a model is shown, and what a killed
or repeated run makes of it."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.runs import executor
from pipeline.dataset.read import read_examples
from pipeline.media.decode import decode_audio, decode_video
from pipeline.media.probe import probe
from schemas.arrow import from_batch
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import mp4, wav
from tests.support.photographs import jpeg_of, pieces
from tests.support.preference_sets import jsonl, part, says
from tests.support.recipe_runs import completed

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sets of pairs: twelve pictures, with a pair or two each and a question in text; two pictures with boxes; a clip; a sound."""
    folder = tmp_path_factory.mktemp("corruptions")
    for number, piece in enumerate(pieces()):
        (folder / f"{number}.jpg").write_bytes(jpeg_of(piece))
    (folder / "run.mp4").write_bytes(mp4(10, 1.0, sound=True))
    (folder / "bark.wav").write_bytes(wav(1.03))
    said = {"chosen": "A roof.", "rejected": "A boat."}
    pairs = [{"prompt": f"What is {n}?", "image": f"{n}.jpg", **said} for n in range(12)]
    jsonl(folder / "trl.jsonl", *pairs, pairs[0] | {"rejected": "A cat."}, {"prompt": "Hello?", **said})
    talk = {side: says("assistant", part("text", text)) for side, text in said.items()}
    boxes = [pairs[n] | talk | {"facts": json.dumps({"bbox": [0.1 * n, 0.2, 0.9, 0.8]})} for n in (1, 2)]
    jsonl(folder / "boxes.jsonl", *boxes, pairs[3] | talk)
    jsonl(folder / "clips.jsonl", {"prompt": "What happens?", "video": "run.mp4", **said})
    jsonl(folder / "sounds.jsonl", {"prompt": "What is heard?", "audio": "bark.wav", **said})
    jsonl(folder / "rows.jsonl", *[{"prompt": f"What is {n}?", "image": f"{n}.jpg"} for n in range(3)])
    return folder


def build(folder: Path, name: str, *settings: str, out: str | None = None):
    """The run of a sample recipe, finished."""
    place = folder / (out or name)
    run = executor.open_run(str(RECIPES / f"{name}.yaml"), settings, out=place, cache=folder / f"cache-{out or name}")
    completed(run)
    return run


def rows(run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]


def exported(run) -> list[dict]:
    return [row for file in sorted(run.dataset(1).glob("*/*.parquet")) for row in pq.read_table(file).to_pylist()]


def files(run) -> dict[str, bytes]:
    return {str(f.relative_to(run.dataset(1))): f.read_bytes() for f in run.dataset(1).glob("*/*.parquet")}


def test_mdpo_stores_a_piece_of_the_picture_behind_the_rejected_answer(folder):
    run = build(folder, "corrupt_crop", f"pairs.path={folder / 'trl.jsonl'}")
    found = exported(run)
    assert len(found) == 13
    for row in found:
        shown, other = (Image.open(io.BytesIO(row[name][0]["bytes"])) for name in ("images", "rejected_images"))
        assert (shown.size, other.size, other.format) == ((300, 200), (300, 200), "PNG")
        assert (row["pair_kind"], json.loads(row["media_op"])["kind"], row["step"]) == ("mixed", "crop", "corrupt")
        # a piece of 20 % of the picture at most, enlarged: smoother than the whole
        sharp = [np.abs(np.diff(np.asarray(p.convert("L")).astype(int))).mean() for p in (shown, other)]
        assert sharp[1] < sharp[0]
    first = [row for row in found if row["rejected"][0]["content"][0]["text"] == "A cat."]
    (twin,) = (row for row in found if row["sample"] == first[0]["sample"] and row["id"] != first[0]["id"])
    assert twin["rejected_media"] == first[0]["rejected_media"]  # one corruption a sample
    gone = {(r.table, r.reason) for r in rows(run, "rejections")}
    assert gone == {("pairs", "superseded"), ("samples", "unsupported_media")}  # the question in text
    assert {m.id for m in rows(run, "media")} >= {sha for row in found for sha in row["rejected_media"]}


def test_the_same_recipe_gives_the_same_dataset_and_another_seed_another(folder):
    said = f"pairs.path={folder / 'trl.jsonl'}"
    first = files(build(folder, "corrupt_crop", said, out="first"))
    assert files(build(folder, "corrupt_crop", said, out="second")) == first
    assert files(build(folder, "corrupt_crop", said, "corrupt.seed=1", out="third")) != first


def test_a_dataset_with_rejected_media_comes_back_as_it_was(folder):
    before = build(folder, "corrupt_crop", f"pairs.path={folder / 'trl.jsonl'}", out="exported")
    after = build(folder, "pairs_pairwright", f"pairs.path={before.dataset(1)}", out="imported")
    told = [
        {(str(e.messages), e.rejected, e.media, e.rejected_media) for e in read_examples(r.dataset(1))}
        for r in (before, after)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 13
    assert {row["media_op"] for row in exported(after)} == {row["media_op"] for row in exported(before)}


def test_pictures_are_swapped_among_samples(folder):
    said = f"pairs.path={folder / 'trl.jsonl'}"
    near, chance = (
        exported(build(folder, "corrupt_swap", said)),
        exported(build(folder, "corrupt_swap", said, "corrupt.by=chance", out="any")),
    )
    pictures = {row["media"][0] for row in near}
    assert len(pictures) == 12
    for row in (*near, *chance):
        assert row["rejected_media"][0] in pictures - set(row["media"])
    # pieces 0 to 5 are of a temple, 6 to 11 of a flower before a blurred ground, whose figures differ: the nearest is of the same,
    # where by chance 5 of the 11 others are
    kind = {probe(jpeg_of(piece), "it").id: place // 6 for place, piece in enumerate(pieces())}
    same = lambda found: sum(kind[row["media"][0]] == kind[row["rejected_media"][0]] for row in found)
    assert same(near) >= 10
    assert same(chance) < same(near)


def test_lpoi_ranks_pictures_by_how_much_of_the_object_is_seen(folder):
    run = build(folder, "corrupt_levels", f"pairs.path={folder / 'boxes.jsonl'}")
    found = exported(run)
    assert len(found) == 2
    for row in found:
        assert row["media_list"][0] == row["media"][0]
        assert [row["media_list"][-1]] == row["rejected_media"]
        assert len(row["ranked_images"]) == 5
        pixels = [
            np.asarray(Image.open(io.BytesIO(file["bytes"])).convert("RGB")).astype(int)
            for file in row["ranked_images"]
        ]
        far = [np.abs(p - pixels[0]).sum() for p in pixels]
        assert far == sorted(far)
        assert far[1] > 0
    (bad,) = (r for r in rows(run, "rejections") if r.table == "samples")
    assert (bad.reason, "boxes.jsonl#3: its facts have no valid `bbox`" in bad.detail) == ("bad_row", True)
    again = exported(build(folder, "pairs_pairwright", f"pairs.path={run.dataset(1)}", out="levels"))
    assert [row["media_list"] for row in again] == [row["media_list"] for row in found]


def test_a_clip_runs_backwards_behind_the_rejected_answer(folder):
    (row,) = exported(build(folder, "corrupt_reverse", f"pairs.path={folder / 'clips.jsonl'}"))
    shown, other = (
        decode_video(row[name][0]["bytes"])[0].mean(axis=(1, 2, 3)) for name in ("videos", "rejected_videos")
    )
    assert (np.diff(shown) > 0).all()  # each frame is brighter than the one before
    assert np.abs(other[::-1] - shown).max() < 3


def test_a_sound_is_noisy_behind_the_rejected_answer(folder):
    (row,) = exported(build(folder, "corrupt_noise", f"pairs.path={folder / 'sounds.jsonl'}"))
    shown, other = (decode_audio(row[name][0]["bytes"]).astype(float) for name in ("audios", "rejected_audios"))
    part = other @ shown / (shown @ shown)
    noise = other - part * shown
    assert 10 * np.log10((part * shown).var() / noise.var()) == pytest.approx(0, abs=0.2)


STORED = {
    "corrupt_crop": (
        "image",
        "boxes",
        "none diffusion rotate black blur pixelate downscale jitter pixel_mask region_mask swap",
    ),
    "corrupt_reverse": (
        "video",
        "clips",
        "none diffusion black downscale drop freeze shuffle noise mute pitch stretch reverb",
    ),
    "corrupt_noise": ("audio", "sounds", "none mute pitch stretch reverb shuffle reverse"),
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, (*_, kinds) in STORED.items() for kind in kinds.split()]
)
def test_every_kind_is_stored_by_its_name_alone(folder, name, kind):
    medium, given, _ = STORED[name]
    form = "pairwright" if given == "boxes" else "trl"
    said = [f"pairs.path={folder / given}.jsonl", f"pairs.format={form}", f"corrupt.kind={kind}"]
    found = exported(build(folder, name, *said, out=f"{name}-{kind}"))
    assert len(found) == (1 if medium != "image" else 2 if kind == "region_mask" else 3)  # a picture has no box
    for row in found:
        assert json.loads(row["media_op"])["kind"] == kind
        assert len(row["rejected_media"]) == len(row[f"rejected_{medium}s"]) == (kind != "none")
        assert row["rejected_media"] != row["media"]


def test_an_adversarial_picture_is_stored(folder):
    found = exported(
        build(
            folder,
            "corrupt_adversarial",
            f"pairs.path={folder / 'boxes.jsonl'}",
            "pairs.format=auto",
            "corrupt.steps=2",
        )
    )
    assert len(found) == 3
    for row in found:
        assert probe(row["rejected_images"][0]["bytes"], "it").mime == "image/png"
        assert row["rejected_media"] != row["media"]


def test_a_model_is_shown_the_noise_and_so_is_the_dataset(folder):
    endpoint = Endpoint()
    endpoint.keep_bodies = True
    with served(endpoint) as url:
        run = build(folder, "corrupt_diffusion", f"rows.path={folder / 'rows.jsonl'}", f"models.policy.base_url={url}")
    samples, found = rows(run, "samples"), exported(run)
    assert len(samples) == 3
    facts = [json.loads(s.facts)["corrupted"] for s in samples]
    assert all(f["op"] == {"kind": "diffusion", "t": 800, "seed": 0} for f in facts)
    originals = {probe((folder / f"{n}.jpg").read_bytes(), "it").id for n in range(3)}
    assert {media for f in facts for media in f["media"]} == originals
    made = {m.id for m in rows(run, "media")} - originals
    assert {s.media[0] for s in samples} == made
    assert found  # answers that are rated alike make no pair
    assert {row["media"][0] for row in found} <= made
    asked = [part["image_url"]["url"] for body in endpoint.bodies for m in body["messages"] if isinstance(m["content"], list)
             for part in m["content"] if part["type"] == "image_url"]  # fmt: skip
    sent = {probe(base64.b64decode(url.partition(",")[2]), "it").id for url in asked}
    assert sent == made
    gone = [r for r in rows(run, "rejections") if r.reason == "superseded"]
    assert {(r.table, r.step, r.sample) for r in gone} == {("samples", "corrupt", s.id) for s in samples}
