"""Reads a folder of media files: one sample per file, with its caption or the same question for all.

Next to `x.jpg` there may be a caption `x.txt` or columns `x.json`; or a `metadata.csv`, `.jsonl` or `.parquet`, as in the imagefolder
of `datasets`, whose `file_name` (or list `file_names`) names each row's media, relative to its folder."""

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from posixpath import isabs, normpath

from pipeline.media.remote import Remote
from pipeline.source._media_files import MediaFileSettings
from pipeline.source.reading import column_mapping, files, row_files
from pipeline.source.reading.captions import CAPTIONS, LONGEST, TEXTS, columns_from_texts, with_prompt
from pipeline.source.reading.conversation import MediaLookup, schemes_for
from pipeline.source.reading.row_files import Row
from pipeline.storage import urls
from pipeline.storage.urls import Place
from schemas.errors import InputError, RowError, bad_row
from schemas.operator import Context
from schemas.records import SAMPLE_KINDS, Media, Reason, Rejection, Sample, one_line

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3
_SUFFIXES = tuple(TEXTS)
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


class Settings(MediaFileSettings):
    path: Place
    """folder of images, videos and audio files, local or a URL such as s3://; read with its subfolders, except hidden ones"""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """Yields Media and one Sample per file, in order of the names; rows of a metadata file come before the other files of its folder.

    A file that is not media, cannot be decoded or has no prompt is a Rejection. InputError if the folder cannot be listed or is empty."""
    label = urls.clean(settings.path) if urls.is_url(settings.path) else settings.path
    rows = islice(_rows(settings, label), settings.limit)
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes, within = schemes_for(settings.fetch, settings.path), (settings.path,)
        lookup = lru_cache(1)(lambda folder: MediaLookup(settings.path, context.media, remote, within, schemes))
        also = (*CAPTIONS, "file_name", "file_names")
        source = column_mapping.Rows(rows, label, settings.columns, settings.licence, also=also)
        yield from column_mapping.read(source, lookup, remote, context)


def _rows(settings: Settings, label: str) -> Iterator[Row]:
    columns = column_mapping.column_names(settings.columns)
    own = {columns["source"]: files.base(settings.path.rstrip("/"))}
    plain = own | columns_from_texts({}, columns, settings.prompt)
    named: set[str] = set()  # media used by metadata rows
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
        raise InputError(f"the folder {label} contains no files; set path to a folder with media")


def _beside(names: list[str]) -> dict[str, dict[str, str]]:
    """Caption and column files by the stem they share with a media file: stem -> {kind: name}."""
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
        values = columns_from_texts(texts, names, settings.prompt)
    except RowError as error:
        return Row(place, settings.path, error)
    return Row(place, settings.path, own | values, (path,))


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
    """The rows of a metadata file; a single bad row if the file is a pipe or a link that leads out of the folder."""
    try:
        yield from row_files.read(files.join(settings.path, path), fetch=settings.fetch, below=settings.path)
    except files.Refused as error:
        yield Row(path, settings.path, error.as_row())


def _metadata(settings: Settings, names: dict[str, str], folder: str, name: str) -> Iterator[Row]:
    file = f"{folder}/{name}" if folder else name
    for row in _rows_of(settings, file):
        place = f"{file}#{row.place.rpartition('#')[2]}" if "#" in row.place else file
        try:
            values = row.values({*names.values(), *CAPTIONS, "file_name", "file_names"})
            shown = values.get("file_names") or values.get("file_name")
            shown = shown if isinstance(shown, list) else [shown]
            paths = [path for path in shown if isinstance(path, str) and path]
            if not shown or len(paths) < len(shown):
                raise bad_row("its file_name is empty or not a text; give a path relative to the metadata file")
            if absolute := next((path for path in paths if isabs(path)), None):
                detail = f"{absolute} is an absolute path, which metadata may not contain; give a path relative to the metadata file"
                raise RowError(Reason.UNSAFE, detail)
            media = tuple(normpath(f"{folder or '.'}/{path}") for path in paths)
            yield Row(place, settings.path, with_prompt(values, names, settings.prompt), media)
        except RowError as error:
            yield Row(place, settings.path, error)
