"""Media by URL, against a web server on loopback and a real S3 server."""

import sqlite3
import time
from contextlib import contextmanager

import pytest

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.storage import urls
from pipeline.storage.media_store import FolderStore
from schemas.errors import RowError
from schemas.records import Reason
from tests.support import buckets, web
from tests.support import media_files as make

OWN = {"allow_private": ("127.0.0.1",)}


@pytest.fixture
def server():
    pages = {
        "/a.png": web.tagged(make.png(1), '"1"'),
        "/b": web.page(make.wav()),
        "/c": web.page(b"no picture", content_type="image/png"),
    }
    with web.serving(pages) as running:
        yield running


@contextmanager
def remote(folder, **limits):
    store = FolderStore(folder / "media")
    with Remote(Limits(**OWN | limits), store, folder) as one:
        yield one
    store.sync()


def reason(one: Remote, url: str) -> Reason:
    with pytest.raises(RowError) as raised:
        one.take(url)
    return raised.value.reason


def test_what_it_is_is_told_by_the_bytes(server, tmp_path):
    with remote(tmp_path) as one:
        assert (one.take(f"{server.url}/a.png").kind, one.take(f"{server.url}/b").kind) == ("image", "audio")
        assert reason(one, f"{server.url}/c") == Reason.UNSUPPORTED_MEDIA
        assert reason(one, f"{server.url}/d") == Reason.MISSING_FILE
        assert reason(one, f"{server.url}/d") == Reason.MISSING_FILE
    assert server.asked("/d") == 1  # what failed is not asked for again by every row that shows it
    assert FolderStore(tmp_path / "media").read(one.take(f"{server.url}/a.png").id) == make.png(1)


def test_a_second_run_fetches_what_changed(server, tmp_path):
    with remote(tmp_path) as one:
        first = [one.take(f"{server.url}{path}") for path in ("/a.png", "/b")]
    with remote(tmp_path) as one:
        assert [one.take(f"{server.url}{path}") for path in ("/a.png", "/b")] == first
    asked = [headers.get("if-none-match") for path, headers in server.log if path == "/a.png"]
    assert asked == [None, '"1"']  # the second time it is only asked whether it is still the same
    assert server.asked("/b") == 1  # without an ETag it is taken for the same for good
    server.pages["/a.png"] = web.tagged(make.png(2), '"2"')
    with remote(tmp_path) as one:
        assert one.take(f"{server.url}/a.png").id != first[0].id
    server.pages["/a.png"] = web.status(500)
    with remote(tmp_path, seconds=0.3) as one:
        assert one.take(f"{server.url}/a.png").kind == "image"  # a server that is down costs nothing that is there
    server.pages["/a.png"] = web.status(404)
    with remote(tmp_path) as one:
        assert reason(one, f"{server.url}/a.png") == Reason.MISSING_FILE


def test_what_the_store_lost_is_fetched_again(server, tmp_path):
    with remote(tmp_path) as one:
        one.take(f"{server.url}/b")
    for file in (tmp_path / "media").iterdir():
        file.unlink()
    with remote(tmp_path) as one:
        one.take(f"{server.url}/b")
    assert server.asked("/b") == 2
    assert FolderStore(tmp_path / "media").read(one.take(f"{server.url}/b").id) == make.wav()


def test_what_the_store_has_damaged_and_a_damaged_note_of_it_are_fetched_again(server, tmp_path):
    with remote(tmp_path) as one:
        first = one.take(f"{server.url}/a.png")
    (pack,) = (tmp_path / "media").glob("*.pack")
    pack.write_bytes(bytes(len(pack.read_bytes())))
    with remote(tmp_path) as one:
        assert one.take(f"{server.url}/a.png") == first
    assert FolderStore(tmp_path / "media").read(first.id) == make.png(1)
    with sqlite3.connect(tmp_path / "fetched.sqlite") as db:
        db.execute("update fetched set media = cast(replace(media, '64', '65') as blob)")
    with remote(tmp_path) as one:
        assert one.take(f"{server.url}/a.png") == first


def test_a_signed_url_is_the_same_file_however_it_is_signed_and_is_named_without_secrets(server, tmp_path):
    with remote(tmp_path) as one:
        found = one.take(f"http://me:hunter2@{server.host}/b?id=7&X-Amz-Signature=hunter2&X-Amz-Date=1")
    assert found.source == f"{server.url}/b"
    with remote(tmp_path) as one:
        one.take(f"{server.url}/b?X-Amz-Date=2&X-Amz-Signature=another&id=7")
        assert server.asked("/b?id=7&X-Amz-Signature=hunter2&X-Amz-Date=1") == len(server.log) == 1
        one.take(f"{server.url}/b?id=8")
    assert len(server.log) == 2  # another file
    assert b"hunter2" not in (tmp_path / "fetched.sqlite").read_bytes() + b"".join(
        p.read_bytes() for p in tmp_path.glob("*-wal")
    )


def test_files_are_fetched_at_once_and_no_more_than_allowed(server, tmp_path):
    running, most = 0, 0

    def slow(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        web.page(make.png(3))(request)

    names = [f"{server.url}/slow{n}" for n in range(12)]
    server.pages |= {f"/slow{n}": slow for n in range(12)}
    with remote(tmp_path, at_once=4) as one:
        began = time.monotonic()
        for name in names:
            one.start(name)
        assert [one.take(name).source for name in names] == names
        took = time.monotonic() - began
    assert most == 4
    assert took < 0.9  # three rounds of a tenth of a second, not twelve


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "sftp://host/a", "ftp://host/a", "zip://a::http://127.0.0.1/b", "simplecache::s3://b/a", "local:///etc/passwd",
            "data://x", "github://a:b@/c", "reference::http://127.0.0.1/"],
)  # fmt: skip
def test_schemes_that_reach_anywhere_are_refused(url, tmp_path):
    assert urls.is_url(url)
    with remote(tmp_path) as one:
        assert reason(one, url) == Reason.UNSAFE


def test_names_of_urls():
    assert urls.clean("https://u:p@h.org:8080/a/b.png?sig=1#x") == "https://h.org:8080/a/b.png"
    assert urls.clean("https://h.org?token=1@x") == "https://h.org"
    assert urls.join("https://h.org/d?sig=1", "e/f.png") == "https://h.org/d/e/f.png?sig=1"
    assert urls.join("s3://b/d/", "e.png") == "s3://b/d/e.png"
    assert urls.parent("https://h.org/d/rows.jsonl?sig=1") == "https://h.org/d?sig=1"
    assert [urls.is_url(path) for path in ("a/b.png", "C:\\a.png", "s3://a", "a:b", "http:/x")] == [
        False,
        False,
        True,
        False,
        False,
    ]


@pytest.fixture(scope="module")
def s3():
    with buckets.serving("media") as system:
        yield system


def test_objects_of_s3_are_fetched_once(s3, tmp_path):
    s3.pipe_file("media/a.png", make.png(1))
    with remote(tmp_path) as one:
        found = one.take("s3://media/a.png")
        assert (found.kind, found.source) == ("image", "s3://media/a.png")
        for url, why in {
            "s3://media/none.png": Reason.MISSING_FILE, "s3://nobucket/a.png": Reason.MISSING_FILE, "s3://media/": Reason.MISSING_FILE,
        }.items():  # fmt: skip
            assert reason(one, url) == why, url
    s3.pipe_file("media/a.png", make.png(2))
    with remote(tmp_path) as one:
        assert one.take("s3://media/a.png").id != found.id
    with remote(tmp_path, max_bytes=100) as one:
        assert one.take("s3://media/a.png").kind == "image"  # known by its ETag, not read again
        s3.pipe_file("media/b.png", make.png(3))
        assert reason(one, "s3://media/b.png") == Reason.TOO_LARGE
