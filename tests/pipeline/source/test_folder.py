import pytest
from pydantic import ValidationError

from pipeline.source import folder
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Media, Part, Reason, Rejection, Sample
from tests.support import buckets
from tests.support import media_files as make


@pytest.fixture
def tree(tmp_path):
    for name, data in {
        "b.png": make.png(), "a/2.wav": make.wav(), "a/10.mp4": make.mp4(), "c.jpg": make.jpeg()[:-100],
        "notes.txt": b"bought at the fair", ".hidden/x.png": make.png(), ".DS_Store": b"x",
    }.items():  # fmt: skip
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(data)
    return tmp_path / "clips"


def rows(path, tmp_path, **settings):
    context = Context(step="clips", version="", media=FolderStore(tmp_path / "store"))
    return list(folder.read(folder.Settings(path=str(path), prompt="What is it?", **settings), context))


def test_each_file_is_asked_about_in_order_of_names(tree, tmp_path):
    found = rows(tree, tmp_path, licence="CC0")
    # files of a folder come before the folders in it
    others = [row for row in found if not isinstance(row, Sample)]
    assert [(type(row), row.source if isinstance(row, Media) else row.id) for row in others] == [
        (Media, "b.png"), (Rejection, "c.jpg"), (Rejection, "notes.txt"), (Media, "a/10.mp4"), (Media, "a/2.wav"),
    ]  # fmt: skip
    media, sample = found[:2]
    assert sample.prompt[0].parts == (Part("image", media=media.id), Part("text", "What is it?"))
    assert (sample.kind, sample.media, sample.source, sample.licence, sample.step) == (
        "image", (media.id,), "clips", "CC0", "clips",
    )  # fmt: skip
    assert [row.kind for row in found if isinstance(row, Sample)] == ["image", "video", "audio"]
    assert [row.reason for row in found if isinstance(row, Rejection)] == [Reason.UNDECODABLE, Reason.UNSUPPORTED_MEDIA]
    assert rows(tree, tmp_path, licence="CC0") == found


def test_the_limit_counts_files(tree, tmp_path):
    assert [type(row) for row in rows(tree, tmp_path, limit=2)] == [Media, Sample, Rejection]


def test_a_folder_without_files_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot list the folder"):
        rows(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no files"):
        rows(tmp_path / "empty", tmp_path)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValidationError):
        folder.Settings(path="x", prompt="  ")


def write(root, **files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def captioned(path, tmp_path, **settings):
    context = Context(step="clips", version="", media=FolderStore(tmp_path / "store"))
    return list(folder.read(folder.Settings(path=str(path), **settings), context))


def asked(found) -> list[tuple]:
    return [(s.prompt[0].parts[-1].text, s.reference, s.answer) for s in found if isinstance(s, Sample)]


def rejected(found) -> list[tuple[str, Reason]]:
    return [(row.id, row.reason) for row in found if isinstance(row, Rejection)]


def test_texts_beside_a_file_say_what_is_asked_and_what_is_known(tmp_path):
    root = write(tmp_path / "clips", **{
        "a.jpg": make.jpeg(1), "a.txt": "A cat.\n", "b.png": make.png(2), "b.json": '{"prompt": "Who?", "answer": 3, "image": "/etc/passwd"}',
        "c.png": make.png(3), "d.wav": make.wav(), "d.TXT": b"\xff", "e.png": make.png(4), "e.json": "[]", "f.txt": "alone",
    })  # fmt: skip
    found = captioned(root, tmp_path, prompt="What?")
    assert asked(found) == [("What?", "A cat.", None), ("Who?", None, "3"), ("What?", None, None)]
    bad = [("d.wav", Reason.BAD_ROW), ("e.png", Reason.BAD_ROW), ("f.txt", Reason.UNSUPPORTED_MEDIA)]
    assert rejected(found) == bad
    found = captioned(root, tmp_path)  # without a prompt the captions are the prompts
    assert asked(found) == [("A cat.", None, None), ("Who?", None, "3")]
    assert rejected(found) == [("c.png", Reason.EMPTY_PROMPT), *bad[:2], ("f.txt", Reason.EMPTY_PROMPT)]


def test_metadata_says_what_is_asked_as_in_an_imagefolder(tmp_path):
    root = write(tmp_path / "clips", **{
        "a/x.jpg": make.jpeg(1), "a/deep/y.png": make.png(2), "a/z.png": make.png(3), "b/w.png": make.png(4), "secret.png": make.png(5),
        "a/metadata.csv": "file_name,text,licence\nx.jpg,A cat.,CC0\ndeep/y.png,A dog.,\ngone.png,?,\n../b/w.png,Up?,\n,Nothing,\n",
        "b/metadata.jsonl": '{"file_names": ["w.png", "/secret.png"], "prompt": "Both?"}\n{"file_name": "../../../secret.png"}\n{"file_name": "http://10.0.0.1/a.png", "text": "?"}\n',
    })  # fmt: skip
    found = captioned(root, tmp_path, prompt="What?", licence="MIT")
    assert asked(found) == [
        ("What?", None, None),
        ("What?", "A cat.", None),
        ("What?", "A dog.", None),
        ("What?", "Up?", None),
        ("What?", None, None),
    ]
    assert [s.licence for s in found if isinstance(s, Sample)] == ["MIT", "CC0", "MIT", "MIT", "MIT"]
    assert rejected(found) == [
        ("a/metadata.csv#3", Reason.MISSING_FILE), ("a/metadata.csv#5", Reason.BAD_ROW),
        ("b/metadata.jsonl#1", Reason.UNSAFE), ("b/metadata.jsonl#2", Reason.BAD_ROW), ("b/metadata.jsonl#3", Reason.MISSING_FILE),
    ]  # fmt: skip


def test_a_name_that_is_no_text_is_written_with_escapes(tmp_path):
    root = write(tmp_path / "clips", **{"a.png": make.png(1)})
    (root / b"\xff.png".decode(errors="surrogateescape")).write_bytes(make.png(2))
    (root / "b\nc.png").write_bytes(make.png(2))
    found = captioned(root, tmp_path, prompt="What?")
    assert rejected(found) == []
    assert [m.source for m in found if isinstance(m, Media)] == ["a.png", "b\\nc.png", "\\udcff.png"]
    assert len(asked(found)) == 3


def test_a_folder_may_be_a_bucket(tmp_path):
    with buckets.serving("clips") as s3:
        files = {
            "b.png": make.png(1),
            "b.txt": b"Two.",
            "a/c.wav": make.wav(),
            "a/cut.jpg": make.jpeg(1)[:-100],
            ".x/y.png": make.png(2),
        }
        for name, data in files.items():
            s3.pipe_file(f"clips/in/{name}", data)
        found = captioned("s3://clips/in", tmp_path, prompt="What?")
        assert [row.source for row in found if isinstance(row, Media)] == [
            "s3://clips/in/b.png",
            "s3://clips/in/a/c.wav",
        ]
        assert asked(found) == [("What?", "Two.", None), ("What?", None, None)]
        assert rejected(found) == [("a/cut.jpg", Reason.UNDECODABLE)]
        with pytest.raises(InputError, match="does not exist"):
            captioned("s3://clips/none", tmp_path, prompt="What?")


def test_a_recipe_holds_no_credentials():
    with pytest.raises(ValidationError, match="must not contain credentials"):
        folder.Settings(path="s3://key:hunter2@bucket/a", prompt="?")


def test_what_stands_beside_a_file_is_read_counted_or_refused(tmp_path):
    for name, data in {
        "pets/1.png": make.png(1), "pets/1.json": b'{"system": "Be short.", "score": NaN, "width": 64}',
        "pets/2.png": make.png(2), "pets/2.json": b'{"tools": [{"name": "zoom"}], "width": 64}',
        "more/3.png": make.png(3), "more/metadata.csv": b"file_name,prompt,width\n3.png,<image> A what?,64\n",
    }.items():  # fmt: skip
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(data)
    notes: dict = {}
    context = Context(step="clips", version="", media=FolderStore(tmp_path / "store"), unread=notes)
    found = list(folder.read(folder.Settings(path=str(tmp_path / "clips"), prompt="What is it?"), context))
    third, first = (row for row in found if isinstance(row, Sample))
    assert [message.role for message in first.prompt] == ["system", "user"]
    assert [part.text or part.type for part in third.prompt[0].parts] == ["image", " A what?"]
    (left,) = (row for row in found if isinstance(row, Rejection))
    assert (left.id, left.reason, "tools would change" in left.detail) == ("pets/2.png", Reason.NOT_READ, True)
    assert notes == {
        "more/metadata.csv": {"width": 1}, str(tmp_path / "clips"): {"width": 2, "tools": 1}
    }  # fmt: skip
