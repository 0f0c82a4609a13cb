"""Which requests the engines of this process have at the moment, in a file that outlives the process.

An engine that crashes takes its process along, and whoever starts it again must know what it was doing. A request that was
in flight at two crashes is suspected and asked alone; one that crashed the engine alone is to blame and never asked again."""

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
    """The keys of the requests that were in flight when the process that wrote the file ended; none without a file."""
    with disk(path):
        data = local_files.read(path) if path.exists() else b""
    return {data[at : at + SIZE] for at in range(0, len(data), SIZE)} - {NOBODY}


class Journal:
    """Asks the engines that it watches. Each request in flight has a place in the file as long as it is: two short writes
    to the page cache, which a killed process leaves behind. Not for several threads."""

    def __init__(self, path: Path, suspects: Iterable[bytes] = (), culprits: Iterable[bytes] = ()):
        """`suspects` are asked with nothing else in flight, `culprits` not at all. StoreError when the disk does not take the file."""
        self._path = path
        with disk(path):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._suspects, self._culprits = frozenset(suspects), frozenset(culprits)
        self._windows: dict[Engine, asyncio.Semaphore] = {}
        self._door = asyncio.Lock()  # a suspect holds it as long as it is asked
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._flying = 0
        self._free: list[int] = []
        self._places = itertools.count()

    def watch(self, engine: Engine) -> None:
        """From now on notes what `engine` is asked: at a time as much as it has slots for, for the rest only waits there."""
        self._windows[engine] = asyncio.Semaphore(engine.slots)

    async def ask(self, engine: Engine, key: bytes, request: Request) -> Result:
        """The engine's result; a Failure `engine_crash`, without asking, where `key` is a culprit's."""
        if engine not in self._windows:
            return await engine.ask(request)
        if key in self._culprits:
            return Failure(
                Reason.ENGINE_CRASH, "this request crashed the engine's process, at last alone; drop or change the row"
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
