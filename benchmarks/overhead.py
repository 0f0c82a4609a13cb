"""Pairwright's overhead around the model, compared with a bare asyncio loop that does the same job.

    python -m benchmarks.overhead [--small 1000] [--rows 10000] [--large 100000] [--rounds 5] [--folder DIR]

The job: N rows with one JPEG of about 22 kB each, all different; one request with the image and n=4; one judge request with
the four answers; pair best and worst; write Parquet with the image embedded. The server (benchmarks/endpoint.py) answers at once.
CPU seconds are those of the whole process tree; the cost per record is the slope between two sizes, which excludes start-up.
The programs alternate, and results are medians over the rounds."""

import argparse
import io
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = 500  # generated; the other files are copies with another comment segment, so that all differ
RECIPE = {
    "name": "overhead",
    "models": {"model": {"engine": "openai", "model": "stand-in", "slots": 64}},
    "steps": [
        {"source.rows": {}},
        {"make.sample": {"model": "model", "n": 4, "max_tokens": 256}},
        {"judge.pointwise": {"model": "model", "media": False}},
        {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
    ],
}


class Cost(NamedTuple):
    """The resources used by one run of a program."""

    cpu: float  # seconds, of the whole process tree
    wall: float  # seconds
    first: float  # seconds from the start to the first request
    memory: float  # MB, peak proportional set size of the tree


def photo(seed: int, width: int = 512, height: int = 384) -> bytes:
    """A JPEG of about 22 kB: smooth colours, shapes and film grain."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(8, 70))
        draw.ellipse((x, y, x + size, y + size), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    noisy = np.asarray(image, np.float32) + rng.normal(0, 2.6, (height, width, 1))
    out = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=80)
    return out.getvalue()


def commented(jpeg: bytes, text: bytes) -> bytes:
    """The same picture as other bytes: with a comment segment after the start-of-image marker."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def make_rows(folder: Path, sizes: list[int]) -> None:
    """Writes folder/images/, and folder/N.parquet with the first N rows for each size N."""
    images = folder / "images"
    images.mkdir(parents=True)
    photos = [photo(i) for i in range(min(PHOTOS, max(sizes)))]
    paths = []
    for row in range(max(sizes)):
        path = images / f"{row:06d}.jpg"
        path.write_bytes(commented(photos[row % len(photos)], b"row %d" % row))
        paths.append(str(path))
    prompts = [f"Describe what happens in this picture and name what you see. (row {i})" for i in range(len(paths))]
    for size in sizes:
        pq.write_table(pa.table({"prompt": prompts[:size], "image": paths[:size]}), folder / f"{size}.parquet")
    subprocess.run(["sync"], check=True)


def run(command: list[str], port: int) -> Cost:
    """Runs a program and measures it. RuntimeError with the end of its output if it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    requests = stats(port)["requests"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        peak, over, first = [0.0], threading.Event(), [0.0]

        def watch() -> None:
            while not over.wait(0.02 if not first[0] else 0.25):
                if not first[0] and stats(port)["requests"] > requests:
                    first[0] = time.time() - started
                peak[0] = max(peak[0], memory(process.pid))

        thread = threading.Thread(target=watch)
        thread.start()
        code = process.wait()
        wall = time.time() - started
        over.set()
        thread.join()
        if code:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} exited with code {code}:\n{log.read().decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, wall, first[0], peak[0])


def memory(pid: int) -> float:
    """MB of proportional set size of a process tree; 0 if it has ended."""
    try:
        root = psutil.Process(pid)
        return sum(p.memory_full_info().pss for p in [root, *root.children(recursive=True)]) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def stats(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as answer:
        return json.load(answer)


def programs(folder: Path, port: int) -> dict:
    """name -> a function (number of rows) -> command that does the job in an empty folder."""
    out = folder / "out"

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    def bare(size: int) -> list[str]:
        fresh()
        rows = str(folder / f"{size}.parquet")
        return [sys.executable, "-m", "benchmarks.bare_loop", rows, str(out / "pairs.parquet"), str(port)]

    def pairwright(size: int) -> list[str]:
        fresh()
        recipe = json.loads(json.dumps(RECIPE))
        recipe["models"]["model"]["base_url"] = f"http://127.0.0.1:{port}/v1"
        recipe["steps"][0]["source.rows"]["path"] = str(folder / f"{size}.parquet")
        (folder / "overhead.yaml").write_text(yaml.safe_dump(recipe))
        return [sys.executable, "-m", "flows.cli", "build", str(folder / "overhead.yaml"),
                "--out", str(out / "run"), "--cache", str(out / "cache")]  # fmt: skip

    return {"bare loop": bare, "pairwright": pairwright}


def pairs_in(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (folder / "out").rglob("*.parquet"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--small", type=int, default=1000)
    arguments.add_argument("--rows", type=int, default=10_000)
    arguments.add_argument("--large", type=int, default=100_000, help="size for the memory measurement; 0 skips it")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument(
        "--folder", type=Path, help="parent of the temporary folder for rows and outputs (the system's by default)"
    )
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder = Path(temporary)
        print("making rows", file=sys.stderr)
        make_rows(folder, [n for n in (chosen.small, chosen.rows, chosen.large) if n])
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.endpoint"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            measure(folder, int(server.stdout.readline()), chosen)
        finally:
            server.kill()


def measure(folder: Path, port: int, chosen: argparse.Namespace) -> None:
    run_of = programs(folder, port)
    costs: dict[str, dict[int, list[Cost]]] = {name: {chosen.small: [], chosen.rows: []} for name in run_of}
    pairs = {}
    for number in range(1, chosen.rounds + 1):
        for name, command in run_of.items():
            for size in (chosen.small, chosen.rows):
                costs[name][size].append(run(command(size), port))
                pairs[name, size] = pairs_in(folder)
        slopes = {name: slope(c, chosen)[-1] for name, c in costs.items()}
        print(f"round {number}: " + ", ".join(f"{n} {s:.0f} us per record" for n, s in slopes.items()), file=sys.stderr)
    if len({pairs[name, chosen.rows] for name in run_of}) != 1:
        raise RuntimeError(f"the programs made different numbers of pairs: {pairs}")
    medians = {name: statistics.median(slope(c, chosen)) for name, c in costs.items()}
    print(f"{chosen.rows} rows (start-up excluded by means of {chosen.small}), {chosen.rounds} rounds, medians; "
          f"{pairs['pairwright', chosen.rows]} pairs each")  # fmt: skip
    print(
        "| program | CPU us per record | x bare loop | start to first request, s | peak memory, MB |\n|---|---|---|---|---|"
    )
    for name, sizes in costs.items():
        first = statistics.median(c.first for c in sizes[chosen.small])
        peak = statistics.median(c.memory for c in sizes[chosen.rows])
        print(
            f"| {name} | {medians[name]:.0f} | {medians[name] / medians['bare loop']:.2f} | {first:.2f} | {peak:.0f} |"
        )
    if chosen.large:
        cost = run(run_of["pairwright"](chosen.large), port)
        peak = statistics.median(c.memory for c in costs["pairwright"][chosen.rows])
        print(f"pairwright, {chosen.large} rows: peak memory {cost.memory:.0f} MB, {cost.memory / peak:.2f} x that at "
              f"{chosen.rows}; {cost.cpu / chosen.large * 1e6:.0f} us per record, including start-up")  # fmt: skip


def slope(sizes: dict[int, list[Cost]], chosen: argparse.Namespace) -> list[float]:
    """CPU microseconds per record, one value per round."""
    extra = chosen.rows - chosen.small
    return [(b.cpu - a.cpu) / extra * 1e6 for a, b in zip(sizes[chosen.small], sizes[chosen.rows], strict=True)]


if __name__ == "__main__":
    main()
