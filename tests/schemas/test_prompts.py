import re
from pathlib import Path

import pytest

from schemas.prompts import NAME, fill, for_kind, words_of

TEMPLATE = 'About {question} (yes, {question}):\n<<<\n{answer}\n>>>\nJSON {"a": 1}.'


@pytest.mark.parametrize(
    "words",
    [
        {"question": "what ?", "answer": "a\ncup"},
        {"question": "", "answer": ""},
        {"question": "(.*)", "answer": "{question}"},
    ],
)
def test_the_words_of_a_filled_prompt_are_found_again(words):
    assert words_of(TEMPLATE, fill(TEMPLATE, **words)) == words


@pytest.mark.parametrize("text", ["", 'About what ? (yes, who ?):\n<<<\na cup\n>>>\nJSON {"a": 1}.', "another prompt"])
def test_a_text_that_another_prompt_made_has_no_words(text):
    assert words_of(TEMPLATE, text) is None


def test_a_prompt_without_names_has_no_words_but_may_be_the_one():
    assert words_of("say yes.", "say yes.") == {}
    assert words_of("say yes.", "say yes!") is None


BUNDLED = sorted(path for room in ("annotators", "pipeline") for path in Path(room).rglob("*.txt"))
OF_MEDIA = {"media.txt": "asked about samples with media only", "bad_prompt.txt": "asks to imagine what is shown"}


@pytest.mark.parametrize("path", [path for path in BUNDLED if path.name not in OF_MEDIA], ids=str)
def test_a_bundled_prompt_speaks_of_nothing_shown_where_nothing_is(path):
    text = path.read_text()
    assert for_kind(text, "image") == for_kind(text, "text", own="mine.txt") == text
    about_text = for_kind(text, "text")
    assert not re.search(
        r"pictures?\b|videos?\b|sounds?\b(?! true| as )|shown|\bse(?:e|en)\b|\bheard\b|\blook", about_text
    )
    assert NAME.findall(about_text) == NAME.findall(text)


def test_a_bundled_prompt_about_a_text_is_plain_english():
    assert for_kind("Mark every statement that does not agree with what is shown.", "text") == (
        "Mark every statement that does not agree with the facts and any text in the question."
    )
    assert for_kind("Look at what is shown and replace each [MASK]", "text") == "Replace each [MASK]"
