"""Servers that refuse, rest, fail, answer oddly or say nothing at all."""

import asyncio
import contextlib
import gzip
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from flows.runs import executor
from pipeline.engines import openai
from pipeline.engines.remote import endpoints
from pipeline.engines.remote.endpoints import Endpoint as Address
from pipeline.engines.remote.endpoints import Pool, Server
from pipeline.storage.media_store import open_store
from schemas import messages
from schemas.arrow import from_batch
from schemas.errors import EngineError
from schemas.records import Reason
from schemas.requests import Failure, Generate
from tests.faults.fault import Fault
from tests.support import clock
from tests.support.endpoint import Endpoint, served, shown_text, unit

AREA = "servers"


# no pass waits for ever


def pool_on_a_made_up_clock(dice: random.Random, folder: Path) -> None:
    """Workers of a pool whose servers are busy, rest, fail and are left alone, as the dice say."""
    count = dice.randint(1, 3)
    servers = [
        Server(Address(base_url=f"http://127.0.0.1:{9 + i}/v1"), dice.randint(1, 8), None, 5) for i in range(count)
    ]
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
    asked = [Generate((messages.user(f"question {dice.random()}"),)) for _ in range(24)]
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


# what a server says is checked before it is believed or kept

ROWS = 12


def document(url: str, n: int = 2, rows: int = ROWS, **model) -> dict:
    """Answers to pictures, a judge over them, and pairs."""
    return {
        "name": "servers",
        "models": {"m": {"engine": "openai", "model": "scripted", "base_url": url, "slots": 8, "retries": 2, **model}},
        "steps": [
            {"source.scenes": {"n": rows, "seed": 5, "shares": {"image": 1}}},
            {"make.sample": {"model": "m", "n": n, "max_tokens": 32}},
            {"judge.pointwise": {"model": "m", "media": False}},
            {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
        ],
    }


class Left(NamedTuple):
    """What a build left."""

    rejections: list
    candidates: list
    judgements: list


def build(folder: Path, raw: dict) -> Left:
    with contextlib.closing(executor.open_document(raw, out=folder / "out", cache=folder / "cache")) as run:
        for unit in run.units:
            run.complete(unit)
        tables = [[row for batch in run.tables().batches(t) for row in from_batch(t, batch)] for t in Left._fields]
    return Left(*tables)


def refused(folder: Path, raw: dict, words: str) -> None:
    """A build whose server refuses everything ends with one line that holds its words."""
    with pytest.raises(EngineError) as raised:
        build(folder, raw)
    assert words in str(raised.value), str(raised.value)
    assert "\n" not in str(raised.value)


def judges(body: dict) -> bool:
    return "ratings" in shown_text(body["messages"])


def changed(**fields) -> Callable[[dict], dict]:
    """The reply with other fields in its first choice, in that choice's message, or in itself."""

    def change(said: dict) -> dict:
        choice = said["choices"][0]
        for name, value in fields.items():
            place = (
                choice["message"]
                if name == "content"
                else choice
                if name in ("finish_reason", "index", "logprobs", "message")
                else said
            )
            place[name] = value(place.get(name)) if callable(value) else value
        return said

    return change


def counted(**counts) -> Callable[[dict], dict]:
    return changed(usage=lambda usage: usage | counts)


def plain(status: int, body: bytes = b"", **headers: str) -> Callable[[dict], web.Response]:
    return lambda said: web.Response(status=status, body=body or json.dumps(said).encode(), headers=headers)


PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><script>x</script>Please</body></html>"
ODD: dict[str, Callable[[dict], Any]] = {
    "content as text parts": changed(content=lambda text: [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}]),
    "content as an object": changed(content={"text": "x"}), "content null": changed(content=None), "content a number": changed(content=7),
    "content a list of numbers": changed(content=[1]), "content true": changed(content=True),
    "finish a number": changed(finish_reason=3), "finish an object": changed(finish_reason={}), "finish null": changed(finish_reason=None),
    "counts null": counted(prompt_tokens=None, completion_tokens=None), "counts text": counted(prompt_tokens="9", completion_tokens="9"),
    "counts negative": counted(prompt_tokens=-5, completion_tokens=-5), "counts astronomic": counted(prompt_tokens=10**18, completion_tokens=10**18),
    "counts beyond integers": counted(prompt_tokens=1e300, completion_tokens=1e300), "counts lists": counted(prompt_tokens=[], completion_tokens=True),
    "usage a list": changed(usage=[1]), "usage null": changed(usage=None), "no usage": lambda said: {k: v for k, v in said.items() if k != "usage"},
    "no choices": changed(choices=[]), "choices null": changed(choices=None), "choices an object": changed(choices={}), "choices of text": changed(choices=["a"]),
    "a choice too many": changed(choices=lambda found: found * 5), "indices alike": changed(choices=lambda found: [c | {"index": 0} for c in found * 2]),
    "index text": changed(index="0"), "index null": changed(index=None), "index negative": changed(index=-1),
    "message null": changed(message=None), "message a list": changed(message=[]), "message text": changed(message="hello"),
    "a list": lambda said: [said], "a number": lambda said: web.json_response(7), "null": lambda said: web.json_response(None),
    "NaN": lambda said: web.Response(text=json.dumps(said | {"x": float("nan")})), "an error at 200": lambda said: {"error": {"message": "no"}},
    "cut off": lambda said: web.Response(text=json.dumps(said)[:-9]), "a page": plain(200, PAGE), "nothing": plain(200, b" "),
    "not UTF-8": plain(200, b'{"choices": "\xff\xfe"}'), "a lone surrogate": plain(200, b'{"choices": [{"index": 0, "message": {"content": "\\ud800"}}]}'),
    "deep": plain(200, b"[" * 100_000), "201": plain(201), "206 in part": plain(206, b'{"choices"'), "204": lambda said: web.Response(status=204),
    "303": plain(303, Location="/v1/other"), "307 to elsewhere": plain(307, Location="http://127.0.0.1:9/v1"), "307 in circles": plain(307, Location="?"),
    "gzip that is none": plain(200, b"hello", **{"Content-Encoding": "gzip"}), "an unknown encoding": plain(200, b"hello", **{"Content-Encoding": "rot13"}),
    "gzip": lambda said: plain(200, gzip.compress(json.dumps(said).encode()), **{"Content-Encoding": "gzip"})(said),
    "429 until a strange date": plain(429, b"{}", **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 +9999"}),
    "429 until the year 0": plain(429, b"{}", **{"Retry-After": "Mon, 01 Jan 0000 00:00:00 GMT"}),
    "503 until the end of time": plain(503, b"{}", **{"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}) and plain(503, b"{}", **{"Retry-After": "-1e400"}),
    "502 with a page": plain(502, PAGE), "a status of its own": plain(299), "418": plain(418, b"{}"),
}  # fmt: skip


def odd_reply(dice: random.Random, folder: Path) -> None:
    """One question in a few gets an odd reply each time. The build ends; what is missing is a rejection or a failed judgement; the next build of
    the same recipe, and one with another folder, take from the cache what is there."""
    change, share = ODD[dice.choice(sorted(ODD))], dice.choice((0.05, 0.15, 0.3))
    salt = dice.random()

    def twist(body: dict, said: dict) -> Any:
        chosen = unit(str(salt), shown_text(body["messages"])) < share
        return change(said) if chosen else said

    endpoint = Endpoint(twist=twist)
    with quick(), served(endpoint) as url:
        left = build(folder, document(url))
        gone = {r.id for r in left.rejections if r.table == "samples"}
        assert len({c.sample for c in left.candidates} | gone) == ROWS
        assert all(c.tokens is None or 0 <= c.tokens < 10**8 for c in left.candidates)
        shutil.rmtree(folder / "out")
        again = build(folder, document(url))
        assert [c.id for c in again.candidates] == [c.id for c in left.candidates]
        endpoint.twist = None
        shutil.rmtree(folder / "out")
        well = build(folder, document(url))
        final = {r.id for r in left.rejections if r.reason != Reason.ENGINE_FAILED}
        assert len({c.sample for c in well.candidates} | final) == ROWS


KEPT = {
    "tokens null": ["g", [["a", None, "stop", None, None]], 3], "tokens negative": ["g", [["a", -1, "stop", None, None]], 3],
    "tokens astronomic": ["g", [["a", 1e30, "stop", None, None]], 3], "a text that is none": ["g", [[{"a": 1}, 1, "stop", None, None]], 3],
    "a text of parts": ["g", [[["a"], 1, "stop", None, None]], 3], "a finish that is none": ["g", [["a", 1, 3, None, None]], 3],
    "a positive log-probability": ["g", [["a", 1, "stop", 2.5, [2.5]]], 3], "prompt tokens as text": ["g", [["a", 1, "stop", None, None]], "3"],
    "no answers": ["g", [], 3], "too few fields": ["g", [["a"]], 3], "an unknown form": ["z", [], 3], "a number": 7, "half": None,
}  # fmt: skip


def kept_wrongly(dice: random.Random, folder: Path) -> None:
    """An older version kept something that is no answer: it is requested again, once."""
    endpoint = Endpoint()
    with served(endpoint) as url:
        expected = build(folder, document(url))
        asked = endpoint.questions.total()
        with contextlib.closing(sqlite3.connect(folder / "cache" / "answers.sqlite")) as db:
            keys = sorted(key for (key,) in db.execute("select k from answers"))
            bad = dice.sample(keys, 3)
            for key in bad:
                value = KEPT[dice.choice(sorted(KEPT))]
                db.execute(
                    "update answers set v = ? where k = ?", (b"{" if value is None else json.dumps(value).encode(), key)
                )
            db.commit()
        for more in (3, 0):
            shutil.rmtree(folder / "out")
            assert build(folder, document(url)) == expected
            assert endpoint.questions.total() == asked + more
            asked += more


# the run's fault or the row's


REFUSALS = {400: "Your credit balance is too low", 402: "Insufficient balance", 403: "Not allowed here", 404: "no such model", 405: "Method Not Allowed",
            410: "This model is retired", 422: "tool_choice is missing"}  # fmt: skip


def error(status: int, message: str) -> web.Response:
    if status == 200:
        return web.Response(body=PAGE, content_type="text/html")
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)


def every_request_refused(dice: random.Random, folder: Path) -> None:
    """All requests of the makers or of the judges, from the beginning or from some moment on, are refused alike. The build ends with the words;
    what was answered is kept; once the server is well the same command asks the rest."""
    status = dice.choice([200, 401, *REFUSALS])
    words, slots, rows = (
        {200: "Sign in", 401: "Incorrect API key"}.get(status) or REFUSALS[status],
        dice.choice((1, 4, 64)),
        dice.choice((1, 6, ROWS, 40)),
    )
    judged, first = dice.choice((True, False)), dice.choice((0, 0, rows // 2))
    if judged and rows == 1:  # one refusal by a model that has answered the makers is that row's own
        rows = 2
    answered = 0

    def twist(body: dict, said: dict) -> Any:
        nonlocal answered
        if judges(body) == judged:
            if answered == first:  # an account that is empty answers nothing any more
                return error(status, words)
            answered += 1
        return said

    endpoint, quiet = Endpoint(twist=twist), Endpoint()
    with quick(), served(endpoint) as url, served(quiet) as other:
        raw = document(url, rows=rows, slots=slots)
        refused(folder, raw, words)
        refused(folder, raw, words)
        endpoint.twist = None
        assert build(folder, raw) == build(folder / "quiet", document(other, rows=rows, slots=slots))
        # what was on its way when a run ended is asked again, as after a kill
        assert quiet.answered <= endpoint.answered <= quiet.answered + 2 * min(slots, rows)


def some_rows_refused(dice: random.Random, folder: Path) -> None:
    """Some rows are refused, wherever they stand: they are rejections, however often the build is started."""
    status, slots, rows = dice.choice(sorted(REFUSALS)), dice.choice((1, 4, 64)), dice.choice((6, ROWS))
    chosen = set(dice.sample(range(rows), dice.choice((1, 1, 2))))
    seen: dict[str, int] = {}

    def twist(body: dict, said: dict) -> Any:
        place = seen.setdefault(shown_text(body["messages"]), len(seen)) if not judges(body) else None
        return error(status, REFUSALS[status]) if place in chosen else said

    endpoint = Endpoint(twist=twist)
    with served(endpoint) as url:
        raw = document(url, rows=rows, slots=slots)
        left = build(folder, raw)
        assert [r.reason for r in left.rejections if r.table == "samples"] == [Reason.ENGINE_REFUSED] * len(chosen)
        assert len({c.sample for c in left.candidates}) == rows - len(chosen)
        asked = endpoint.questions.total()
        assert build(folder, raw) == left
        assert endpoint.questions.total() == asked
        shutil.rmtree(folder / "out")  # only the refused are asked, and were others answered?
        assert len(build(folder, raw).rejections) == len(left.rejections)


def says(form: str, name: str, value: Any) -> web.Response:
    return {
        "openai": error(400, f"Unsupported parameter: '{name}' is not supported with this model."),
        "instead": error(
            400,
            f"Unsupported parameter: '{name}' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        "value": error(
            400,
            f"Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value is supported.",
        ),
        "pydantic": web.json_response(
            {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]},
            status=422,
        ),
        "google": web.json_response(
            [
                {
                    "error": {
                        "code": 400,
                        "message": f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.',
                    }
                }
            ],
            status=400,
        ),
        "param": web.json_response({"error": {"message": "unsupported_parameter", "param": name}}, status=400),
        "plain": web.json_response({"error": f"`{name}` is not supported"}, status=400),
    }[form]


def dialect(dice: random.Random, folder: Path) -> None:
    """A server that does not take some parameters, or gives one answer at a time. Everything is answered, and a usual server is asked nothing more."""
    without = set(dice.sample(["max_tokens", "seed", "temperature", "top_p", "n"], dice.randint(1, 3)))
    form, single = dice.choice(("openai", "value", "pydantic", "google", "param", "plain")), dice.random() < 0.3

    def twist(body: dict, said: dict) -> Any:
        for name in body:
            if name in without:
                return says("instead" if name == "max_tokens" and form == "openai" else form, name, body[name])
        return said | {"choices": said["choices"][:1]} if single or "n" not in body else said

    endpoint, usual = Endpoint(twist=twist), Endpoint()
    with served(endpoint) as url, served(usual) as other:
        left = build(folder, document(url, n=3))
        assert not [r for r in left.rejections if r.table == "samples"]
        assert len(left.candidates) == 3 * ROWS
        shutil.rmtree(folder / "out")
        again = build(folder, document(other, n=3))
        assert [c.id for c in again.candidates] == [c.id for c in left.candidates]
        assert usual.questions.total() == 0


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Retries wait a fiftieth of their time."""
    pause = endpoints.backoff_seconds
    endpoints.backoff_seconds = lambda times: pause(times) / 50
    try:
        yield
    finally:
        endpoints.backoff_seconds = pause


FAULTS = [
    Fault(
        AREA,
        "pauses and early timers on a clock with millisecond ticks",
        "every wait ends",
        pool_on_a_made_up_clock,
        500,
        30,
    ),
    Fault(
        AREA,
        "a quarter of the requests answered 429 with Retry-After",
        "every request is answered",
        busy_a_quarter_of_the_time,
        60,
        3,
    ),
    Fault(
        AREA,
        "a malformed reply or status for some requests",
        "at most those rows are rejected; nothing malformed is cached",
        odd_reply,
        200,
        12,
    ),
    Fault(AREA, "invalid answers cached by an older version", "requested again, once", kept_wrongly, 30, 2),
    Fault(
        AREA,
        "every request refused, from the start or from some point on",
        "the run ends with the server's message; the rest is requested next time",
        every_request_refused,
        80,
        6,
    ),
    Fault(AREA, "one or two rows refused", "rejections, and nothing is requested again", some_rows_refused, 60, 4),
    Fault(
        AREA,
        "a server that does not support some parameters",
        "everything answered, under the same keys",
        dialect,
        40,
        4,
    ),
]
