import time

import pytest

from annotators.judge import _parse
from annotators.rules.answers import final_answer
from annotators.split._list import list_items
from pipeline.make import rewrite
from schemas.records import Outcome
from schemas.thinking import without_thinking

TAGS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<Thought>", "</Thought>"), ("<REASONING>", "</REASONING>"),
    ("<reflection>", "</reflection>"), ("<seed:think>", "</seed:think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"), ("<|begin_of_thought|>", "<|end_of_thought|><|begin_of_solution|>"),
    ("<unused94>thought\n", "<unused95>"), ("<|channel>thought\n", "<channel|>"),
    ('<details type="reasoning" done="true" duration="3">', "</details>"), ("Here is my thought process:", "\n\nHere is my response:"),
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"), ("analysisWe ", "assistantfinal"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]  # fmt: skip


@pytest.mark.parametrize(("opens", "closes"), TAGS)
def test_a_thought_is_cut_and_an_unclosed_one_is_no_reply(opens, closes):
    assert without_thinking(f"{opens}\nperhaps [[1]]\n{closes}\n\n[[2]]") == "[[2]]"
    assert without_thinking(f"{opens}\nperhaps [[1]] {closes}") == ""
    assert without_thinking(f"{opens}\nperhaps [[1]], or") is None


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("perhaps [[1]]\n</think>\n\n[[2]]", "[[2]]"),  # the template opened it
        ("perhaps [[1]]◁/think▷[[2]]", "[[2]]"),
        ("<think>a</think>b</think>[[2]]", "[[2]]"),  # the second closing mark ends something, too
        ("So: <think>[[1]]?</think> [[2]]", "So:  [[2]]"),  # a thought between words
        ("<think>a</think>\n<think>b</think>\n[[2]]", "[[2]]"),
        ('<think>I close with "</think>" and [[1]]. No.</think>[[2]]', "[[2]]"),  # spoken of
        ("<think>The form is <think>...</think> and a verdict. [[1]]?</think>[[2]]", "[[2]]"),
        ("<think>I begin with <think> and then\njudge: [[1]]?</think>[[2]]", "[[2]]"),
        ("<think>The form is <think>...</think> and a verdict. Perhaps [[1]]", None),
        ("[[1]] It says <think> and", None),  # cannot be told from a thought
        ("Answer two holds `</think> [[2]]`. [[1]]", "Answer two holds `</think> [[2]]`. [[1]]"),  # what a judge quotes
        ('<think>It is 5" tall.</think>{"ratings": [4]}', '{"ratings": [4]}'),
        ("Sure.<|im_end|>", "Sure."),
        ("<|channel|>commentary<|message|>I call it<|end|>", None),
        ("<|channel|>final <|constrain|>json<|message|>{}<|return|>", "{}"),
        ("analysis of both: [[1]]", "analysis of both: [[1]]"),
        ("  no thought: a < b, <b>\n", "  no thought: a < b, <b>\n"),
        ("", ""),
    ],
)
def test_what_is_a_thought_and_what_is_not(text, reply):
    assert without_thinking(text) == reply


@pytest.mark.parametrize(
    "flood", ["<think>", "</think>", "<think>a\n", "<think></think>", '"', '"a', "`", "<|channel|>", "<|channel|>a", "<details type=\"reasoning\" ",
              "<|end|>", "analysisA", "assistantfinal", "◁think▷", "“"]
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_in_linear_time(flood):
    text = flood * (1_000_000 // len(flood))
    started = time.process_time()
    without_thinking(text)
    without_thinking("analysisA" + text)
    assert time.process_time() - started < 5


def test_a_draft_in_a_thought_is_nobodys_verdict():
    thought = 'At first [[1]], {"ratings": [1, 5]}, {"ranking": [1, 2]}, <<<a draft>>>, <answer>A</answer>.\n- a fact'
    for open_, close in TAGS:
        cut = f"{open_}{thought}"
        assert _parse.preference(f"{cut}{close}[[2]]") == (Outcome.VERDICT, -1)
        assert _parse.ratings(f'{cut}{close}{{"ratings": [4, 2]}}', ("ratings",), 2, 1, 5).value == {"ratings": (4, 2)}
        assert _parse.ranking(f'{cut}{close}{{"ranking": [2, 1]}}', 2).value == (1, 0)
        assert _parse.error_spans(f'{cut}{close}{{"faults": []}}', "a", (), 1).value == ()
        assert rewrite.parse(f"{cut}{close}<<<the answer>>>") == "the answer"
        assert list_items(f"{cut}{close}- another").value == ["another"]
        assert final_answer(f"{cut}{close}<answer>B</answer>") == ("B", True)
        assert _parse.preference(cut) == _parse.ranking(cut, 2) == (Outcome.UNPARSABLE, None)
        assert _parse.ratings(cut, ("ratings",), 2, 1, 5) == (Outcome.UNPARSABLE, None)
        assert rewrite.parse(cut) is None
        assert final_answer(cut) == (None, False)
        assert list_items(cut) == (Outcome.UNPARSABLE, None)
