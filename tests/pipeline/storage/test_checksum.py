import json
import random

import pytest

from pipeline.storage import checksum
from schemas.errors import DamageError


def test_every_kind_of_damage_of_a_file_is_named(tmp_path):
    for name in "abcde":
        (tmp_path / name).write_bytes(name.encode() * 10)
    files = checksum.file_checksums(tmp_path, "abcde")
    assert list(checksum.find_damage(tmp_path, files)) == []
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "c").write_bytes(b"c" * 9 + b"d")
    (tmp_path / "d").unlink()
    (tmp_path / "d").mkdir()
    assert [said.split()[0] for said in checksum.find_damage(tmp_path, files)] == list("abcd")
    assert [said.split()[0] for said in checksum.find_damage(tmp_path, {k: files[k] for k in "abce"}, quick=True)] == [
        "a",
        "b",
    ]


def test_a_sealed_object_comes_back_and_no_flipped_bit_changes_what_it_says():
    value = {"b": [1, 2.5, None, "ü"], "a": {"x": "y"}}
    text = checksum.to_checked_json(value).encode()
    assert checksum.from_checked_json(text) == value
    rng = random.Random(1)
    for _ in range(500):
        flipped = bytearray(text)
        flipped[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        try:
            found = checksum.from_checked_json(bytes(flipped))
        except DamageError:
            continue
        assert {k: v for k, v in found.items() if k in value} == value  # a space, or the name of the checksum itself


def test_an_object_of_an_older_version_has_no_checksum_and_is_taken():
    assert checksum.from_checked_json(json.dumps({"a": 1}).encode()) == {"a": 1}


@pytest.mark.parametrize("text", [b"", b" \n", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_damage(text):
    with pytest.raises(DamageError):
        checksum.from_checked_json(text)


def test_a_closed_value_is_opened_with_its_own_key_only_and_no_flipped_bit_gets_through():
    data = checksum.append_checksum(b'["g",[["red",1,"stop"]],3]', b"key")
    assert checksum.strip_checksum(data, b"key") == b'["g",[["red",1,"stop"]],3]'
    assert json.loads(data) == ["g", [["red", 1, "stop"]], 3]  # as an older version reads it
    assert checksum.strip_checksum(data, b"other") is None
    assert checksum.strip_checksum(b'["an older one"]', b"key") == b'["an older one"]'
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert checksum.strip_checksum(bytes(flipped), b"key") is None
