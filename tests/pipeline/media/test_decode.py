"""The process that decodes may die, hang or fill the memory: that costs one row, and the next one finds a new process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.media import decode, limits
from pipeline.media.probe import probe, probe_and_store
from pipeline.media.sniff import Format
from pipeline.storage.media_store import FolderStore
from schemas.errors import RowError, RunError
from schemas.records import Reason
from tests.support import media_files as make

PNG = Format("pillow", "PNG", "image/png")


@pytest.fixture(autouse=True)
def fresh():
    """A worker of this test's own, which is the only one."""
    decode._end_all()
    yield
    decode._end_all()


def workers() -> list[psutil.Process]:
    """Those that live: one that has just ended has no command any more."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # ZombieProcess is one
            found += [process] if "pipeline.media.worker" in process.cmdline() else []
    return found


def large(mode: str = "RGB", side: int = 9400) -> bytes:
    """A small file of 88 million pixels, which takes half a second or more to decode."""
    return make.image_file(Image.new(mode, (side, side)), "PNG")


def killed_while(data: bytes, *signals: int) -> RowError:
    """The error of a file whose worker is sent `signals`, one a try, while it decodes."""

    def strike():
        for number in signals:
            while not (found := [p for p in workers() if p.pid not in struck]) or found[0].cpu_times().user < 0.45:
                time.sleep(0.005)
            struck.add(found[0].pid)
            os.kill(found[0].pid, number)

    struck: set[int] = set()
    thread = threading.Thread(target=strike)
    thread.start()
    try:
        with pytest.raises(RowError) as caught:
            decode.facts(data, PNG, "x.png")
        return caught.value
    finally:
        thread.join()


@pytest.mark.slow
def test_a_decoder_that_dies_twice_is_one_rejection_and_the_rest_goes_on():
    error = killed_while(large(), signal.SIGSEGV, signal.SIGSEGV)
    assert (error.reason, str(error)) == (
        Reason.DECODER_DIED, "x.png crashed its decoder twice; replace the file or remove the row",
    )  # fmt: skip
    assert probe(make.png(), "y.png").width == 64


def test_a_worker_that_was_killed_from_outside_costs_no_row():
    probe(make.png(), "x.png")
    (first,) = workers()
    first.kill()
    first.wait()
    assert probe(make.png(), "x.png").width == 64
    assert [w.pid for w in workers()] != [first.pid]


def test_a_file_that_takes_too_long_is_one_rejection(monkeypatch):
    probe(make.png(), "x.png")
    (first,) = workers()
    monkeypatch.setattr(limits, "DECODE_SECONDS", 0)  # ends after the second of CPU that the worker is in
    with pytest.raises(RowError, match=r"x\.jpg takes too long to decode") as caught:
        decode.decode_image(make.many_scans(4000, 900), "x.jpg")  # 7 seconds
    assert caught.value.reason == Reason.TOO_SLOW
    assert not first.is_running()
    monkeypatch.undo()
    assert probe(make.png(), "y.png").width == 64


def test_a_worker_that_stands_still_is_given_up(monkeypatch):
    monkeypatch.setattr(limits, "WALL_SECONDS", 5)  # more than a start takes on a busy machine
    probe(make.png(), "x.png")
    (first,) = workers()
    first.suspend()
    with pytest.raises(RowError) as caught:
        probe(make.png(), "x.png")
    assert caught.value.reason == Reason.TOO_SLOW
    assert probe(make.png(), "x.png").width == 64


def test_a_worker_that_never_gets_ready_is_ended(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(limits, "WALL_SECONDS", 0.5)
    with pytest.raises(RunError, match="decoder process does not start"):
        decode.facts(make.png(), PNG, "x.png")
    assert workers() == []


def test_memory_is_bounded(monkeypatch, tmp_path):
    """Under a limit of 400 MB, which the libraries alone take 270 of, 88 million pixels of four bytes do not fit."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import pipeline.media.limits as l; l.MEMORY = 400 << 20\n")
    with pytest.raises(RowError, match=r"more than \d GB of memory") as caught:
        decode.facts(large(), PNG, "x.png")
    assert caught.value.reason == Reason.TOO_LARGE
    assert probe(make.png(), "y.png").width == 64


def test_a_worker_can_open_nothing():
    probe(make.png(), "x.png")
    (worker,) = workers()
    probe(make.mp4(), "x.mp4")
    limit = Path(f"/proc/{worker.pid}/limits").read_text()
    assert "Max open files            0                    0" in limit
    assert "Max core file size        0" in limit
    (again,) = workers()
    assert again.pid == worker.pid  # all libraries were loaded before


def test_one_worker_serves_one_thread_after_the_other():
    for data in (make.png(), make.mp4(), make.wav(), make.png()):
        probe(data, "x")
    assert len(workers()) == 1


def test_threads_have_workers_of_their_own():
    found = []
    threads = [
        threading.Thread(target=lambda i=i: found.extend(probe(make.png(i), "x").width for _ in range(20)))
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [64] * 60
    assert len(workers()) <= 3


def test_a_plain_jpeg_needs_no_worker(tmp_path):
    probe_and_store(make.jpeg(), "x.jpg", FolderStore(tmp_path))
    assert workers() == []


def test_a_worker_ends_with_its_process():
    code = (
        "import os, psutil, signal; from pipeline.media.probe import probe; from tests.support import media_files as make\n"
        "probe(make.png(), 'x'); print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    worker = int(done.stdout)
    for _ in range(500):
        if not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)
    pytest.fail("the worker outlived its process")


def test_only_the_worker_looks_into_media():
    """The modules that decode are imported by each other and by the worker."""
    root = Path(decode.__file__).parents[2]
    inside = ("image", "audio", "video", "container", "timeline")
    users = {
        path.relative_to(root).as_posix()
        for room in ("pipeline", "annotators", "flows")
        for path in (root / room).rglob("*.py")
        for name in inside
        if f"pipeline.media.{name} import" in path.read_text()
    }
    assert users == {f"pipeline/media/{name}.py" for name in ("audio", "timeline", "video")}
