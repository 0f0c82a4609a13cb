"""A real server of vLLM for the tests of the engines."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

TINY = Path(__file__).parents[3] / "data" / "models" / "tiny"
START = 600  # seconds that a server may take on a busy machine


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
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-model-len", "4096",
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
