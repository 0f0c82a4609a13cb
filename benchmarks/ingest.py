"""The cost of ingesting pictures, compared with a bare loop over the same files.

    python -m benchmarks.ingest [--files 20000] [--small 5000] [--large 50000] [--rounds 5] [--folder DIR]

N distinct JPEGs of about 22 kB, in folders of a thousand. Pairwright: `source.folder` into a media store, until everything is
durable. The bare loop does the same checks, hashing and writing on one core, and nothing else: each file is read, its segments
are followed to the end of the picture, its bytes are hashed and appended to one file, which is fsynced at the end. Each runs in
its own process; the files are in the page cache. The two alternate."""

import argparse
import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.overhead import commented, photo
from pipeline.media import image
from pipeline.media.decode import decode_image, facts
from pipeline.media.jpeg import size_of_whole
from pipeline.media.sniff import sniff
from pipeline.source.folder import Settings, read
from pipeline.storage.media_store import FolderStore
from schemas.operator import Context
from schemas.records import Sample

PHOTOS = 200  # generated; the other files are copies with another comment segment, so that all differ


def make_files(folder: Path, count: int) -> None:
    photos = [photo(i) for i in range(PHOTOS)]
    for i in range(count):
        place = folder / f"{i // 1000:03d}"
        if i % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{i:06d}.jpg").write_bytes(commented(photos[i % PHOTOS], b"%d" % i))


def bare(folder: Path, out: Path) -> int:
    """Reads, checks, hashes and writes; returns the number of valid files."""
    good, end, places = 0, 0, {}
    with open(out / "pack", "wb", buffering=8 << 20) as pack:
        for inside, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                with open(os.path.join(inside, name), "rb", buffering=0) as file:
                    data = file.read()
                if size_of_whole(data) is None:
                    continue
                pack.write(data)
                places[hashlib.sha256(data).digest()] = end, len(data)
                end += len(data)
                good += 1
        pack.flush()
        os.fsync(pack.fileno())
    return good


def pairwright(folder: Path, out: Path) -> int:
    """Reads the folder as a recipe's source does; returns the number of Samples."""
    store = FolderStore(out)
    settings = Settings(path=str(folder), prompt="What is shown?")
    good = sum(isinstance(row, Sample) for row in read(settings, Context(step="files", version="", media=store)))
    store.sync()
    return good


PROGRAMS: dict[str, Callable[[Path, Path], int]] = {"bare loop": bare, "pairwright": pairwright}


def once(program: str, folder: Path) -> dict:
    """{good (files), wall, cpu (seconds from the first file to the last), memory (peak MB)} of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--only", program, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(program: str, folder: Path) -> dict:
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        wall, cpu = time.perf_counter(), time.process_time()
        good = PROGRAMS[program](folder, Path(out))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"good": good, "wall": wall, "cpu": cpu, "memory": peak}


def isolation() -> None:
    """The cost of decoding in another process: CPU µs per file of both processes, minimum of five alternating rounds."""
    data = photo(0)
    whole = Image.open(io.BytesIO(data))
    kinds = {
        "facts of a PNG, 64 x 48": (saved(whole.resize((64, 48)), "PNG"), facts, image.facts),
        "facts of a PNG, 512 x 384": (saved(whole, "PNG"), facts, image.facts),
        "pixels of a JPEG, 512 x 384": (data, decode_image, image.decode_image),
        "pixels of a JPEG, 2048 x 1536": (saved(whole.resize((2048, 1536)), "JPEG"), decode_image, image.decode_image),
    }
    print("| | in another process, µs | in this one | difference |\n|---|---|---|---|")
    for label, (file, isolated, direct) in kinds.items():
        known = (sniff(file, "x"), "x") if isolated is facts else ()
        rounds = [[_cost_per_call(decoder, file, *known) for decoder in (isolated, direct)] for _ in range(5)]
        cost = [min(each) for each in zip(*rounds, strict=True)]
        print(f"| {label} | {cost[0]:.0f} | {cost[1]:.0f} | {cost[0] - cost[1]:.0f} |")


def saved(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, quality=80)
    return file.getvalue()


def _cost_per_call(decoder: Callable, *given) -> float:
    """CPU microseconds per call."""
    count = 1000 if len(given[0]) < 60_000 else 20
    decoder(*given)  # starts and warms up the process
    started = _cpu_seconds()
    for _ in range(count):
        decoder(*given)
    return (_cpu_seconds() - started) / count * 1e6


def _cpu_seconds() -> float:
    """CPU seconds of this process and its decoding child processes."""
    parent = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (parent, *parent.children()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--small", type=int, default=5_000)
    parser.add_argument("--large", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=PROGRAMS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measured(args.only, args.folder)))
        return
    home = args.folder or Path(tempfile.mkdtemp())
    try:
        for count in sorted({args.files, args.small, args.large}):
            make_files(home / str(count), count)
        speed(home / str(args.files), args.files, args.rounds)
        for count in (args.small, args.large):
            print(f"peak memory with {count:,} files: {once('pairwright', home / str(count))['memory']:.0f} MB")
        isolation()
    finally:
        shutil.rmtree(home)


def speed(folder: Path, count: int, rounds: int) -> None:
    print(
        "| round | bare loop, CPU µs per file | pairwright | bare / pairwright | the same, wall |\n|---|---|---|---|---|"
    )
    ratios, walls = [], []
    for number in range(1, rounds + 1):
        found = {program: once(program, folder) for program in PROGRAMS}
        assert all(f["good"] == count for f in found.values())
        base, ours = found.values()
        ratios.append(base["cpu"] / ours["cpu"])
        walls.append(base["wall"] / ours["wall"])
        each = (f"{f['cpu'] / count * 1e6:.0f}" for f in (base, ours))
        print(f"| {number} | {' | '.join(each)} | {ratios[-1]:.2f} | {walls[-1]:.2f} |", flush=True)
    print(f"median {statistics.median(ratios):.2f} (CPU), {statistics.median(walls):.2f} (wall clock)")


if __name__ == "__main__":
    main()
