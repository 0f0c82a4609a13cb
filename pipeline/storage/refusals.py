"""Whether a refusal is the row's fault or the run's.

A server that refuses one request among many objects to that row: a rejection. One that refuses all requests of a step in the same way (a
wrong model name, an empty account, an unsupported parameter) would make every row a rejection: the run ends with the server's message, and
all are requested again at the next start. If in doubt, a request that was answered before is repeated: if that is refused too, the run is
at fault."""

import asyncio
import re

from schemas.errors import EngineError, NeverAnswered
from schemas.ports import Engine
from schemas.requests import Refused, Request

MANY = 32  # equal refusals in a row, without an answer in between, before the cause is checked


class Refusals:
    """Refusals of one step's requests to one model. `place` is a request's number in the order of sending."""

    def __init__(self, name: str):
        self.name = name
        self.engine: Engine
        """the engine of these requests"""
        self.proof: Request | None = None
        """a request that was answered"""
        self.all = self.count = 0  # all refusals; equal ones since the last answer
        self._since = 0  # place of the first of the equal ones
        self._words = self._message = ""
        self._most = MANY
        self._door = asyncio.Lock()

    def answered(self, request: Request, place: int) -> None:
        """Records an answer."""
        self.proof = request
        if self.count and place > self._since:
            self.count = 0

    def refused(self, place: int, failure: Refused, message: str) -> bool:
        """Records a refusal; whether there are so many that `look` should be called. `message`: the error if the run is at fault."""
        self.all += 1
        words = re.sub(r"\S*\d\S*", "", failure.detail)[:80]  # words with digits differ between requests
        if not self.count or words != self._words:
            self.count, self._since, self._words = 0, place, words
        self.count, self._message = self.count + 1, message
        return self.count >= self._most

    async def look(self, known: bool) -> None:
        """EngineError if the run is at fault for the refusals since the last answer. `known`: the model has answered requests in earlier runs."""
        async with self._door:
            if not self.count:  # answered meanwhile, or already checked
                return
            if self.proof is not None:
                if not await self._refuses(self.proof):
                    self.count, self._most = 0, 2 * self._most
                    return
            elif self.count < self.all or (known and self.count == 1):
                self.count = 0
                return
            every = "all requests are refused" if self.proof is None else "all requests are now refused"
            raise EngineError(
                f"{self.name}: {self._message}; {every}. Fix this and run the same command again: existing answers are kept"
            )

    async def _refuses(self, request: Request) -> bool:
        try:
            return isinstance(await self.engine.ask(request), Refused)
        except NeverAnswered:
            return True
