import pytest

from schemas.prompts import fill, words_of

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
