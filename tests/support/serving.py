"""`pairwright serve` in a process of its own, over a folder that says what it has and does.

media/          a FolderStore
allowed.json    sha -> media type: what tasks show
pull.json       how a pull goes: {"seconds": 0, "error": null}
pulls           a line when a pull begins and one when it ends: "begin 7", "end 7"
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from annotators.label_studio.service import app, s3, signing
from pipeline.storage.media_store import FolderStore
from schemas.errors import ServerError

SECRET = "a secret for tests, long enough: 0123456789"


class Served:
    """The process. `start` it; it is stopped at the end of a `with` block."""

    def __init__(
        self, folder: Path, origin: str = "http://labels.example.org", every: float = 3600, stall: float = s3.STALL
    ):
        self.folder, self.origin, self.every, self.stall = folder, origin, every, stall
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
                [sys.executable, "-m", "tests.support.serving", str(self.folder), str(self.port), self.origin, str(self.every), str(self.stall)],
                stderr=log, cwd=Path(__file__).parents[2],
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


# what connections say first, and what trickles in after it
HALVES = {
    "silent": (b"", b""),
    "slow headers": (b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
    "idle": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "slow second request": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
    "empty lines between": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
    "slow body of an answered request": (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "slow chunks": (b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


def hold_open(served: Served, halves: list[str], times: int) -> None:
    """Holds so many connections open, of these kinds in turn, until the server has closed them all; others are answered meanwhile."""
    kinds = [HALVES[halves[i % len(halves)]] for i in range(times)]
    held = [(client, more) for said, more in kinds for client in hold(served, said, 1)]
    began = time.monotonic()
    while held:
        assert time.monotonic() - began < app.IDLE + app.HEADERS + 8, f"{len(held)} are still open"
        asked = time.monotonic()
        assert httpx.get(f"{served.url}/health").status_code == 200
        assert time.monotonic() - asked < 3
        held = [(client, more) for client, more in held if still_open(client, more)]
        time.sleep(0.5)


def hold(served: Served, said: bytes, times: int) -> list[socket.socket]:
    """Connections that said this and read nothing."""
    held = []
    for _ in range(times):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        client.sendall(said)
        client.setblocking(False)
        held.append(client)
    return held


def still_open(client: socket.socket, more: bytes) -> bool:
    """Whether the server takes more. A connection that it has closed is closed."""
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        with contextlib.suppress(ConnectionError):
            client.send(more)
            return True
    except ConnectionError:
        pass
    client.close()
    return False


def main(folder: Path, port: int, origin: str, every: float, stall: float) -> None:
    app.STALL = s3.STALL = stall
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

    app.serve(app.app(FolderStore(folder / "media"), allowed.get, pull, SECRET, origin, every), port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in (("folder", Path), ("port", int), ("origin", str), ("every", float), ("stall", float)):
        parser.add_argument(name, type=kind)
    main(**vars(parser.parse_args()))
