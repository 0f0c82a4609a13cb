"""Decodes media in separate processes (worker.py), so that a file that crashes a decoder, hangs it or exhausts memory costs one row.
All access to media content goes through this module; no decoder runs in the main process.

A call takes an idle worker or starts one: there are as many as concurrent calls, each with one file at a time. Not covered: a decoder
that a file takes control of still runs as this user. If you process files from untrusted sources, run Pairwright in a container."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.media import limits
from pipeline.media.sniff import Format
from schemas.errors import RowError, RunError
from schemas.records import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_KEPT = 16 << 20  # bytes of a worker's shared memory kept between requests


def facts(data: bytes, form: Format, name: str) -> dict:
    """Metadata of a Media: kind, mime, and the fields of its kind. RowError if the file is not valid."""
    seconds = (
        limits.PROBE_SECONDS if form.library == "pillow" else limits.DECODE_SECONDS
    )  # streams may be decoded whole
    return _ask(data, name, seconds, do="facts", form=form)[0]["facts"]


def decode_image(data: bytes, name: str = "the image", edge: int | None = None) -> "Image.Image":
    """An RGB image, with `edge` possibly reduced to at least that many pixels per side; see image.py. RowError if it cannot be decoded,
    its decoder crashes (DECODER_DIED) or takes too long (TOO_SLOW)."""
    from PIL import Image

    reply, pixels = _ask(data, name, limits.DECODE_SECONDS, do="image", edge=edge)
    return Image.frombytes("RGB", reply["shape"], pixels)


class Clip(NamedTuple):
    """Frames of a video, as a model is shown them."""

    frames: "np.ndarray"  # [T, height, width, 3] uint8 RGB
    times: tuple[float, ...]  # seconds of each frame, from the first frame of the video: ascending, times[0] is 0
    shown: tuple[
        int, ...
    ]  # at even moments from the first frame to the last: the index of the frame on the screen, ascending
    seconds: float  # length of the video; 1 if unknown

    @property
    def even(self) -> "np.ndarray":
        """The frames at even intervals, number k at k / fps: `frames`, with a still frame repeated for as long as it is shown."""
        whole = self.shown == tuple(range(len(self.frames)))
        return self.frames if whole else self.frames[list(self.shown)]

    @property
    def fps(self) -> float:
        """Even moments a second. Of a single one, one in the length of the video."""
        return (len(self.shown) - 1) / self.times[-1] if self.times[-1] else 1 / self.seconds


def decode_clip(
    data: bytes,
    fps: float | None = None,
    max_frames: int = 32,
    name: str = "the video",
    max_side: int = limits.FRAME_SIDE,
) -> Clip:
    """The frames at no more than `max_frames` even moments from the first to the last, with their times; see video.py. Raises RowError like
    decode_image."""
    import numpy as np

    asked = {"fps": fps, "max_frames": max_frames, "max_side": max_side}
    reply, pixels = _ask(data, name, limits.DECODE_SECONDS, do="video", **asked)
    frames = np.frombuffer(pixels, np.uint8).reshape(reply["shape"])
    return Clip(frames, tuple(reply["times"]), tuple(reply["shown"]), reply["seconds"])


def decode_video(
    data: bytes,
    fps: float | None = None,
    max_frames: int = 32,
    name: str = "the video",
    max_side: int = limits.FRAME_SIDE,
) -> tuple["np.ndarray", float]:
    """(frames, frames per second) at the even moments of `decode_clip`: frame k is on the screen at k / fps."""
    clip = decode_clip(data, fps, max_frames, name, max_side)
    return clip.even, clip.fps


def decode_audio(
    data: bytes, rate: int = 16000, name: str = "the audio", max_seconds: float = limits.HEARD_SECONDS
) -> "np.ndarray":
    """Samples [n] float32, mono, `rate` per second, at most `max_seconds`; see audio.py. Raises RowError like decode_image."""
    import numpy as np

    _, samples = _ask(data, name, limits.DECODE_SECONDS, do="audio", rate=rate, max_seconds=max_seconds)
    return np.frombuffer(samples, np.float32)


def portable(data: bytes, kind: str, name: str) -> bytes | None:
    """`data`, shown as `kind`, in the form that every server, `datasets` and browsers show alike; None if it is in it. See docs/media.md.

    `kind`: image, video, audio, or input_audio, the sound as APIs take it: WAV or MP3. Raises RowError like decode_image."""
    reply, made = _ask(data, name, limits.PORTABLE_SECONDS, do="portable", kind=kind)
    return None if reply["plain"] else bytes(made)


class _Worker:
    """A decoder process, for one request at a time."""

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
        try:
            ready = self._stream.readline() == b"ready\n"
        except TimeoutError:
            ready = False
        if not ready:
            self.end(kill=True)
            raise RunError("the media decoder process does not start; reinstall Pairwright (make install)")

    def ask(self, asked: dict, data: bytes) -> tuple[dict, bytearray]:
        """The reply and its bytes. OSError (including TimeoutError) if there is no reply."""
        os.pwrite(self._memory, data, 0)
        self._stream.write(json.dumps(asked | {"size": len(data)}).encode() + b"\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise ConnectionError
        reply = json.loads(line)
        payload = bytearray(reply["size"])
        os.preadv(self._memory, [payload], 0)
        if max(len(data), len(payload)) > _KEPT:
            os.ftruncate(self._memory, 0)
        return reply, payload

    def end(self, kill: bool = False) -> int:
        """Ends the process and returns its exit status, negative for a signal."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()
        os.close(self._memory)
        if kill:
            self.process.kill()
        return self.process.wait()


_idle: deque[_Worker] = deque()  # the most recently used is taken first: its memory is warm


def _ask(data: bytes, name: str, cpu: int, **asked: Any) -> tuple[dict, bytearray]:
    for tries in (1, 2):
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        try:
            reply, payload = worker.ask(asked | {"name": name, "cpu": cpu}, data)
        except TimeoutError:
            worker.end(kill=True)
            raise _too_slow(name) from None
        except OSError:
            ended = worker.end()
            if ended == -signal.SIGXCPU:
                raise _too_slow(name) from None
            if tries == 1:  # an earlier file or the system's lack of memory may have been the cause
                continue
            detail = f"{name} crashed its decoder twice; replace the file or remove the row"
            raise RowError(Reason.DECODER_DIED, detail) from None
        except BaseException:
            worker.end(kill=True)  # part of a reply may be left in its socket
            raise
        _idle.append(worker)
        if "reason" in reply:
            raise RowError(Reason(reply["reason"]), reply["detail"])
        return reply, payload
    raise AssertionError


def _too_slow(name: str) -> RowError:
    return RowError(Reason.TOO_SLOW, f"{name} takes too long to decode; shorten or convert it, or remove the row")


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end(kill=True)


os.register_at_fork(after_in_child=_idle.clear)  # two processes must not share a socket
