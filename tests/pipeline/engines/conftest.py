"""Prompts of every medium for the tests of the engines."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.source import scenes
from schemas import chat
from schemas.operator import Context
from schemas.records import Message, Sample

TINY = Path(__file__).parents[3] / "data" / "models" / "tiny"
START = 600  # seconds that a server may take on a busy machine
EACH = 4  # prompts of each kind


class Asked(NamedTuple):
    prompt: tuple[Message, ...]  # an open question
    true: tuple[Message, ...]  # a question whose answer is yes


@pytest.fixture(scope="session")
def asked(media_store) -> dict[str, list[Asked]]:
    """kind -> prompts of scenes that were drawn for it; `text` has no media."""
    context = Context("scenes", "1", media_store)
    out = {"text": [Asked((chat.user(text),), (chat.user(text),)) for text in ("describe the picture .", "hello")]}
    for kind in scenes.SCENES:
        rows = scenes.read(scenes.Settings(n=EACH, seed=7, split="eval", shares={kind: 1}), context)
        samples = islice((row for row in rows if isinstance(row, Sample)), EACH)
        out[kind] = [Asked(s.prompt, chat.ask_about(s.prompt, json.loads(s.facts)["yes"][0])) for s in samples]
    return out


class Server(NamedTuple):
    process: subprocess.Popen
    port: int
    log: Path


@pytest.fixture(scope="session")
def starting(tmp_path_factory):
    """A real `vllm serve` of the tiny model that has just been started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(TINY), "--served-model-name", "tiny",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-model-len", "512",
        "--kv-cache-memory-bytes", str(64 << 20), "--no-enable-chunked-prefill",
        "--limit-mm-per-prompt", '{"image": 2, "video": 1, "audio": 1}',
    ]  # fmt: skip
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    yield Server(process, port, log)
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="session")
def served_tiny(starting):
    """The base_url of that server, once it is ready."""
    for _ in range(START):
        if starting.process.poll() is not None:
            pytest.fail(f"vllm serve ended: {starting.log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{starting.port}/health"):
                return f"http://127.0.0.1:{starting.port}/v1"
        except OSError:
            time.sleep(1)
    pytest.fail(f"vllm serve was not ready in {START} seconds: {starting.log.read_text()[-2000:]}")
