import bz2
import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.media.fetch import Limits
from pipeline.source.reading import row_files
from pipeline.source.reading.columnar import Selection
from pipeline.source.reading.row_files import Sampling
from schemas.errors import InputError, RowError
from schemas.records import Reason
from tests.support import buckets, web

ROWS = [{"prompt": "one?", "n": "1"}, {"prompt": "zwei,\n„drei“?", "n": None}, {"prompt": "four?", "n": "4"}]


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def arrow(rows, stream: bool) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with ipc.new_stream(sink, table.schema) if stream else ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def compressed(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


CSV = 'prompt,n\none?,1\n"zwei,\n„drei“?",\nfour?,4\n'.encode()
FORMS = {
    "r.jsonl": jsonl(ROWS), "r.ndjson": b"\xef\xbb\xbf" + jsonl(ROWS), "r.json": json.dumps(ROWS, indent=1).encode(),
    "bom.json": b"\xef\xbb\xbf\n " + json.dumps(ROWS).encode(), "lines.json": jsonl(ROWS),
    "r.csv": CSV, "bom.csv": b"\xef\xbb\xbf" + CSV, "crlf.csv": CSV.replace(b"4\n", b"4\r\n"), "r.tsv": CSV.replace(b",", b"\t").replace(b"zwei\t", b"zwei,"),
    "r.parquet": parquet(ROWS), "file.arrow": arrow(ROWS, False), "stream.arrow": arrow(ROWS, True), "r.feather": arrow(ROWS, False),
    "R.JSONL": jsonl(ROWS), "r.jsonl.gz": gzip.compress(jsonl(ROWS[:1])) + gzip.compress(jsonl(ROWS[1:])), "r.csv.bz2": bz2.compress(CSV),
    "r.json.zst": compressed(json.dumps(ROWS).encode(), "zstd"), "r.tsv.gz": gzip.compress(CSV.replace(b",", b"\t").replace(b"zwei\t", b"zwei,")),
}  # fmt: skip


def values(path, **how) -> list:
    return [row.values() for row in row_files.read(str(path), **how)]


@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    (tmp_path / name).write_bytes(FORMS[name])
    found = list(row_files.read(str(tmp_path / name), need="prompt"))
    assert [row.values() for row in found] == ROWS
    assert [row.place for row in found] == [f"{name}#{n}" for n in (1, 2, 3)]
    assert {row.folder for row in found} == {str(tmp_path)}
    assert values(f"{tmp_path / name}#2") == ROWS[:2]


def test_feather_with_compression_and_many_batches(tmp_path):
    feather.write_feather(
        pa.table({"prompt": [str(n) for n in range(500)]}), tmp_path / "r.feather", "zstd", chunksize=150
    )
    assert [row["prompt"] for row in values(tmp_path / "r.feather")] == [str(n) for n in range(500)]


def test_columns_that_nobody_wants_are_not_read(tmp_path):
    (tmp_path / "r.parquet").write_bytes(parquet([{"prompt": "?", "huge": "x" * 100, "image": "a"}]))
    few = Selection(lambda found: {"prompt", "image", "video"})
    assert values(tmp_path / "r.parquet", columns=few) == [{"prompt": "?", "image": "a"}]
    assert few.left == ("huge",)
    (tmp_path / "r.arrow").write_bytes(arrow([{"prompt": "?", "huge": "x" * 100}], True))
    assert values(tmp_path / "r.arrow", columns=few) == [{"prompt": "?"}]


def test_a_folder_is_its_files_of_rows_in_order(tmp_path):
    for name in (
        "b.csv",
        "a/z.jsonl",
        "c.parquet",
        "dataset_info.json",
        ".hidden/x.jsonl",
        "a/state.json",
        "readme.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(FORMS.get(f"r.{name.rpartition('.')[2]}", b"# Rows"))
    assert [row.place for row in row_files.read(str(tmp_path))][::3] == ["a/z.jsonl#1", "b.csv#1", "c.parquet#1"]


def troubles(path) -> list[tuple[str, Reason, str]]:
    found = []
    for row in row_files.read(str(path)):
        try:
            row.values()
        except RowError as error:
            found.append((row.place, error.reason, error.detail))
    return found


def test_a_bad_row_of_csv_is_named_and_the_rest_goes_on(tmp_path):
    (tmp_path / "r.csv").write_bytes(
        b'prompt,n\ngood?,1\nshort\n"x"y,2\nbad \xff,3\n\nlong,1,2\ngood?,2\n"never closed,1\nlost,2\n'
    )
    found = troubles(tmp_path / "r.csv")
    # an empty line is no row: good is 1, then four bad ones, good is 6, and the last quote swallows the end
    assert [(place, reason) for place, reason, _ in found] == [(f"r.csv#{n}", Reason.BAD_ROW) for n in (2, 3, 4, 5, 7)]
    assert "1 fields, but the header has 2" in found[0][2]
    assert "not UTF-8" in found[2][2]


def test_a_row_of_json_that_is_no_object_is_named(tmp_path):
    (tmp_path / "r.json").write_text('[{"prompt": 1.5}, [1], "x", {"prompt": 12345678901}]')
    assert [place for place, *_ in troubles(tmp_path / "r.json")] == ["r.json#2", "r.json#3"]
    good = [row.raw for row in row_files.read(str(tmp_path / "r.json")) if isinstance(row.raw, dict)]
    assert good == [{"prompt": 1.5}, {"prompt": 12345678901}]


def test_a_line_without_end_is_passed_over_in_flat_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "_LONGEST", 1 << 20)
    with gzip.open(tmp_path / "r.jsonl.gz", "wb", 1) as file:
        file.write(b'{"prompt": "a"}\n')
        for _ in range(64):
            file.write(b"x" * (1 << 20))
        file.write(b'\n{"prompt": "b"}')
    tracemalloc.start()
    assert [(place, reason) for place, reason, _ in troubles(tmp_path / "r.jsonl.gz")] == [
        ("r.jsonl.gz#2", Reason.TOO_LARGE)
    ]
    assert tracemalloc.get_traced_memory()[1] < 16 << 20  # of 64 MiB
    tracemalloc.stop()
    assert [row.place for row in row_files.read(str(tmp_path / "r.jsonl.gz"))][2] == "r.jsonl.gz#3"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("r.json", b'[{"prompt": 1}, {"pro', "broken after row 1"), ("r.json", b"<html>", "broken after row 0"), ("r.arrow", b"nothing", "as Arrow"),
        ("r.arrow", arrow(ROWS, False)[:-100], "as Arrow"), ("r.feather", b"FEA1....FEA1", "as Arrow"), ("r.parquet", b"PAR1PAR1", "as Parquet"),
        ("r.csv", b'"never closed', "as CSV"), ("r.jsonl.gz", b"not gzip", "as JSON Lines"),
        ("r.jsonl.gz", gzip.compress(jsonl(ROWS) * 1000)[:-20], "as JSON Lines"), ("r.csv", b"question\n?\n", "has no column prompt; it has question"),
        ("r.arrow", arrow(ROWS, True).replace(b"prompt", b"prom\xc3t"), "as Arrow"), ("r.parquet", parquet(ROWS).replace(b"prompt", b"prom\xc3t"), "as Parquet"),
        ("r.arrow", arrow([{"q": 1}], True), "no column prompt"), ("r.xml", b"", "convert"), ("r.parquet.gz", b"", "convert"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said) as raised:
        list(row_files.read(str(tmp_path / name), need="prompt"))
    assert "\n" not in str(raised.value)


def drawn(path, **how) -> list[str]:
    return [row["prompt"] for row in values(path, sample=Sampling(**how))]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_sample_is_drawn_by_content(tmp_path, form):
    def write(numbers):
        rows = [{"prompt": f"{n}?"} for n in numbers]
        data = {
            "jsonl": jsonl,
            "parquet": parquet,
            "csv": lambda rows: b"prompt\n" + b"".join(f"{r['prompt']}\n".encode() for r in rows),
        }[form](rows)
        (tmp_path / f"r.{form}").write_bytes(data)
        return tmp_path / f"r.{form}"

    path = write(range(1000))
    some = drawn(path, n=100, seed=3)
    share = drawn(path, share=0.1, seed=3)
    assert len(some) == 100
    assert some == sorted(some, key=lambda text: int(text[:-1]))  # in the order of the rows
    assert 70 < len(share) < 130  # mean 100, standard deviation 9.5
    assert drawn(path, n=100, seed=4) != some
    write(reversed(range(1000)))
    assert (drawn(path, n=100, seed=3), drawn(path, share=0.1, seed=3)) == (some[::-1], share[::-1])
    write(range(1100))
    assert set(share) <= set(drawn(path, share=0.1, seed=3))  # what was drawn stays drawn
    assert len(set(some) & set(drawn(path, n=100, seed=3))) > 75  # of 100 in 1,100, about 91 are of the first 1,000
    assert drawn(path, n=5000) == [f"{n}?" for n in range(1100)]


def test_a_sample_is_a_number_or_a_share():
    for wrong in ({}, {"n": 1, "share": 0.5}, {"share": 1.5}, {"n": 0}):
        with pytest.raises(ValidationError):
            Sampling(**wrong)


def test_rows_come_from_a_web_server_and_a_bucket(tmp_path):
    own = Limits(allow_private=("127.0.0.1",))
    with web.serving({"/d/r.parquet": web.in_turn(web.status(503), web.page(FORMS["r.parquet"]))}) as server:
        found = list(row_files.read(f"{server.url}/d/r.parquet?sig=hunter2#2", fetch=own))
        assert [(row.place, row.folder) for row in found] == [
            (f"r.parquet#{n}", f"{server.url}/d?sig=hunter2") for n in (1, 2)
        ]
        for path, said in {"/none.csv?sig=hunter2": "does not exist", "/d/": "convert"}.items():
            with pytest.raises(InputError, match=said) as raised:
                list(row_files.read(server.url + path, fetch=own))
            assert "hunter2" not in str(raised.value)
        with pytest.raises(InputError, match="allow_private"):
            list(row_files.read(f"{server.url}/d/r.parquet"))
    with buckets.serving("rows") as s3:
        for name in ("b.csv", "x/r.jsonl.gz", "r.parquet"):
            s3.pipe_file(f"rows/in/{name}", FORMS[f"r.{name.partition('.')[2]}"])
        assert [row.place for row in row_files.read("s3://rows/in")][::3] == [
            "b.csv#1",
            "r.parquet#1",
            "x/r.jsonl.gz#1",
        ]
        assert [row.folder for row in row_files.read("s3://rows/in/r.parquet")][:1] == ["s3://rows/in"]
        assert values("s3://rows/in/r.parquet") == ROWS
        for path, said in {
            "s3://rows/none.csv": "s3://rows/none.csv does not exist",
            "s3://nobucket/": "does not exist",
            "sftp://h/r.csv": "scheme",
        }.items():
            with pytest.raises(InputError, match=said):
                list(row_files.read(path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([name for name in FORMS if name != "R.JSONL"]), data=st.data())
def test_broken_bytes_are_rows_or_named_errors_and_nothing_else(tmp_path, name, data):
    """A file of each format, with some of its bytes replaced, removed or doubled."""
    whole = bytearray(FORMS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(0, len(whole) - 1)))
        end = data.draw(st.integers(start, min(len(whole), start + 20)))
        whole[start:end] = data.draw(st.binary(max_size=20)) + (bytes(whole[start:end]) * data.draw(st.integers(0, 2)))
    (tmp_path / name).write_bytes(whole)
    said = []
    try:
        for row in row_files.read(str(tmp_path / name)):
            try:
                row.values()
            except RowError as error:
                said.append(error.detail)
    except InputError as error:
        said.append(str(error))
    assert all("\n" not in line for line in said)


ROW, TWO = {"prompt": "q1"}, [{"prompt": "q1"}, {"prompt": "q2", "n": 1}]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (json.dumps(ROW), [ROW]),
        (json.dumps(ROW, indent=1), [ROW]),
        ("\ufeff\n" + json.dumps(ROW, indent=4) + "\n\n", [ROW]),
        ("\n".join(map(json.dumps, TWO)), TWO),  # lines
        ("\n\n".join(map(json.dumps, TWO)) + "\n", TWO),
        (json.dumps({"data": TWO}), TWO),
        (json.dumps({"data": TWO}, indent=1), TWO),
        (json.dumps({"version": "1.0", "train": TWO, "info": {"by": "me"}}), TWO),
        (json.dumps({"anything": TWO}), TWO),  # its only key
        ('{"data": [\n' + ",\n".join(map(json.dumps, TWO)) + "\n]}", TWO),
        (json.dumps({"messages": [{"role": "user", "content": "?"}]}), [{"messages": [{"role": "user", "content": "?"}]}]),
        (json.dumps({"id": 1, "data": {"prompt": "?"}, "annotations": []}), [{"id": 1, "data": {"prompt": "?"}, "annotations": []}]),
        (json.dumps({"prompt": "?", "items": [{"a": 1}]}), [{"prompt": "?", "items": [{"a": 1}]}]),  # a row with a list of objects
        (json.dumps({"data": []}), [{"data": []}]),
    ],
)  # fmt: skip
def test_a_json_file_that_begins_with_an_object(tmp_path, text, rows):
    (tmp_path / "r.json").write_text(text)
    found = list(row_files.read(str(tmp_path / "r.json")))
    assert [row.values() for row in found] == rows
    if "\n\n" not in text:
        assert [row.place for row in found] == [f"r.json#{i}" for i in range(1, len(rows) + 1)]


def test_a_broken_first_line_costs_only_itself(tmp_path):
    (tmp_path / "r.json").write_text('{"prompt": "q1\n{"prompt": "q2"}\n{"prompt": nope}\n{"prompt": "q3"}')
    rows = list(row_files.read(str(tmp_path / "r.json")))
    assert [row.place for row in rows] == ["r.json#1", "r.json#2", "r.json#3", "r.json#4"]
    assert rows[3].values() == {"prompt": "q3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n "prompt": "q1",\n "n": \n', "cannot read .*r.json as JSON .*write one object a line, or an array"),
        (json.dumps({"train": TWO, "test": TWO}), "it holds rows under train, test, so write each list to a file of its own"),
        (json.dumps({"a": {"prompt": "q1"}, "b": {"prompt": "q2"}}), "it holds a row under each of its names, so write the rows as an array"),
        (json.dumps({"prompt": ["q1", "q2"], "score": [1, 2]}), "it holds columns, so write each row as an object of its own"),
        (json.dumps({"prompt": {"0": "q1", "1": "q2"}, "score": {"0": 1, "1": 2}}), "it holds columns"),
        ('{\n "data": "' + "x" * (16 << 20) + '"}', "is one JSON object of more than 16 MiB; write its rows as lines, or as an array"),
    ],
)  # fmt: skip
def test_an_object_that_cannot_be_read_is_said_to_be_one(tmp_path, text, said):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match=said):
        list(row_files.read(str(tmp_path / "r.json")))


def test_nan_in_the_rows_of_an_object_costs_nothing_where_nobody_reads_it(tmp_path):
    (tmp_path / "r.json").write_text('{"data": [{"prompt": "q1", "score": NaN}]}')
    (row,) = row_files.read(str(tmp_path / "r.json"))
    assert row.values({"prompt"})["prompt"] == "q1"
    with pytest.raises(RowError, match="score is nan"):
        row.values({"score"})
