import io
import json

import numpy as np
import pytest
from PIL import Image

from pipeline.media.image import decode_image
from pipeline.prompt import compose_media
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.errors import RowError
from schemas.operator import SampleRows
from schemas.records import Media, Part, sample
from tests.support.media_files import image_file
from tests.support.rows import context, tables_of

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "purple", "orange"]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def run(store):
    """Each question is about a picture of one colour."""
    files = [image_file(Image.new("RGB", (120, 80), colour), "PNG") for colour in COLOURS]
    tables = tables_of(store, [(f"which colour is number {i} ?", [data]) for i, data in enumerate(files)])
    answers = ["warm", "cold", "cold", "warm", "none", "none", "cold", "warm"]
    return [SampleRows(s._replace(answer=a)) for s, a in zip(tables.tables["samples"], answers, strict=True)]


def composed(run, store, rows=None, **settings):
    """For each sample what `write` leaves."""
    chosen = compose_media.Settings(**settings)
    fitted = compose_media.fit(iter(run), chosen, context())
    return [
        compose_media.write(r, chosen, context("c", store, fitted=fitted.value))
        for r in (run if rows is None else rows)
    ]


def facts(new) -> dict:
    return json.loads(new.facts)["composed"]


def test_a_sequence_shows_the_sample_at_the_place_that_is_named(run, store):
    for rows, (new,) in zip(run, composed(run, store, layout="sequence", pictures=(3, 5)), strict=True):
        found = facts(new)
        assert 3 <= len(new.media) <= 5
        assert found == {"layout": "sequence", "target": found["target"], "media": list(new.media)}
        assert len(set(new.media)) == len(new.media)
        assert new.media[found["target"] - 1] == rows.sample.media[0]
        said = (
            f"Only picture {found['target']} of {len(new.media)} is meant. {messages.question_of(rows.sample.prompt)}"
        )
        assert new.prompt[-1].parts[-1].text == said
        assert (new.kind, new.answer) == ("multi_image", rows.sample.answer)


def test_a_grid_holds_the_pictures_in_their_order(run, store):
    colour = {r.sample.media[0]: c for r, c in zip(run, COLOURS, strict=True)}
    for rows, (made, new) in zip(run, composed(run, store, layout="grid", pictures=(2, 6), side=90), strict=True):
        found = facts(new)
        sheet = Image.open(io.BytesIO(store.read(made.id)))
        assert (made.kind, new.media, new.kind) == ("image", (made.id,), "image")
        assert made.source == "grid of " + ", ".join(m[:12] for m in found["media"])
        columns = {2: 2, 3: 2, 4: 2, 5: 3, 6: 3}[len(found["media"])]
        for i, media in enumerate(found["media"]):  # 60 of a field's 90 rows are its picture; the number is left above
            at = (i % columns * 90 + 60, i // columns * 90 + 60)
            wanted = Image.new("RGB", (1, 1), colour[media]).getpixel((0, 0))
            assert np.abs(np.subtract(sheet.getpixel(at), wanted)).max() < 12
        assert found["media"][found["target"] - 1] == rows.sample.media[0]
        assert f"with the number {found['target']} is meant" in new.prompt[-1].parts[-1].text


def test_an_inset_is_in_a_corner_of_the_other(run, store):
    which = set()
    for rows, (made, new) in zip(run, composed(run, store, layout="inset", side=100), strict=True):
        found = facts(new)
        sheet = decode_image(store.read(made.id))
        assert sheet.size == (200, 133)  # 120 x 80 within 200 x 200
        large, small = (decode_image(store.read(m)).getpixel((0, 0)) for m in found["media"])
        assert np.abs(np.subtract(sheet.getpixel((100, 66)), large)).max() < 12
        corners = [sheet.getpixel(at) for at in ((20, 20), (180, 20), (20, 113), (180, 113))]
        assert sum(np.abs(np.subtract(c, small)).max() < 12 for c in corners) == 1
        word = ["large", "small"][found["target"] - 1]
        assert f"Only the {word} picture is meant." in new.prompt[-1].parts[-1].text
        assert found["media"][found["target"] - 1] == rows.sample.media[0]
        which.add(word)
    assert which == {"large", "small"}


def test_symbols_stand_for_answers_one_each(run, store):
    symbols = ("blick", "dax", "wug")
    known = {r.sample.media[0]: r.sample.answer for r in run}
    for rows, (new,) in zip(
        run, composed(run, store, layout="demonstrations", pictures=(2, 3), symbols=symbols), strict=True
    ):
        said = [m.parts[0].text for m in new.prompt if m.role == "assistant"]
        shown = [p.media for m in new.prompt for p in m.parts if p.media]
        assert shown == list(new.media) == facts(new)["media"]
        assert shown[-1] == rows.sample.media[0]
        of = dict(zip((known[m] for m in shown), [*said, new.answer], strict=True))
        assert len(set(of.values())) == len(of)  # a symbol an answer
        assert [of[known[m]] for m in shown] == [*said, new.answer]  # and everywhere the same
        assert new.answer in said
        assert facts(new)["answer"] == rows.sample.answer


def test_without_symbols_the_answers_are_shown(run, store):
    known = {r.sample.media[0]: r.sample.answer for r in run}
    for rows, (new,) in zip(run, composed(run, store, layout="demonstrations", pictures=(3, 3)), strict=True):
        said = [m.parts[0].text for m in new.prompt if m.role == "assistant"]
        assert said == [known[m] for m in new.media[:2]]
        assert new.answer == rows.sample.answer


def test_the_order_of_samples_changes_nothing(run, store):
    forwards = composed(run, store, layout="grid", pictures=(2, 5), side=64)
    assert composed(run[::-1], store, rows=run, layout="grid", pictures=(2, 5), side=64) == forwards
    assert composed(run, store, layout="grid", pictures=(2, 5), side=64, seed=1) != forwards


def test_the_pool_is_as_large_as_it_may_be(run):
    settings = compose_media.Settings(layout="sequence", pool=3)
    first, second = (compose_media.fit(iter(r), settings, context()) for r in (run, run[:-1]))
    assert len(first.value) == 3
    assert (first.key == second.key) == (first.value == second.value)


def test_what_cannot_be_composed_is_named(run, store):
    with pytest.raises(RowError, match="1 other images are needed, but only 0 exist") as error:
        composed(run[:1], store, layout="inset")
    assert error.value.reason == "no_match"
    alone = SampleRows(run[0].sample._replace(answer="alone"))
    with pytest.raises(RowError, match="no other sample has the answer 'alone'"):
        composed(run, store, rows=[alone], layout="demonstrations", pictures=(2, 2), symbols=("a", "b"))
    turns = (*run[0].sample.prompt, messages.assistant("yes"), messages.user("and now ?"))
    with pytest.raises(RowError, match="several turns"):
        composed(run, store, rows=[SampleRows(sample(turns))], layout="sequence")


@pytest.mark.parametrize(
    "settings",
    [
        {"layout": "sequence", "pictures": (2, 6)},
        {"layout": "grid", "pictures": (1, 3)},
        {"layout": "grid", "pictures": (4, 3)},
        {"layout": "grid", "symbols": ("a", "b")},
        {"layout": "demonstrations", "pictures": (2, 3), "symbols": ("a", "b")},
    ],
)
def test_layouts_have_bounds(settings):
    with pytest.raises(ValueError, match=r"pictures|symbols"):
        compose_media.Settings(**settings)


def test_media_are_made_before_the_sample_that_shows_them(run, store):
    made, new = composed(run, store, layout="grid", pictures=(2, 5), side=64)[0]
    assert isinstance(made, Media)
    assert new.prompt[-1].parts[0] == Part("image", media=made.id)
