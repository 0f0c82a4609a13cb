import base64
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.source import rows
from pipeline.source.formats import unread
from pipeline.source.reading import column_mapping
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Media, Message, Part, Reason, Rejection, Sample
from tests.support import buckets, web
from tests.support import media_files as make

FILES = {
    "cat.jpg": make.jpeg(1), "dog.png": make.png(2), "run.mp4": make.mp4(), "bark.wav": make.wav(),
    "cut.jpg": make.jpeg(1)[:-200], "text.png": b"Not a picture.", "still.mp4": make.mp4(frames=0), "none.wav": b"",
}  # fmt: skip

CAT, DOG, RUN, BARK = (
    sha256(FILES[name]).hexdigest() for name in ("cat.jpg", "dog.png", "run.mp4", "bark.wav")
)  # their ids


@pytest.fixture
def home(tmp_path):
    for name, data in FILES.items():
        (tmp_path / "data" / "media" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "media" / name).write_bytes(data)
    return tmp_path / "data"


@pytest.fixture
def notes():
    """What the last call of `read` did not read."""
    return {}


@pytest.fixture
def read(home, notes):
    def read(path="rows.jsonl", **settings):
        settings = rows.Settings(path=str(home / path), **settings)
        store = FolderStore(home.parent / "store")
        notes.clear()
        found = list(rows.read(settings, Context(step="ask", version="", media=store, unread=notes)))
        store.sync()
        return found

    return read


def jsonl(home, *lines, name="rows.jsonl"):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (home / name).write_text(text + "\n")


def one(found) -> Sample:
    """The only sample, when nothing was rejected."""
    assert not [row for row in found if isinstance(row, Rejection)]
    [sample] = [row for row in found if isinstance(row, Sample)]
    shown = [row.id for row in found if isinstance(row, Media)]
    assert shown == list(sample.media)
    assert isinstance(found[-1], Sample)
    return sample


def types(sample: Sample) -> list[str]:
    return [part.type for message in sample.prompt for part in message.parts]


def test_a_video_may_stand_where_its_sound_does(home, read):
    (home / "talk.mp4").write_bytes(make.mp4(sound=True))
    jsonl(home, {"prompt": "What is said?", "video": "talk.mp4", "audio": "talk.mp4"})
    sample = one(read())
    assert (types(sample), sample.kind) == (["video", "audio", "text"], "video")
    assert len(set(sample.media)) == 1
    jsonl(home, {"prompt": "What is said?", "audio": "media/run.mp4"})  # has no sound
    [row] = read()
    assert row.reason == Reason.UNSUPPORTED_MEDIA


def test_media_stand_before_the_text(home, read):
    jsonl(home, {"prompt": "What is it?", "image": "media/cat.jpg"})
    sample = one(read())
    [cat] = sample.media
    assert sample.prompt == (Message("user", (Part("image", media=cat), Part("text", "What is it?"))),)
    assert FolderStore(home.parent / "store").read(cat) == FILES["cat.jpg"]


@pytest.mark.parametrize(
    ("columns", "kind", "parts"),
    [
        ({}, "text", []),
        ({"images": ["media/cat.jpg", "media/dog.png"]}, "multi_image", ["image", "image"]),
        ({"image": "media/cat.jpg", "images": ["media/dog.png"]}, "multi_image", ["image", "image"]),
        ({"video": "media/run.mp4"}, "video", ["video"]),
        ({"audios": ["media/bark.wav"], "image": None}, "audio", ["audio"]),
    ],
)
def test_the_media_columns_tell_the_kind(home, read, columns, kind, parts):
    jsonl(home, {"prompt": "And?"} | columns)
    sample = one(read())
    assert (sample.kind, types(sample)) == (kind, [*parts, "text"])


def test_a_prompt_may_be_messages(home, read):
    jsonl(home, {"prompt": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [
            {"type": "text", "text": "First"}, {"type": "image", "path": "media/cat.jpg"},
            {"type": "text", "text": "then"}, {"type": "audio", "path": "media/bark.wav"},
        ]},
    ]})  # fmt: skip
    sample = one(read())
    assert [message.role for message in sample.prompt] == ["system", "user"]
    assert types(sample) == ["text", "text", "image", "text", "audio"]
    assert sample.kind == "audio"


def test_parts_without_a_path_take_the_columns_in_order(home, read):
    def asked(*content):
        return [{"role": "user", "content": list(content)}]

    hole, text = {"type": "image"}, {"type": "text", "text": "or"}
    images = ["media/cat.jpg", "media/dog.png"]
    jsonl(home, {"prompt": asked(hole, text, hole), "images": images})
    sample = one(read())
    assert types(sample) == ["image", "text", "image"]
    jsonl(home, {"prompt": asked(text), "images": images})
    assert one(read()).media == sample.media
    jsonl(home, {"prompt": asked(hole, text), "images": images})
    assert [(row.reason, row.id) for row in read()] == [(Reason.BAD_ROW, "rows.jsonl#1")]


@pytest.mark.parametrize(
    ("prompt", "columns", "parts"),
    [
        ("<image>\nWhat?", {"image": "media/cat.jpg"}, [CAT, "What?"]),
        ("Image-1: <image>\nImage-2: <image>\nWhich?", {"images": ["media/cat.jpg", "media/dog.png"]}, ["Image-1: ", CAT, "Image-2: ", DOG, "Which?"]),
        ("<image_2> or <image_1>?", {"images": ["media/cat.jpg", "media/dog.png"]}, [DOG, " or ", CAT, "?"]),
        ("Hear <audio> and see <video>", {"video": "media/run.mp4", "audio": "media/bark.wav"}, ["Hear ", BARK, " and see ", RUN]),
        ([{"role": "user", "content": "First <image> then <image>?"}], {"images": ["media/cat.jpg", "media/dog.png"]},
         ["First ", CAT, " then ", DOG, "?"]),
        ([{"from": "human", "value": "What?"}], {"image": "media/cat.jpg"}, [CAT, "What?"]),
        ([{"role": "user", "content": [{"type": "image", "image": "media/cat.jpg"}, {"type": "text", "text": "?"}]}], {}, [CAT, "?"]),
        ([{"role": "user", "content": [{"type": "image", "url": "media/cat.jpg"}, {"type": "text", "text": "?"}]}], {}, [CAT, "?"]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "media/cat.jpg"}}, {"type": "text", "text": "?"}]}], {}, [CAT, "?"]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "media/cat.jpg"}, {"type": "text", "text": "?"}]}], {}, [CAT, "?"]),
    ],
)  # fmt: skip
def test_a_tag_or_a_part_is_the_place_of_its_medium(home, read, prompt, columns, parts):
    jsonl(home, {"prompt": prompt} | columns)
    sample = one(read())
    assert [part.media or part.text for message in sample.prompt for part in message.parts] == parts


@pytest.mark.parametrize(
    "columns", [{}, {"image": "media/cat.jpg"}, {"images": ["media/cat.jpg"] * 3}, {"video": "media/run.mp4"}]
)
def test_tags_and_media_of_different_numbers_are_refused(home, read, columns):
    jsonl(home, {"prompt": "<image> <image>?"} | columns)
    (row,) = [row for row in read() if isinstance(row, Rejection)]
    given = len(columns.get("images", ["x"] * ("image" in columns)))
    assert row.reason == Reason.BAD_ROW
    assert f"2 places for image files, but the row has {given}" in row.detail


@pytest.mark.parametrize("column", ["system", "system_prompt", "system_message", "brief"])
def test_a_system_column_is_the_first_message(home, read, column):
    jsonl(home, {"prompt": "<image>\nWhat?", "image": "media/cat.jpg", column: "Be short."})
    sample = one(read(columns={"system": "brief"} if column == "brief" else {}))
    assert [message.role for message in sample.prompt] == ["system", "user"]
    assert sample.prompt[0].parts == (Part("text", "Be short."),)
    jsonl(home, {"prompt": "What?", column: float("nan"), "id": 1})  # as pandas writes what is missing
    mapped = {"system": "brief"} if column == "brief" else {}
    assert [message.role for message in one(read(columns=mapped)).prompt] == ["user"]
    jsonl(
        home,
        {"prompt": [{"role": "system", "content": "Be long."}, {"role": "user", "content": "?"}], column: "Be short."},
    )
    (row,) = read(columns={"system": "brief"} if column == "brief" else {})
    assert (row.reason, "differs from the system message" in row.detail) == (Reason.BAD_ROW, True)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"history": [["Hi", "Ho"]]}, "history"),
        ({"prompt": [{"role": "assistant", "content": "I look.", "tool_calls": [{"name": "zoom"}]}, {"role": "user", "content": "?"}]}, "prompt.tool_calls"),
        ({"prompt": "Find <bbox>", "objects": {"bbox": [[1, 2, 3, 4]]}}, "objects"),
        ({"image_path": "media/cat.jpg"}, "image_path"),
    ],
)  # fmt: skip
def test_what_would_change_a_prompt_rejects_it_by_its_name(home, read, more, named):
    for name in ("rows.jsonl", "rows.parquet"):
        row = {"prompt": "What?"} | more
        (home / "rows.parquet").unlink(missing_ok=True)
        jsonl(home, row) if name == "rows.jsonl" else pq.write_table(pa.Table.from_pylist([row]), home / name)
        (rejected,) = read(name)
        assert rejected.reason == Reason.NOT_READ
        assert f"#1: {named} " in rejected.detail


def test_what_is_not_read_is_counted_by_file(home, read, notes):
    row = {
        "prompt": "What?",
        "image": "media/cat.jpg",
        "objects": {"bbox": [[1, 2, 3, 4]]},
        "chosen": "x",
        "image_path": "elsewhere/cat.jpg",
    }
    jsonl(home, row, row | {"prompt": "Who?", "n": 1, "chosen": None})
    assert [type(found) for found in read()] == [Media, Sample, Media, Sample]
    assert notes == {"rows.jsonl": {"objects": 2, "chosen": 1, "image_path": 2, "n": 1}}
    pq.write_table(
        pa.Table.from_pylist([{"prompt": "?", "image": "media/cat.jpg", "image_path": "x", "n": 1}] * 2),
        home / "rows.parquet",
    )
    read("rows.parquet")
    assert notes == {"rows.parquet": {"image_path": 2, "n": 2}}  # of columns that are not loaded, all rows


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", '"\\ud800"', "9" * 30, '{"deep": [NaN]}'])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_value_that_is_not_json_costs_nothing_in_a_column_that_nobody_reads(home, read, name, value):
    lines = [f'{{"prompt": "What is {i}?", "image": "media/cat.jpg", "clip_score": {value}}}' for i in range(3)]
    lines[2] = lines[2].replace("clip_score", "answer")
    (home / name).write_text("\n".join(lines) if name == "rows.jsonl" else f"[{','.join(lines)}]")
    found = read(name)
    assert [type(row) for row in found] == [Media, Sample, Media, Sample, Rejection]
    assert found[4].id == f"{name}#3"
    assert "answer" in found[4].detail


def test_lists_in_cells_are_lists(home, read):
    (home / "rows.csv").write_text(
        "prompt,images,answer\n"
        '"Two: <image> <image>","[""media/cat.jpg"", ""media/dog.png""]","[3, 4]"\n'
        "\"Two?\",\"['media/cat.jpg', 'media/dog.png']\",\n"
        '"[{""role"": ""user"", ""content"": ""Hm?""}]",,\n'
        '"[1, 2] or [3]?",media/cat.jpg,\n'
    )
    two, python, talk, text = (row for row in read("rows.csv") if isinstance(row, Sample))
    assert (two.media, two.answer) == ((CAT, DOG), "[3, 4]")
    assert python.media == (CAT, DOG)
    assert talk.prompt == (Message("user", (Part("text", "Hm?"),)),)
    assert text.prompt[0].parts[1] == Part("text", "[1, 2] or [3]?")


def test_what_is_known_travels_with_the_sample(home, read):
    known = {
        "answer": "no",
        "answer_type": "yes_no",
        "reference": "No.",
        "source": "zoo",
        "licence": "CC0",
        "split": "eval",
    }
    jsonl(home, {"prompt": "Is it?", "facts": {"b": 1, "a": [2]}, "id": 7} | known)
    sample = one(read())
    assert {name: getattr(sample, name) for name in known} == known
    assert sample.facts == '{"a":[2],"b":1}'
    assert sample.step == "ask"
    jsonl(home, {"prompt": "Is it?", "facts": '{"b": 1, "a": [2]}', "answer": 3, "id": 7})
    sample = one(read())
    assert (sample.facts, sample.answer, sample.source) == ('{"a":[2],"b":1}', "3", "rows.jsonl#7")


def test_the_instructions_of_a_row_are_kept_with_its_facts_as_google_ifeval_has_them(home, read):
    row = {
        "prompt": "Name two rivers.",
        "key": 1,
        "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
    }
    given = [{"num_words": None, "end_phrase": None}, {"num_words": None, "end_phrase": "Done."}]
    wanted = (
        '{"instruction_id_list":["punctuation:no_comma","startend:end_checker"],"kwargs":[{},{"end_phrase":"Done."}]}'
    )
    pq.write_table(pa.Table.from_pylist([row | {"kwargs": given}]), home / "rows.parquet")
    assert one(read("rows.parquet")).facts == wanted
    jsonl(home, row | {"kwargs": [{}, {"end_phrase": "Done."}]})
    assert one(read()).facts == wanted
    jsonl(home, {"prompt": "?", "ids": ["punctuation:no_comma"], "facts": {"a": 1}})
    assert (
        one(read(columns={"instruction_id_list": "ids"})).facts
        == '{"a":1,"instruction_id_list":["punctuation:no_comma"]}'
    )


def test_columns_may_have_other_names(home, read):
    jsonl(home, {"question": "What is it?", "img": "media/cat.jpg", "prompt": "not this"})
    sample = one(read(columns={"prompt": "question", "image": "img"}))
    assert sample.prompt[0].parts[1].text == "What is it?"
    with pytest.raises(ValidationError, match="picture"):
        rows.Settings(path="x", columns={"picture": "img"})


def test_media_may_lie_under_a_root_of_their_own_or_anywhere(home, read):
    jsonl(home, {"prompt": "?", "images": ["cat.jpg", str(home / "media" / "dog.png")]})
    assert len(one(read(media_root=str(home / "media"))).media) == 2


def test_parquet_rows_are_read_like_lines(home, read):
    row = {"prompt": "What is it?", "image": "media/cat.jpg", "answer": "a cat", "facts": {"a": 1}}
    jsonl(home, row)
    pq.write_table(pa.Table.from_pylist([row]), home / "rows.parquet")
    assert one(read("rows.parquet")) == one(read())._replace(source="rows.parquet#1")


def test_parquet_may_hold_the_bytes(home, read):
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({
        "prompt": ["one?", "two?", "three?", "cut?"],
        "images": pa.array([
            [{"bytes": FILES["cat.jpg"], "path": None}], [{"bytes": FILES["cat.jpg"], "path": "nowhere.jpg"}],
            [{"bytes": None, "path": "media/cat.jpg"}], [{"bytes": FILES["cut.jpg"], "path": None}],
        ], pa.list_(image)),
    })  # fmt: skip
    pq.write_table(table, home / "rows.parquet")
    *good, cut = read("rows.parquet")
    assert len({row.media for row in good if isinstance(row, Sample)}) == 1
    assert (cut.id, cut.reason) == ("rows.parquet#4", Reason.UNDECODABLE)


def test_parquet_messages_are_messages(home, read):
    prompt = [{"role": "user", "content": [
        {"type": "image", "text": None, "path": "media/cat.jpg"}, {"type": "text", "text": "?", "path": None},
    ]}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist([{"prompt": prompt}]), home / "rows.parquet")
    assert types(one(read("rows.parquet"))) == ["image", "text"]


def test_many_parquet_rows_keep_their_order(home, read):
    pq.write_table(pa.table({"prompt": [f"{i}?" for i in range(200)]}), home / "rows.parquet", row_group_size=70)
    assert [row.prompt[0].parts[0].text for row in read("rows.parquet")] == [f"{i}?" for i in range(200)]
    assert [row.source for row in read("rows.parquet", limit=66)][-1] == "rows.parquet#66"


def test_a_folder_is_its_files_in_order(home, read):
    (home / "more").mkdir()
    jsonl(home, {"prompt": "two?", "image": "../media/cat.jpg"}, name="more/b.jsonl")
    jsonl(home, {"prompt": "one?"}, name="a.jsonl")
    (home / "notes.txt").write_text("not rows")
    assert [row.id if isinstance(row, Rejection) else row.source for row in read("")] == ["a.jsonl#1", "more/b.jsonl#1"]


BAD = {
    "missing file": ({"image": "media/bird.jpg"}, Reason.MISSING_FILE, "media/bird.jpg"),
    "truncated JPEG": ({"image": "media/cut.jpg"}, Reason.UNDECODABLE, "media/cut.jpg"),
    "text named .png": ({"image": "media/text.png"}, Reason.UNSUPPORTED_MEDIA, "media/text.png"),
    "video without frames": ({"video": "media/still.mp4"}, Reason.EMPTY_MEDIA, "media/still.mp4"),
    "0-byte WAV": ({"audio": "media/none.wav"}, Reason.EMPTY_MEDIA, "media/none.wav"),
    "audio as an image": ({"image": "media/bark.wav"}, Reason.UNSUPPORTED_MEDIA, "is audio"),
    "a way out": ({"image": "../../secret.jpg"}, Reason.BAD_ROW, "leads out"),
    "a hidden way out": ({"image": "media/../../secret.jpg"}, Reason.BAD_ROW, "leads out"),
    "a number as a path": ({"image": 7}, Reason.BAD_ROW, "int"),
    "an empty list in a list": ({"images": [[]]}, Reason.BAD_ROW, "list"),
    "empty prompt": ({"prompt": " \n"}, Reason.EMPTY_PROMPT, "empty"),
    "a data URL that is not valid base64": ({"image": "data:image/png;base64,?"}, Reason.BAD_ROW, "not valid base64"),
    "a data URL without base64": ({"image": "data:image/png,abc"}, Reason.BAD_ROW, "not valid base64"),
    "base64 in place of a path": ({"image": "iVBORw0KGgo" * 1000}, Reason.BAD_ROW, "11,000 characters"),
    "no prompt": ({"prompt": None}, Reason.EMPTY_PROMPT, "empty"),
    "no messages": ({"prompt": []}, Reason.EMPTY_PROMPT, "empty"),
    "no words": ({"prompt": [{"role": "user", "content": []}]}, Reason.EMPTY_PROMPT, "empty"),
    "a number as a prompt": ({"prompt": 7}, Reason.BAD_ROW, "int"),
    "an unknown role": ({"prompt": [{"role": "judge", "content": "?"}]}, Reason.BAD_ROW, "role"),
    "no content": ({"prompt": [{"role": "user"}]}, Reason.BAD_ROW, "content"),
    "an answer at the end": (
        {"prompt": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}, Reason.BAD_ROW, "last",
    ),
    "an unknown kind": (
        {"prompt": [{"role": "user", "content": [{"type": "smell", "path": "x"}]}]}, Reason.UNSUPPORTED_MEDIA, "smell",
    ),
    "an unhashable kind": (
        {"prompt": [{"role": "user", "content": [{"type": ["image"]}]}]}, Reason.UNSUPPORTED_MEDIA, "type",
    ),
    "a text part without text": (
        {"prompt": [{"role": "user", "content": [{"type": "text"}]}]}, Reason.BAD_ROW, "content[0].text is missing",
    ),
    "a list as an answer": ({"answer": ["no"]}, Reason.BAD_ROW, "answer"),
    "facts that are no JSON": ({"facts": "{a: 1}"}, Reason.BAD_ROW, "facts"),
    "facts without an exact value": ({"facts": '{"a": NaN}'}, Reason.BAD_ROW, "facts"),
    "facts that are no object": ({"facts": "[1]"}, Reason.BAD_ROW, "facts"),
    "a broken line": ('{"prompt": "What', Reason.BAD_ROW, "not valid JSON"),
    "a line that is no object": ("[1, 2]", Reason.BAD_ROW, "not an object"),
    "bytes that are no text": ('{"prompt": "\\ud800"}', Reason.BAD_ROW, "not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_one_rejection_and_the_rest_goes_on(home, read, name):
    row, reason, word = BAD[name]
    good = {"prompt": "What is it?", "image": "media/cat.jpg"}
    jsonl(home, good, row if isinstance(row, str) else {"prompt": "What is it?"} | row, "", good)
    found = read()
    assert [type(row) for row in found] == [Media, Sample, Rejection, Media, Sample]
    bad = found[2]
    assert (bad.id, bad.table, bad.step, bad.reason) == ("rows.jsonl#2", "samples", "ask", reason)
    assert bad.detail.startswith("rows.jsonl#2: ")
    assert word in bad.detail
    assert "\n" not in bad.detail
    assert found[4].source == "rows.jsonl#4"  # the empty line counts, as in an editor


def test_nothing_bad_reaches_the_store(home, read):
    rows = [row for name, (row, *_) in BAD.items() if isinstance(row, dict) and name != "audio as an image"]
    jsonl(home, *({"prompt": "?"} | row for row in rows))
    assert [type(row) for row in read()] == [Rejection] * len(rows)
    assert not (home.parent / "store").exists()


def test_reading_is_the_same_every_time(home, read):
    jsonl(home, *({"prompt": f"{name}?", "image": f"media/{name}"} for name in FILES))
    assert read() == read()


def test_a_source_that_cannot_be_read_is_an_input_error(home, read):
    (home / "rows.xlsx").write_text("prompt\nWhat?")
    (home / "broken.parquet").write_bytes(b"PAR1 and no more")
    (home / "empty.jsonl").write_text("\n")
    jsonl(home, {"question": "What?", "n": 1}, name="other.jsonl")
    pq.write_table(pa.table({"question": ["What?"]}), home / "other.parquet")
    for path, line in {
        "none.jsonl": "does not exist", "rows.xlsx": "convert", "media": "convert",
        "broken.parquet": "as Parquet", "empty.jsonl": "no rows",
        "other.jsonl": "no column prompt; it has n, question", "other.parquet": "no column prompt",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=line):
            read(path)
    with pytest.raises(InputError, match="no column img"):
        read("other.jsonl", columns={"prompt": "question", "image": "img"})


def test_media_may_lie_at_urls_and_rows_keep_their_order(home, read):
    """The rows whose media come late do not move, and those of a server that is not allowed are named."""
    late = lambda request: (time.sleep(0.3), web.page(make.png(7))(request))
    with web.serving({"/late.png": late, "/d/cat.png": web.page(make.png(8))}) as server:
        jsonl(home,
            {"prompt": "one?", "image": f"{server.url}/late.png"}, {"prompt": "two?", "image": "media/cat.jpg"},
            {"prompt": "three?", "images": [f"{server.url}/d/cat.png?sig=hunter2", {"path": f"{server.url}/late.png"}]},
            {"prompt": "four?", "image": f"{server.url}/none.png?sig=hunter2"},
            {"prompt": [{"role": "user", "content": [{"type": "image", "path": f"{server.url}/d/cat.png"}, {"type": "text", "text": "five?"}]}]},
            {"prompt": "six?", "image": "http://169.254.169.254/latest"}, {"prompt": "seven?", "source": f"http://u:hunter2@{server.host}/x?sig=hunter2"},
        )  # fmt: skip
        found = read(fetch={"allow_private": ["127.0.0.1"]})
        assert [s.prompt[0].parts[-1].text for s in found if isinstance(s, Sample)] == [
            "one?",
            "two?",
            "three?",
            "five?",
            "seven?",
        ]
        assert [(r.id, r.reason) for r in found if isinstance(r, Rejection)] == [
            ("rows.jsonl#4", Reason.MISSING_FILE), ("rows.jsonl#6", Reason.UNSAFE),
        ]  # fmt: skip
        assert server.asked("/late.png") == 1
        assert "hunter2" not in repr(found)
        assert {row.reason for row in read() if isinstance(row, Rejection)} == {Reason.UNSAFE}


def test_rows_from_elsewhere_name_media_beside_them_and_no_file_of_this_machine(home, tmp_path):
    secret = home / "media" / "cat.jpg"
    lines = [
        {"prompt": "beside?", "image": "a/cat.png"},
        {"prompt": "here?", "image": str(secret)},
        {"prompt": "up?", "image": "../../x"},
    ]
    pages = {
        "/d/rows.jsonl": web.page("\n".join(map(json.dumps, lines)).encode()),
        "/d/a/cat.png": web.page(make.png(1)),
    }
    with web.serving(pages) as server:
        settings = rows.Settings(path=f"{server.url}/d/rows.jsonl?sig=1", fetch={"allow_private": ["127.0.0.1"]})
        found = list(rows.read(settings, Context(step="ask", version="", media=FolderStore(tmp_path / "store"))))
    assert [getattr(row, "reason", None) for row in found] == [None, None, Reason.UNSAFE, Reason.BAD_ROW]
    assert found[0].source == f"{server.url}/d/a/cat.png"


def test_bytes_may_stand_in_the_row(home, read):
    jsonl(home, {"prompt": "?", "image": "data:image/png;base64," + base64.b64encode(FILES["dog.png"]).decode()})
    [dog] = one(read()).media
    assert FolderStore(home.parent / "store").read(dog) == FILES["dog.png"]


def test_a_part_of_the_rows(home, read):
    jsonl(home, *({"prompt": f"{n}?"} for n in range(50)))
    assert [s.source for s in read("rows.jsonl#3")] == ["rows.jsonl#1", "rows.jsonl#2", "rows.jsonl#3"]
    some = read(sample={"n": 5, "seed": 1})
    assert len(some) == 5
    assert set(some) < set(read())


def test_objects_of_a_store_are_read_only_where_the_recipe_allows_their_scheme(home, read):
    with buckets.serving("pets") as s3:
        s3.pipe_file("pets/in/dog.png", FILES["dog.png"])
        lines = [{"prompt": "one?", "image": "s3://pets/in/dog.png"}, {"prompt": "two?", "image": "gs://pets/dog.png"}]
        jsonl(home, *lines)
        first, second = read()
        assert (first.reason, second.reason) == (Reason.UNSAFE, Reason.UNSAFE)
        assert "add s3 to fetch.schemes" in first.detail
        media, sample, refused = read(fetch={"schemes": ["s3"]})
        assert (media.source, sample.media, refused.reason) == ("s3://pets/in/dog.png", (media.id,), Reason.UNSAFE)
        # what the recipe itself names in that scheme allows it
        jsonl(home, lines[0], {"prompt": "three?", "image": "dog.png"})
        assert len(read(media_root="s3://pets/in")) == 4
        s3.pipe_file("pets/in/rows.jsonl", json.dumps(lines[0]).encode())
        settings = rows.Settings(path="s3://pets/in/rows.jsonl")
        store = FolderStore(home.parent / "store")
        assert isinstance(list(rows.read(settings, Context(step="ask", version="", media=store)))[-1], Sample)
    with pytest.raises(ValidationError):
        rows.Settings(path="x", fetch={"schemes": ["file"]})


def test_a_recipe_without_schemes_is_named_as_before():
    assert "schemes" not in rows.Settings(path="x").model_dump(mode="json")["fetch"]
    assert rows.Settings(path="x", fetch={"schemes": ["s3"]}).model_dump(mode="json")["fetch"]["schemes"] == ["s3"]


def test_rows_from_a_url_name_no_file_beside_a_local_media_root(home, tmp_path):
    (home / "media" / "link").symlink_to(tmp_path)
    (tmp_path / "secret.png").write_bytes(make.png(9))
    paths = [
        "cat.jpg",
        str(tmp_path / "secret.png"),
        "../../secret.png",
        "link/secret.png",
        str(home / "media" / "cat.jpg"),
    ]
    lines = "\n".join(json.dumps({"prompt": "?", "image": path}) for path in paths)
    with web.serving({"/rows.jsonl": web.page(lines.encode())}) as server:
        settings = rows.Settings(
            path=f"{server.url}/rows.jsonl", media_root=str(home / "media"), fetch={"allow_private": ["127.0.0.1"]}
        )
        found = list(rows.read(settings, Context(step="ask", version="", media=FolderStore(tmp_path / "store"))))
    reasons = [row.reason for row in found if isinstance(row, Rejection)]
    assert reasons == [Reason.UNSAFE, Reason.BAD_ROW, Reason.UNSAFE]
    assert len([row for row in found if isinstance(row, Sample)]) == 2  # the last lies in the folder


@pytest.mark.parametrize("columns", [{"images": "image"}, {"image": "images"}, {"images": "picture"}])
def test_a_picture_under_another_name_is_one_picture(home, read, columns):
    jsonl(home, {"prompt": "<image>What?", next(iter(columns.values())): "media/cat.jpg"})
    assert one(read(columns=columns)).media == (CAT,)


def test_every_column_that_is_read_is_in_the_docs():
    page = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
    said = page[page.index("## Rows") : page.index("## Folders")]
    assert [name for name in (*get_args(column_mapping.Column), *unread.SYSTEM) if f"`{name}`" not in said] == []


def test_a_picture_in_both_of_its_columns_is_one_picture(home, read):
    jsonl(home, {"prompt": "<image>What?", "image": "media/cat.jpg", "images": ["media/cat.jpg"]})
    assert one(read()).media == (CAT,)


def test_a_place_in_the_column_of_the_system_prompt_is_filled_first(home, read):
    jsonl(home, {"prompt": "And <image>?", "system": "Look: <image>", "images": ["media/cat.jpg", "media/dog.png"]})
    made = one(read())
    assert [[part.type for part in message.parts] for message in made.prompt] == [
        ["text", "image"],
        ["text", "image", "text"],
    ]
    assert made.prompt[0].parts[1].media == CAT


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([None], "the image is missing"),
        ({"bytes": None, "path": None}, "an object without a path or bytes"),
        ("", "the path of the image is empty"),
    ],
)
def test_an_image_of_nothing_is_refused_in_words(home, read, value, words):
    jsonl(home, {"prompt": "What?", "image": value}, {"prompt": "So?"})
    (left,) = [row for row in read() if isinstance(row, Rejection)]
    assert words in left.detail


def test_a_table_whose_column_of_another_name_holds_files_is_refused(home, read):
    pq.write_table(
        pa.Table.from_pylist([{"prompt": "What?", "file_name": "media/cat.jpg"}, {"prompt": "So?", "file_name": None}]),
        home / "rows.parquet",
    )
    (left,) = [row for row in read("rows.parquet") if isinstance(row, Rejection)]
    assert "file_name seems to contain media" in left.detail


def test_messages_written_as_a_text_are_messages(home, read):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>What?"}]
    jsonl(home, {"prompt": json.dumps(talk), "image": "media/cat.jpg"})
    assert [message.role for message in one(read()).prompt] == ["system", "user"]
    jsonl(home, {"prompt": '[{"name": "a"}] is what?'}, name="other.jsonl")
    assert len(one(read("other.jsonl")).prompt) == 1
