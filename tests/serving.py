"""`pairwright serve` in a process of its own, over a folder that says what it has and does.

media/          a FolderStore
allowed.json    sha -> media type: what tasks show
pull.json       how a pull goes: {"seconds": 0, "error": null}
pulls           a line when a pull begins and one when it ends: "begin 7", "end 7"
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from annotators.label_studio import serve, signing
from pipeline.store import FolderStore
from schemas.errors import ServerError

SECRET = "a secret for tests, long enough: 0123456789"


class Served:
    """The process. `start` it; it is stopped at the end of a `with` block."""

    def __init__(self, folder: Path, origin: str = "http://labels.example.org", every: float = 3600):
        self.folder, self.origin, self.every = folder, origin, every
        self.store = FolderStore(folder / "media")
        self.allowed: dict[str, str] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self.pull_goes()

    def add(self, data: bytes, mime: str | None) -> str:
        """Before `start`. A medium; tasks show it when it has a media type."""
        sha = self.store.add(data)
        if mime:
            self.allowed[sha] = mime
        return sha

    def pull_goes(self, seconds: float = 0, error: str | None = None) -> None:
        new = self.folder / "new"
        new.write_text(json.dumps({"seconds": seconds, "error": error}))
        new.replace(self.folder / "pull.json")

    def start(self) -> "Served":
        self.store.sync()
        (self.folder / "allowed.json").write_text(json.dumps(self.allowed))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.serving", str(self.folder), str(self.port), self.origin, str(self.every)],
                stderr=log, cwd=Path(__file__).parents[1],
            )  # fmt: skip
        wait_for(self.up, 30)
        return self

    def up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *raised) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: int) -> tuple[int, float]:
        """(exit code, seconds it took) after a signal."""
        began = time.monotonic()
        self.process.send_signal(how)
        return self.process.wait(30), time.monotonic() - began

    def health(self) -> dict:
        return httpx.get(f"{self.url}/health").json()

    def pulls(self, what: str = "end") -> list[str]:
        """The projects of the pulls so far."""
        path = self.folder / "pulls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(what)]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def hint(self, project="7", event=None, headers=None) -> httpx.Response:
        headers = signing.webhook_headers(SECRET, project) if headers is None else headers
        return httpx.post(f"{self.url}/webhook/{project}", json=event or {"action": "TASKS_DELETED"}, headers=headers)


def wait_for(true, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def main(folder: Path, port: int, origin: str, every: float) -> None:
    allowed = json.loads((folder / "allowed.json").read_text())

    def pull(project: str | None) -> None:
        goes = json.loads((folder / "pull.json").read_text())
        note(f"begin {project}")
        time.sleep(goes["seconds"])
        if goes["error"]:
            raise ServerError(goes["error"]) if goes["error"].startswith("ours") else ValueError(goes["error"])
        note(f"end {project}")

    def note(line: str) -> None:
        file = os.open(folder / "pulls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    serve.serve(serve.app(FolderStore(folder / "media"), allowed.get, pull, SECRET, origin, every), port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in (("folder", Path), ("port", int), ("origin", str), ("every", float)):
        parser.add_argument(name, type=kind)
    main(**vars(parser.parse_args()))
