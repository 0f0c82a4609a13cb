"""The manifest of an exported dataset: `.manifest.json` lists each file with its rows, bytes and checksum.

The name starts with a dot so that `datasets` ignores it. The metadata of each Parquet file says that there is a manifest."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.storage import checksum, local_files
from schemas.errors import DamageError
from schemas.records import SAMPLE_KINDS, digest

NAME = ".manifest.json"
VERSION = 1
REMEDY = "run the same `pairwright build` again to write the dataset again, or restore it from a copy"


def _parquet():
    """pyarrow.parquet, imported on use: it is slow to load, and `pairwright show` does not need it."""
    import pyarrow.parquet

    return pyarrow.parquet


def write(folder: Path) -> Path:
    """Writes the manifest of the folder's Parquet files and returns its path. Without files the list is empty."""
    files = {
        path.relative_to(folder).as_posix(): {
            "rows": _parquet().read_metadata(path).num_rows,
            **checksum.file_checksum(path),
        }
        for path in _files(folder)
    }
    path = folder / NAME
    path.write_text(checksum.to_checked_json({"version": VERSION, "files": files}))
    return path


def damages(folder: Path, pairs: dict[str, int] | None = None, quick: bool = False) -> Iterator[str]:
    """Yields each difference from the exported dataset in a few words. Reads every byte once, or with `quick` no data at all.

    `pairs`: expected number of pairs by kind, if known from elsewhere. A dataset exported by an older version has no manifest: only
    readability and row counts are checked."""
    if not folder.is_dir():
        yield "the folder is missing"
        return
    try:
        known = _known(folder)
    except DamageError as error:
        yield f"{NAME} {error}"
        return
    if known is None:
        yield from _miscounted(folder, pairs)
        return
    if pairs is not None and _by_kind({name: entry["rows"] for name, entry in known["files"].items()}) != pairs:
        yield f"{NAME} belongs to another dataset"
        return
    names = (path.relative_to(folder).as_posix() for path in _files(folder))
    yield from (f"{name} is not part of this dataset" for name in names if name not in known["files"])
    yield from checksum.find_damage(folder, known["files"], quick)


def damage(folder: Path, pairs: dict[str, int] | None = None, quick: bool = False) -> str | None:
    """The first difference that `damages` finds; None if the dataset is intact."""
    return next(damages(folder, pairs, quick), None)


def check(folder: Path, pairs: dict[str, int] | None = None) -> None:
    """Raises DamageError if the dataset differs from what was exported."""
    if (what := damage(folder, pairs)) is not None:
        raise DamageError(f"the dataset {folder} is damaged ({what}); {REMEDY}")


def digests(folder: Path) -> dict[str, str]:
    """For each kind, a digest of its files' names, rows and checksums, as the manifest has them; empty without a manifest."""
    try:
        known = _known(folder)
    except DamageError:
        known = None
    files = (known or {}).get("files", {})
    kinds = dict.fromkeys(name.partition("/")[0] for name in files)
    return {kind: digest({n: entry for n, entry in files.items() if n.startswith(f"{kind}/")})[:16] for kind in kinds}


def rows(folder: Path) -> dict[str, int]:
    """Row counts of the readable files (path relative to `folder` -> rows), as recorded in the files."""
    found = {}
    for path in _files(folder):
        with suppress(pa.ArrowException, OSError):
            found[path.relative_to(folder).as_posix()] = _parquet().read_metadata(path).num_rows
    return found


def folder_of(file: str) -> Path | None:
    """The dataset folder that a Parquet file belongs to; None for a single file or a URL."""
    path = Path(file).absolute()
    inside = "://" not in file and path.parent.name in SAMPLE_KINDS and path.match("train-*.parquet")
    return path.parent.parent if inside else None


def _files(folder: Path) -> list[Path]:
    """The files that readers take as part of the dataset, in order."""
    return sorted(path for kind in SAMPLE_KINDS for path in (folder / kind).glob("train-*.parquet") if path.is_file())


def _known(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None if an older version exported the dataset without one. DamageError (a few words) if it is missing or unreadable."""
    try:
        return checksum.from_checked_json(local_files.read(folder / NAME))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DamageError(f"cannot be read ({error.strerror or error})") from None
    if any(_about(path).get("manifest") for path in _files(folder)):
        raise DamageError("is missing")
    return None


def _about(path: Path) -> dict:
    try:
        return json.loads((_parquet().read_schema(path).metadata or {}).get(b"pairwright", b"{}"))
    except (pa.ArrowException, OSError, ValueError):
        return {}


def _miscounted(folder: Path, pairs: dict[str, int] | None) -> Iterator[str]:
    """Problems of a dataset without a manifest: unreadable files and wrong row counts."""
    found = rows(folder)
    names = (path.relative_to(folder).as_posix() for path in _files(folder))
    yield from (f"{name} cannot be read" for name in names if name not in found)
    counts = _by_kind(found)
    for kind, n in (pairs or {}).items():
        if counts.get(kind, 0) != n:
            yield f"{kind} has {counts.get(kind, 0):,} rows instead of {n:,}"


def _by_kind(files: dict[str, int]) -> dict[str, int]:
    """Rows by kind; kinds without rows are left out."""
    counts: dict[str, int] = {}
    for name, n in files.items():
        kind = name.partition("/")[0]
        counts[kind] = counts.get(kind, 0) + n
    return {kind: n for kind, n in counts.items() if n}
