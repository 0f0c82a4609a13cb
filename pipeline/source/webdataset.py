"""WebDataset shards: tar files in which neighbouring members of one stem are a sample, `000.jpg` with `000.txt` and `000.json`.

Nothing is unpacked to a disk. What a tar may do to the one who reads it (names that lead out, links, devices, sizes that are
lies, headers without end) is refused by name, and the samples beside it are read."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from braceexpand import braceexpand
from pydantic import Field

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.reading import column_mapping, files
from pipeline.source.reading.captions import LONGEST, TEXTS, described
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
VERSION = 1
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_SHOWN = {
    "jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "mp4", "webm", "mkv", "mov", "avi", "mpg", "mpeg", "m4v",
    "wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff",
}  # fmt: skip
_HEADER = 1 << 20  # bytes of a member's long name or extended header
_PIECE = 1 << 16  # bytes of a compressed file that are read at a time
_XZ_MEMORY = 256 << 20  # bytes that unpacking may take: the highest level of xz takes 65 MB
_SKIPPED = 64 << 30  # bytes of a member that are read past: a compressed one may claim any number


class Settings(Base):
    path: Place
    """A .tar file (also .tar.gz, .tgz, .tar.bz2, .tar.xz), a folder of them, or several with braces: shard-{000..012}.tar; here or at a URL."""
    prompt: str | None = Field(None, pattern=r"\S")
    """What is asked of each sample that says nothing else; its .txt is then the reference. Without it the .txt is the prompt."""
    columns: dict[Column, str] = Field({})
    """What the .json members call their columns, where not as here: {prompt: question}."""
    licence: str | None = None
    """Licence of samples that name none."""
    limit: int | None = Field(None, ge=1)
    """How many samples are read at most, good and bad; all when absent."""
    fetch: Limits = Limits()
    """What may be fetched; max_bytes also bounds the members of a sample together."""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """One Sample for the neighbouring members of one stem. A Rejection is named `shard#stem`; of a shard that breaks off,
    `shard#` and the number of samples before, and the next shard is read.

    InputError when there is no such shard, or none has a sample."""
    said = urls.clean(settings.path) if urls.is_url(settings.path) else settings.path
    rows = islice(_rows(settings, said), settings.limit)
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch, settings.path)
        shelf = lru_cache(1)(lambda folder: MediaLookup(folder, context.media, remote, (), schemes))
        yield from column_mapping.read(rows, settings.columns, shelf, remote, context.step, said, settings.licence)


def _rows(settings: Settings, said: str) -> Iterator[Row]:
    for path, label in _shards(settings.path, said):
        try:
            yield from _samples(path, label, settings)
        except files.Refused as error:
            if path == settings.path:
                raise
            yield Row(f"{label}#0", "", error.as_row())


def _samples(path: str, label: str, settings: Settings) -> Iterator[Row]:
    count = 0
    with files.opened(path, settings.fetch) as file:
        try:
            for group in _groups(file, settings.fetch.max_bytes):
                count += 1
                yield group.row(label, settings)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError):
            broken = f"the shard is no tar file, or is cut off or broken, after {count} samples; write it anew"
            yield Row(f"{label}#{count}", "", RowError(Reason.UNDECODABLE, broken))


def _shards(path: str, said: str) -> Iterator[tuple[str, str]]:
    """(path, name in messages) of each shard."""
    try:
        paths = list(braceexpand(path))
    except ValueError:
        raise InputError(f"{said} has a brace without its other; write shard-{{000..012}}.tar") from None
    for one in paths:
        if files.is_file(one):
            yield one, files.base(one)
        elif urls.is_url(one) or os.path.isdir(one):
            names = [name for name in files.walk(one) if name.lower().endswith(_TARS)]
            if not names:
                raise InputError(f"{said} is not, and holds no, tar file; set path to WebDataset shards")
            yield from ((files.join(one, name), name) for name in names)
        else:
            raise files.missing(one)


class _Group:
    """Neighbouring members of one stem."""

    def __init__(self, stem: str):
        self.stem, self.size = stem, 0
        self.trouble: RowError | None = None
        self.members: dict[str, bytes] = {}

    def row(self, label: str, settings: Settings) -> Row:
        place = f"{label}#{one_line(self.stem)}"
        try:
            if self.trouble:
                raise self.trouble
            texts = {kind: self.members.pop(suffix[1:]) for suffix, kind in TEXTS.items() if suffix[1:] in self.members}
            held = described(texts, column_mapping.names_of(settings.columns), settings.prompt)
        except RowError as error:
            return Row(place, "", error)
        media = tuple({"bytes": data, "path": f"{self.stem}.{end}"} for end, data in self.members.items())
        return Row(place, "", held, media)


def _groups(file: io.BufferedIOBase, most: int) -> Iterator[_Group]:
    """The samples of one shard; `most` bytes are held of one."""
    group: _Group | None = None
    with tarfile.open(fileobj=_unpacked(file), mode="r|", tarinfo=_Header) as tar:
        for member in tar:
            name = os.path.normpath(member.name)
            stem, _, end = os.path.basename(name).partition(".")
            end = end.lower()
            if member.isdir() or not stem:
                continue
            stem = os.path.join(os.path.dirname(name), stem)
            if group is None or group.stem != stem:
                if group:
                    yield group
                group = _Group(stem)
            try:
                _check(member, name)
                kind = end.rpartition(".")[2]
                if kind in _SHOWN or end in ("txt", "json"):
                    _read(tar, member, end, group, most if kind in _SHOWN else min(most, LONGEST))
            except RowError as error:
                group.trouble = group.trouble or error
            tar.members = []  # ty: ignore[missing-attribute]  # it keeps every header otherwise; the stub lacks it
    if group:
        yield group


def _unpacked(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """What is in a compressed file, read in pieces of a bounded size: tarfile unpacks what it was given in one, however much it becomes."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start == b"\xfd7zXZ\0":
        return io.BufferedReader(_Xz(file))
    return file


class _Xz(io.RawIOBase):
    """An .xz file, unpacked with a bound on memory: its header says how much it takes, up to 4 GB."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self._unpacker = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        found = b""
        while not found:
            if self._unpacker.eof:  # another one may follow
                more = self._unpacker.unused_data or self._file.read(_PIECE)
                if not more:
                    return 0
                self._unpacker = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            else:
                more = self._file.read(_PIECE) if self._unpacker.needs_input else b""
                if not more and self._unpacker.needs_input:
                    raise EOFError
            found = self._unpacker.decompress(more, len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _check(member: tarfile.TarInfo, name: str) -> None:
    said = one_line(member.name[:200])
    if os.path.isabs(name) or name.split(os.sep)[0] == "..":
        raise RowError(Reason.UNSAFE, f"{said} leads out of the shard; name its members by relative paths")
    if member.issym() or member.islnk():
        raise RowError(Reason.UNSAFE, f"{said} is a link; put the file itself into the shard")
    if not member.isreg():
        raise RowError(Reason.UNSAFE, f"{said} is a device or a pipe; leave it out of the shard")
    if said != member.name:
        raise bad_row(f"{said} is a name that is no text of one line, or too long; rename it")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, end: str, group: _Group, most: int) -> None:
    group.size += member.size
    if group.size > most:
        group.members = {}
        raise RowError(
            Reason.TOO_LARGE, f"its members are larger than {most:,} bytes; raise fetch.max_bytes or leave it out"
        )
    if end in group.members:
        raise bad_row(f"it has two members .{end}; give each sample a stem of its own")
    found = tar.extractfile(member)
    group.members[end] = found.read() if found else b""


class _Header(tarfile.TarInfo):
    """A header that is loud where tarfile takes a broken one for the end, and that is not read without end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            found = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # ty: ignore[missing-attribute]  # the stub lacks them
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if not 0 <= found.size <= (_SKIPPED if found.isreg() else _HEADER):
            raise tarfile.ReadError("a size is absurd")
        return found
