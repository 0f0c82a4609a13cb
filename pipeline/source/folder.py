"""A folder of media files, and one question asked of each."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import Field

from pipeline.media.probe import take
from schemas.chat import user
from schemas.errors import InputError, RowError
from schemas.operator import Context
from schemas.operator import Settings as Base
from schemas.records import SAMPLE_KINDS, Media, Part, Rejection, Sample, one_line, sample

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    path: str
    """Folder of images, videos and audio files, with the folders in it; hidden ones are passed over."""
    prompt: str = Field(pattern=r"\S")
    """What is asked of each file."""
    licence: str | None = None
    """Licence of the files."""
    limit: int | None = Field(None, ge=1)
    """How many files are read at most, good and bad; all when absent."""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """One Sample a file, in order of the names. A file that is no media or does not decode is a Rejection.

    InputError when the folder cannot be listed or holds no file."""
    count, source = 0, Path(settings.path).name
    for file in islice(_files(settings.path), settings.limit):
        count += 1
        name = one_line(file)
        try:
            media = take(os.path.join(settings.path, file), name, context.media)
        except RowError as error:
            yield Rejection(name, "samples", context.step, error.reason, error.detail)
            continue
        yield media
        yield sample(
            (user(Part(media.kind, media=media.id), settings.prompt),),
            source=source, licence=settings.licence, step=context.step,
        )  # fmt: skip
    if not count:
        raise InputError(f"the folder {settings.path} holds no files; set path to a folder of media")


def _files(root: str) -> Iterator[str]:
    """Paths of all files below `root`, relative to it."""
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(folder, root)
        for name in sorted(name for name in files if not name.startswith(".")):
            yield name if inside == "." else f"{inside}/{name}"


def _unreadable(error: OSError) -> None:
    raise InputError(f"the folder {error.filename} cannot be listed ({error.strerror}); set path to a folder of media")
