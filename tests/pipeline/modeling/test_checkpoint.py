from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.modeling.checkpoint import cached_folder, folder_of, folder_with, identity
from schemas.errors import EngineError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in ({"config.json": "{}", "model.safetensors": "weights"} | files).items():
        (folder / name).write_text(text)
    return folder


def test_a_folder_is_named_by_its_files_and_not_by_where_it_lies(tmp_path):
    here, there = model(tmp_path / "a" / "tiny"), model(tmp_path / "b" / "tiny", **{"README.md": "about"})
    assert identity(str(here)) == identity(str(there))
    name, revision = identity(str(here))
    assert (len(name), name[:5], revision) == (17, "tiny@", None)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "chat_template.jinja"])
def test_another_byte_in_what_answers_is_another_model(tmp_path, file):
    here, there = model(tmp_path / "a" / "tiny"), model(tmp_path / "b" / "tiny", **{file: "other"})
    assert identity(str(here)) != identity(str(there))


@pytest.fixture
def downloaded(tmp_path, monkeypatch) -> Path:
    """The folder in the Hub's cache of owner/name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    return model(cached / "snapshots" / COMMIT)


def test_a_hub_model_is_named_by_its_commit(downloaded):
    assert identity("owner/name") == ("owner/name@0123456789ab", COMMIT)


def test_a_local_folder_lies_where_its_name_says(tmp_path):
    here = model(tmp_path / "tiny")
    assert folder_of(str(here)) == folder_with(["tokenizer.json"], str(here)) == cached_folder(str(here)) == here


def test_a_hub_model_that_was_downloaded_lies_in_the_cache(downloaded, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert folder_of("owner/name") == folder_with(["config.json", "tokenizer.json"], "owner/name") == downloaded
    assert folder_of("owner/name", COMMIT) == cached_folder("owner/name") == downloaded
    assert cached_folder("owner/name", "0" * 40) is None


def test_of_a_model_that_is_nowhere_no_part_is_found():
    assert folder_with(["tokenizer.json"], "nowhere/at-all") is None
    assert cached_folder("nowhere/at-all") is None
    assert cached_folder("not a name: of a model") is None  # who loads it says so


@pytest.mark.parametrize("asked", [identity, folder_of])
def test_a_model_that_is_nowhere_says_what_to_check(asked, tmp_path):
    with pytest.raises(
        EngineError, match=r"the folder nowhere/at-all does not exist, and the Hub does not provide nowhere/at-all \("
    ):
        asked("nowhere/at-all")
    with pytest.raises(
        EngineError,
        match=r"does not provide nowhere/at-all at revision 2 \(.*\); check the name, the network and HF_TOKEN",
    ):
        asked("nowhere/at-all", "2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="contains no model"):
        identity(str(tmp_path / "empty"))
