import itertools

import pytest

from schemas.markdown import LONGEST, block, plain
from tests.support.plants import HARMLESS, PLANTS, RENDERERS, assert_only_text, text_of


@pytest.mark.parametrize("text", PLANTS)
def test_a_text_is_shown_and_never_read(text):
    page = f"# {plain(text)}\n\n{plain(text)}\n\n1. {plain(text)}\n\n| a | b |\n| --- | --- |\n| {plain(text)} | c |\n| {plain(text)} | {plain(text)} |\n"
    assert_only_text(page, plain(text))


def test_two_texts_in_a_line_do_not_make_up_markdown_together():
    for first, second in itertools.product(PLANTS, repeat=2):
        page = f"| a | b |\n| --- | --- |\n| {plain(first)} | {plain(second)} |\n\n{plain(first)}, {plain(second)}"
        assert_only_text(page, "")


@pytest.mark.parametrize("text", HARMLESS)
def test_plain_words_stay(text):
    assert plain(text) == text


def test_a_reader_sees_the_text():
    assert text_of(plain("a  <b>\n`c` \\ d")).strip() == "a <b> `c` \\ d"
    assert text_of(plain("` x `")).strip() == "` x `"
    assert plain("a|b") == "`a¦b`"
    assert len(plain("x" * 5000)) == LONGEST
    assert plain(" \n ") == plain("") == ""


@pytest.mark.parametrize("text", PLANTS)
def test_a_block_ends_where_its_text_does(text):
    for body in (f"a\n{text}\nb\n", f"{text}\n"):
        tokens = RENDERERS["commonmark"].parse(block(body, "yaml") + "\n\nend")
        assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
