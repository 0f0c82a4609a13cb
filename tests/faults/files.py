"""Files and rows as strangers make them: what is no file, paths that lead out, files that unpack to gigabytes, values JSON does not have."""

import bz2
import gzip
import json
import lzma
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from pipeline.source import folder as folder_source
from pipeline.source import hub, pairs, rows, webdataset
from pipeline.storage.local_files import kind_of
from pipeline.storage.media_store import FolderStore
from schemas.arrow import TABLE_OF, to_batch
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Media, Reason, Rejection, Sample
from tests.faults.fault import Fault
from tests.support import media_files as make
from tests.support import web
from tests.support.tars import tar

ROOT = Path(__file__).parents[2]
SOURCES = {"rows": rows, "folder": folder_source, "shards": webdataset, "hub": hub, "pairs": pairs}
GOOD, SECRET = make.png(1), make.png(666)
MOST = 1_000_000_000  # bytes of memory that reading may take at its peak


def read(name: str, path: Path | str, home: Path, **settings) -> list:
    """All that a source yields, written and sealed as a run does it."""
    source = SOURCES[name]
    context = Context(step="in", version="", media=FolderStore(home / "store"), recipe="r")
    found = list(source.read(source.Settings(path=str(path), **settings), context))
    for kind, table in TABLE_OF.items():
        to_batch(table, [row for row in found if isinstance(row, kind)])
    assert SECRET not in [context.media.read(row.id) for row in found if isinstance(row, Media)], (
        "the private file came in"
    )
    return found


def rejected(found: list) -> dict[str, Reason]:
    return {row.id: row.reason for row in found if isinstance(row, Rejection)}


def asked(found: list) -> list[str]:
    return [row.prompt[-1].parts[-1].text for row in found if isinstance(row, Sample)]


@contextmanager
def at_once(seconds: int = 30) -> Iterator[None]:
    """AssertionError when what is inside takes longer, as it would for ever at a pipe."""

    def late(*_):
        raise AssertionError(f"nothing came in {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write(home: Path, **files: bytes | str | list) -> None:
    for name, data in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, list):
            data = "".join(json.dumps(row) + "\n" for row in data)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


# what is no file


def _listen(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has 107 letters at most
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _beside(make_one: Callable[[Path], None]) -> Callable[[Path], None]:
    """A link to what `make_one` makes."""

    def link(path: Path) -> None:
        make_one(path.parent / ".target")
        path.symlink_to(".target")

    return link


ENTRIES: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo, "a socket": _listen, "a folder": Path.mkdir, "a link to a pipe": _beside(os.mkfifo), "a link to a socket": _beside(_listen),
    **{f"a link to {name}": lambda path, name=name: path.symlink_to(name) for name in ("/dev/zero", "/dev/urandom", "/dev/tty", "/dev/full", "/dev/stdin") if kind_of(name)},
}  # fmt: skip


def _pictured(home: Path) -> None:
    write(home, **{"in/good.png": GOOD})


# where a file is named: the name, and what reads it; None for an answer is one line that ends the run
class Place(NamedTuple):
    name: str
    read: Callable[[Path], list]
    ends: bool = False  # the recipe names it: the run ends with one line
    good: int = 1  # samples that come through beside it


PLACES = {
    "the file of rows": Place("rows.jsonl", lambda home: read("rows", home / "rows.jsonl", home), True),
    "the table": Place("rows.parquet", lambda home: read("rows", home / "rows.parquet", home), True),
    "a compressed file": Place("rows.csv.gz", lambda home: read("rows", home / "rows.csv.gz", home), True),
    "one of a folder of rows": Place("in/a.jsonl", lambda home: _rows_of_a_folder(home, "rows")),
    "one of a folder of pairs": Place("in/a.jsonl", lambda home: _rows_of_a_folder(home, "pairs")),
    "a row's picture": Place("in/x.png", lambda home: _row(home)),
    "a pair's picture": Place("in/x.png", lambda home: _pair(home)),
    "a picture of media_root": Place("in/x.png", lambda home: _row(home, media_root=str(home / "in"))),
    "the set of pairs": Place("p.jsonl", lambda home: read("pairs", home / "p.jsonl", home), True),
    "the shard": Place("s.tar", lambda home: read("shards", home / "s.tar", home), True),
    "one of a folder of shards": Place("in/a.tar", lambda home: _shards(home)),
    "a picture of a folder": Place("in/x.png", lambda home: _folder(home)),
    "a caption": Place("in/x.txt", lambda home: _captioned(home)),
    "the columns of a picture": Place("in/x.json", lambda home: _captioned(home)),
    "the metadata": Place("in/metadata.jsonl", lambda home: _folder(home)),
    "what metadata name": Place("in/x.png", lambda home: _described(home)),
    "a file of a dataset": Place("set/a.jsonl", lambda home: read("hub", home / "set", home), True),
    "a picture of a dataset": Place("set/x.png", lambda home: read("hub", home / "set", home), True),
}  # fmt: skip


def _rows_of_a_folder(home: Path, source: str) -> list:
    row = {"prompt": "What?", "chosen": "A", "rejected": "B"}
    write(home, **{"in/b.jsonl": [row]})
    return read(source, home / "in", home)


def _row(home: Path, **settings) -> list:
    write(
        home,
        **{
            "in/good.png": GOOD,
            "in/r.jsonl": [{"prompt": "?", "image": "x.png"}, {"prompt": "What?", "image": "good.png"}],
        },
    )
    return read("rows", home / "in" / "r.jsonl", home, **settings)


def _pair(home: Path) -> list:
    pair = {"prompt": "What?", "chosen": "A", "rejected": "B"}
    write(home, **{"in/good.png": GOOD, "in/r.jsonl": [pair | {"image": "x.png"}, pair | {"image": "good.png"}]})
    return read("pairs", home / "in" / "r.jsonl", home)


def _shards(home: Path) -> list:
    write(home, **{"in/b.tar": tar(("1.png", GOOD), ("1.txt", b"What?"))})
    return read("shards", home / "in", home)


def _folder(home: Path) -> list:
    _pictured(home)
    return read("folder", home / "in", home, prompt="What?")


def _captioned(home: Path) -> list:
    write(home, **{"in/x.png": make.png(2)})
    return _folder(home)


def _described(home: Path) -> list:
    write(home, **{"in/metadata.jsonl": [{"file_name": "x.png", "prompt": "?"}]})
    return _folder(home)


def no_file(dice: random.Random, home: Path) -> None:
    (where, place), (what, entry) = dice.choice(list(PLACES.items())), dice.choice(list(ENTRIES.items()))
    made = home / place.name
    made.parent.mkdir(parents=True, exist_ok=True)
    entry(made)
    if what == "a folder" and (
        where.startswith("one of a folder") or place.ends or place.name.endswith((".txt", ".json", ".jsonl"))
    ):
        return  # a folder is looked into, or is no caption at all
    with at_once():
        if place.ends:
            with pytest.raises(InputError, match=re.escape(made.name)) as ended:
                place.read(home)
            assert "\n" not in str(ended.value)
            return
        found = place.read(home)
    assert len(asked(found)) == place.good, (where, what, found)
    if what != "a folder":
        assert set(rejected(found).values()) <= {Reason.MISSING_FILE, Reason.UNSAFE, Reason.BAD_ROW} != set(), (
            where,
            what,
            found,
        )
        assert len(rejected(found)) == 1, (where, what, found)


# paths that lead out


def _spellings(home: Path) -> dict[str, str]:
    secret = home / "private" / "secret.png"
    return {
        "absolute": str(secret), "up": "../private/secret.png", "up on a detour": "a/../../private/secret.png", "a URL of a file": f"file://{secret}",
        "a short one": f"file:{secret}", "percent": "%2e%2e/private/secret.png", "percent and slash": "..%2fprivate%2fsecret.png", "backslashes": "..\\private\\secret.png",
        "through a link": "link/secret.png", "through a link and back": "link/../private/secret.png", "home": "~/../private/secret.png",
        "local": f"local://{secret}", "many slashes": f"//{secret}", "a zero": f"{secret}\0.png", "this process": f"/proc/self/root{secret}",
        "dots": "./../private/secret.png", "a link up": "in/../../private/secret.png",
    }  # fmt: skip


def _private(home: Path) -> None:
    write(home, **{"private/secret.png": SECRET, "private/secret.txt": "the secret", "in/good.png": GOOD})
    (home / "in" / "link").symlink_to(home / "private")


def _message(path: str) -> list:
    return [{"role": "user", "content": [{"type": "image", "path": path}, {"type": "text", "text": "?"}]}]


def _part(path: str) -> list:
    return [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": path}}, {"type": "text", "text": "?"}]}
    ]


def way_out(dice: random.Random, home: Path) -> None:
    """Rows of a folder's metadata, side-cars, tars and rows from a URL may name no file outside of their folder."""
    _private(home)
    spelling, path = dice.choice(list(_spellings(home).items()))
    where = dice.choice(
        [
            "file_name",
            "file_names",
            "message",
            "side-car",
            "tar",
            "rows from a URL",
            "message from a URL",
            "pairs from a URL",
            "part from a URL",
        ]
    )
    row: dict[str, Any] = {"prompt": "?", "image": path} if "message" not in where else {"prompt": _message(path)}
    if where in ("file_name", "file_names", "message"):
        name = (
            {"file_name": path}
            if where == "file_name"
            else {"file_names": ["good.png", path]}
            if where == "file_names"
            else {"file_name": "good.png"}
        )
        write(home, **{"in/metadata.jsonl": [{"prompt": "?"} | row | name]})
        found = read("folder", home / "in", home)
    elif where == "side-car":
        write(home, **{"in/good.json": json.dumps({"prompt": _message(path)})})
        found = read("folder", home / "in", home)
    elif where == "tar":
        write(home, **{"s.tar": tar(("1.png", GOOD), ("1.json", json.dumps({"prompt": _message(path)}).encode()))})
        found = read("shards", home / "s.tar", home)
    else:
        source = "pairs" if "pairs" in where or "part" in where else "rows"
        if "part" in where:
            row = {"prompt": _part(path)}
        row |= {"chosen": "A", "rejected": "B"} if source == "pairs" else {}
        good = {"prompt": "What?", "image": "good.png", "chosen": "A", "rejected": "B"}
        lines = "".join(json.dumps(one) + "\n" for one in (row, good)).encode()
        with web.serving({"/r.jsonl": web.page(lines)}) as server:
            settings = {"media_root": str(home / "in"), "fetch": {"allow_private": ["127.0.0.1"]}}
            found = read(source, f"{server.url}/r.jsonl", home, **settings)
        assert asked(found) == ["What?"], (where, spelling, found)
    said = set(rejected(found).values())
    assert len(rejected(found)) >= 1, (where, spelling, found)
    assert said <= {Reason.UNSAFE, Reason.BAD_ROW, Reason.MISSING_FILE, Reason.EMPTY_PROMPT}, (where, spelling, said)
    if spelling == "absolute":
        assert Reason.UNSAFE in said, (where, found)


def linked_text(dice: random.Random, home: Path) -> None:
    """A caption or a side-car that is a link out of the folder is refused, one that stays in it is read."""
    _private(home)
    name = dice.choice(["x.txt", "x.json", "metadata.jsonl", "metadata.csv"])
    outside = home / "private" / "text"
    write(
        home,
        **{
            "private/text": '{"file_name": "x.png", "prompt": "private"}\n',
            "in/x.png": make.png(2),
            "in/inside.md": '{"prompt": "open", "file_name": "x.png"}\n',
        },
    )
    target = dice.choice([outside, Path("../private/text"), Path("link/text")])
    (home / "in" / name).symlink_to(target)
    found = read("folder", home / "in", home, prompt="What?")
    assert "private" not in repr([row for row in found if isinstance(row, Sample)]), found
    assert Reason.UNSAFE in rejected(found).values(), found
    (home / "in" / name).unlink()
    (home / "in" / name).symlink_to("inside.md")
    found = read("folder", home / "in", home, prompt="What?")
    assert Reason.UNSAFE not in rejected(found).values(), found


def foreign_objects(dice: random.Random, home: Path) -> None:
    """Rows name objects of a store only where the recipe lists its scheme."""
    scheme = dice.choice(["s3", "gs", "hf", "az", "abfs", "memory", "S3", "s3a", "gcs", "oci"])
    path = f"{scheme}://bucket/secret.png"
    pair = {"prompt": "What?", "chosen": "A", "rejected": "B"}
    where = dice.choice(["rows", "pairs", "message", "metadata", "tar"])
    if where in ("rows", "pairs"):
        write(home, **{"r.jsonl": [pair, pair | {"prompt": "?", "image": path}]})
        found = read(where, home / "r.jsonl", home)
    elif where == "message":
        write(home, **{"r.jsonl": [pair, {"prompt": _message(path)}]})
        found = read("rows", home / "r.jsonl", home)
    elif where == "metadata":
        write(
            home,
            **{"in/good.png": GOOD, "in/good.json": json.dumps({"prompt": _message(path)}), "in/b.png": make.png(2)},
        )
        found = read("folder", home / "in", home, prompt="What?")
    else:
        good = (("0.png", GOOD), ("0.txt", b"What?"))
        write(
            home, **{"s.tar": tar(*good, ("1.png", GOOD), ("1.json", json.dumps({"prompt": _message(path)}).encode()))}
        )
        found = read("shards", home / "s.tar", home)
    (row,) = [row for row in found if isinstance(row, Rejection)]
    assert row.reason == Reason.UNSAFE
    assert "fetch.schemes" in row.detail
    assert len(asked(found)) == 1, found


# values


ODD = {
    "NaN": "NaN", "Infinity": "-Infinity", "1e400": "1e400", "30 digits": "123456789012345678901234567890", "5,000 digits": "9" * 5000, "half a pair": '"x\\ud800"',
    "half a pair as a name": '{"\\ud800": 1}', "no UTF-8": b'"\xff"', "an exponent": "1e999999999", "minus zero digits": "-", "deep lists": "[" * 3000 + "]" * 3000, "a control character": '"\x01"',
    "twice": '1, "id": "b"', "nested NaN": '{"a": [NaN]}', "nested digits": '{"a": 123456789012345678901234567890}', "nested half": '{"a": "\\udfff"}', "nothing": "", "a comment": "/* */ 1",
}  # fmt: skip
KEEPING = ("prompt", "id", "facts", "answer", "extra", "chosen", "margin")


def odd_value(dice: random.Random, home: Path) -> None:
    """It costs its own row at most, in lines as in an array, and nothing two steps later."""
    name, value = dice.choice(list(ODD.items()))
    column, source = dice.choice(KEEPING), dice.choice(["rows", "pairs"])
    text = value if isinstance(value, bytes) else value.encode()
    good = [
        json.dumps({"prompt": f"{n}?", "chosen": "A", "rejected": "B", "facts": {"n": n}}).encode() for n in range(4)
    ]
    bad = b'{"prompt": "odd?", "chosen": "A", "rejected": "B", "%s": %s}' % (column.encode(), text)
    lines = [*good[:2], bad, *good[2:]]
    form = dice.choice(["jsonl", "json", "pretty"])
    data = b"\n".join(lines) if form == "jsonl" else b"[" + (b",\n  " if form == "pretty" else b", ").join(lines) + b"]"
    write(home, **{f"r.{'jsonl' if form == 'jsonl' else 'json'}": data})
    found = read(source, next(home.glob("r.*")), home)
    assert [one for one in asked(found) if one != "odd?"] == ["0?", "1?", "2?", "3?"], (name, column, form, found)
    assert len(rejected(found)) + ("odd?" in asked(found)) in (0, 1), (name, column, form, found)
    if name not in ("twice",) and column in ("prompt", "facts") and source == "rows":
        assert list(rejected(found).values()) in ([Reason.BAD_ROW], [Reason.EMPTY_PROMPT]), (name, column, form, found)
    for row in found:
        if isinstance(row, Sample) and row.facts:
            json.dumps(json.loads(row.facts), allow_nan=False).encode()
    read(source, next(home.glob("r.*")), home, limit=4)
    if source == "rows":
        read(source, next(home.glob("r.*")), home, sample={"n": 3})


def odd_cell(dice: random.Random, home: Path) -> None:
    """The same of CSV, Parquet and Arrow, and in a side-car."""
    facts = [
        float("nan"),
        float("inf"),
        1e300,
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": 123456789012345678901234567890}',
        '{"a": "\\ud800"}',
        '{"a": [[-Infinity]]}',
    ]
    fact = dice.choice(facts)
    held = [{"a": 1.5}, {"a": fact}, {"a": 2.5}] if isinstance(fact, float) else ['{"a": 1}', fact, '{"a": 2}']
    table = pa.table({"prompt": ["0?", "odd?", "1?"], "facts": held})
    form = dice.choice(["parquet", "arrow", "csv"] if isinstance(fact, str) else ["parquet", "arrow"])
    if form == "parquet":
        pq.write_table(table, home / "r.parquet")
    elif form == "arrow":
        with ipc.new_file(str(home / "r.arrow"), table.schema) as out:
            out.write_table(table)
    else:
        cells = [f'{prompt},"{fact.replace(chr(34), chr(34) * 2)}"' for prompt, fact in zip(["0?", "odd?", "1?"], held)]
        write(home, **{"r.csv": "\n".join(["prompt,facts", *cells])})
    found = read("rows", next(home.glob("r.*")), home)
    assert asked(found) == ["0?", "1?"], (fact, form, found)
    assert list(rejected(found).values()) == [Reason.BAD_ROW], (fact, form, found)


# files that become large


def _times(pack: Callable[[bytes], bytes], piece: bytes, count: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """So many compressed pieces, one behind the other: what unpacks to gigabytes is made at once."""
    return pack(before) + pack(piece) * count + pack(after)


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


PACKS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".bz2": bz2.compress,
    ".zst": _zstd,
}
X = b"x" * (16 << 20)
LINE = b'{"prompt": "good?"}\n'
STARTS = {"jsonl": LINE, "json": LINE, "csv": b"prompt\ngood?\n", "tsv": b"prompt\ngood?\n"}


def _array_of(inner: bytes, count: int) -> bytes:
    return b'[{"prompt": "good?"}, {"prompt": "?", "x": [' + b",".join([inner] * count) + b"]}]"


def _columnar(home: Path, name: str, table: pa.Table, codec: str | None = None) -> Path:
    path = home / name
    if name.endswith("parquet"):
        pq.write_table(table, path, compression=codec or "none")
    else:
        with ipc.new_file(str(path), table.schema, options=ipc.IpcWriteOptions(compression=codec)) as out:
            out.write_table(table)
    return path


def _one_of(values: list, each: int) -> pa.Table:
    """Every value so often, by a dictionary: little in a file, much in memory."""
    indices = pa.array([n for n in range(len(values)) for _ in range(each)], pa.int32())
    return pa.table({"prompt": pa.DictionaryArray.from_arrays(indices, pa.array(values))})


def _tar_of(size: int) -> tuple[bytes, bytes]:
    info = tarfile.TarInfo("1.jpg")
    info.size = size
    return info.tobuf(), tar(("2.png", GOOD), ("2.txt", b"What?"))


def _written(home: Path, name: str, data: bytes) -> Path:
    (home / name).write_bytes(data)
    return home / name


def _sparse(home: Path, name: str, size: int, start: bytes = b"") -> Path:
    with (home / name).open("wb") as file:
        file.write(start)
        file.truncate(size)
    return home / name


def _huge_dictionary(data: bytes) -> bytes:
    """An .xz that says it needs 1.5 GB to be unpacked."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 << 20, "preset": 0}]
    packed = bytearray(lzma.compress(data, filters=filters))
    at = packed.index(b"\x21\x01", 12) + 2  # the filter's only property
    packed[at] = 39  # 2^(39/2 + 12) bytes, half as much again
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(packed[12 : end - 4]))
    return bytes(packed)


Bomb = Callable[[Path, random.Random], tuple[str, Path]]  # the source and its file
BOMBS: dict[str, Bomb] = {
    "an array of nested lists": lambda home, dice: ("rows", _written(home, "r.json", b'[{"prompt": "good?"}, ' + b"[" * 100_000 + b"]" * 100_000 + b"]")),
    "nested objects": lambda home, dice: ("rows", _written(home, "r.json", b'[{"prompt": "good?"}, ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]")),
    "endless nested lists": lambda home, dice: ("rows", _written(home, "r.json", b"[" * 200_000)),
    "lists of empty lists": lambda home, dice: ("rows", _written(home, dice.choice(["r.json", "r.jsonl"]), _array_of(b"[]", 18 << 20)[1:-1].replace(b"}, {", b"}\n{"))),
    "an array of empty objects": lambda home, dice: ("rows", _written(home, "r.json", _array_of(b"{}", 18 << 20))),
    "a million short texts": lambda home, dice: ("pairs", _written(home, "r.json", _array_of(b'"ab"', 12 << 20))),
    "endless compressed lines": lambda home, dice: ("rows", _written(home, f"r.{(form := dice.choice(list(STARTS)))}{(pack := dice.choice(list(PACKS)))}", _times(PACKS[pack], X, 96, STARTS[form]))),
    "a text of 1.5 GB in an array": lambda home, dice: ("rows", _written(home, f"r.json{(pack := dice.choice(list(PACKS)))}", _times(PACKS[pack], X, 96, b'[{"prompt": "good?"}, {"prompt": "', b'"}, {"prompt": "good?"}]'))),
    "a field of 1.5 GB in quotes": lambda home, dice: ("rows", _written(home, "r.csv.gz", _times(PACKS[".gz"], (b"x" * (1 << 20) + b"\n") * 16, 96, b'prompt,n\ngood?,1\n"', b'",1\n'))),
    "a line of zeros": lambda home, dice: ("rows", _sparse(home, f"r.{(form := dice.choice(list(STARTS)))}", 1 << 30, STARTS[form])),
    "40 rows of 20 MB": lambda home, dice: ("rows", _written(home, f"r.{(form := dice.choice(['jsonl', 'json']))}.gz", _forty(form))),
    "40 rows of 20 MB in columns": lambda home, dice: ("rows", _columnar(home, dice.choice(["r.parquet", "r.arrow"]), pa.table({"prompt": ["y" * 20_000_000 + str(n) for n in range(40)]}), "zstd")),
    "40 images of 20 MB in columns": lambda home, dice: ("rows", _columnar(home, "r.parquet", pa.table({"prompt": ["?"] * 40, "image": [GOOD + bytes(20_000_000 + n) for n in range(40)]}), "zstd")),
    "a text of 1.5 GB in columns": lambda home, dice: ("rows", _columnar(home, dice.choice(["r.parquet", "r.arrow"]), pa.table({"prompt": pa.array(["good?", "x" * 1_500_000_000], pa.large_string())}), "zstd")),
    "a text in every row": lambda home, dice: (dice.choice(["rows", "pairs"]), _columnar(home, dice.choice(["r.parquet", "r.arrow"]), _one_of(["z" * dice.choice([200_000, 9_000_000, 60_000_000]), "good?"], 60), "zstd")),
    "an endless list of nulls": lambda home, dice: ("rows", _columnar(home, "r.arrow", pa.table({"prompt": ["good?", "?"], "image": pa.ListArray.from_arrays(pa.array([0, 0, 2_000_000_000], pa.int32()), pa.nulls(2_000_000_000))}))),
    "very many columns": lambda home, dice: ("rows", _columns(home, dice.choice(["r.parquet", "r.arrow", "r.csv"]))),
    "a shard that unpacks to 3 GB": lambda home, dice: ("shards", _written(home, f"s.tar{(pack := dice.choice(['.gz', '.bz2', '.xz']))}", _bomb_tar(pack))),
    "a shard that needs 1.5 GB to unpack": lambda home, dice: ("shards", _written(home, "s.tar.xz", _huge_dictionary(_tar_of(0)[1] + bytes(1 << 20)))),
    "an endless caption": lambda home, dice: ("folder", _endless_caption(home)),
}  # fmt: skip


def _forty(form: str) -> bytes:
    pack, piece = PACKS[".gz"], b"y" * 20_000_000
    row = pack(b'{"prompt": "') + pack(piece) + pack(b'"}')
    if form == "jsonl":
        return pack(LINE) + (row + pack(b"\n")) * 40
    return pack(b'[{"prompt": "good?"}') + (pack(b",") + row) * 40 + pack(b"]")


def _columns(home: Path, name: str) -> Path:
    if name.endswith("csv"):
        return _written(
            home,
            name,
            b"prompt," + b",".join(b"c%d" % n for n in range(1_000_000)) + b"\ngood?" + b"," * 1_000_000 + b"\n",
        )
    return _columnar(home, name, pa.table({"prompt": ["good?"], **{f"c{n}": pa.array(["x"]) for n in range(30_000)}}))


def _bomb_tar(pack: str) -> bytes:
    head, rest = _tar_of(3 << 30)
    packs = PACKS | {".xz": lambda data: lzma.compress(data, preset=0)}
    return _times(packs[pack], bytes(64 << 20), 48, head, rest)


def _endless_caption(home: Path) -> Path:
    write(home, **{"in/a.png": GOOD, "in/b.png": make.png(3), "in/b.txt": "good?"})
    _sparse(home / "in", "a.txt", 4 << 30, b"what")
    return home / "in"


CHILD = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.faults import files
from schemas.errors import InputError
from schemas.records import Rejection, Sample
import importlib
from pipeline.storage.media_store import FolderStore
from schemas.operator import Context
source = files.SOURCES[sys.argv[2]]
said = {"samples": 0, "rejections": {}, "ended": None}
try:
    for row in source.read(source.Settings(path=sys.argv[3]), Context(step="in", version="", media=FolderStore(Path(sys.argv[4])))):
        if isinstance(row, Sample):
            said["samples"] += 1
        if isinstance(row, Rejection):
            said["rejections"][row.id] = [row.reason, row.detail]
except InputError as error:
    said["ended"] = str(error)
said["peak"] = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps(said))
"""


def measured(source: str, path: Path, home: Path) -> dict:
    """What came of reading a file in a process of its own, and that process's peak of memory in bytes."""
    command = [sys.executable, "-c", CHILD, str(ROOT), source, str(path), str(home / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


QUICK = (
    "an array of nested lists",
    "endless compressed lines",
    "a text in every row",
    "very many columns",
    "a shard that needs 1.5 GB to unpack",
)


def large(name: str) -> Callable[[random.Random, Path], None]:
    def trial(dice: random.Random, home: Path) -> None:
        source, path = BOMBS[name](home, dice)
        said = measured(source, path, home)
        assert said["peak"] < MOST, f"{path.name}: {said['peak'] >> 20} MB"
        assert said["ended"] or said["rejections"] or said["samples"], said
        lines = [said["ended"] or "", *(detail for _, detail in said["rejections"].values())]
        assert all("\n" not in line and len(line) < 1200 for line in lines), lines

    return trial


FAULTS = [
    Fault("files", "a pipe, socket, device or folder where a file is named", "a rejection, or one line if the recipe names it; nothing blocks", no_file, 300, 12),
    Fault("files", "a caption, side-car or metadata file is a link out of the folder", "unsafe; links that stay inside are read", linked_text, 60, 4),
    Fault("rows", "a path that leads out: metadata, messages, side-cars, tars, rows from a URL", "the row is refused, the file is not read", way_out, 300, 12),
    Fault("rows", "an object of s3://, gs://, hf:// that the recipe does not allow", "unsafe, naming fetch.schemes", foreign_objects, 60, 4),
    Fault("rows", "NaN, 30 digits, an unpaired surrogate, 5,000 digits ... in JSON", "at most its row is rejected", odd_value, 400, 12),
    Fault("rows", "the same in cells of CSV, Parquet and Arrow", "its row is rejected", odd_cell, 60, 4),
    *(Fault("memory", name, "under 1 GB; rows or the file refused by name", large(name), 2, int(name in QUICK)) for name in BOMBS),
]  # fmt: skip
