"""What an exported dataset is made of: `.manifest.json` in it names each file with its rows, bytes and checksum.

Its name begins with a dot, so that `datasets` does not take it for rows. Each Parquet file says that it has one."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.storage import checksum, local_files
from schemas.errors import DamageError
from schemas.records import SAMPLE_KINDS

NAME = ".manifest.json"
VERSION = 1
REMEDY = "run the same `pairwright build` again, which writes the dataset again, or take another copy of it"


def _parquet():
    """pyarrow's Parquet, which is slow to load: `pairwright show` has no need of it."""
    import pyarrow.parquet

    return pyarrow.parquet


def write(folder: Path) -> Path:
    """Writes the manifest of the files that are there; returns its path."""
    files = {
        path.relative_to(folder).as_posix(): {"rows": _parquet().read_metadata(path).num_rows, **checksum.of_file(path)}
        for path in _files(folder)
    }
    path = folder / NAME
    path.write_text(checksum.sealed({"version": VERSION, "files": files}))
    return path


def damages(folder: Path, pairs: dict[str, int] | None = None, quick: bool = False) -> Iterator[str]:
    """In a few words each, what of a dataset is not as it was exported. Reads every byte once; `quick`: none of them.

    `pairs`: how many each kind must have, where that is known from elsewhere. One that an older version exported has no manifest:
    what can be read and counted is."""
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
    if pairs is not None and _by_kind({name: of["rows"] for name, of in known["files"].items()}) != pairs:
        yield f"{NAME} is that of another dataset"
        return
    names = (path.relative_to(folder).as_posix() for path in _files(folder))
    yield from (f"{name} is not of this dataset" for name in names if name not in known["files"])
    yield from checksum.damages(folder, known["files"], quick)


def damage(folder: Path, pairs: dict[str, int] | None = None, quick: bool = False) -> str | None:
    """The first of these; None when all is as it was exported."""
    return next(damages(folder, pairs, quick), None)


def check(folder: Path, pairs: dict[str, int] | None = None) -> None:
    """DamageError when a dataset is not as it was exported."""
    if (what := damage(folder, pairs)) is not None:
        raise DamageError(f"the dataset {folder} is damaged ({what}): {REMEDY}")


def rows(folder: Path) -> dict[str, int]:
    """Rows of each file that can be read, as the files say themselves."""
    found = {}
    for path in _files(folder):
        with suppress(pa.ArrowException, OSError):
            found[path.relative_to(folder).as_posix()] = _parquet().read_metadata(path).num_rows
    return found


def folder_of(file: str) -> Path | None:
    """The dataset on this machine that a Parquet file is a part of; None when it lies alone or at a URL."""
    path = Path(file).absolute()
    inside = "://" not in file and path.parent.name in SAMPLE_KINDS and path.match("train-*.parquet")
    return path.parent.parent if inside else None


def _files(folder: Path) -> list[Path]:
    """What a reader takes for files of the dataset, in order."""
    return sorted(path for kind in SAMPLE_KINDS for path in (folder / kind).glob("train-*.parquet") if path.is_file())


def _known(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where an older version left none. DamageError, in a few words."""
    try:
        return checksum.unsealed(local_files.read(folder / NAME))
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
    """What cannot be read or counts wrong of a dataset without a manifest."""
    found = rows(folder)
    names = (path.relative_to(folder).as_posix() for path in _files(folder))
    yield from (f"{name} cannot be read" for name in names if name not in found)
    counts = _by_kind(found)
    for kind, n in (pairs or {}).items():
        if counts.get(kind, 0) != n:
            yield f"{kind} has {counts.get(kind, 0):,} rows instead of {n:,}"


def _by_kind(files: dict[str, int]) -> dict[str, int]:
    """Rows by kind, zeros left out."""
    counts: dict[str, int] = {}
    for name, n in files.items():
        kind = name.partition("/")[0]
        counts[kind] = counts.get(kind, 0) + n
    return {kind: n for kind, n in counts.items() if n}
