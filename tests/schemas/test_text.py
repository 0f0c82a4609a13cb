import time

import pytest

from schemas.text import did_you_mean, error_line, first_line, longer, same_text, sentences, text_key


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


@pytest.mark.parametrize("other", ["a dog", " a dog\n", "a\n\tdog", "a\u3000dog", "a\r\ndog\u00a0"])
def test_texts_are_the_same_if_they_differ_in_white_space_only(other):
    assert same_text("a dog", other)
    assert text_key(other) == "a dog"


@pytest.mark.parametrize("other", ["adog", "a dog.", "A dog", "a\u200bdog", ""])
def test_texts_with_other_words_are_others(other):
    assert not same_text("a dog", other)


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


def test_the_first_line_is_the_first_that_says_something():
    assert first_line(" \n\n  what went wrong\nand where") == "what went wrong"
    assert first_line("") == first_line(" \n") == ""


@pytest.mark.parametrize(
    ("error", "line", "named"),
    [
        (ValueError("\n no such file \nTraceback"), "no such file", "ValueError: no such file"),
        (ValueError(), "ValueError", "ValueError"),
        (OSError(" \n"), "OSError", "OSError"),
        (RuntimeError("a" * 301), "a" * 300, "RuntimeError: " + "a" * 300),
    ],
)
def test_what_a_library_says_is_one_line_and_its_class_where_it_says_nothing(error, line, named):
    assert error_line(error) == line
    assert error_line(error, named=True) == named


def test_an_unknown_word_is_answered_with_the_closest_known_one_and_all_of_them():
    assert did_you_mean("clams", ["score", "claims"]) == "did you mean 'claims'? available: claims, score"
    assert did_you_mean("xyz", ["score", "claims"]) == "available: claims, score"
    assert did_you_mean("claims", []) == "available: none"
