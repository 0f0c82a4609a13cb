import pytest

from pipeline.source.formats import vl_rewardbench
from tests.support.dialects import BAD, EMPTY, EQUAL, NAN, asked, refused, texts, without

ROW = {
    "id": "RLAIF-V-12", "query": "What is there?", "response": ["A dog.", "A cat."], "image": "a.jpg", "human_ranking": [1, 0],
    "models": ["llava", "gpt4v"], "judge": ["x"], "rationale": "?", "query_source": "rlaif-v",
}  # fmt: skip


def test_the_lower_rank_is_chosen_whatever_its_place():
    draft = vl_rewardbench.read(ROW)
    assert draft.prompt == asked(("image", "a.jpg"), "What is there?")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert [answer.model for answer in draft.answers] == ["gpt4v", "llava"]
    assert (draft.known, draft.id, len(draft.pairs)) == ({"split": "hallucination"}, "RLAIF-V-12", 1)
    turned = vl_rewardbench.read(ROW | {"human_ranking": [0, 1]})
    assert texts(turned) == [("A dog.", "chosen"), ("A cat.", "rejected")]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("RLHF-V-3", "hallucination"), ("rlaif-v_1", "hallucination"), ("povid-1", "hallucination"), ("hallucination_pair-1", "hallucination"),
        ("mmmu_pro_9", "reasoning"), ("mathverse_2", "reasoning"), ("wildvision-battle-1", "general"), ("", "general"),
    ],
)  # fmt: skip
def test_the_group_is_read_from_the_id_in_any_case(name, group):
    assert vl_rewardbench.group(name) == group


REFUSED = {
    "no query": (without(ROW, "query"), BAD, "query is missing"),
    "one response": (ROW | {"response": ["A cat."]}, BAD, "response has 1 entries"),
    "a response that is a text": (ROW | {"response": "A cat."}, BAD, "response is a str"),
    "an empty response": (ROW | {"response": ["A cat.", " "]}, EMPTY, "chosen is empty"),
    "equal responses": (ROW | {"response": ["x", "x"]}, EQUAL, "same text"),
    "a tie": (ROW | {"human_ranking": [0, 0]}, BAD, "no best answer"),
    "a rank that is missing": (ROW | {"human_ranking": [0, None]}, BAD, "no best answer"),
    "a rank that is none": (ROW | {"human_ranking": [0, NAN]}, BAD, "human_ranking is nan"),
    "ranks of three": (ROW | {"human_ranking": [0, 1, 2]}, BAD, "human_ranking has 3"),
    "a model that is a list": (ROW | {"models": ["x", []]}, BAD, "models is a list"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(vl_rewardbench, *REFUSED[name])
