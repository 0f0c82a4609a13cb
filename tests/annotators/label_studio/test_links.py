"""How pages load media, without a server."""

import pytest

from annotators.label_studio import links
from pipeline.storage.media_store import FolderStore
from schemas.errors import StoreError


def test_pages_show_the_form_that_browsers_show_alike(tmp_path):
    media = FolderStore(tmp_path / "media")
    stored, made = media.add(b"stored"), media.add(b"made")
    forms = {(stored, "image/heic"): (made, "image/png")}
    there = links.LocalFiles(tmp_path, media, lambda *file: forms[file])
    assert there.link(stored, "image/heic") == f"/data/local-files/?d=pairwright/{made}.png"
    assert (tmp_path / "pairwright" / f"{made}.png").read_bytes() == b"made"


def test_media_that_the_store_has_lost_are_named(tmp_path):
    def lost(sha, mime):
        raise KeyError(sha)

    there = links.LocalFiles(tmp_path, FolderStore(tmp_path / "media"), lost)
    with pytest.raises(StoreError, match=r"the media item f+ of a question is missing from the media store"):
        there.link("f" * 64, "image/png")
