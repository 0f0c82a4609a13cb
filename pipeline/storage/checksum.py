"""Checksums of what is stored: XXH3 with 128 bits finds every accident at a hundredth of the price of SHA-256. It keeps out nobody who forges."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from pipeline.storage import local_files
from schemas.errors import DamageError

FIELD = "checksum"  # of a JSON object
TAIL = 16  # bytes that `closed` adds
BLANKS = [bytes(b" \t\n\r"[byte >> place & 3] for place in (6, 4, 2, 0)) for byte in range(256)]  # four symbols a byte


def of_file(path: Path) -> dict[str, Any]:
    """`{"bytes": size, "checksum": hex}` of a file."""
    with local_files.opened(path) as file:
        total = hashlib.file_digest(file, xxhash.xxh3_128)
        return {"bytes": file.tell(), FIELD: total.hexdigest()}


def of_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`of_file` of each of these files of a folder, as `damages` takes it."""
    return {name: of_file(folder / name) for name in sorted(names)}


def damages(folder: Path, files: dict[str, dict[str, Any]], quick: bool = False) -> Iterator[str]:
    """A few words for each file that is not as `of_files` found it. `quick`: only its size is looked at."""
    for name, was in files.items():
        try:
            now = {"bytes": (folder / name).stat().st_size} if quick else of_file(folder / name)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            yield f"{name} is missing" if gone else f"{name} cannot be read ({error.strerror or error})"
            continue
        if now["bytes"] != was["bytes"]:
            yield f"{name} has {now['bytes']:,} bytes instead of {was['bytes']:,}"
        elif not quick and now[FIELD] != was[FIELD]:
            yield f"{name} does not hold the bytes that were written (its checksum differs)"


def of_value(value: Any) -> str:
    """Of a JSON value, however its keys are ordered."""
    return xxhash.xxh3_64_hexdigest(json.dumps(value, sort_keys=True).encode())


def sealed(value: dict[str, Any], sort_keys: bool = True) -> str:
    """A JSON object as text, with its own checksum in it."""
    plain = json.loads(json.dumps(value))
    return json.dumps({**plain, FIELD: of_value(plain)}, indent=1, sort_keys=sort_keys)


def unsealed(text: bytes) -> Any:
    """The JSON value without its checksum; an older one has none. DamageError, in a few words, when it is not what was written."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also what is not UTF-8
        raise DamageError("is empty" if not text.strip() else f"cannot be read as JSON ({error})") from None
    if isinstance(value, dict) and FIELD in value and value.pop(FIELD) != of_value(value):
        raise DamageError("does not hold what was written (its checksum differs)")
    return value


def closed(data: bytes, *of: bytes) -> bytes:
    """A JSON array in a database, with its checksum behind it, which also takes in what the value is `of`, like its key. It is written in
    sixteen blanks, which readers of JSON pass over: older versions share the database."""
    return data + _blanks(data, of)


def opened(data: bytes, *of: bytes) -> bytes | None:
    """What was `closed`, or an array that an older version wrote without a checksum; None when it is not what was written."""
    if data.endswith(b"]"):
        return data
    value, tail = data[:-TAIL], data[-TAIL:]
    return value if tail == _blanks(value, of) else None


def _blanks(data: bytes, of: tuple[bytes, ...]) -> bytes:
    return b"".join([BLANKS[byte] for byte in xxhash.xxh32_digest(b"".join((*of, data)))])
