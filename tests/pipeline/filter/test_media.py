import asyncio
import json

import pytest

from pipeline.filter import media
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.records import Part, sample
from schemas.requests import Answer, Generated
from tests.support.media_files import jpeg, mp4, wav
from tests.support.photographs import jpeg_of, pieces
from tests.support.rows import context, tables_of


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


def gone(tables, store, **settings) -> dict[str, tuple[str, str]]:
    """Row -> reason, and the words behind the row's name."""
    out = asyncio.run(media.keep(tables, media.Settings(**settings), context(media=store)))
    return {row.detail.split(": ")[0]: (row.reason, row.detail.split(": ", 1)[1]) for row in out}


@pytest.mark.parametrize(
    ("settings", "reason", "said"),
    [
        ({"side": (49, None)}, "resolution", "the shorter side in pixels is 48, below 49"),
        ({"side": (48, 48)}, None, None),
        ({"pixels": (None, 64 * 48 - 1)}, "resolution", "the number of pixels is 3072, above 3071"),
        ({"aspect": (None, 1.3)}, "aspect", "the aspect ratio is 1.333, above 1.3"),
        ({"aspect": (None, 1.34)}, None, None),
        ({"seconds": (5, None)}, None, None),  # a picture has no length
    ],
)
def test_an_image_of_64_by_48(store, settings, reason, said):
    found = gone(tables_of(store, [("?", [jpeg(1)])]), store, **settings)
    assert found == ({"rows.jsonl#1": (reason, f"{said}; remove it or widen the bounds")} if reason else {})


def test_moving_pictures_and_sounds_have_lengths(store):
    tables = tables_of(store, [("?", [mp4(10, 2.0)]), ("?", [wav(1.0)]), ("?", [])])
    # the sound of one second; the question in text has no length
    found = {"rows.jsonl#2": ("duration", "the length in seconds is 1, below 1.5; remove it or widen the bounds")}
    assert gone(tables, store, seconds=(1.5, None)) == found
    assert gone(tables, store, frames=(None, 9)).keys() == {"rows.jsonl#1"}
    assert gone(tables, store, side=(1000, None)).keys() == {"rows.jsonl#1"}


def test_every_medium_of_a_sample_must_be_within(store):
    tables = tables_of(store, [("?", [jpeg(1), jpeg(2, 20, 20)]), ("?", [jpeg(3)])])
    assert gone(tables, store, side=(30, None)).keys() == {"rows.jsonl#1"}


def test_pixels_are_measured_where_bounds_ask_for_it(store):
    busy, flat = jpeg_of(pieces()[1]), jpeg(1, 1, 1)
    broken = busy[:3000] + b"\xff\x00" * 300 + busy[3600:]
    tables = tables_of(store, [("?", [busy]), ("?", [flat]), ("?", [mp4()]), ("?", [broken])])
    found = gone(tables, store, entropy=(4, None), edges=(0, 1))
    assert found["rows.jsonl#2"] == (
        "complexity",
        "the entropy in bits per pixel is 0, below 4; remove it or widen the bounds",
    )
    assert "rows.jsonl#1" not in found
    assert found["rows.jsonl#3"][0] == "complexity"  # frames of one grey


def test_objects_come_from_the_facts(store):
    tables = tables_of(store, [("?", [jpeg(i)]) for i in range(4)] + [("why?", [])])
    facts = [{"objects": ["cup", "dog"]}, {"objects": 3}, {"objects": "many"}, None, None]
    tables.tables["samples"] = [
        s._replace(facts=f and json.dumps(f)) for s, f in zip(tables.tables["samples"], facts, strict=True)
    ]
    found = gone(tables, store, objects=(3, None))
    assert found.keys() == {"rows.jsonl#1", "rows.jsonl#3", "rows.jsonl#4"}
    assert found["rows.jsonl#1"][1].startswith("the number of objects is 2, below 3")
    assert found["rows.jsonl#4"][1].startswith("the number of objects is unknown")


@pytest.mark.parametrize(
    ("finish", "remedy"), [("length", "raise max_tokens"), ("tool_calls", "tool"), ("content_filter", "filter")]
)
def test_a_models_words_that_were_cut_off_count_nothing(store, finish, remedy):
    class Says:
        slots = 4

        async def ask(self, request):
            assert request.max_tokens == 20
            return Generated((Answer('{"objects": 3, "writing": 20}', 9, finish),), 9)

    tables = tables_of(store, [("?", [jpeg(0)])])
    settings = media.Settings(objects=(0, None), model="m", max_tokens=20)
    (row,) = asyncio.run(media.keep(tables, settings, context(media=store, engines={"m": Says()})))
    assert (row.reason, remedy in row.detail) == ("unparsable", True)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"objects": 3, "writing": 20}', {"objects": 3, "writing": 0.2}),
        ('```json\n{"objects": 3, "writing": 20}\n```', {"objects": 3, "writing": 0.2}),
        ('{"objects": 3}', None),
        ('{"objects": 3, "writing": 120}', None),
        ('{"objects": "three", "writing": 20}', None),
        ('{"objects": 1, "writing": 0} or {"objects": 2, "writing": 0}', None),
        ("three", None),
    ],
)
def test_a_models_words(said, found):
    assert media.parse(said) == found


@pytest.mark.parametrize(
    "settings",
    [{}, {"side": (None, None)}, {"side": (5, 3)}, {"side": (1, None), "model": "policy"}],
)
def test_bounds_that_say_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=r"bounds|lowest"):
        media.Settings(**settings)


def test_a_sample_may_show_the_same_medium_twice(store):
    tables = tables_of(store, [("?", [jpeg(1)])])
    (one,) = tables.tables["media"]
    twice = sample(
        (messages.user(Part("image", media=one.id), Part("image", media=one.id), "?"),), source="rows.jsonl#2"
    )
    tables.tables["samples"].append(twice)
    assert gone(tables, store, side=(100, None)).keys() == {"rows.jsonl#1", "rows.jsonl#2"}
