"""The time to find near-duplicates among perceptual hashes and among prompts, and to hash a picture.

python -m benchmarks.near_duplicates"""

import json
import random
import resource
import time

import numpy as np

from pipeline.filter.similarity import lsh, media_hashes, shingles
from pipeline.media.phash import distance

PLANTED = 500


def near_hashes(count: int = 100_000, bits: int = 6) -> dict[str, float]:
    """CPU seconds to find 500 planted pairs that differ by `bits` among random hashes, and how many of them are found."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    first, second = (half + rng.choice(count // 2, PLANTED, replace=False) for half in (0, count // 2))
    flips = [sum(1 << int(bit) for bit in rng.choice(64, bits, replace=False)) for _ in first]
    hashes[second] = hashes[first] ^ np.array(flips, np.uint64)
    started = time.process_time()
    twin = lsh.near_duplicates(lsh.bands(hashes, max(bits, 1)), lambda i, j: distance(hashes[i], hashes[j]) <= bits)
    return {"seconds": round(time.process_time() - started, 3), "found": int((twin[second] == first).sum())}


def near_prompts(count: int = 20_000) -> dict[str, float]:
    """CPU seconds for signatures and search among prompts of a dozen words, and the share found of planted near-duplicates."""
    rng = random.Random(0)
    vocabulary = [f"{a}{b}" for a in ("lam", "cur", "tor", "bel", "sin", "mav") for b in ("po", "ta", "ri", "en", "ul")]
    texts = [" ".join(rng.choices(vocabulary, k=12)) for _ in range(count)]
    for i in range(0, count // 2, 100):
        texts[count // 2 + i] = f"{texts[i]} ?"
    started = time.process_time()
    signed = np.array(list(shingles.signatures(texts)))
    middle = time.process_time()
    groups = np.zeros(count, np.int64)
    twin = lsh.near_duplicates(
        list(shingles.keys(signed, groups)), lambda i, j: shingles.similarity(signed[i], signed[j]) >= 0.8
    )
    ended = time.process_time()
    planted = range(0, count // 2, 100)
    found = sum(twin[count // 2 + i] == i for i in planted) / len(planted)
    return {"signatures": round(middle - started, 2), "search": round(ended - middle, 2), "found": round(found, 3)}


def a_hash(width: int, height: int, count: int = 100) -> float:
    """CPU milliseconds to decode and hash a JPEG of this size."""
    import io

    from PIL import Image

    small = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(file, "JPEG", quality=85)
    started = time.process_time()
    for _ in range(count):
        media_hashes.hashes(file.getvalue(), "image", "it")
    return round((time.process_time() - started) / count * 1000, 2)


def main() -> None:
    found = {f"100,000 hashes, {bits} bits": near_hashes(bits=bits) for bits in (3, 6, 8)}
    found["1,000,000 hashes, 3 bits"] = near_hashes(1_000_000, 3)
    found["20,000 prompts"] = near_prompts()
    found["a hash, ms"] = {"480 x 320": a_hash(480, 320), "4000 x 3000": a_hash(4000, 3000, 10)}
    found["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
