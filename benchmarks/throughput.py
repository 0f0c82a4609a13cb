"""How much of vLLM's speed the demo's generate-and-judge pass keeps.

    python -m benchmarks.throughput [--samples 800] [--rounds 7]

One engine is loaded. In turn, its caches emptied before each: (a) the pass, from prompts to pairs on disk, with an empty
answers cache; (b) vLLM's own step loop over the very requests that the pass asks, as many in flight. Both decode the media
and render the prompts. The figures are CPU seconds of the process, tokens are those of the answers."""

import argparse
import asyncio
import gc
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

os.environ.setdefault("OMP_NUM_THREADS", "1")

from flows import execute, load
from flows.passes import Pass, bind, from_tables
from pipeline.cache import AnswerCache
from pipeline.engines import vllm
from pipeline.engines.identity import identity
from pipeline.store import open_store
from schemas.ports import Generate, Request, Result
from schemas.recipe import settings_of

WORK = ("make", "judge", "score", "pair")  # the families of the pass, behind its source


class Recorder:
    """An engine that keeps the requests it passes on."""

    def __init__(self, engine: vllm.VLLM):
        self.engine, self.requests = engine, []
        self.identity, self.can, self.media, self.slots = engine.identity, engine.can, engine.media, engine.slots

    async def ask(self, request: Request) -> Result:
        self.requests.append(request)
        return await self.engine.ask(request)


def emptied(engine: vllm.VLLM) -> None:
    """Without what earlier rounds left in the engine."""
    engine._decoded.clear()
    engine._llm.reset_prefix_cache()
    engine._llm.reset_mm_cache()
    gc.collect()


def step_loop(engine: vllm.VLLM, requests: list[Request]) -> int:
    """Steps until all requests are answered, as many of them in vLLM at a time as the pass has; the tokens of the answers."""
    tokens, flying, waiting = 0, 0, enumerate(requests)
    while True:
        for number, request in itertools.islice(waiting, engine.slots - flying):
            params, _ = engine._params(request)
            engine._llm.add_request(f"bare-{number}", engine._prompt(request.messages), params)
            flying += 1
        if not flying:
            return tokens
        for output in engine._llm.step():
            tokens += sum(len(answer.token_ids) for answer in output.outputs)
            flying -= 1


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=800)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(Path(folder), chosen.samples, chosen.rounds))  # as a build does


async def measure(folder: Path, samples: int, rounds: int) -> None:
    document = load.document("demo", [f"scenes.n={samples}"])
    document["steps"] = [s for s in document["steps"] if next(iter(s)).split(".")[0] in ("source", *WORK)]
    recipe = load.checked(document)
    drawn = {"name": "drawn", "steps": document["steps"][:1]}
    source = execute._open(drawn, folder / "source", folder / "cache", None, None)
    await asyncio.to_thread(source.do, source.units[0])
    shards = source._shards(source.units[0])

    media = open_store(folder / "cache" / "media")
    spec = {k: v for k, v in recipe.models["policy"].items() if k != "engine"}
    engine = await vllm.connect(settings_of(vllm, spec, "policy"), media)
    steps = bind(recipe.steps, {"policy": identity(spec["model"], None)[0]})[1:]

    async def run_pass(number: int, asked) -> None:
        cache = AnswerCache(folder / f"answers-{number}.sqlite")

        async def connect(names: list[str]) -> dict:
            return {"policy": asked}

        work = Pass(folder / f"pass-{number}", steps, media, cache, "demo", connect, lambda *a: None, {}, beside=True)
        await work.run(from_tables([shards], str(number)), samples)
        cache.close()

    recorder = Recorder(engine)
    await run_pass(0, recorder)  # the first run warms the process and tells the requests
    requests = recorder.requests
    generations = sum(isinstance(r, Generate) for r in requests)
    print(f"{samples} samples: {generations} requests for answers, {len(requests) - generations} for a verdict")
    print("| round | pass, CPU s | step loop, CPU s | pass / loop, tokens a second |\n|---|---|---|---|")
    ratios = []
    for number in range(1, rounds + 1):
        emptied(engine)
        before = engine.answer_tokens
        started = time.process_time()
        await run_pass(number, engine)
        passed = time.process_time() - started
        tokens = engine.answer_tokens - before
        emptied(engine)
        started = time.process_time()
        bare_tokens = step_loop(engine, requests)
        bare = time.process_time() - started
        ratios.append(tokens / passed / (bare_tokens / bare))
        print(f"| {number} | {passed:.2f} | {bare:.2f} | {ratios[-1]:.3f} |", flush=True)
    print(
        f"median {statistics.median(ratios):.3f} (lowest {min(ratios):.3f}, highest {max(ratios):.3f}); {tokens:,} tokens"
    )
    await engine.close()


if __name__ == "__main__":
    main()
