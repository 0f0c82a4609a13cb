import pytest
from pydantic import ValidationError

from pipeline.source import folder
from pipeline.store import FolderStore
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Media, Part, Reason, Rejection, Sample
from tests import media_files as make


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
    with pytest.raises(InputError, match="cannot be listed"):
        rows(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        rows(tmp_path / "empty", tmp_path)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValidationError):
        folder.Settings(path="x", prompt="  ")
