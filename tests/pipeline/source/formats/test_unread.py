"""What a format says that it reads is what it reads; the rest is counted by name, or rejects the row."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.source.formats import turns, unread
from pipeline.source.formats.registry import FORMATS, detect
from schemas.errors import RowError
from schemas.records import Reason
from tests.pipeline.source.formats import (
    test_argilla,
    test_label_studio,
    test_llama_factory,
    test_mllm_judge,
    test_ms_swift,
    test_pairwright,
    test_pick_a_pic,
    test_rlhf_v,
    test_ultrafeedback,
    test_vlfeedback,
)
from tests.pipeline.source.formats.test_registry import GOOD

SLIP = test_label_studio.slip(test_label_studio.pairwise("left"), test_label_studio.choice("tie"))
WORDS = ("body", "text", "title", "html")
MORE = {
    # the answers of a task under every name, an item's words under every key, and the other names of a prompt
    "label_studio": [
        {"id": 1, "data": {"instruction": "?", **dict.fromkeys(names, "x")}, "annotations": [], "predictions": []}
        for names in (("text1", "text2"), ("left", "right"), ("chosen", "rejected"), ("response1", "response2"), ("answer_a", "answer_b"), ("response_a", "response_b"), ("response_left", "response_right"), ("answer",), ("response",),
                      ("completion",))
    ] + [{"id": 1, "data": {"question": "?", name: [{"id": "a", word: "x", "model": "m"} for word in WORDS]}, "annotations": []}
         for name in ("answers", "responses", "items", "candidates")
    ] + [test_label_studio.task(SLIP | {"completed_by": {"id": 3}}) | {"predictions": [SLIP | {"model_version": "m"}]}],
    "ultrafeedback": [
        {**{k: v for k, v in test_ultrafeedback.ROW.items() if not k.startswith("score")}, better: 2.0, worse: 1.0}
        for better, worse in (("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"), ("chosen_avg_rating", "rejected_avg_rating"))
    ],
    "vlfeedback": [test_vlfeedback.ROW],
    "pairwright": [test_pairwright.ROW | {"chosen_spans": [{"start": 0, "end": 1}], "rejected_spans": [{"start": 0, "end": 1}]}],
    "argilla": [test_argilla.MIX],
    "rlhf_v": [{**test_rlhf_v.ROW, "image": None, "origin_dataset": None, "text": test_rlhf_v.SAID}],
    "pick_a_pic": [{**test_pick_a_pic.ROW, "jpg_0": None, "jpg_1": None}],
    "llama_factory": [{"instruction": "?", "output": "x", "kto_tag": True}, test_llama_factory.V1],
    "mllm_judge": [{**{k: v for k, v in test_mllm_judge.SCORE.items() if k != "human"}, "Human_answer": 3}],
    "ms_swift": [{name: [dict.fromkeys(("user", "human", "assistant", "gpt", "bot"), "x")]} for name in ("messages", "conversation", "conversations")]
    + [{"instruction": "?", "input": "?", "output": "x"}, test_ms_swift.GROUNDED, {"query": "?", "response": "x", "history": []}],
}  # fmt: skip


class Recorded(dict):
    """A row that notes in `seen` the names of what is read from it, at any depth."""

    def __init__(self, row, seen, at=""):
        super().__init__({key: wrapped(value, seen, f"{at}{key}") for key, value in row.items()})
        self.seen, self.at = seen, at

    def get(self, key, default=None):
        self.seen.add(f"{self.at}{key}")
        return super().get(key, default)

    def __getitem__(self, key):
        self.seen.add(f"{self.at}{key}")
        return super().__getitem__(key)

    def items(self):
        return [(key, self[key]) for key in self]


def wrapped(value, seen, at):
    if isinstance(value, dict):
        return Recorded(value, seen, f"{at}.")
    return [wrapped(inner, seen, at) for inner in value] if isinstance(value, list) else value


def declared(name: str, reads: unread.Tree) -> bool:
    for key in name.split("."):
        if not reads:  # read whole
            return True
        if (reads := reads.get(key, reads.get("*"))) is None:
            return False
    return True


def seen_by(name: str) -> set[str]:
    seen: set[str] = set()
    for row in [*GOOD[name], *MORE.get(name, ())]:
        FORMATS[name].read(Recorded(row, seen))
    return seen


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_reads_nothing_but_what_it_says(name):
    reads = unread.tree(FORMATS[name].READS)
    assert [found for found in sorted(seen_by(name)) if not declared(found, reads)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_reads_all_that_it_says(name):
    seen = seen_by(name)
    above = {".".join(found.split(".")[:n]) for found in seen for n in range(1, found.count(".") + 2)}
    assert [
        name
        for name in FORMATS[name].READS
        if name.removesuffix("[]") not in above and not ("*" in name and fits(name, seen))
    ] == []


def fits(name: str, seen: set[str]) -> bool:
    keys = name.split(".")
    return any(
        len(keys) == len(found) and all(a in ("*", b) for a, b in zip(keys, found, strict=True))
        for found in (one.split(".") for one in seen)
    )


def test_the_keys_of_messages_are_those_that_turns_reads():
    seen: set[str] = set()
    parts = [{"type": "text", "text": "?"}, {"type": "image"}, {"type": "video"}, {"type": "audio"}]
    said = [{"role": "user", "content": parts}, {"from": "human", "value": parts}]
    turns.turns(wrapped(said, seen, ""), "prompt")
    assert {name.removeprefix(".") for name in seen} - {"content", "value"} == set(unread.MESSAGE)


READS = unread.tree(("prompt[]", "chosen", "completions.model", "completions.annotations.*.Rating", "image"))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prompt": "?", "chosen": "x", "image": {"bytes": b"", "path": "a"}}, []),
        ({"prompt": "?", "tags": [1], "score": 0, "n": 0.5}, ["tags", "score", "n"]),
        ({"tools": None, "a": "", "b": [], "c": {}, "d": False, "e": "[]", "f": "null"}, []),
        ({"tools": float("nan"), "a": {"name": None, "parts": [None, {"x": ""}]}, "b": b""}, []),  # as pandas and `datasets` write nothing
        ({"prompt": [{"role": "user", "content": "?", "weight": 1}]}, ["prompt.weight"]),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "?", "cache": 1}]}]}, ["prompt.content.cache"]),
        ({"completions": {"model": ["m"], "seed": [1]}}, ["completions.seed"]),  # an object of lists
        ({"completions": [{"annotations": {"Any": {"Rating": 1, "Extra": 2}}}]}, ["completions.annotations.Any.Extra"]),
        ({"x" * 100: 1, "a\nb": 1}, ["x" * 60, "a\\nb"]),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(row, found):
    assert list(unread.names(row, READS)) == found


@pytest.mark.parametrize(
    "name",
    ["system", "tools", "Tools", "toolChoice", "available_tools", "tool_definitions", "function_calls", "chosen_cot", "chosen-thinking", "history", "thinking", "objects", "chosen.tool_calls", "prompt.reasoning_content",
     "messages.thought", "prompt.images",
     "conversation.tool", "chosen.refusal", "prompt.function", "rejected_images", "rejected_messages", "rejected_tools", "chosen_response"],
)  # fmt: skip
def test_what_would_change_the_row_is_refused_by_its_name(name):
    with pytest.raises(RowError, match=f"tags|{name}") as error:
        unread.check({}, ["tags", name], "trl")
    assert error.value.reason == Reason.NOT_READ
    assert error.value.detail.startswith(f"{name} would change")


@pytest.mark.parametrize(
    "name",
    ["sys", "System", "System_Prompt", "systemPrompt", "system prompt", "sys-msg", "system_instruction", "preamble"],
)
def test_a_system_prompt_under_another_name_is_asked_for(name):
    with pytest.raises(RowError, match=f"^{name} seems to be a system prompt.*{{system: {name}}}") as error:
        unread.check({name: "Be brief."}, ["tags", name], "trl")
    assert error.value.reason == Reason.NOT_READ


@pytest.mark.parametrize("value", ["Paris is a city.", ["a", "b"], [{"role": "user", "content": "Hello"}]])
@pytest.mark.parametrize("name", ["input", "context", "context_messages"])
def test_another_part_of_the_question_is_refused_unless_the_prompt_repeats_it(name, value):
    with pytest.raises(RowError, match=f"^{name} would change"):
        unread.check({"prompt": "Where?", name: value}, [name], "trl")
    unread.check({"prompt": value, name: value}, [name], "trl")
    unread.check({"prompt": "Where?", name: 3}, [name], "trl")  # a number, such as a count of tokens
    unread.check(
        {"prompt": "Where?", name: value}, [name], "prompt", of_answers=False
    )  # columns of a set that a recipe picks from


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("cats/1.JPG", True), (["f/1.png", "f/2.png"], True), ({"bytes": b"x", "path": None}, True), ({"bytes": None, "path": None}, False),
     ("See a.png", False), ("a.txt", False), (".png", False), (3, False), ({"path": "a"}, False)],
)  # fmt: skip
def test_a_column_that_holds_a_file_is_known_by_its_value(value, is_one):
    row = {"whatever": value}
    with pytest.raises(RowError, match="whatever seems to contain media") if is_one else nullcontext():
        unread.check_media(row, ["whatever"], "trl")


@pytest.mark.parametrize(
    "row",
    [
        {"score": 1}, {"reasoning": "Because."}, {"chosen_score": 5}, {"prompt_id": "a"}, {"toolset": "x"}, {"function": "f"}, {"refusal": True}, {"rejected_model": "m"},
        {"rejected_avg_rating": 2.0}, {"rejected_reason": "Wrong."}, {"rejected_logps": [-1.5, None]}, {"rejected_tokens": 12},
        {"rejected_meta": {"n": 1}}, {"messages.rejected_by": "me"},
    ],
)  # fmt: skip
def test_what_cannot_change_the_row_is_not_refused(row):
    unread.check(row, list(row), "trl")


@pytest.mark.parametrize("row", [{"rejected_context": "c"}, {"rejected_anything": ["x"]}, {"chosen_system": "s"}])
def test_what_belongs_to_one_side_is_refused_and_does_not_matter_to_a_prompt(row):
    with pytest.raises(RowError, match=f"^{next(iter(row))} would change"):
        unread.check(row, list(row), "trl")
    unread.check(row, list(row), "prompt", of_answers=False)


def test_all_names_that_would_change_a_row_are_in_the_message():
    with pytest.raises(RowError, match=r"^tools and chosen\.tool_calls would"):
        unread.check({}, ["tools", "chosen.tool_calls", "chosen.tool_calls"], "trl")


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"image_path": "a.png"}, True),
        ({"img": b"x"}, True),
        ({"picture_url": ["http://x"]}, True),
        ({"image_2": {"bytes": b"x", "path": None}}, True),
        ({"num_images": 2}, False),
        ({"has_image": True}, False),
        ({"image_id": "a"}, False),
        ({"video_frames": [3]}, False),
    ],
)
def test_a_column_with_media_is_refused_if_no_medium_is_read(row, refused):
    with (
        pytest.raises(RowError, match=f"{next(iter(row))} seems to contain media.*columns")
        if refused
        else nullcontext()
    ):
        unread.check_media(row, list(row), "trl")


def test_names_are_counted_by_file_and_beyond_the_first_ones_together():
    found: dict = {}
    unread.count(found, "a.jsonl", ["x", "y", "x"])
    unread.count(found, "a.jsonl", ["x"])
    unread.count(found, "b.jsonl", [])
    assert found == {"a.jsonl": {"x": 2, "y": 1}}
    unread.count(found, "a.jsonl", [f"n{i}" for i in range(100)])
    assert len(found["a.jsonl"]) == unread.NAMES + 1
    assert found["a.jsonl"]["more"] == 100 - 48  # two names were there, so 48 of these have a line of their own
    for i in range(300):
        unread.count(found, f"{i}.jsonl", ["x"])
    assert len(found) == unread.FILES + 1
    assert found["more"] == {"x": 300 - 199}  # one file was there


@pytest.mark.parametrize(
    "columns",
    [["prompt", "answer1", "answer2", "preference"], ["prompt", "response"], ["messages", "response_0", "response_1"], ["prompt", "better"],
     ["prompt", "output_a", "output_b"], ["prompt", "images", "preferred_answer"], ["prompt", "rejected_text"],
     ["prompt", "response_j", "response_k"], ["prompt", "answerA", "answerB"], ["prompt", "gpt4_response"], ["prompt", "human_preference"],
     ["prompt", "win_response", "lose_response"], ["messages", "good_answer"], ["messages", "positive_messages", "negative_messages"],
     ["prompt", "response-1", "response-2"], ["prompt", "Response A"], ["prompt", "model_a_response", "model_b_response"], ["prompt", "reply"]],
)  # fmt: skip
def test_rows_with_something_like_an_answer_are_not_prompts_alone(columns):
    assert detect(dict.fromkeys(columns)) is None
    assert unread.answers_in(columns)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["prompt", "answer", "difficulty"], "trl"),
        (["prompt", "images", "solution", "choices"], "trl"),
        (["messages", "solution"], "ms_swift"),
        (["prompt", "correct_answer", "text", "texture"], "trl"),
    ],
)
def test_rows_with_a_known_answer_are_prompts(columns, name):
    assert detect(dict.fromkeys(columns))[0] == name


PAGE = (Path(__file__).parents[4] / "docs" / "import.md").read_text()


def line(name: str) -> str:
    """The beginning of a format's line in the table of columns."""
    reads = [
        one for one in FORMATS[name].READS if one.removeprefix("rejected_").removeprefix("ranked_") not in unread.MEDIA
    ]
    media = [f"{before} media".strip() for before in ("", "rejected", "ranked")
             if (f"{before}_image".strip("_")) in FORMATS[name].READS]  # fmt: skip
    return f"| {name} | {', '.join([*(f'`{one}`' for one in reads), *media])} |"


@pytest.mark.parametrize("name", FORMATS)
def test_the_columns_that_a_format_reads_are_in_the_docs(name):
    assert line(name) in PAGE


def test_the_names_that_reject_a_row_are_in_the_docs():
    (said,) = re.findall(r"\*\*Refused by name\*\*:(.*?)\n- ", PAGE, re.DOTALL)
    assert {*re.findall(r"`(\w+)`", said)} == unread.CHANGES
