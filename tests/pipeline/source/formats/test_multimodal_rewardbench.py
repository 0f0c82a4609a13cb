import pytest

from pipeline.source.formats import multimodal_rewardbench
from tests.support.dialects import BAD, EMPTY, asked, refused, texts, without

ROW = {
    "ID": "mathvista-3", "Text": "How many?", "Image": "images/mathvista/3.jpg", "Output1": "Two.", "Output2": "Three.", "Better": "Output2",
    "Meta": {"Category": "reasoning"},
}  # fmt: skip


def test_the_better_output_is_chosen():
    draft = multimodal_rewardbench.read(ROW)
    assert draft.prompt == asked(("image", "images/mathvista/3.jpg"), "How many?")
    assert texts(draft) == [("Three.", "chosen"), ("Two.", "rejected")]
    assert (draft.known, draft.id) == ({"split": "reasoning/math"}, "mathvista-3")
    assert texts(multimodal_rewardbench.read(ROW | {"Better": "Output1"}))[0] == ("Two.", "chosen")


@pytest.mark.parametrize(
    ("name", "category", "found"),
    [
        ("PAIRS-1", "safety", "safety/bias"), ("hateful-1", "safety", "safety/toxicity"), ("EMMA-Coding-1", "reasoning", "reasoning/coding"),
        ("x", "vqa", "vqa"),
    ],
)  # fmt: skip
def test_safety_and_reasoning_are_counted_in_two(name, category, found):
    draft = multimodal_rewardbench.read(ROW | {"ID": name, "Meta": {"Category": category}})
    assert draft.known == {"split": found}


def test_the_category_may_be_at_the_top_level():
    """README.md and scripts/2_get_accuracy.py of facebookresearch/multimodal_rewardbench write `Meta.Category` in rows of judged answers and
    do not show where all_data.json has it; a report of users has it at the top level. The file itself was not seen."""
    draft = multimodal_rewardbench.read(without(ROW, "Meta") | {"Category": "safety", "ID": "PAIRS-1"})
    assert draft.known == {"split": "safety/bias"}


def test_without_meta_there_is_no_category():
    assert multimodal_rewardbench.read(without(ROW, "Meta")).known == {}


REFUSED = {
    "no text": (without(ROW, "Text"), BAD, "Text is missing"),
    "a third output": (ROW | {"Better": "Output3"}, BAD, "Better is 'Output3'"),
    "no label": (ROW | {"Better": None}, BAD, "Better is 'None'"),
    "an empty output": (ROW | {"Output1": ""}, EMPTY, "rejected is empty"),
    "a category that is a list": (ROW | {"Meta": {"Category": ["x"]}}, BAD, "Meta.Category is a list"),
    "an image that is a number": (ROW | {"Image": 5}, BAD, "Image is an int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(multimodal_rewardbench, *REFUSED[name])
