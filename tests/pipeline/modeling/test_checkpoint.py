from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.modeling.checkpoint import identity
from schemas.errors import EngineError


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


def test_a_hub_model_is_named_by_its_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--owner--name"
    model(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert identity("owner/name") == ("owner/name@0123456789ab", commit)


def test_a_model_that_is_nowhere_says_what_to_check(tmp_path):
    with pytest.raises(EngineError, match="there is no folder nowhere/at-all, and the Hub gives no nowhere/at-all"):
        identity("nowhere/at-all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="holds no model"):
        identity(str(tmp_path / "empty"))
