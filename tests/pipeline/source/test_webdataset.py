import bz2
import gzip
import json
import lzma
import tarfile
import tracemalloc

import pytest
import webdataset

from pipeline.source import webdataset as shards
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Media, Reason, Rejection, Sample
from tests.support import buckets, web
from tests.support import media_files as make
from tests.support.tars import header, special, tar

CAT, DOG, BARK = make.jpeg(1), make.png(2), make.wav()


def read(path, tmp_path, **settings):
    context = Context(step="in", version="", media=FolderStore(tmp_path / "store"))
    return list(shards.read(shards.Settings(path=str(path), **settings), context))


def samples(found) -> list[Sample]:
    return [row for row in found if isinstance(row, Sample)]


def rejected(found) -> list[tuple[str, Reason]]:
    return [(row.id, row.reason) for row in found if isinstance(row, Rejection)]


def said(sample: Sample) -> str:
    return sample.prompt[-1].parts[-1].text


def test_what_webdataset_writes_is_read(tmp_path):
    with webdataset.ShardWriter(str(tmp_path / "s-%03d.tar"), maxcount=2, verbose=0) as sink:
        for n in range(3):
            sink.write(
                {
                    "__key__": f"a/{n}",
                    "jpg": make.jpeg(n),
                    "txt": f"What is {n}?",
                    "json": {"answer": n, "id": f"no{n}"},
                    "npy": b"\x93",
                }
            )
    found = read(tmp_path / "s-{000..001}.tar", tmp_path, licence="CC0")
    assert [said(s) for s in samples(found)] == ["What is 0?", "What is 1?", "What is 2?"]
    assert [(s.answer, s.licence, s.source) for s in samples(found)] == [
        ("0", "CC0", "s-000.tar#no0"), ("1", "CC0", "s-000.tar#no1"), ("2", "CC0", "s-001.tar#no2"),
    ]  # fmt: skip
    assert [row.source for row in found if isinstance(row, Media)] == ["a/0.jpg", "a/1.jpg", "a/2.jpg"]
    assert read(tmp_path, tmp_path, licence="CC0") == found  # the folder of the shards


def test_a_prompt_of_the_recipe_makes_captions_references(tmp_path):
    own = json.dumps({"question": "Who?", "reference": "A dog."}).encode()
    (tmp_path / "s.tar").write_bytes(
        tar(
            ("1.0.jpg", CAT),
            ("1.1.png", DOG),
            ("1.txt", b"Two animals. \n"),
            ("2.png", DOG),
            ("2.json", own),
            ("2.txt", b"ignored"),
            ("3.wav", BARK),
        )
    )
    found = samples(read(tmp_path / "s.tar", tmp_path, prompt="What?", columns={"prompt": "question"}))
    assert [(s.kind, said(s), s.reference) for s in found] == [
        ("multi_image", "What?", "Two animals."), ("image", "Who?", "A dog."), ("audio", "What?", None),
    ]  # fmt: skip
    assert found[0].source == "s.tar#1"
    assert rejected(read(tmp_path / "s.tar", tmp_path)) == [("s.tar#3", Reason.EMPTY_PROMPT)]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".tar.gz", gzip.compress), (".tgz", gzip.compress), (".tar.bz2", bz2.compress), (".tar.xz", lzma.compress)],
)
def test_compressed_shards(tmp_path, suffix, pack):
    (tmp_path / f"s{suffix}").write_bytes(pack(tar(("1.jpg", CAT), ("1.txt", b"?"))))
    assert len(samples(read(tmp_path, tmp_path))) == 1


GOOD = ("9.jpg", CAT), ("9.txt", b"?")
HOSTILE = {
    "traversal": ([("../../etc/cron.d/1.jpg", CAT)], "s.tar#../../etc/cron.d/1", Reason.UNSAFE),
    "hidden traversal": ([("a/../../1.jpg", CAT)], "s.tar#../1", Reason.UNSAFE),
    "absolute": ([("/etc/1.jpg", CAT)], "s.tar#/etc/1", Reason.UNSAFE),
    "symbolic link": ([special("1.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("1.txt", b"?")], "s.tar#1", Reason.UNSAFE),
    "hard link": ([("1.txt", b"?"), special("1.jpg", tarfile.LNKTYPE, "/etc/passwd")], "s.tar#1", Reason.UNSAFE),
    "device": ([special("1.jpg", tarfile.CHRTYPE)], "s.tar#1", Reason.UNSAFE),
    "block device": ([special("1.jpg", tarfile.BLKTYPE)], "s.tar#1", Reason.UNSAFE),
    "pipe": ([special("1.jpg", tarfile.FIFOTYPE)], "s.tar#1", Reason.UNSAFE),
    "too large": ([("1.jpg", CAT * 40), ("1.txt", b"?")], "s.tar#1", Reason.TOO_LARGE),
    "too large together": ([("1.0.jpg", CAT * 20), ("1.1.jpg", CAT * 20)], "s.tar#1", Reason.TOO_LARGE),
    "no picture": ([("1.jpg", b"MZ\x90"), ("1.txt", b"?")], "s.tar#1", Reason.UNSUPPORTED_MEDIA),
    "an empty picture": ([("1.jpg", b""), ("1.txt", b"?")], "s.tar#1", Reason.EMPTY_MEDIA),
    "a cut picture": ([("1.jpg", CAT[:-200]), ("1.txt", b"?")], "s.tar#1", Reason.UNDECODABLE),
    "twice": ([("1.jpg", CAT), ("1.jpg", DOG)], "s.tar#1", Reason.BAD_ROW),
    "no UTF-8": ([("1.jpg", CAT), ("1.txt", b"\xff\xfe")], "s.tar#1", Reason.BAD_ROW),
    "no JSON": ([("1.jpg", CAT), ("1.json", b"{")], "s.tar#1", Reason.BAD_ROW),
    "no object": ([("1.jpg", CAT), ("1.json", b"[]")], "s.tar#1", Reason.BAD_ROW),
    "a name of two lines": ([("a\nb.jpg", CAT), ("a\nb.txt", b"?")], "s.tar#a\\nb", Reason.BAD_ROW),
    "a name that is no text": ([("\udcff.jpg", CAT)], "s.tar#\\udcff", Reason.BAD_ROW),
    "a long name": ([("x" * 5000 + ".jpg", CAT)], "s.tar#" + "x" * 5000, Reason.BAD_ROW),
    "nothing to ask": ([("1.jpg", CAT)], "s.tar#1", Reason.EMPTY_PROMPT),
    "a local file": ([("1.json", b'{"prompt": "?", "image": "/etc/passwd", "images": ["/etc/passwd"]}')], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_one_rejection_and_the_rest_goes_on(tmp_path, name):
    members, place, reason = HOSTILE[name]
    (tmp_path / "s.tar").write_bytes(tar(("0.jpg", CAT), ("0.txt", b"!"), *members, *GOOD, form=tarfile.GNU_FORMAT))
    found = read(tmp_path / "s.tar", tmp_path, fetch={"max_bytes": 30 * len(CAT)})
    assert [said(s) for s in samples(found)] == ["!", "?", "?"] if place is None else ["!", "?"]
    assert rejected(found) == ([] if place is None else [(place, reason)])
    assert not [m for m in found if isinstance(m, Media) and m.source not in ("0.jpg", "9.jpg")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.tar"]  # nothing was unpacked


BROKEN = {
    "cut in a member": lambda whole: whole[: 512 * 5 + 100],
    "cut in a header": lambda whole: whole[: 512 * (2 + len(CAT) // 512 + 1 + 1) + 100],
    "no tar": lambda whole: b"PK\3\4" + whole[4:],
    "garbage between": lambda whole: whole[: 512 * (1 + -(-len(CAT) // 512) + 2)] + b"\xee" * 1024 + whole,
    "an endless long name": lambda whole: header("@LongLink", tarfile.GNUTYPE_LONGNAME, 8 << 30) + whole,
    "an endless extended header": lambda whole: header("x", tarfile.XHDTYPE, 8 << 30) + whole,
    "an absurd size": lambda whole: header("1.jpg", tarfile.REGTYPE, 1 << 60) + whole,
    "a negative size": lambda whole: header("1.jpg", tarfile.REGTYPE, -512) + whole,
    "gzip that breaks": lambda whole: gzip.compress(whole)[:1000],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_shard_is_named_and_the_next_one_is_read(tmp_path, name):
    whole = tar(("0.jpg", CAT), ("0.txt", b"!"), *GOOD)
    (tmp_path / "a.tar").write_bytes(BROKEN[name](whole))
    (tmp_path / "b.tar").write_bytes(tar(*GOOD))
    tracemalloc.start()
    found = read(tmp_path, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    *_, last = samples(found)
    assert last.source == "b.tar#9"
    assert [(where.partition("#")[0], reason) for where, reason in rejected(found)] == [("a.tar", Reason.UNDECODABLE)]


def test_a_tar_bomb_stays_small_in_memory(tmp_path):
    """A thousandth of what it unpacks to, and refused by what its header says."""
    info = tarfile.TarInfo("1.jpg")
    info.size = 256 << 20
    with gzip.open(tmp_path / "s.tar.gz", "wb", 1) as file:
        file.write(info.tobuf())
        for _ in range(256):
            file.write(bytes(1 << 20))
        file.write(tar(*GOOD))
    tracemalloc.start()
    found = read(tmp_path, tmp_path, fetch={"max_bytes": 1 << 20})
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert rejected(found) == [("s.tar.gz#1", Reason.TOO_LARGE)]
    assert len(samples(found)) == 1


def test_many_samples_in_flat_memory(tmp_path):
    (tmp_path / "s.tar").write_bytes(
        tar(*(m for n in range(3000) for m in ((f"{n}.txt", b"%d?" % n), (f"{n}.npy", bytes(2000)))))
    )
    context = Context(step="in", version="", media=FolderStore(tmp_path / "store"))
    tracemalloc.start()
    count = sum(isinstance(row, Sample) for row in shards.read(shards.Settings(path=str(tmp_path / "s.tar")), context))
    assert count == 3000
    assert tracemalloc.get_traced_memory()[1] < 3 << 20  # 7.6 MB are in the file
    tracemalloc.stop()


def test_one_sample_is_held_at_a_time(tmp_path):
    sound = make.wav(seconds=60)  # 1.9 MB
    (tmp_path / "s.tar").write_bytes(
        tar(*(m for n in range(12) for m in ((f"{n}.wav", sound), (f"{n}.txt", b"%d?" % n))))
    )
    read(tmp_path, tmp_path, limit=1)  # imports
    tracemalloc.start()
    assert len(samples(read(tmp_path, tmp_path))) == 12
    assert tracemalloc.get_traced_memory()[1] < 6 * len(
        sound
    )  # its bytes, once more in the store, and what decodes them
    tracemalloc.stop()


def test_shards_lie_at_urls(tmp_path):
    data = tar(*GOOD)
    with buckets.serving("sets") as s3:
        for n in range(2):
            s3.pipe_file(f"sets/cats/s-{n}.tar", data)
        assert [s.source for s in samples(read("s3://sets/cats", tmp_path))] == ["s-0.tar#9", "s-1.tar#9"]
        assert [s.source for s in samples(read("s3://sets/cats/s-{0..1}.tar", tmp_path))] == ["s-0.tar#9", "s-1.tar#9"]
        with pytest.raises(InputError, match="does not exist"):
            read("s3://sets/dogs", tmp_path)
    with web.serving({"/s.tar": web.page(data)}) as server:
        assert len(samples(read(f"{server.url}/s.tar", tmp_path, fetch={"allow_private": ["127.0.0.1"]}))) == 1


def test_what_is_not_there_is_an_input_error(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, line in {
        "none.tar": "does not exist",
        "empty": "is not a tar file, or a folder with one",
        "s-{0.tar": "brace",
    }.items():
        with pytest.raises(InputError, match=line):
            read(tmp_path / path, tmp_path)


def test_what_else_a_sample_holds_is_counted_or_refused(tmp_path):
    members = [("1.jpg", CAT), ("1.json", b'{"prompt": "<image> What?", "score": 0.5, "system": "Be short."}'),
               ("2.jpg", CAT), ("2.json", b'{"prompt": "What?", "history": [["Hi", "Ho"]]}')]  # fmt: skip
    (tmp_path / "s.tar").write_bytes(tar(*members))
    notes: dict = {}
    context = Context(step="in", version="", media=FolderStore(tmp_path / "store"), unread=notes)
    found = list(shards.read(shards.Settings(path=str(tmp_path / "s.tar")), context))
    (sample,) = samples(found)
    assert [part.text or part.type for message in sample.prompt for part in message.parts] == [
        "Be short.",
        "image",
        " What?",
    ]
    assert rejected(found) == [("s.tar#2", Reason.NOT_READ)]
    assert notes == {"s.tar": {"score": 1, "history": 1}}
