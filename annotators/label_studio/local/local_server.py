"""A real Label Studio server on this machine, for tests and demos: PostgreSQL and the server in a separate environment
(`make label-studio`), without root, reachable from this machine only and without access to the internet."""

import hashlib
import hmac
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from schemas.errors import ServerError, UserError

ENVIRONMENT = Path(__file__).parents[3] / ".label-studio"
ADMIN = "admin@example.org"
NOWHERE = "http://127.0.0.1:9"  # a proxy that does not exist, so that the server cannot reach the internet


class Person(NamedTuple):
    email: str
    password: str
    key: str


class LocalServer:
    """A running server. Leaving its `with` block stops it, and so does the end of this process, even by a kill."""

    def __init__(self, folder: Path, port: int, key: str, process: subprocess.Popen):
        self.url = f"http://127.0.0.1:{port}"
        self.key = key
        """the admin's API key"""
        self.folder = folder
        self.files = folder / "files"
        """files here are served as /data/local-files/?d=PATH if an import storage of the server includes their folder"""
        self._process = process

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops Label Studio, then PostgreSQL; the data are kept. Does nothing if they are already stopped."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills both at once, like a crash: uncommitted data are lost."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        pid_file = self.folder / "database" / "postmaster.pid"
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)  # PostgreSQL's immediate shutdown
            while pid_file.exists():
                time.sleep(0.02)


def start(folder: Path, *, port: int | None = None) -> LocalServer:
    """Starts the server with its data in `folder`, created if missing; users, keys and projects are kept between starts.

    `port` is a free one by default, so the address changes between starts. If started by root, PostgreSQL runs as the user
    `embedded_postgres`, and the folders above `folder` are made readable for it. UserError if the server is not installed or `port`
    is taken; ServerError if it does not start."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise UserError(f"the Label Studio server is not installed in {ENVIRONMENT}; run `make label-studio`")
    folder = folder.resolve()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    if _taken(port):
        raise UserError(
            f"port {port} of this machine is in use; stop the program that listens there, or choose another --port"
        )
    secret = _secret(folder)
    log = folder / "label-studio.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [python, "-P", Path(__file__).with_name("guard.py"), folder, str(port)],
            stdin=subprocess.PIPE, stdout=sink, stderr=sink, env=_environment(folder, secret), start_new_session=True,
        )  # fmt: skip
    server = LocalServer(folder, port, _derived(secret, "key"), process)
    try:
        _wait(server, process, log)
    except BaseException:
        server.stop()
        raise
    return server


def _environment(folder: Path, secret: str) -> dict[str, str]:
    """A clean environment: Label Studio would take a stray PORT, HOST or USERNAME for its own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return {
        **kept,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_USERNAME": ADMIN,
        "LABEL_STUDIO_PASSWORD": _derived(secret, ADMIN),
        "LABEL_STUDIO_USER_TOKEN": _derived(secret, "key"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "files"),
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",  # our webhook receiver is on this machine
        "LABEL_STUDIO_COLLECT_ANALYTICS": "0",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "0",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _wait(server: LocalServer, process: subprocess.Popen, log: Path) -> None:
    """Waits until the server accepts our key, which proves that it is ours and not another one on the same port."""
    end = time.monotonic() + 300  # the very first start migrates a database
    while time.monotonic() < end:
        if process.poll() is not None:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise ServerError(
                f"Label Studio ended while starting ({lines[-1][:200] if lines else 'no output'}); see {log}"
            )
        try:
            if httpx.get(
                f"{server.url}/api/current-user/whoami", headers=_authorized(server.key), trust_env=False
            ).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise ServerError(f"Label Studio did not start within five minutes; see {log}")


def people(server: LocalServer, names: Sequence[str]) -> dict[str, Person]:
    """{name: Person} of annotators who can log in at `server.url` as NAME@example.org; created if missing, with stable passwords.

    ServerError if the server refuses one, for example because its name does not make a valid e-mail address."""
    with httpx.Client(base_url=server.url, headers=_authorized(server.key), trust_env=False) as admin:
        existing = {user["email"] for user in admin.get("/api/users").raise_for_status().json()}
        invitation = admin.get("/api/invite").raise_for_status().json()["invite_url"]
    secret = _secret(server.folder)
    found = {}
    for name in names:
        email = f"{name.lower()}@example.org"
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as page:
            form = {"email": email, "password": _derived(secret, email)[:12]}  # short enough to type
            where = "/user/login/" if email in existing else invitation
            page.get(where)
            reply = page.post(where, data={**form, "csrfmiddlewaretoken": page.cookies["csrftoken"]})
            if reply.status_code != httpx.codes.FOUND:
                raise ServerError(
                    f"Label Studio rejects the annotator {email} (status {reply.status_code}); choose another name"
                )
            key = page.get("/api/current-user/token").raise_for_status().json()["token"]
            found[name] = Person(key=key, **form)
    return found


def _authorized(key: str) -> dict[str, str]:
    return {"Authorization": f"Token {key}"}


def _secret(folder: Path) -> str:
    """The secret from which all keys and passwords of a folder are derived; created at the first start, readable by its owner only."""
    path = folder / "secret"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text()


def _derived(secret: str, name: str) -> str:
    """40 hex digits, the form of Label Studio's keys; also used as a password."""
    return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()[:40]


def _free_port() -> int:
    """A free port outside the range for outgoing connections, so that a server can be restarted on it."""
    return next(port for port in random.sample(range(20_000, 32_000), 1_000) if not _taken(port))


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
