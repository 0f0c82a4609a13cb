import os
import socket

import pytest

from pipeline.storage.local_files import NotRegular, Outside, is_below, kind_of, open_regular, read


def data_of(*named) -> bytes:
    file, size = open_regular(*named)
    assert size == os.stat(named[0]).st_size
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def test_a_regular_file_is_opened_and_no_child_inherits_it(tmp_path):
    (tmp_path / "a").write_bytes(b"text")
    (tmp_path / "link").symlink_to("a")
    assert data_of(str(tmp_path / "a")) == data_of(str(tmp_path / "link")) == b"text"
    file, _ = open_regular(str(tmp_path / "a"))
    assert not os.get_inheritable(file)
    os.close(file)


def test_what_is_not_one_is_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        one.bind("socket")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    found = {name: tmp_path / name for name in ("pipe", "socket", "folder", "link")} | {"device": "/dev/zero"}
    for name, path in found.items():
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(NotRegular) as raised:
            open_regular(str(path))
        assert str(raised.value) == {"link": "a pipe", "socket": "a socket or a device"}.get(name, f"a {name}")
        assert kind_of(str(path)) == ("a pipe" if name == "link" else f"a {name}")
        assert len(os.listdir("/proc/self/fd")) == before
    assert kind_of(str(tmp_path / "none")) is kind_of("a\0b") is None
    for missing, error in ((str(tmp_path / "none"), FileNotFoundError), ("a\0b", ValueError)):
        with pytest.raises(error):
            open_regular(missing)


def test_links_may_lead_about_in_the_folder_and_not_out_of_it(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a").write_bytes(b"in")
    (tmp_path / "inside").write_bytes(b"out")  # its name begins like the folder's
    (tmp_path / "root").symlink_to("in")
    (tmp_path / "in" / "deep" / "good").symlink_to("../a")
    (tmp_path / "in" / "bad").symlink_to("../inside")
    for root in (tmp_path / "in", tmp_path / "root"):
        assert data_of(str(root / "deep" / "good"), str(root)) == b"in"
        for path in (root / "bad", root / "deep" / ".." / ".." / "inside"):
            with pytest.raises(Outside):
                open_regular(str(path), str(root))
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/")
    assert not is_below("/ab", "/a")


def test_the_bytes_of_a_regular_file_are_read_and_of_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"text")
    assert read(tmp_path / "a") == b"text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name, error in (
        ("pipe", NotRegular),
        ("endless", NotRegular),
        (".", IsADirectoryError),
        ("gone", FileNotFoundError),
    ):
        with pytest.raises(error):
            read(tmp_path / name)
