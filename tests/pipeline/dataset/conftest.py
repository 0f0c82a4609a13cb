from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.dataset.write import write
from pipeline.storage.media_store import FolderStore
from tests.support import small_run


class Exported(NamedTuple):
    media: FolderStore
    tables: small_run.ListTables
    folder: Path
    counts: dict[str, int]


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A small run and its dataset. Nobody writes into them."""
    root = tmp_path_factory.mktemp("exported")
    media = FolderStore(root / "media")
    tables = small_run.make(media)
    folder = root / "dataset"
    return Exported(media, tables, folder, write(tables, media, folder, {"recipe": "small"}))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """`datasets` keeps its copies with the test."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path
