"""How much of a model's throughput is kept: vLLM in process, and a server over HTTP.

    python -m benchmarks.generate [vllm] [slots] [client] [--rounds 7]        all three by default; run nothing else on the machine

vllm    One engine is loaded. In turn, with its caches cleared before each: (a) the demo's generate-and-judge pass, from prompts to pairs on
        disk, with an empty answer cache; (b) bare vLLM given the same requests all at once, with media decoded beforehand; (c) vLLM's step
        loop over the same requests, as many at a time as in the pass, with media decoded on the fly. All render the prompts. CPU seconds
        are the process's, tokens are those of the answers.
slots   The job of overhead.py on a server with long-tailed response times, 64 in flight: the share of the time, from the first request to
        the last answer, that the 64 slots are busy, compared with the bare loop's.
client  The server answers at once: CPU per request with a JPEG of 22 kB and n=4 through the cache and the HTTP engine, compared with the
        bare loop. Every picture is used once."""

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pybase64
import uvloop

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks import bare_loop, overhead
from flows.planning import load
from flows.runs import executor
from flows.runs.shards import RunTables
from flows.runs.stream import Pass, Resources, from_tables
from pipeline.engines import openai, vllm
from pipeline.modeling.checkpoint import identity
from pipeline.storage.answer_cache import AnswerCache, CachedEngine, Usage
from pipeline.storage.media_store import open_store
from schemas import messages as chat
from schemas.recipe import settings_of
from schemas.records import Part
from schemas.requests import Failure, Generate, Request, Result

WORK = ("make", "judge", "score", "pair")  # the families of the pass, after its source
IN_FLIGHT = bare_loop.IN_FLIGHT


# vLLM in process


class Recorder:
    """An engine that records the requests it forwards."""

    def __init__(self, engine: vllm.VLLM):
        self.engine, self.requests = engine, []
        self.identity, self.can, self.media, self.slots = engine.identity, engine.can, engine.media, engine.slots

    async def ask(self, request: Request) -> Result:
        self.requests.append(request)
        return await self.engine.ask(request)


def clear_caches(engine: vllm.VLLM) -> None:
    """Clears the engine's caches of earlier rounds."""
    engine._decoded.clear()
    engine._llm.reset_prefix_cache()
    engine._llm.reset_mm_cache()
    gc.collect()


def vllm_input(engine: vllm.VLLM, request: Request) -> tuple:
    """(prompt, parameters) as vLLM takes them; media are decoded here unless they already are."""
    params, _ = engine._params(request)
    messages, answer = engine._asked(request)
    return engine._prompt(messages, answer, [(part, decoded(engine, part)) for part in engine._shown(messages)]), params


def decoded(engine: vllm.VLLM, part: Part):
    if part not in engine._decoded:
        engine._decoded[part] = engine._decode(part)
    return engine._decoded[part]


def step_until_done(engine: vllm.VLLM, requests: Iterator[tuple], most: int | None) -> int:
    """Steps vLLM until all requests are answered, `most` of them at a time (None: all at once); returns the tokens of the answers."""
    tokens = flying = 0
    numbers = itertools.count()
    while True:
        for prompt, params in itertools.islice(requests, None if most is None else most - flying):
            engine._llm.add_request(f"bare-{next(numbers)}", prompt, params)
            flying += 1
        if not flying:
            return tokens
        for output in engine._llm.step():
            tokens += sum(len(answer.token_ids) for answer in output.outputs)
            flying -= 1


class Job(NamedTuple):
    """A recipe with its samples read and its model loaded."""

    engine: vllm.VLLM
    requests: list[Request]  # of its pass
    run_pass: Callable[[vllm.VLLM | Recorder], Awaitable[None]]


async def prepare(folder: Path, document: dict) -> Job:
    """Runs the recipe's pass once, to warm up the process and record the requests. The recipe must have one model, on vLLM."""
    document["steps"] = [s for s in document["steps"] if next(iter(s)).split(".")[0] in ("source", *WORK)]
    recipe = load.checked(document)
    ((name, spec),) = ((n, {k: v for k, v in m.items() if k != "engine"}) for n, m in recipe.models.items())
    drawn = {"name": "drawn", "steps": document["steps"][:1]}
    source = executor.open_document(drawn, out=folder / "source", cache=folder / "cache")
    await asyncio.to_thread(source.complete, source.units[0])
    shards = source._shards(source.units[0])

    media = open_store(folder / "cache" / "media")
    engine = await vllm.connect(settings_of(vllm, spec, name), media)
    steps = [step.of({name: identity(spec["model"], None)[0]}) for step in recipe.steps[1:]]
    numbers = itertools.count()

    async def run_pass(used: vllm.VLLM | Recorder) -> None:
        number = next(numbers)
        cache = AnswerCache(folder / f"answers-{number}.sqlite")

        async def connect(names: list[str]) -> dict:
            return {name: used}

        resources = Resources(media, cache, "job", connect)
        work = Pass(folder / f"pass-{number}", steps, resources, lambda *a: None, beside=True)
        await work.run(from_tables(RunTables([shards], []), str(number)), None)
        cache.close()

    recorder = Recorder(engine)
    await run_pass(recorder)
    return Job(engine, recorder.requests, run_pass)


async def timed_pass(job: Job, clock: Callable[[], float]) -> tuple[int, float]:
    """(tokens, seconds) of the pass, from prompts to pairs on disk, with cold caches."""
    clear_caches(job.engine)
    before, started = job.engine.answer_tokens, clock()
    await job.run_pass(job.engine)
    return job.engine.answer_tokens - before, clock() - started


def timed_bare(job: Job, clock: Callable[[], float], most: int | None) -> tuple[int, float]:
    """The same for bare vLLM: all requests at once with media decoded beforehand, or `most` at a time, decoded on the fly."""
    engine = job.engine
    clear_caches(engine)
    if most is None:
        for request in job.requests:
            for part in engine._shown(request.messages):
                decoded(engine, part)
    given = (vllm_input(engine, request) for request in job.requests)
    started = clock()
    return step_until_done(engine, given, most), clock() - started


async def in_process(folder: Path, samples: int, rounds: int) -> None:
    job = await prepare(folder, load.document("demo", [f"scenes.n={samples}"]))
    generations = sum(isinstance(r, Generate) for r in job.requests)
    print(f"{samples} samples: {generations} generation requests, {len(job.requests) - generations} judge requests")
    print("| round | pass, CPU s | at once, decoded, CPU s | step loop, CPU s | pass / at once | pass / step loop |")
    print("|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {"at once": [], "step loop": []}
    for number in range(1, rounds + 1):
        tokens, seconds = await timed_pass(job, time.process_time)
        bare = {}
        for name, most in (("at once", None), ("step loop", job.engine.slots)):
            found, bare[name] = timed_bare(job, time.process_time, most)
            ratios[name].append(tokens / seconds / (found / bare[name]))
        print(f"| {number} | {seconds:.2f} | {bare['at once']:.2f} | {bare['step loop']:.2f} | "
              f"{ratios['at once'][-1]:.3f} | {ratios['step loop'][-1]:.3f} |", flush=True)  # fmt: skip
    for name, found in ratios.items():
        print(f"pass / {name}, tokens per second: median {spread(found)}; {tokens:,} tokens")
    await job.engine.close()


# a server


@contextlib.contextmanager
def serving(*options: str) -> Iterator[int]:
    """The fake server of benchmarks/endpoint.py in its own process; yields its port."""
    command = [sys.executable, "-m", "benchmarks.endpoint", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=overhead.ROOT)
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()


def busy_share(folder: Path, rows: int, rounds: int) -> None:
    overhead.make_rows(folder, [rows])
    with serving("--latency", "0.1", "--sigma", "0.8") as port:
        programs = overhead.programs(folder, port)
        shares: dict[str, list[float]] = {name: [] for name in programs}
        print(
            f"{rows} records, two requests each, {IN_FLIGHT} in flight; response times log-normal, median 0.1 s, sigma 0.8"
        )
        print("| round | " + " | ".join(programs) + " |\n|---|" + "---|" * len(programs))
        for number in range(1, rounds + 1):
            for name, command in programs.items():
                forget = urllib.request.Request(f"http://127.0.0.1:{port}/stats?seed={number}", method="DELETE")
                urllib.request.urlopen(forget).close()
                subprocess.run(command(rows), check=True, capture_output=True, cwd=overhead.ROOT)
                stats = overhead.stats(port)
                shares[name].append(stats["busy"] / IN_FLIGHT / (stats["last"] - stats["first"]))
            print(f"| {number} | " + " | ".join(f"{found[-1]:.3f}" for found in shares.values()) + " |", flush=True)
    for name, found in shares.items():
        print(f"{name}: share of the time that slots are busy: {spread(found)}")


async def bare_client(paths: list[Path], port: int) -> int:
    """Requests answers to each picture over raw sockets; returns the number of characters of the answers."""
    loop, left = asyncio.get_running_loop(), enumerate(paths)

    async def worker() -> int:
        _, connection = await loop.create_connection(bare_loop.Connection, "127.0.0.1", port)
        characters = 0
        for row, path in left:
            image = pybase64.b64encode(path.read_bytes())
            reply = await connection.post(
                [bare_loop.ASK, orjson.dumps(question(row)), bare_loop.SHOW, image, b'"}}]}]}']
            )
            characters += sum(len(c["message"]["content"]) for c in orjson.loads(reply)["choices"])
        connection.transport.close()
        return characters

    return sum(await asyncio.gather(*(worker() for _ in range(IN_FLIGHT))))


async def our_client(requests: list[Generate], port: int, media, answers: Path) -> int:
    """The same through the answer cache and the HTTP engine."""
    settings = openai.Settings(base_url=f"http://127.0.0.1:{port}/v1", model="stand-in", slots=IN_FLIGHT)
    engine, cache = await openai.connect(settings, media), AnswerCache(answers)
    cached, left = CachedEngine(engine, cache, Usage()), iter(requests)

    async def worker() -> int:
        characters = 0
        for request in left:
            result = await cached.ask(request)
            if isinstance(result, Failure):
                raise RuntimeError(result.detail)
            characters += sum(len(answer.text) for answer in result.answers)
        return characters

    try:
        return sum(await asyncio.gather(*(worker() for _ in range(IN_FLIGHT))))
    finally:
        await engine.close()
        cache.close()


def question(row: int) -> str:
    return f"Describe what happens in this picture and name what you see. (row {row})"


def cost_of_a_request(folder: Path, rows: int, rounds: int) -> None:
    overhead.make_rows(folder, [rows])
    paths = sorted((folder / "images").iterdir())
    media = open_store(folder / "media")
    shown = [Part("image", media=media.add(path.read_bytes())) for path in paths]
    media.sync()
    requests = [Generate((chat.user(question(i), part),), 4, max_tokens=256) for i, part in enumerate(shown)]
    ratios, costs = [], {"bare": [], "ours": []}
    print("| round | bare loop, CPU us per request | cache and engine | x bare loop |\n|---|---|---|---|")
    with serving() as port:
        for number in range(rounds + 1):
            started = time.process_time()
            expected = uvloop.run(bare_client(paths, port))
            middle = time.process_time()
            found = uvloop.run(our_client(requests, port, media, folder / f"answers-{number}.sqlite"))
            ended = time.process_time()
            if found != expected:
                raise RuntimeError(f"the clients received different answers: {found} and {expected} characters")
            if number:  # the first one warms up the process
                costs["bare"].append((middle - started) / rows * 1e6)
                costs["ours"].append((ended - middle) / rows * 1e6)
                ratios.append(costs["ours"][-1] / costs["bare"][-1])
                print(
                    f"| {number} | {costs['bare'][-1]:.0f} | {costs['ours'][-1]:.0f} | {ratios[-1]:.2f} |", flush=True
                )
    print(
        f"median {statistics.median(costs['bare']):.0f} and {statistics.median(costs['ours']):.0f} us: {spread(ratios)} x the bare loop"
    )


def spread(found: list[float]) -> str:
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", choices=["vllm", "slots", "client", []], default=[])
    arguments.add_argument("--samples", type=int, default=400, help="samples of the vLLM pass")
    arguments.add_argument("--rows", type=int, default=6000, help="rows of the HTTP jobs")
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    for part in chosen.parts or ["client", "slots", "vllm"]:
        print(f"\n{part}", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if part == "vllm":
                uvloop.run(in_process(folder, chosen.samples, chosen.rounds))  # as a build does
            else:
                {"slots": busy_share, "client": cost_of_a_request}[part](folder, chosen.rows, chosen.rounds)


if __name__ == "__main__":
    main()
