"""A folder of media files, each asked the same question or what the texts beside it say.

Beside `x.jpg` may lie its caption `x.txt` or its columns `x.json`; or a `metadata.csv`, `.jsonl` or `.parquet`, as the imagefolder of
`datasets` has it, whose `file_name` (or list `file_names`) names the media of each row, below the folder it lies in."""

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from posixpath import isabs, normpath

from pydantic import Field

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.reading import column_mapping, files, row_files
from pipeline.source.reading.captions import LONGEST, TEXTS, captioned, described
from pipeline.source.reading.column_mapping import Column
from pipeline.source.reading.conversation import MediaLookup, schemes_for
from pipeline.source.reading.row_files import Row
from pipeline.storage import urls
from pipeline.storage.urls import Place
from schemas.errors import InputError, RowError, bad_row
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Reason, Rejection, Sample, one_line

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
_SUFFIXES = tuple(TEXTS)
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class Settings(Base):
    path: Place
    """Folder of images, videos and audio files, here or at a URL like s3://, with the folders in it; hidden ones are passed over."""
    prompt: str | None = Field(None, pattern=r"\S")
    """What is asked of each file that says nothing else; captions are then references. Without it they are the prompts."""
    columns: dict[Column, str] = Field({})
    """What the texts beside the files call their columns, where not as here: {reference: description}."""
    licence: str | None = None
    """Licence of files that name none."""
    limit: int | None = Field(None, ge=1)
    """How many files are read at most, good and bad; all when absent."""
    fetch: Limits = Limits()
    """What may be fetched from URLs."""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """One Sample a file, in order of the names; rows of metadata before the files of their folder. A file that is no media,
    does not decode or has nothing to be asked is a Rejection.

    InputError when the folder cannot be listed or holds no file."""
    said = urls.clean(settings.path) if urls.is_url(settings.path) else settings.path
    rows = islice(_rows(settings, said), settings.limit)
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes, within = schemes_for(settings.fetch, settings.path), (settings.path,)
        shelf = lru_cache(1)(lambda folder: MediaLookup(settings.path, context.media, remote, within, schemes))
        yield from column_mapping.read(rows, settings.columns, shelf, remote, context.step, said, settings.licence)


def _rows(settings: Settings, said: str) -> Iterator[Row]:
    columns = column_mapping.names_of(settings.columns)
    own = {columns["source"]: files.base(settings.path.rstrip("/"))}
    plain = own | described({}, columns, settings.prompt)
    named: set[str] = set()  # media that rows of metadata show
    empty = True
    for folder, names in files.folders(settings.path):
        metadata = next((name for name in _METADATA if name in names), None)
        if metadata:
            for row in _metadata(settings, columns, folder, metadata):
                named.update(row.media)
                empty = False
                yield row
        beside = _beside(names)
        texts = {name for found in beside.values() for name in found.values()}
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if name not in texts and name != metadata and path not in named:
                empty = False
                texts_of = beside.get(os.path.splitext(name)[0]) if beside else None
                if texts_of:
                    yield _file(settings, columns, own, folder, path, texts_of)
                else:
                    yield Row(one_line(path), settings.path, plain, (path,))
    if empty:
        raise InputError(f"the folder {said} holds no files; set path to a folder of media")


def _beside(names: list[str]) -> dict[str, dict[str, str]]:
    """The texts beside media, by the stem of their names."""
    if not any(name.lower().endswith(_SUFFIXES) for name in names):  # most folders
        return {}
    found: dict[str, dict[str, str]] = {}
    media = set()
    for name in names:
        stem, suffix = os.path.splitext(name)
        if kind := TEXTS.get(suffix.lower()):
            found.setdefault(stem, {})[kind] = name
        else:
            media.add(stem)
    return {stem: texts for stem, texts in found.items() if stem in media}


def _file(
    settings: Settings, names: dict[str, str], own: dict[str, str], folder: str, path: str, beside: dict[str, str]
) -> Row:
    place = one_line(path)
    try:
        texts = {kind: _text(settings, f"{folder}/{name}" if folder else name) for kind, name in beside.items()}
        held = described(texts, names, settings.prompt)
    except RowError as error:
        return Row(place, settings.path, error)
    return Row(place, settings.path, own | held, (path,))


def _text(settings: Settings, path: str) -> bytes:
    try:
        with files.opened(files.join(settings.path, path), settings.fetch, below=settings.path) as file:
            data = file.read(LONGEST + 1)
    except files.Refused as error:
        raise error.as_row() from None
    except InputError as error:
        raise RowError(Reason.MISSING_FILE, str(error)) from None
    if len(data) > LONGEST:
        raise RowError(Reason.TOO_LARGE, f"{path} is longer than {LONGEST:,} bytes; shorten it")
    return data


def _rows_of(settings: Settings, path: str) -> Iterator[Row]:
    """The rows of a file of metadata; one with what is wrong for a pipe, or a link that leads out."""
    try:
        yield from row_files.read(files.join(settings.path, path), fetch=settings.fetch, below=settings.path)
    except files.Refused as error:
        yield Row(path, settings.path, error.as_row())


def _metadata(settings: Settings, names: dict[str, str], folder: str, name: str) -> Iterator[Row]:
    path = f"{folder}/{name}" if folder else name
    for row in _rows_of(settings, path):
        place = f"{path}#{row.place.rpartition('#')[2]}" if "#" in row.place else path
        try:
            held = row.values()
            shown = held.get("file_names") or held.get("file_name")
            shown = shown if isinstance(shown, list) else [shown]
            paths = [one for one in shown if isinstance(one, str) and one]
            if not shown or len(paths) < len(shown):
                raise bad_row("its file_name names no file; name one below the folder")
            if absolute := next((one for one in paths if isabs(one)), None):
                detail = f"{absolute} is a file of this machine, which metadata may not name; name one below the folder"
                raise RowError(Reason.UNSAFE, detail)
            media = tuple(normpath(f"{folder or '.'}/{one}") for one in paths)
            yield Row(place, settings.path, captioned(held, names, settings.prompt), media)
        except RowError as error:
            yield Row(place, settings.path, error)
