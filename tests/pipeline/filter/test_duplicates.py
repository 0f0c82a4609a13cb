"""Planted near-duplicates of real photographs go, each with its twin; what is different stays."""

import pytest

from pipeline.filter import duplicates
from pipeline.media import phash
from pipeline.storage.media_store import FolderStore
from tests.support.media_files import mp4, wav
from tests.support.photographs import jpeg_of, photographs, pieces
from tests.support.rows import Held, context, tables_of


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "media")


def dropped(tables, store, **settings) -> dict[str, str]:
    """Row -> the row named as its twin."""
    out = {}
    sources = {s.id: s.source for s in tables.tables["samples"]}
    for row in duplicates.keep(tables, duplicates.Settings(**settings), context(media=store)):
        assert (row.table, row.reason, row.id) == ("samples", "duplicate", row.sample)
        mine, _, rest = row.detail.partition(": nearly the same as ")
        assert mine == sources[row.id]
        out[mine] = rest.split(" (")[0]
    return out


def test_the_hash_is_imagehashs_but_for_single_bits():
    import imagehash

    for picture in pieces():
        ours = int(phash.phash(phash.thumbnail(picture)[None])[0])
        assert (ours ^ int(str(imagehash.phash(picture)), 16)).bit_count() <= 2


def test_recompressed_and_shrunk_copies_go_and_other_pictures_stay(store):
    china, flower = photographs()
    small = china.resize((320, 213))
    cut = flower.crop((100, 60, 500, 400))  # a third is gone: another picture
    shown = [jpeg_of(china, 95), jpeg_of(flower, 95), jpeg_of(china, 30), jpeg_of(small), jpeg_of(cut)]
    tables = tables_of(store, [("What is shown?", [data]) for data in shown])
    assert dropped(tables, store) == {"rows.jsonl#3": "rows.jsonl#1", "rows.jsonl#4": "rows.jsonl#1"}


def test_the_rejection_names_both_distances(store):
    china, _ = photographs()
    tables = tables_of(store, [("What is shown?", [jpeg_of(china, 95)]), ("what is shown ?", [jpeg_of(china, 30)])])
    (row,) = duplicates.keep(tables, duplicates.Settings(), context(media=store))
    hashes = [int(phash.phash(phash.thumbnail(p)[None])[0]) for p in _decoded(tables, store)]
    apart = (hashes[0] ^ hashes[1]).bit_count()
    assert row.detail == (
        f"rows.jsonl#2: nearly the same as rows.jsonl#1 ({apart} of 64 bits differ, prompt similarity 1.00); "
        "keep only one of them"
    )


def _decoded(tables: Held, store):
    for media in tables.tables["media"]:
        yield from phash.pictures(store.read(media.id), "image", 1, 64, "it")


def test_what_must_be_the_same_can_be_said(store):
    china, flower = photographs()
    tables = tables_of(
        store,
        [
            ("How many people walk on the roof of the temple?", [jpeg_of(china)]),
            ("Which colour has the sky over the temple?", [jpeg_of(china, 40)]),  # same picture, other question
            ("which colour has the sky over the temple", [jpeg_of(flower)]),  # other picture, same question
        ],
    )
    assert dropped(tables, store) == {}
    assert dropped(tables, store, by="media") == {"rows.jsonl#2": "rows.jsonl#1"}
    assert dropped(tables, store, by="prompt") == {"rows.jsonl#3": "rows.jsonl#2"}


def test_texts_and_sounds_are_compared_by_prompt_and_bytes(store):
    tables = tables_of(
        store,
        [
            ("Explain to me in one sentence why the sky is blue.", []),
            ("Explain to me in one sentence why the sky is blue!", []),
            ("What is to be heard in this recording?", [wav(1.0)]),
            ("what is to be heard in this recording", [wav(1.0)]),
            ("What is to be heard in this recording?", [wav(2.0)]),
        ],
    )
    assert dropped(tables, store) == {"rows.jsonl#2": "rows.jsonl#1", "rows.jsonl#4": "rows.jsonl#3"}
    assert dropped(tables, store, by="media") == {"rows.jsonl#4": "rows.jsonl#3"}


def test_videos_are_the_same_when_all_their_frames_are(store):
    one, again, other = (_film(p, q) for p, q in ((pieces()[:5], 20), (pieces()[:5], 34), (pieces()[4:9], 20)))
    tables = tables_of(store, [("What happens?", [data]) for data in (one, again, other)])
    assert dropped(tables, store) == {"rows.jsonl#2": "rows.jsonl#1"}


def _film(pictures, crf: int) -> bytes:
    """A film of one picture a second, the more compressed the higher `crf`."""
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=1, options={"crf": str(crf)})
        video.width, video.height, video.pix_fmt = 300, 200, "yuv420p"
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
    return file.getvalue()


def test_several_pictures_count_in_their_order(store):
    one, two = (jpeg_of(p) for p in pieces()[:2])
    again = [jpeg_of(p, 60) for p in pieces()[:2]]
    tables = tables_of(store, [("Compare them.", [one, two]), ("Compare them.", [two, one]), ("Compare them.", again)])
    assert dropped(tables, store) == {"rows.jsonl#3": "rows.jsonl#1"}


def test_a_picture_that_does_not_decode_is_only_like_itself(store):
    whole = jpeg_of(photographs()[0])
    broken = whole[:4000] + b"\0" * 200 + whole[4200:]
    video = mp4(3)
    tables = tables_of(store, [("What is shown?", [data]) for data in (whole, broken, video)])
    assert "rows.jsonl#1" not in dropped(tables, store)


def test_no_samples_drop_none(store):
    for by in ("both", "media", "prompt"):
        assert dropped(Held(samples=[]), store, by=by) == {}


def test_one_word_makes_another_question(store):
    data = jpeg_of(pieces()[0])
    asked = "In the picture shown above, what color is the big {} that sits there on the left?"
    tables = tables_of(store, [(asked.format("cat"), [data]), (asked.format("dog"), [data])])
    assert dropped(tables, store) == {}
    # its 80 characters have 76 runs, of which the word touches 7: (76 - 7) / (76 + 7) = .83, estimated within .04
    assert dropped(tables, store, likeness=0.7) == {"rows.jsonl#2": "rows.jsonl#1"}
