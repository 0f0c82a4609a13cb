import json

import pytest

from pipeline.source.formats import rlaif_v
from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, DraftPair
from tests.support.dialects import BAD, EMPTY, EQUAL, INF, NAN, asked, refused, without

HUB = {
    "ds_name": "RLAIF-V", "image": {"bytes": b"x", "path": "a.jpg"}, "question": "What?", "chosen": "A cat.", "rejected": "A dog.",
    "origin_dataset": "COCO", "origin_split": json.dumps({"model": "m1", "type": "vqa"}), "idx": 7, "image_path": "a.jpg",
}  # fmt: skip
SCORES = {"chosen": {"judge": "j", "score": -1}, "rejected": {"judge": "j", "score": -3}}
STAGE = {
    "image_path": "a.jpg", "ds_question_id": "q1", "question": "What?", "chosen": "A cat.", "rejected": "A dog.",
    "org_infos": {"chosen_infos": {}, "scores": SCORES},
}  # fmt: skip


def scored(**sides) -> dict:
    return STAGE | {"org_infos": {"scores": SCORES | sides}}


def test_the_hub_row():
    answers = (Answer("A cat.", "m1", "chosen"), Answer("A dog.", "m1", "rejected"))
    prompt = asked(("image", {"bytes": b"x", "path": "a.jpg"}), "What?")
    assert rlaif_v.read(HUB) == Draft(prompt, answers, (), (DraftPair(0, 1, None, {}),), {"source": "COCO#7"}, "7")
    assert rlaif_v.read(HUB | {"origin_split": "train"}).answers[0].model is None


def test_the_pair_stage_has_scores():
    draft = rlaif_v.read(STAGE)
    assert draft.prompt == asked(("image", "a.jpg"), "What?")
    assert draft.said == (DraftJudgement((0,), "score", -1.0, "j"), DraftJudgement((1,), "score", -3.0, "j"))
    # -1 - -3 = 2
    assert draft.pairs[0].known == {"margin": 2.0, "reward_chosen": -1.0, "reward_rejected": -3.0}
    assert draft.id == "q1"
    listed = rlaif_v.read(scored(chosen=[SCORES["chosen"]]))
    assert listed.said == draft.said


def test_the_pair_stage_writes_scores_as_texts_and_verdicts_by_question():
    """RLHF-V/RLAIF-V, utils/get_preference_pairs.py: `score` is a text, `judge` the verdict on each question."""
    judge = {"Is there a cat?": "1", "Is it grey?": "0"}
    row = STAGE | {"image": "", "ds_name": "x"}
    row["org_infos"] = {"ds_question_id": "q1", "reference": "", "origin_file": "", "chosen_infos": {"facts": []}, "rejected_infos": {},
                        "scores": {"chosen": {"judge": judge, "score": "-1"}, "rejected": {"judge": {}, "score": "-3"}}}  # fmt: skip
    draft = rlaif_v.read(row)
    assert [(s.value, s.annotator, json.loads(s.raw)) for s in draft.said] == [
        (-1.0, "rlaif_v", judge),
        (-3.0, "rlaif_v", {}),
    ]
    assert draft.pairs[0].known == {"margin": 2.0, "reward_chosen": -1.0, "reward_rejected": -3.0}
    assert (draft.prompt, draft.known) == (asked(("image", "a.jpg"), "What?"), {"source": "x#q1"})


def test_a_tag_is_the_place_of_the_image():
    assert rlaif_v.read(STAGE | {"question": "<image>\nWhat?"}).prompt == asked(("image", "a.jpg"), "What?")
    refused(rlaif_v, STAGE | {"question": "<image><image>?"}, BAD, "2 places for image files, but the row has 1")


REFUSED = {
    "no question": (without(HUB, "question"), BAD, "question is missing"),
    "no chosen": (without(HUB, "chosen"), BAD, "chosen is missing"),
    "messages as an answer": (HUB | {"rejected": [{"role": "assistant", "content": "x"}]}, BAD, "rejected is a list"),
    "equal answers": (HUB | {"rejected": "A cat."}, EQUAL, "same text"),
    "an empty answer": (HUB | {"rejected": "\n"}, EMPTY, "rejected is empty"),
    "an image of nothing": (HUB | {"image": {"bytes": None, "path": None}}, BAD, "image has no path or bytes"),
    "a path that is a number": (without(HUB, "image") | {"image_path": 3}, BAD, "image_path is an int"),
    "an origin that is an object": (HUB | {"origin_split": {"model": "m"}}, BAD, "origin_split is a dict"),
    "a model that is a list": (HUB | {"origin_split": '{"model": []}'}, BAD, "origin_split.model is a list"),
    "a source that is a list": (HUB | {"origin_dataset": ["COCO"]}, BAD, "origin_dataset is a list"),
    "an idx that is a number with a point": (HUB | {"idx": 1.5}, BAD, "idx is a float"),
    "infos that are a text": (STAGE | {"org_infos": "x"}, BAD, "org_infos are a str"),
    "scores that are a list": (STAGE | {"org_infos": {"scores": [1]}}, BAD, "org_infos.scores are a list"),
    "one score": (STAGE | {"org_infos": {"scores": {"chosen": SCORES["chosen"]}}}, BAD, "scores.rejected is missing"),
    "a score that is a word": (scored(chosen={"score": "bad"}), BAD, "scores.chosen.score is the text 'bad'"),
    "a score that is no number": (scored(chosen={"score": NAN}), BAD, "scores.chosen.score is nan"),
    "an endless score": (scored(rejected={"score": INF}), BAD, "scores.rejected.score is inf"),
    "a score that is missing": (scored(rejected={"judge": "j"}), BAD, "scores.rejected.score is missing, but"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(rlaif_v, *REFUSED[name])
