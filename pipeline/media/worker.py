"""The decoder process: `python -m pipeline.media.worker FD`, with a socket as its standard input.

It may crash, hang or run out of memory; decode.py sends requests and replaces it. After importing everything it can open no files and no
connections, so a file cannot make it read other files or send anything.

A request is a line of JSON, `{do, name, size, cpu, ...}`, with `size` bytes in the memory file FD. A reply is the same, `{size, ...}`:
sending decoded images through the socket took twice as long."""

import importlib
import json
import math
import os
import pkgutil
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import av
import numpy as np
import pillow_heif  # noqa: F401  registered by image.py
from PIL import Image

from pipeline.media import audio, image, video
from pipeline.media.limits import MAX_BYTES, MEMORY
from pipeline.media.sniff import Format, broken, too_large
from schemas.errors import RowError
from schemas.records import Reason


def main(memory: int) -> None:
    """Answers requests until the other side closes the socket."""
    stream = socket.socket(fileno=os.dup(0)).makefile("rwb")
    _load()
    _lock_up()
    stream.write(b"ready\n")
    stream.flush()
    while line := stream.readline():
        request = json.loads(line)
        reply, payload = _answer(os.pread(memory, request.pop("size"), 0), **request)
        if len(payload) > MAX_BYTES:
            reply, payload = _refusal(too_large(request["name"], f"{len(payload):,} bytes of pixels", f"{MAX_BYTES:,}"))
        os.pwrite(memory, payload, 0)
        stream.write(json.dumps(reply | {"size": len(payload)}).encode() + b"\n")
        stream.flush()


def _load() -> None:
    """Imports everything that the libraries would otherwise import on first use."""
    Image.init()
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for codec in ("ascii", "latin_1", "unicode_escape", "utf_16", "utf_16_be", "utf_16_le"):
        importlib.import_module(f"encodings.{codec}")


def _lock_up() -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # libraries print warnings about files
        os.dup2(silent, stream)
    os.close(silent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the run, which then ends this process
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # open files stay open, no others can be opened


def _answer(data: bytes, do: str, name: str, cpu: int, **options: Any) -> tuple[dict, bytes | memoryview]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + cpu, hard))
    try:
        return _DO[do](data, name=name, **options)
    except RowError as error:
        return _refusal(error)
    except MemoryError:
        detail = f"{name} needs more than {MEMORY >> 30} GB of memory to decode; reduce it or remove the row"
        return _refusal(RowError(Reason.TOO_LARGE, detail))
    except Exception:  # noqa: BLE001  a bug in a decoder; no file may end the process this way
        return _refusal(broken(name))


def _refusal(error: RowError) -> tuple[dict, bytes]:
    return {"reason": error.reason, "detail": error.detail}, b""


def _facts(data: bytes, name: str, form: list[str]) -> tuple[dict, bytes]:
    known = Format(*form)
    if known.library == "pillow":
        return {"facts": image.facts(data, known, name)}, b""
    found = video.facts(data, known, name) if known.library == "av" else None
    return {"facts": found or audio.facts(data, known, name)}, b""


def _image(data: bytes, name: str, edge: int | None) -> tuple[dict, bytes]:
    picture = image.decode_image(data, name, edge)
    return {"shape": picture.size}, picture.tobytes()


def _video(data: bytes, name: str, **options: Any) -> tuple[dict, memoryview]:
    frames, times, shown, seconds = video.decode_clip(data, name=name, **options)
    return {"shape": frames.shape, "times": times, "shown": shown, "seconds": seconds}, _bytes(frames)


def _audio(data: bytes, name: str, **options: Any) -> tuple[dict, memoryview]:
    return {}, _bytes(audio.decode_audio(data, name=name, **options))


def _portable(data: bytes, name: str, kind: str) -> tuple[dict, bytes]:
    made = _FORMS[kind](data, name)
    return {"plain": made is None}, made or b""


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


_FORMS: dict[str, Callable[[bytes, str], bytes | None]] = {
    "image": image.portable,
    "video": video.portable,
    "audio": partial(audio.portable, api=False),
    "input_audio": partial(audio.portable, api=True),
}
_DO: dict[str, Callable] = {
    "facts": _facts,
    "image": _image,
    "video": _video,
    "audio": _audio,
    "portable": _portable,
}

if __name__ == "__main__":
    main(int(sys.argv[1]))
