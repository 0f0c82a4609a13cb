import time

import pytest

from schemas.text import longer, sentences


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("One cup. It is red!  Is it?", ["One cup. ", "It is red!  ", "Is it?"]),
        ('He said "no." Then he left', ['He said "no." ', "Then he left"]),
        ("一つ。二つ", ["一つ。", "二つ"]),
        ("no end", ["no end"]),
        ("...", ["..."]),
        ("", []),
        (" \n", []),
    ],
)
def test_a_text_is_cut_into_its_sentences(text, cut):
    assert sentences(text) == cut


def test_long_texts_cost_no_time():
    started = time.process_time()
    for text in ("." * 100_000, "a" * 100_000, "." + " " * 100_000, "a. " * 30_000):
        assert sum(map(len, sentences(text))) <= len(text)
    assert time.process_time() - started < 5


def test_the_longer_has_more_words():
    assert longer("a red cup", "a cup") == 1
    assert longer("cup", "a  cup\n") == -1
    assert longer("a red cup", "one two threeeeee") == 0
    assert longer("", " ") == 0
