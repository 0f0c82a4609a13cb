"""The local server as a whole: what survives a stop, a crash and the end of its parent, and who can log in."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from annotators.label_studio.local import local_server
from schemas.errors import UserError

ROOT = Path(__file__).parents[4]


def processes(folder: Path) -> list[psutil.Process]:
    """The server's own and PostgreSQL's, which both name the folder on their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if any(str(folder) in word for word in p.info["cmdline"] or ())]


def titles(server: local_server.LocalServer) -> list[str]:
    reply = httpx.get(f"{server.url}/api/projects", headers={"Authorization": f"Token {server.key}"})
    return [project["title"] for project in reply.raise_for_status().json()["results"]]


def make_project(server: local_server.LocalServer, title: str) -> None:
    headers = {"Authorization": f"Token {server.key}"}
    httpx.post(f"{server.url}/api/projects", headers=headers, json={"title": title}).raise_for_status()


def test_users_keys_and_projects_survive_a_stop_and_a_crash(tmp_path):
    with local_server.start(tmp_path) as server:
        first = local_server.people(server, ["ann", "bob"])
        make_project(server, "before the stop")
    assert processes(tmp_path) == []

    server = local_server.start(tmp_path)
    assert local_server.people(server, ["bob", "ann"]) == first
    make_project(server, "before the crash")
    server.kill()
    assert processes(tmp_path) == []

    server = local_server.start(tmp_path)
    assert local_server.people(server, ["ann"])["ann"] == first["ann"]
    os.kill(server._process.pid, signal.SIGKILL)  # as when memory runs out: PostgreSQL is left behind
    server._process.wait()
    assert {p.name() for p in processes(tmp_path)} == {"postgres"}

    with local_server.start(tmp_path) as server:
        assert sorted(titles(server)) == ["before the crash", "before the stop"]
    assert processes(tmp_path) == []


def test_a_killed_parent_leaves_no_server_behind(tmp_path):
    script = (
        "import signal, sys, time; from pathlib import Path; from annotators.label_studio.local import local_server; "
        "signal.signal(signal.SIGINT, signal.SIG_IGN); "  # as in a shell's background job
        "local_server.start(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "up\n"
    started = processes(tmp_path)
    assert {p.name() for p in started} >= {"python", "postgres"}
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([p for p in started if p.pid != parent.pid], timeout=20)
    assert processes(tmp_path) == []


def test_the_server_is_reached_from_this_machine_only(label_studio):
    guard = psutil.Process(label_studio._process.pid)
    listening = {c.laddr.ip for c in guard.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    postmaster = int((label_studio.folder / "database" / "postmaster.pid").read_text().split()[0])
    assert [c for c in psutil.Process(postmaster).net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


def test_what_the_server_fetches_from_the_internet_goes_nowhere(tmp_path, monkeypatch):
    """A browser's first page asks it for tips, which it fetches from GitHub: here somebody listens where nobody does."""
    assert not local_server._taken(int(local_server.NOWHERE.rpartition(":")[2]))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(20)
        monkeypatch.setattr(local_server, "NOWHERE", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with local_server.start(tmp_path) as server:
            page = threading.Thread(target=httpx.get, args=(f"{server.url}/heidi-tips/",), kwargs={"timeout": 60})
            page.start()
            asked, _ = nobody.accept()
            with asked:
                assert asked.recv(4096).startswith(b"CONNECT raw.githubusercontent.com:443")
            page.join()


def test_an_annotator_has_a_key_of_their_own(sign_in):
    assert sign_in("ann").get("/api/current-user/whoami").json()["email"] == "ann@example.org"
    assert sign_in("bob").get("/api/current-user/whoami").json()["email"] == "bob@example.org"


def test_a_taken_port_is_said(tmp_path, label_studio):
    taken = int(label_studio.url.rpartition(":")[2])
    with pytest.raises(UserError, match=f"port {taken} of this machine is in use"):
        local_server.start(tmp_path, port=taken)


def test_secrets_are_for_their_owner_and_in_no_log(label_studio, sign_in):
    sign_in("ann")
    assert (label_studio.folder / "secret").stat().st_mode & 0o077 == 0
    assert label_studio.key not in (label_studio.folder / "label-studio.log").read_text()


def test_without_its_environment_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(local_server, "ENVIRONMENT", tmp_path / "nothing")
    with pytest.raises(UserError, match="make label-studio"):
        local_server.start(tmp_path)
