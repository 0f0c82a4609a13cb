"""How much of vLLM's throughput is kept on a GPU, with a model of realistic size.

    make gpu-check                                             needs a CUDA GPU with 24 GiB; downloads only packages
    python -m benchmarks.gpu_check --size tiny --samples 8     trial run, also on a CPU

Makes a model with the architecture of Qwen2.5-Omni's thinker and random weights (3B: as wide and deep as Qwen2.5-VL-3B, with the tiny
model's tokenizer). Runs a generate-and-judge recipe on pictures as a pass, from prompts to pairs on disk, and the same requests on bare
vLLM, all at once, with pictures decoded beforehand. The two alternate, with caches cleared before each; tokens are those of the answers,
seconds are wall clock. Exit code 1 if less than TARGET of the throughput is kept."""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
import uvloop
from safetensors.torch import save_file

from benchmarks import overhead
from benchmarks.generate import prepare, spread, timed_bare, timed_pass
from pipeline.scenes.model.model import Thinker

TINY = overhead.ROOT / "data" / "models" / "tiny"
TARGET = 0.97
SHARD = 2 << 30  # bytes of weights per file
SIZES = {
    "tiny": {"text_config": {}, "vision_config": {}, "audio_config": {}},
    "3b": {
        "text_config": {
            "hidden_size": 2048, "num_hidden_layers": 36, "layer_types": ["full_attention"] * 36, "num_attention_heads": 16,
            "num_key_value_heads": 2, "intermediate_size": 11008, "max_position_embeddings": 32768, "max_window_layers": 36,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 128,
        },
        "audio_config": {"output_dim": 2048},
    },
}  # fmt: skip


def make_model(folder: Path, size: str, device: str) -> int:
    """Writes a checkpoint with random weights; returns the number of parameters."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors", "training.json", "README.md"))
    config = json.loads((folder / "config.json").read_text())
    thinker = config["thinker_config"]
    for part, changed in SIZES[size].items():
        thinker[part] |= changed
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):  # names and shapes without memory
        shapes = Thinker(Thinker.config_class(**thinker)).state_dict()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float16
    count, held, weights = 0, 0, {}
    for name, shape in shapes.items():
        if name == "lm_head.weight":  # tied to the embeddings
            continue
        weight = torch.empty(shape.shape, dtype=torch.float32, device=device)
        if weight.dim() > 1:
            weight.normal_(std=0.02)
        else:
            weight.fill_(name.endswith("weight"))  # norms are ones, biases zeros
        weights[f"thinker.{name}"] = weight.to("cpu", dtype)
        count, held = count + weight.numel(), held + weight.numel() * 2
        if held >= SHARD:
            save_file(weights, folder / f"model-{count}.safetensors", {"format": "pt"})
            held, weights = 0, {}
    save_file(weights, folder / f"model-{count}.safetensors", {"format": "pt"})
    return count


def recipe(model: Path, rows: Path) -> dict:
    return {
        "name": "gpu-check",
        "models": {"policy": {"engine": "vllm", "model": str(model), "max_model_len": 2048, "limit_mm_per_prompt": {"image": 1}}},
        "steps": [
            {"source.rows": {"path": str(rows)}},
            {"make.sample": {"model": "policy", "n": 4, "max_tokens": 128, "on_cut": "keep"}},
            {"judge.pointwise": {"model": "policy", "max_tokens": 32}},
            {"pair.best_worst": {"axis": "rating"}},
        ],
    }  # fmt: skip


def busy() -> float:
    """Current utilisation of the GPU, 0..1; without a GPU, the number of cores the process used since the last call."""
    return torch.cuda.utilization() / 100 if torch.cuda.is_available() else PROCESS.cpu_percent() / 100


def memory() -> float:
    """GiB in use on the GPU, or by the process."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return (total - free) / 2**30
    return PROCESS.memory_info().rss / 2**30


PROCESS = psutil.Process()


@contextlib.contextmanager
def watching() -> Iterator[Callable[[], float]]:
    """Yields a function that returns, after the block, the device's mean utilisation during it."""
    shares, over = [], threading.Event()
    busy()

    def watch() -> None:
        while not over.wait(0.1):
            shares.append(busy())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: statistics.fmean(shares or [busy()])
    finally:
        over.set()
        thread.join()


async def measure(folder: Path, samples: int, rounds: int) -> float:
    overhead.make_rows(folder, [samples])
    job = await prepare(folder, recipe(folder / "model", folder / f"{samples}.parquet"))
    print(f"{samples} pictures of 512 x 384, {len(job.requests)} requests; {memory():.1f} GiB in use", flush=True)
    print(
        "| round | pass, tokens/s | bare vLLM, tokens/s | pass / bare | busy: pass | busy: bare |\n|---|---|---|---|---|---|"
    )
    ratios = []
    for number in range(1, rounds + 1):
        with watching() as share:
            tokens, seconds = await timed_pass(job, time.perf_counter)
        passed, pass_busy = tokens / seconds, share()
        with watching() as share:
            tokens, seconds = timed_bare(job, time.perf_counter, None)
        bare = tokens / seconds
        ratios.append(passed / bare)
        print(
            f"| {number} | {passed:,.0f} | {bare:,.0f} | {ratios[-1]:.3f} | {pass_busy:.2f} | {share():.2f} |",
            flush=True,
        )
    print(
        f"pass / bare vLLM: median {spread(ratios)}, target {TARGET}; {tokens:,} tokens a round, {memory():.1f} GiB in use"
    )
    await job.engine.close()
    return statistics.median(ratios)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=SIZES, default="3b")
    arguments.add_argument("--samples", type=int, default=400)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument(
        "--folder", type=Path, help="parent of the temporary folder for the model, 7 GB (the system's by default)"
    )
    chosen = arguments.parse_args()
    gpu = torch.cuda.is_available()
    if not gpu and chosen.size != "tiny":
        print("gpu-check needs a CUDA GPU, but none was found; try it on the CPU with `--size tiny`", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder = Path(temporary)
        count = make_model(folder / "model", chosen.size, "cuda" if gpu else "cpu")
        if gpu:
            torch.cuda.empty_cache()  # vLLM takes a share of the free memory
        where = torch.cuda.get_device_name() if gpu else "a CPU: a trial run, not a result"
        print(f"{chosen.size}: {count / 1e9:.3f} billion random weights on {where}", flush=True)
        ratio = uvloop.run(measure(folder, chosen.samples, chosen.rounds))
    if gpu and ratio < TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
