import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter import licence
from tests.support.rows import context, rows_of


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("cc-by-4.0", "cc-by-4.0"),
        ("CC_BY_SA_3.0", "cc-by-sa-3.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/2.0/deed.en", "cc-by-nc-sa-2.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
        ("Creative Commons Attribution-NonCommercial 4.0 International License", "cc-by-nc-4.0"),
        ("CC0", "cc0-1.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("apache-2.0", "apache-2.0"),
        ("The MIT License (MIT)", "mit"),
        ("GPLv3", "gpl-3.0"),
        ("LGPL v2.1", "lgpl-2.1"),
        ("BSD 3-Clause", "bsd-3-clause"),
        ("my own", "my-own"),
    ],
)
def test_names_are_written_as_spdx_writes_them(said, name):
    assert licence.normal(said) == name
    assert licence.normal(name) == name


def test_offers_are_told_apart():
    assert licence.alternatives("MIT OR Apache-2.0") == [["mit"], ["apache-2.0"]]
    assert licence.alternatives("(MIT AND CC-BY-4.0)") == [["mit", "cc-by-4.0"]]
    assert licence.alternatives("mit, cc-by-4.0") == [["mit", "cc-by-4.0"]]
    assert licence.alternatives("GPL-3.0 or later") == [["gpl-3.0-or-later"]]


def stays(said: str | None, **settings) -> bool:
    out = licence.keep(rows_of([], licence=said, source="rows.jsonl#3"), licence.Settings(**settings), context())
    for row in out:
        assert (row.table, row.reason) == ("samples", "licence")
        assert row.detail.startswith("rows.jsonl#3: ")
    return not out


def test_refusing_goes_before_allowing():
    free = {"allow": ("CC BY*", "mit"), "refuse": ("*-nc*",)}
    assert stays("CC-BY-SA-4.0", **free)
    assert not stays("CC BY-NC 4.0", **free)
    assert not stays("apache-2.0", **free)
    assert stays("cc-by-nc-4.0 OR MIT", **free)  # one of the offers is enough
    assert not stays("cc-by-nc-4.0 AND MIT", **free)  # both hold
    assert stays("apache-2.0", refuse=("*-nc*",))


@pytest.mark.parametrize("said", [None, "", "unknown", "Other"])
def test_no_licence_is_refused_unless_it_is_said_otherwise(said):
    assert not stays(said, allow=("*",))
    assert stays(said, allow=("mit",), unknown="allow")


def test_one_list_must_be_given():
    with pytest.raises(ValueError, match="list of licences"):
        licence.Settings()


@given(st.text(max_size=60))
def test_any_text_has_a_name_that_stays_the_same(said):
    assert licence.normal(licence.normal(said)) == licence.normal(said)
    assert licence.alternatives(said)
