"""Media decoded in processes of their own (worker.py), so that a file which crashes a decoder, hangs it or fills the memory
costs one row. Everything in Pairwright that looks into media comes through here; no decoder runs in the process of a run.

A call takes a worker that is idle, or starts one: there are as many as threads that ask at once, and each holds one medium.
What this does not do: a decoder that a file takes over still runs as this user. Who feeds Pairwright from strangers and
fears that runs it in a container."""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.media import limits
from pipeline.media.sniff import Format
from schemas.errors import RowError, RunError
from schemas.records import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_KEPT = 16 << 20  # bytes of a worker's memory file that are not given back between two questions


def facts(data: bytes, form: Format, name: str) -> dict:
    """The facts of a Media: kind, mime, and what its kind has. RowError when it is no good."""
    return _ask(data, name, limits.PROBE_SECONDS, do="facts", form=form)[0]["facts"]


def decode_image(data: bytes, name: str = "the image", edge: int | None = None) -> "Image.Image":
    """An RGB picture, with `edge` of at least so many pixels a side; see image.py. RowError, also when its decoder dies (DECODER_DIED) or takes too long (TOO_SLOW)."""
    from PIL import Image

    said, pixels = _ask(data, name, limits.DECODE_SECONDS, do="image", edge=edge)
    return Image.frombytes("RGB", said["shape"], pixels)


def decode_video(
    data: bytes,
    fps: float | None = None,
    max_frames: int = 32,
    name: str = "the video",
    max_side: int = limits.FRAME_SIDE,
) -> tuple["np.ndarray", float]:
    """Frames [T, height, width, 3] uint8 RGB, and how many a second; see video.py. RowError as decode_image."""
    import numpy as np

    asked = {"fps": fps, "max_frames": max_frames, "max_side": max_side}
    said, pixels = _ask(data, name, limits.DECODE_SECONDS, do="video", **asked)
    return np.frombuffer(pixels, np.uint8).reshape(said["shape"]), said["fps"]


def decode_audio(
    data: bytes, rate: int = 16000, name: str = "the audio", max_seconds: float = limits.HEARD_SECONDS
) -> "np.ndarray":
    """Samples [n] float32, mono, `rate` a second, at most `max_seconds`; see audio.py. RowError as decode_image."""
    import numpy as np

    _, samples = _ask(data, name, limits.DECODE_SECONDS, do="audio", rate=rate, max_seconds=max_seconds)
    return np.frombuffer(samples, np.float32)


def as_wav(data: bytes, name: str) -> bytes:
    """The sound of `data`, of a video too, as a WAV file. RowError as decode_image."""
    return bytes(_ask(data, name, limits.DECODE_SECONDS, do="wav")[1])


class _Worker:
    """One process, for one question at a time."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self._memory = os.memfd_create("media")
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        with theirs:
            command = [sys.executable, "-P", "-m", "pipeline.media.worker", str(self._memory)]
            self.process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=env, pass_fds=[self._memory]
            )
        ours.settimeout(limits.WALL_SECONDS)
        self._socket, self._stream = ours, ours.makefile("rwb")
        if self._stream.readline() != b"ready\n":
            raise RunError("the process that decodes media does not start; install Pairwright anew (make install)")

    def ask(self, asked: dict, data: bytes) -> tuple[dict, bytearray]:
        """The answer and its bytes. OSError (TimeoutError among them) when there is none."""
        os.pwrite(self._memory, data, 0)
        self._stream.write(json.dumps(asked | {"size": len(data)}).encode() + b"\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise ConnectionError
        said = json.loads(line)
        payload = bytearray(said["size"])
        os.preadv(self._memory, [payload], 0)
        if max(len(data), len(payload)) > _KEPT:
            os.ftruncate(self._memory, 0)
        return said, payload

    def end(self, kill: bool = False) -> int:
        """Its exit status, negative for a signal."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()
        os.close(self._memory)
        if kill:
            self.process.kill()
        return self.process.wait()


_idle: deque[_Worker] = deque()  # the one that worked last comes first: its memory is warm


def _ask(data: bytes, name: str, cpu: int, **asked: Any) -> tuple[dict, bytearray]:
    for tries in (1, 2):
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        try:
            said, payload = worker.ask(asked | {"name": name, "cpu": cpu}, data)
        except TimeoutError:
            worker.end(kill=True)
            raise _too_slow(name) from None
        except OSError:
            ended = worker.end()
            if ended == -signal.SIGXCPU:
                raise _too_slow(name) from None
            if tries == 1:  # it may have been killed for what came before, or by the system for want of memory
                continue
            detail = f"{name} crashed its decoder twice; replace the file or drop the row"
            raise RowError(Reason.DECODER_DIED, detail) from None
        except BaseException:
            worker.end(kill=True)  # half an answer is left in it
            raise
        _idle.append(worker)
        if "reason" in said:
            raise RowError(Reason(said["reason"]), said["detail"])
        return said, payload
    raise AssertionError


def _too_slow(name: str) -> RowError:
    return RowError(Reason.TOO_SLOW, f"{name} takes too long to decode; shorten or convert it, or drop the row")


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end(kill=True)


os.register_at_fork(after_in_child=_idle.clear)  # two processes must not speak over one socket
