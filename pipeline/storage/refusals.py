"""Whether a refusal is the row's fault or the run's.

A server that refuses one request among many which it answers has something against that row: a rejection. One that refuses all of a step
alike (a wrong model name, an empty account, a parameter that it does not take) would make every row a rejection: the run ends with the
server's words, and everything is asked again once they are heeded. Where only time can tell, a question that was answered before is asked
again: refused as well, it proves that the account and not the row is empty."""

import asyncio
import re

from schemas.errors import EngineError, NeverAnswered
from schemas.ports import Engine
from schemas.requests import Refused, Request

MANY = 32  # refusals alike in a row, of requests between which none was answered, before somebody looks


class Refusals:
    """What the requests of one step to one model came to. `place` is a request's place in the order of asking."""

    def __init__(self, name: str):
        self.name = name
        self.engine: Engine
        """that is asked"""
        self.proof: Request | None = None
        """one that was answered"""
        self.all = self.count = 0  # refusals; those alike since the last answer
        self._since = 0  # place of the first of those
        self._words = self._said = ""
        self._most = MANY
        self._door = asyncio.Lock()

    def answered(self, request: Request, place: int) -> None:
        self.proof = request
        if self.count and place > self._since:
            self.count = 0

    def refused(self, place: int, failure: Refused, said: str) -> bool:
        """Whether there are so many that somebody should look. `said`: what to say if it is the run's fault."""
        self.all += 1
        words = re.sub(r"\S*\d\S*", "", failure.detail)[:80]  # requests have numbers
        if not self.count or words != self._words:
            self.count, self._since, self._words = 0, place, words
        self.count, self._said = self.count + 1, said
        return self.count >= self._most

    async def look(self, known: bool) -> None:
        """EngineError when the refusals since the last answer are the run's fault. `known`: the model answered such requests in another run."""
        async with self._door:
            if not self.count:  # an answer came, or another looked
                return
            if self.proof is not None:
                if not await self._refuses(self.proof):
                    self.count, self._most = 0, 2 * self._most
                    return
            elif self.count < self.all or (known and self.count == 1):
                self.count = 0
                return
            every = "every request ends so" if self.proof is None else "by now every request ends so"
            raise EngineError(
                f"{self.name}: {self._said}; {every}. Put this right and start the same command again: what was answered is kept"
            )

    async def _refuses(self, request: Request) -> bool:
        try:
            return isinstance(await self.engine.ask(request), Refused)
        except NeverAnswered:
            return True
