"""Reads rows of files: prompts with the media they refer to."""

from collections.abc import Iterator
from functools import lru_cache

from pydantic import Field

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.reading import column_mapping, row_files
from pipeline.source.reading.column_mapping import Column
from pipeline.source.reading.conversation import MediaLookup, own_folders, schemes_for
from pipeline.source.reading.row_files import Sampling
from pipeline.storage import urls
from pipeline.storage.urls import Place
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Rejection, Sample

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3


class Settings(Base):
    path: Place
    """a file of rows or a folder of them (.jsonl, .json, .csv, .tsv, .parquet, .arrow, .feather), local or a URL; `path#n`: the first n rows"""
    columns: dict[Column, str] = Field({})
    """column names used in the file, if different: {prompt: question, image: image_path}"""
    media_root: Place | None = None
    """folder or URL that media paths are relative to; by default the folder of the row's file"""
    limit: int | None = Field(None, ge=1)
    """maximum number of rows read, valid or not; no limit by default"""
    sample: Sampling | None = None
    """a seeded sample of the rows: {n: 1000} or {share: 0.1}, with an optional seed"""
    fetch: Limits = Limits()
    """limits on fetching from URLs: {allow_private: [host], max_bytes, seconds, at_once}"""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """Yields each row's Media, then its Sample. A bad row is a Rejection named `file#number`, from 1.

    `prompt` is a text or a list of messages `{role, content}` whose content is a text or a list of parts `{type, text | path}`. Media
    columns hold a path, a URL, `{bytes, path}`, or a list of these. They fill the parts without a path; if there are no such parts, they
    are placed before the first user text.
    InputError if a file cannot be read, there are no rows, or no row has a column that `columns` names."""
    names, selection = column_mapping.column_names(settings.columns), column_mapping.selection(settings.columns)
    rows = row_files.read(
        settings.path, columns=selection, need=names["prompt"], limit=settings.limit, sample=settings.sample,
        fetch=settings.fetch,
    )  # fmt: skip
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch, settings.path, settings.media_root)
        within = own_folders(settings.path, settings.media_root)
        lookup = lru_cache(1)(
            lambda folder: MediaLookup(settings.media_root or folder, context.media, remote, within, schemes)
        )
        label = urls.clean(settings.path) if urls.is_url(settings.path) else settings.path
        source = column_mapping.Rows(rows, label, settings.columns, selection=selection)
        yield from column_mapping.read(source, lookup, remote, context)
