"""Servers that refuse, rest, fail, answer oddly or say nothing at all."""

import asyncio
import random
import tempfile
from pathlib import Path

from pipeline.engines import openai
from pipeline.engines.endpoints import Endpoint as Address
from pipeline.engines.endpoints import Pool, Server
from pipeline.store import open_store
from schemas import chat
from schemas.errors import EngineError
from schemas.ports import Failure, Generate
from tests import clock
from tests.endpoint import Endpoint, served
from tests.faults.fault import Fault

AREA = "servers"


# no pass waits for ever


def pool_on_a_made_up_clock(dice: random.Random, folder: Path) -> None:
    """Workers of a pool whose servers are busy, rest, fail and are left alone, as the dice say."""
    count = dice.randint(1, 3)
    servers = [Server(Address(base_url=f"http://127.0.0.1:{9 + i}/v1"), dice.randint(1, 8), None, 5) for i in range(count)]
    pool = Pool(servers, dice.randint(1, 16))
    bad, waits = dice.choice((0.25, 0.5, 0.9)), (None, 0.0, 0.001, 0.003, 0.2, 0.25)
    left = iter(range(60))

    async def worker() -> None:
        loop, server = asyncio.get_running_loop(), None
        for _ in left:
            server = await pool.take(avoid=server)
            sent, wait = loop.time(), dice.choice(waits)
            await asyncio.sleep(dice.choice((0, 0.001, 0.01, 0.2)))
            match dice.choice(("busy", "rest", "fail", "gone")) if dice.random() < bad else "well":
                case "busy":
                    server.busy(sent, wait)
                case "rest":
                    server.rest(wait)
                case "fail":
                    server.failed(sent, object(), EngineError("fails"), 10**6)
                case "gone":
                    server.leave(sent, EngineError("gone"), 10**6)
                case "well":
                    server.answered(sent, "kind")
            pool.give(server)

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(dice.randint(1, 24)):
                    group.create_task(worker())
        finally:
            pool.close()

    _, seconds = clock.run(work(), dice)
    assert pool.in_flight == 0
    assert seconds < 60 * 66, f"{seconds:.1f} s for 60 requests"  # each may have found the longest pause


def busy_a_quarter_of_the_time(dice: random.Random, folder: Path) -> None:
    """24 requests at once; a quarter of the questions is answered with 429 and a short Retry-After."""
    slots, runner = dice.choice((2, 4, 4, 16, 64)), dice.choice(runners())
    wait = dice.choice((0.05, 0.2))
    endpoint = Endpoint(share=0.25, status=429, retry_after=wait, times=dice.randint(1, 2))
    asked = [Generate((chat.user(f"question {dice.random()}"),)) for _ in range(24)]
    with served(endpoint) as url:
        found = runner(answered(openai.Settings(base_url=url, model="m", slots=slots), asked, folder))
    assert not [result for result in found if isinstance(result, Failure)]


def runners() -> list:
    try:
        import uvloop
    except ImportError:
        return [asyncio.run]
    return [uvloop.run, asyncio.run]


async def answered(settings: openai.Settings, asked: list, folder: Path, within: float = 30) -> list:
    """The results of a fresh engine; TimeoutError when they take longer than `within` seconds."""
    engine = await openai.connect(settings, open_store(Path(tempfile.mkdtemp(dir=folder))))
    try:
        async with asyncio.timeout(within):
            return await asyncio.gather(*map(engine.ask, asked))
    finally:
        await engine.close()


FAULTS = [
    Fault(AREA, "rests and early timers on a clock of whole milliseconds", "every wait ends", pool_on_a_made_up_clock, 500, 30),
    Fault(AREA, "a quarter of the questions answered 429 with Retry-After", "every question is answered", busy_a_quarter_of_the_time, 60, 3),
]
