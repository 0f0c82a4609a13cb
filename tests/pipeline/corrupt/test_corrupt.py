import asyncio
import json

import numpy as np
import pytest

from pipeline.corrupt import corrupt
from pipeline.corrupt.corrupt import Settings
from pipeline.media.decode import decode_image
from schemas.errors import RecipeError, RowError
from schemas.operator import SampleRows
from schemas.recipe import models, settings_of
from schemas.records import Media, Pair, Rejection, Sample
from tests.support.media_files import mp4, png, wav
from tests.support.rows import context


def left(shop, rows, engines=None, **said) -> list:
    settings = settings_of(corrupt, said, "worse")
    of = context("worse", shop.store, engines=engines or {})
    return asyncio.run(corrupt.corrupt(rows, settings, of))


def by_type(out: list) -> tuple[list, ...]:
    return tuple([row for row in out if isinstance(row, kind)] for kind in (Media, Sample, Pair, Rejection))


def test_settings_of_the_kind_stand_beside_its_name():
    flat = settings_of(corrupt, {"kind": "diffusion", "t": 800, "seed": 3, "as": "rejected_media"}, "worse")
    assert (flat.kind.t, flat.kind.seed, flat.as_, models(flat)) == (800, 3, "rejected_media", ())
    assert (
        settings_of(corrupt, {"kind": {"kind": "diffusion", "t": 800, "seed": 3}, "as": "rejected_media"}, "w") == flat
    )
    assert corrupt.reads(flat) == ("pairs",)
    assert models(settings_of(corrupt, {"kind": "adversarial", "model": "eyes"}, "worse")) == ("eyes",)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "worse: kind: Field required"),
        ({"kind": "crop", "t": 3}, "crop: unknown setting 't'"),
        ({"kind": "crop", "as": "chosen_media"}, "worse: as: Input should be 'rejected_media'"),
        ({"kind": "region_mask", "levels": 3}, "set `as: rejected_media` too"),
    ],
)
def test_wrong_settings_are_named(said, why):
    with pytest.raises(RecipeError) as error:
        settings_of(corrupt, said, "worse")
    assert why in str(error.value)


def test_a_sample_shows_what_was_made_from_now_on(shop):
    asked = shop.asked(png(1), png(2), answer="red", facts='{"yes": ["ball"]}')
    media, (new,), pairs, gone = by_type(left(shop, SampleRows(asked), kind="crop", seed=5))
    assert (pairs, gone) == ([], [])
    assert new.media == tuple(m.id for m in media)
    assert (new.step, new.answer, new.kind) == ("worse", "red", "multi_image")
    op = {"kind": "crop", "seed": 5, "area": [0.01, 0.2], "pixels": None}
    assert json.loads(new.facts) == {"yes": ["ball"], "corrupted": {"op": op, "media": list(asked.media)}}
    assert new.id != asked.id


def test_without_media_it_is_a_question_in_text(shop):
    (new,) = left(shop, SampleRows(shop.asked(wav())), kind="none")
    assert (new.kind, new.media) == ("text", ())


def test_pairs_are_superseded_by_pairs_with_rejected_media(shop):
    rows = shop.paired(shop.asked(png(1)), ("a cat .", "a dog ."), ("a cat .", "a cat ."))
    media, samples, (mixed, visual), gone = by_type(left(shop, rows, kind="crop", **{"as": "rejected_media"}))
    assert (len(media), samples) == (1, [])
    assert [(r.id, r.table, r.reason, r.sample) for r in gone] == [
        (p.id, "pairs", "superseded", rows.sample.id) for p in rows.pairs
    ]
    for old, new in zip(rows.pairs, (mixed, visual)):
        assert new.rejected_media == (media[0].id,)
        assert json.loads(new.media_op) == {"kind": "crop", "seed": 0, "area": [0.01, 0.2], "pixels": None}
        assert new.step == "worse"
        unchanged = {"id", "step", "rejected_media", "media_op", "pair_kind"}
        assert {k: v for k, v in new._asdict().items() if k not in unchanged} == {
            k: v for k, v in old._asdict().items() if k not in unchanged
        }
    assert (mixed.pair_kind, visual.pair_kind) == ("mixed", "media")
    assert len({p.id for p in (*rows.pairs, mixed, visual)}) == 4


def test_an_unpaired_answer_differs_by_its_media_only(shop):
    rows = shop.paired(shop.asked(png(1)), ("a cat .", "a dog ."))
    rows.pairs = [rows.pairs[0]._replace(rejected=None, rejected_id=None, label=True)]
    (pair,) = by_type(left(shop, rows, kind="black", **{"as": "rejected_media"}))[2]
    assert (pair.pair_kind, pair.label, pair.rejected) == ("media", True, None)


def test_rejected_media_stand_in_one_for_one(shop):
    rows = shop.paired(shop.asked(png(1), wav(), png(1)), ("yes", "no"))
    picture, *_ = rows.sample.media
    media, _, (pair,), _ = by_type(left(shop, rows, kind="noise", **{"as": "rejected_media"}))
    assert pair.rejected_media == (picture, media[0].id, picture)
    (pair,) = by_type(left(shop, rows, kind="none", **{"as": "rejected_media"}))[2]
    assert pair.rejected_media == ()


def test_without_pairs_nothing_is_made(shop):
    assert left(shop, SampleRows(shop.asked(png())), kind="crop", **{"as": "rejected_media"}) == []


def test_levels_rank_pictures_from_the_whole_to_the_masked_one(shop):
    rows = shop.paired(shop.asked(png(1), facts='{"bbox": [0, 0, 0.5, 1]}'), ("a cat .", "a dog ."))
    media, _, (pair,), _ = by_type(left(shop, rows, kind="region_mask", levels=4, **{"as": "rejected_media"}))
    assert pair.media_list == (rows.sample.media[0], *(m.id for m in media))
    assert (len(media), pair.rejected_media) == (4, (media[-1].id,))
    pictures = [np.asarray(decode_image(shop.store.read(sha))).astype(float) for sha in pair.media_list]
    mean = pictures[0].mean(axis=(0, 1))
    far = [np.abs(p[:, :32] - mean).mean() for p in pictures]  # from the mean colour: 4/4, 3/4 ... of what it was
    assert np.allclose(far, np.array([1, 0.75, 0.5, 0.25, 0]) * far[0], atol=0.6)
    assert all(np.array_equal(p[:, 32:], pictures[0][:, 32:]) for p in pictures)
    two = shop.paired(shop.asked(png(1), png(2), facts='{"bbox": [0, 0, 0.5, 1]}'), ("yes", "no"))
    with pytest.raises(RowError, match="`levels` above 1 need one image, the prompt has 2"):
        left(shop, two, kind="region_mask", levels=4, **{"as": "rejected_media"})


def test_a_swapped_picture_is_another_samples(shop):
    rows, other = shop.paired(shop.asked(png(1)), ("yes", "no")), SampleRows(shop.asked(png(2)))
    settings = Settings(kind="swap", **{"as": "rejected_media"})
    fitted = corrupt.fit([rows, other], settings, context("worse", shop.store))
    out = asyncio.run(corrupt.corrupt(rows, settings, context("worse", shop.store, fitted=fitted.value)))
    media, _, (pair,), _ = by_type(out)
    assert (media, pair.rejected_media) == ([], other.sample.media)  # its own source has the Media


def test_what_cannot_be_done_ends_the_sample_with_its_name(shop):
    rows = shop.paired(shop.asked(mp4(1, 1.0), source="rows.jsonl#4"), ("yes", "no"))
    with pytest.raises(RowError, match=r"rows.jsonl#4: video \w{12} is unchanged by reverse") as error:
        left(shop, rows, kind="reverse", **{"as": "rejected_media"})
    assert error.value.reason == "unchanged"


def test_an_adversarial_picture_looks_the_same(shop, runner, eyes):
    rows = shop.paired(shop.asked(png(1, 64, 64)), ("yes", "no"))
    said = {"kind": "adversarial", "model": "eyes", "steps": 3, "as": "rejected_media"}
    of = context("worse", shop.store, engines={"eyes": eyes})
    out = runner.run(corrupt.corrupt(rows, settings_of(corrupt, said, "worse"), of))
    (media,), _, (pair,), _ = by_type(out)
    assert pair.rejected_media == (media.id,)
    assert media.source.startswith("adversarial of ")
    before, after = (
        np.asarray(decode_image(shop.store.read(sha))).astype(int) for sha in (*rows.sample.media, media.id)
    )
    assert 1 <= np.abs(before - after).max() <= 8  # of 255, the `epsilon` by default
