"""A journal of the requests in flight in this process's engines, in a file that survives a crash.

An engine that crashes kills its process, and the restarted process must know what was in flight. A request that was in flight at two
crashes becomes a suspect and is sent alone; one that crashed the engine alone is a culprit and is never sent again."""

import asyncio
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.storage import local_files
from schemas.disk import disk, error_line
from schemas.errors import StoreError
from schemas.ports import Engine
from schemas.records import Reason
from schemas.requests import Failure, Request, Result

SIZE = 16  # bytes of a request's key
NOBODY = bytes(SIZE)


def in_flight(path: Path) -> set[bytes]:
    """The keys of the requests that were in flight when the process that wrote the file ended; empty without a file. StoreError."""
    with disk(path):
        data = local_files.read(path) if path.exists() else b""
    return {data[at : at + SIZE] for at in range(0, len(data), SIZE)} - {NOBODY}


class Journal:
    """Sends requests to engines and records those in flight, at the cost of two short writes to the page cache, which survives a killed
    process. Not thread-safe."""

    def __init__(self, path: Path, suspects: Iterable[bytes] = (), culprits: Iterable[bytes] = ()):
        """Keys in `suspects` are sent with nothing else in flight, those in `culprits` never. StoreError if the file cannot be written."""
        self._path = path
        with disk(path):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._suspects, self._culprits = frozenset(suspects), frozenset(culprits)
        self._windows: dict[Engine, asyncio.Semaphore] = {}
        self._door = asyncio.Lock()  # held by a suspect while it is in flight
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._flying = 0
        self._free: list[int] = []
        self._places = itertools.count()

    def watch(self, engine: Engine) -> None:
        """From now on records the requests to `engine`; at most as many are sent at a time as it has slots."""
        self._windows[engine] = asyncio.Semaphore(engine.slots)

    async def ask(self, engine: Engine, key: bytes, request: Request) -> Result:
        """The engine's result; for a culprit a Failure `engine_crash`, without sending it."""
        if engine not in self._windows:
            return await engine.ask(request)
        if key in self._culprits:
            return Failure(
                Reason.ENGINE_CRASH,
                "this request repeatedly crashed the engine's process, also when sent alone; remove or change the row",
            )
        async with self._windows[engine]:
            async with self._door:
                if key in self._suspects:
                    await self._quiet.wait()
                    return await self._noted(engine, key, request)
            return await self._noted(engine, key, request)

    async def _noted(self, engine: Engine, key: bytes, request: Request) -> Result:
        place = self._free.pop() if self._free else next(self._places)
        self._flying += 1
        self._quiet.clear()
        self._note(key, place)
        try:
            return await engine.ask(request)
        finally:
            self._note(NOBODY, place)
            self._free.append(place)
            self._flying -= 1
            if not self._flying:
                self._quiet.set()

    def _note(self, key: bytes, place: int) -> None:
        try:
            os.pwrite(self._file, key, place * SIZE)
        except OSError as error:
            raise StoreError(error_line(error, self._path)) from error
