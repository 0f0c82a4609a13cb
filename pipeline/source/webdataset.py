"""Reads WebDataset shards: tar files in which adjacent members with the same stem form a sample, such as `000.jpg` and `000.txt`.

Nothing is unpacked to disk. Dangerous or damaged members (paths that lead out, links, devices, false sizes, endless headers) are
rejected with a reason, and the other samples are read."""

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

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source._media_files import MediaFileSettings
from pipeline.source.reading import column_mapping, files
from pipeline.source.reading.captions import CAPTIONS, LONGEST, TEXTS, columns_from_texts
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
VERSION = 2
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_SHOWN = {
    "jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "mp4", "webm", "mkv", "mov", "avi", "mpg", "mpeg", "m4v",
    "wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff",
}  # fmt: skip
_HEADER = 1 << 20  # maximum bytes of a long name or extended header
_PIECE = 1 << 16  # bytes of a compressed file read at a time
_XZ_MEMORY = 256 << 20  # memory limit for decompression: the highest level of xz needs 65 MB
_SKIPPED = 64 << 30  # maximum bytes of a skipped member: compressed members may claim any size


class Settings(MediaFileSettings):
    path: Place
    """a .tar file (also .tar.gz, .tgz, .tar.bz2, .tar.xz), a folder of them, or several with braces: shard-{000..012}.tar; local or a URL"""
    fetch: Limits = Limits()
    """limits on fetching from URLs; max_bytes also limits the members of a sample together"""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """Yields Media and a Sample for each group of adjacent members with the same stem. A Rejection is named `shard#stem`; a damaged
    shard is a Rejection named `shard#` and the number of samples before the damage, and reading continues with the next shard.

    InputError if a shard does not exist, or there are no samples."""
    source = urls.clean(settings.path) if urls.is_url(settings.path) else settings.path
    rows = islice(_rows(settings, source), settings.limit)
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch, settings.path)
        lookup = lru_cache(1)(lambda folder: MediaLookup(folder, context.media, remote, (), schemes))
        found = column_mapping.Rows(rows, source, settings.columns, settings.licence, also=CAPTIONS)
        yield from column_mapping.read(found, lookup, remote, context)


def _rows(settings: Settings, source: str) -> Iterator[Row]:
    for path, label in _shards(settings.path, source):
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
            broken = f"the shard is not a tar file, or is truncated or corrupted, after {count} samples; regenerate it"
            yield Row(f"{label}#{count}", "", RowError(Reason.UNDECODABLE, broken))


def _shards(path: str, source: str) -> Iterator[tuple[str, str]]:
    """(path, name in messages) of each shard."""
    try:
        paths = list(braceexpand(path))
    except ValueError:
        raise InputError(f"{source} has an unbalanced brace; write it like shard-{{000..012}}.tar") from None
    for place in paths:
        if files.is_file(place):
            yield place, files.base(place)
        elif urls.is_url(place) or os.path.isdir(place):
            names = [name for name in files.walk(place) if name.lower().endswith(_TARS)]
            if not names:
                raise InputError(f"{source} is not a tar file, or a folder with one; set path to WebDataset shards")
            yield from ((files.join(place, name), name) for name in names)
        else:
            raise files.no_such_file_error(place)


class _Group:
    """A sample: adjacent members with the same stem."""

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
            values = columns_from_texts(texts, column_mapping.column_names(settings.columns), settings.prompt)
        except RowError as error:
            return Row(place, "", error)
        media = tuple({"bytes": data, "path": f"{self.stem}.{end}"} for end, data in self.members.items())
        return Row(place, "", values, media)


def _groups(file: io.BufferedIOBase, max_bytes: int) -> Iterator[_Group]:
    """The samples of a shard; at most `max_bytes` of each are kept in memory."""
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
                    _read(tar, member, end, group, max_bytes if kind in _SHOWN else min(max_bytes, LONGEST))
            except RowError as error:
                group.trouble = group.trouble or error
            tar.members = []  # ty: ignore[missing-attribute]  # tarfile keeps every header otherwise; the stub lacks it
    if group:
        yield group


def _unpacked(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """A decompressed stream, read in pieces of bounded size: tarfile decompresses each input block at once, whatever its expanded size."""
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
    """A decompressed .xz file with a memory limit: by its header it may demand up to 4 GB."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        self._unpacker = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        found = b""
        while not found:
            if self._unpacker.eof:  # another stream may follow
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
    shown_name = one_line(member.name[:200])
    if os.path.isabs(name) or name.split(os.sep)[0] == "..":
        raise RowError(Reason.UNSAFE, f"{shown_name} leads out of the shard; use relative member names")
    if member.issym() or member.islnk():
        raise RowError(Reason.UNSAFE, f"{shown_name} is a link; put the file itself into the shard")
    if not member.isreg():
        raise RowError(Reason.UNSAFE, f"{shown_name} is a device or a pipe; remove it from the shard")
    if shown_name != member.name:
        raise bad_row(f"the member name {shown_name} is not a single line of text, or is too long; rename it")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, end: str, group: _Group, max_bytes: int) -> None:
    group.size += member.size
    if group.size > max_bytes:
        group.members = {}
        raise RowError(
            Reason.TOO_LARGE,
            f"its members are larger than {max_bytes:,} bytes; raise fetch.max_bytes or remove the sample",
        )
    if end in group.members:
        raise bad_row(f"it has two members .{end}; give each sample its own stem")
    found = tar.extractfile(member)
    group.members[end] = found.read() if found else b""


class _Header(tarfile.TarInfo):
    """A header that raises ReadError where tarfile would treat a damaged one as the end, and whose own size is limited."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            found = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # ty: ignore[missing-attribute]  # the stub lacks them
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if not 0 <= found.size <= (_SKIPPED if found.isreg() else _HEADER):
            raise tarfile.ReadError("invalid size")
        return found
