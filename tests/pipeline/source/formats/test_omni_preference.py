"""The layout is that of Omni-RRM/Omni-Preference's final_rl_data.jsonl, as verl-project/verl-omni describes and reads it
(examples/dpo_trainer/data_process/omni_preference_dpo_dataset.md)."""

import json

import pytest

from pipeline.source.formats import ms_swift, omni_preference
from pipeline.source.formats.draft import DraftJudgement, DraftPair
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

VERDICT = {
    "score_A": 6,
    "score_B": 8,
    "better": "B",
    "reasoning": "Clearer.",
    "final_verdict": "<answer>[[B]]</answer>",
}
ASKED = "You are a judge.\n### Context\nVideo file: /data/x/1.mp4\nQuestion: What happens?\nCandidate A: A dog runs.\nCandidate B: A cat\n\nruns."


def row(asked: str = ASKED, **verdict) -> dict:
    return {
        "videos": ["/data/x/1.mp4"], "messages": [{"role": "user", "content": asked}], "solution": json.dumps(VERDICT | verdict),
    }  # fmt: skip


ROW = row()


def test_the_question_and_the_candidates_stand_in_the_judges_prompt():
    draft = omni_preference.read(ROW)
    assert draft.prompt == asked(("video", "x/1.mp4"), "What happens?")
    assert texts(draft) == [("A dog runs.", "rejected"), ("A cat\n\nruns.", "chosen")]
    assert draft.said == (
        DraftJudgement((0,), "score", 6.0, "omni_preference"), DraftJudgement((1,), "score", 8.0, "omni_preference"),
        DraftJudgement((0, 1), "preference", -1.0, "omni_preference", ROW["solution"]),
    )  # fmt: skip
    assert draft.pairs == (DraftPair(1, 0, None, {"margin": 2.0}),)


def test_the_verdict_decides_and_equal_makes_no_pair():
    assert omni_preference.read(row(better="A")).pairs == (DraftPair(0, 1, None, {"margin": -2.0}),)  # 6 - 8
    draft = omni_preference.read(row(better="equal"))
    assert (draft.said[2].outcome, draft.pairs) == (Outcome.TIE, ())


def test_the_context_may_stand_on_one_line_and_a_path_end_with_underscores():
    line = "### Context Audio file: /data/audio/1.wav Question: Why? Candidate A: So. Candidate B: Because."
    draft = omni_preference.read(without(row(line), "videos") | {"audios": ["/data/audio/1.wav__"]})
    assert draft.prompt == asked(("audio", "audio/1.wav"), "Why?")
    assert texts(draft) == [("So.", "rejected"), ("Because.", "chosen")]


def test_scores_may_be_missing():
    draft = omni_preference.read(ROW | {"solution": json.dumps({"better": "B", "score_A": None})})
    assert (len(draft.said), draft.pairs) == (1, (DraftPair(1, 0, None, {}),))


REFUSED = {
    "no verdict": (without(ROW, "solution"), BAD, "solution is missing"),
    "a verdict in words": (ROW | {"solution": "B"}, BAD, "solution is not a JSON object"),
    "another verdict": (row(better="C"), BAD, "solution.better is 'C'"),
    "half a score": (row(score_A=None), BAD, "solution.score_A is missing"),
    "no context": (row("Which is better?"), BAD, "does not contain one Question"),
    "no candidate B": (row(ASKED.replace("Candidate B", "Candidate C")), BAD, "does not contain one Question"),
    "a candidate that names a candidate": (row(f"{ASKED}\nCandidate A: again"), BAD, "does not contain one Question"),
    "a candidate that quotes one": (row(ASKED.replace("A dog runs.", "Unlike Candidate B: a dog")), BAD, "does not contain one Question"),
    "no messages": (ROW | {"messages": []}, BAD, "does not contain one Question"),
    "an empty candidate": (row(ASKED.replace("A dog runs.", "")), EMPTY, "Candidate A is empty"),
    "equal candidates": (row(ASKED.replace("A cat\n\nruns.", "A dog runs.")), EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(omni_preference, *REFUSED[name])


def test_a_known_answer_alone_is_ms_swifts():
    other = {"messages": ROW["messages"], "solution": "B"}
    assert (omni_preference.fits(other), bool(ms_swift.fits(other))) == (None, True)
