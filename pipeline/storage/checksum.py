"""Checksums of stored data: XXH3 detects accidental damage at a hundredth of the cost of SHA-256. They do not protect against tampering."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from pipeline.storage import local_files
from schemas.errors import DamageError

FIELD = "checksum"  # its key in a JSON object
TAIL = 16  # bytes that `closed` adds
BLANKS = [bytes(b" \t\n\r"[byte >> place & 3] for place in (6, 4, 2, 0)) for byte in range(256)]  # 4 blanks per byte


def file_checksum(path: Path) -> dict[str, Any]:
    """`{"bytes": size, "checksum": hex of XXH3-128}` of a file. OSError."""
    with local_files.open_for_reading(path) as file:
        total = hashlib.file_digest(file, xxhash.xxh3_128)
        return {"bytes": file.tell(), FIELD: total.hexdigest()}


def file_checksums(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{name: `of_file`} of these files of a folder, sorted, for `damages`. OSError."""
    return {name: file_checksum(folder / name) for name in sorted(names)}


def find_damage(folder: Path, files: dict[str, dict[str, Any]], quick: bool = False) -> Iterator[str]:
    """A short description of each file that differs from its entry in `files`, as made by `of_files`. `quick`: compares sizes only."""
    for name, was in files.items():
        try:
            now = {"bytes": (folder / name).stat().st_size} if quick else file_checksum(folder / name)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            yield f"{name} is missing" if gone else f"{name} cannot be read ({error.strerror or error})"
            continue
        if now["bytes"] != was["bytes"]:
            yield f"{name} has {now['bytes']:,} bytes instead of {was['bytes']:,}"
        elif not quick and now[FIELD] != was[FIELD]:
            yield f"{name} is damaged (its checksum differs)"


def of_value(value: Any) -> str:
    """XXH3-64, in hex, of a JSON value, independent of the order of its keys."""
    return xxhash.xxh3_64_hexdigest(json.dumps(value, sort_keys=True).encode())


def to_checked_json(value: dict[str, Any], sort_keys: bool = True) -> str:
    """A JSON object as text, with its own checksum under FIELD."""
    plain = json.loads(json.dumps(value))
    return json.dumps({**plain, FIELD: of_value(plain)}, indent=1, sort_keys=sort_keys)


def from_checked_json(text: bytes) -> Any:
    """The JSON value without its checksum, which files of older versions lack. DamageError, with a short cause, when it is damaged."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also what is not UTF-8
        raise DamageError("is empty" if not text.strip() else f"cannot be read as JSON ({error})") from None
    if isinstance(value, dict) and FIELD in value and value.pop(FIELD) != of_value(value):
        raise DamageError("is damaged (its checksum differs)")
    return value


def append_checksum(data: bytes, *of: bytes) -> bytes:
    """A JSON array followed by a checksum of it and of `of`, such as its key. The checksum (XXH3-32 bits) is written as sixteen blanks, which
    JSON readers ignore, so that older versions can share the database."""
    return data + _blanks(data, of)


def strip_checksum(data: bytes, *of: bytes) -> bytes | None:
    """The data given to `closed`, or an array that an older version wrote without a checksum; None when it is damaged."""
    if data.endswith(b"]"):
        return data
    value, tail = data[:-TAIL], data[-TAIL:]
    return value if tail == _blanks(value, of) else None


def _blanks(data: bytes, of: tuple[bytes, ...]) -> bytes:
    return b"".join([BLANKS[byte] for byte in xxhash.xxh32_digest(b"".join((*of, data)))])
