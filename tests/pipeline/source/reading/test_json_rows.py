import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source.reading import bounds, json_rows
from schemas.errors import RowError
from schemas.records import Reason

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e6, 1e6) | st.text(st.sampled_from('ab"\\{}[],: é☕'), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('a"\\{,]'), max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def items(data: bytes, chunk: int = 1 << 18) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        return list(json_rows.Items(io.BytesIO(data)))


def parsed(found: list) -> list:
    """Items that stand as in the file, as what they are."""
    return [json.loads(one) if isinstance(one, bytes) else one for one in found]


@given(st.lists(VALUES, max_size=5), st.sampled_from([1, 2, 3, 7, 1 << 18]), st.sampled_from([None, 1]), st.booleans())
def test_an_array_is_cut_into_its_items_wherever_the_chunks_end(values, chunk, indent, plain):
    data = json.dumps(values, indent=indent, ensure_ascii=plain).encode()
    assert parsed(items(b" \n" + data + b"\n ", chunk)) == values


def test_what_is_not_json_costs_its_item():
    good, bad = (
        {"a": 1, "b": {"c": "}"}},
        [
            b'{"a": NaN}',
            b'{"a" 1}',
            b'{"a": "\\ud800"}',
            b"[" * 5000 + b"]" * 5000,
            b"",
            b"x y",
            b'{"a": %s}' % (b"9" * 30),
        ],
    )
    for one in bad:
        data = b"[%s, %s ,\n%s]" % (json.dumps(good).encode(), one, json.dumps(good).encode())
        first, second, third = items(data)
        assert (parsed([first, third]), second) == ([good, good], one)
        with pytest.raises(RowError) as raised:
            json_rows.parse(one)
        assert raised.value.reason == Reason.BAD_ROW


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"<html>", b"[", b"[1", b"[1,", b'["a', b'["a\\', b"[1]x", b"[1][2]", b"[1}", b"[[1]", b'{"a": 1}'],
)
def test_an_array_without_begin_or_end_is_an_error(data):
    with pytest.raises(EOFError):
        items(data)


def test_an_item_beyond_the_bound_is_passed_over(monkeypatch):
    monkeypatch.setattr(bounds, "LONGEST", 1000)
    found = items(b'[{"a": 1}, {"a": "%s"}, %s, {"a": 2}]' % (b"x" * 5000, b"[" * 2000 + b"]" * 2000), 64)
    assert [getattr(one, "reason", one) for one in parsed(found)] == [
        {"a": 1},
        Reason.TOO_LARGE,
        Reason.TOO_LARGE,
        {"a": 2},
    ]
    assert [getattr(one, "reason", one) for one in items(b'["%s"]' % (b"x" * 5000), 64)] == [Reason.TOO_LARGE]


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'{"a": 1, "score": NaN}', "score is nan"), (b'{"b": {"c": -Infinity}}', "c is -inf"), (b'{"a": 1e400}', "a is inf"), (b'{"a": "\\udfff"}', "a contains an unpaired surrogate"),
     (b'{"n": 123456789012345678901234567890}', "n is an integer beyond 64 bits"), (b"[1]", "the line is list"), (b"{", "not valid JSON")],
)  # fmt: skip
def test_a_row_that_is_refused_names_its_column(line, said):
    with pytest.raises(RowError, match=said):
        json_rows.parse(line, "line")


def test_numbers_of_64_bits_and_large_floats_are_good():
    assert (
        json_rows.parse(
            b'{"a": 18446744073709551615, "b": -9223372036854775808, "c": 1e30, "d": 123456789012345678901234.5}'
        )["c"]
        == 1e30
    )


def test_a_row_is_bounded_by_its_text_and_its_values_and_not_by_media(monkeypatch):
    text = "x" * (bounds.TEXT + 1)
    for row, reason in (
        ({"prompt": text}, Reason.TOO_LARGE), ({"a": [{"b": text[:200_000]}, {"c": text[:200_000]}]}, Reason.TOO_LARGE),
        ({"prompt": "☕" * (bounds.TEXT // 2)}, Reason.TOO_LARGE), ({"prompt": text[:-1]}, None),
        ({"prompt": "?", "image": f"data:image/png;base64,{text}"}, None), ({"images": [text]}, None),
        ({"x": [[]] * 1_100_000}, Reason.TOO_LARGE), ({"x": list(range(500_000))}, None),
    ):  # fmt: skip
        data = json.dumps(row).encode()
        if reason is None:
            assert json_rows.parse(data) == row
        else:
            with pytest.raises(RowError) as raised:
                json_rows.parse(data)
            assert raised.value.reason == reason


def test_many_arrays_of_random_bytes_are_items_or_an_error():
    dice = random.Random(3)
    for _ in range(2000):
        data = b"[" + bytes(dice.choices(b'{}[]",\\: 1a\n', k=dice.randrange(40)))
        try:
            found = items(data, dice.choice([1, 5, 100]))
        except EOFError:
            continue
        assert all(isinstance(one, bytes | dict) for one in found)
