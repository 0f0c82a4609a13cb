"""The layout is that of the preference data in NeMo RL's guide to DPO (NVIDIA-NeMo/RL, docs/guides/dpo.md): context, completions, task_name."""

import pytest

from pipeline.source.formats import nemo_rl
from pipeline.source.formats.draft import TIED, DraftJudgement, DraftPair, Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, MEDIA, asked, refused, texts, without


def done(rank, *words: str, role: str = "assistant") -> dict:
    return {"rank": rank, "completion": [{"role": role, "content": said} for said in words]}


ROW = {
    "context": [{"role": "user", "content": "Which?"}],
    "completions": [done(1, "Bad."), done(0, "Good.")],
    "task_name": "t",
}


def test_the_lower_rank_is_chosen():
    draft = nemo_rl.read(ROW)
    assert draft.prompt == asked("Which?")
    assert texts(draft) == [("Bad.", "rejected"), ("Good.", "chosen")]
    assert draft.said == (DraftJudgement((0,), "rank", -1.0, "nemo_rl"), DraftJudgement((1,), "rank", 0.0, "nemo_rl"))
    assert draft.pairs == (DraftPair(1, 0),)


def test_equal_ranks_are_a_tie_without_a_pair():
    draft = nemo_rl.read(ROW | {"completions": [done(0, "One."), done(0, "Two.")]})
    assert ([s.value for s in draft.said], draft.pairs, texts(draft)) == (
        [0.0, 0.0],
        (),
        [("One.", None), ("Two.", None)],
    )
    assert draft.no_pair == TIED


def test_more_than_two_are_ranked_only():
    draft = nemo_rl.read(ROW | {"completions": [done(2, "c"), done(0, "a"), done(1, "b")]})
    assert ([s.value for s in draft.said], draft.pairs) == ([-2.0, 0.0, -1.0], ())


def test_the_context_may_have_a_system_message_earlier_turns_and_pictures():
    talk = [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"},
    ]  # fmt: skip
    assert nemo_rl.read(ROW | {"context": talk, "images": ["a.jpg"]}).prompt == (
        Turn("system", (("text", "Be short."),)), Turn("user", (("image", "a.jpg"), ("text", "?"))),
        Turn("assistant", (("text", "A cat."),)), Turn("user", (("text", "Sure?"),)),
    )  # fmt: skip


REFUSED = {
    "no context": (without(ROW, "context"), BAD, "context is missing"),
    "one completion": (ROW | {"completions": [done(0, "a")]}, BAD, "completions are a list of 1; use"),
    "no completions": (without(ROW, "completions"), BAD, "completions are missing"),
    "no rank": (ROW | {"completions": [done(None, "a"), done(1, "b")]}, BAD, "completions[0].rank is missing"),
    "several messages": (ROW | {"completions": [done(0, "a", "b"), done(1, "b")]}, BAD, "completions[0].completion has 2 messages"),
    "no message": (ROW | {"completions": [done(0), done(1, "b")]}, BAD, "completions[0].completion has 0 messages"),
    "an answer of the user": (ROW | {"completions": [done(0, "a", role="user"), done(1, "b")]}, BAD, "from 'user'"),
    "an answer with a picture": (
        ROW | {"completions": [done(1, "b"), {"rank": 0, "completion": [{"role": "assistant", "content": [{"type": "image", "image": "a.png"}]}]}]},
        MEDIA, "contains media",
    ),
    "an empty answer": (ROW | {"completions": [done(0, ""), done(1, "b")]}, EMPTY, "completions[0] is empty"),
    "equal answers": (ROW | {"completions": [done(0, "a"), done(1, "a")]}, EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(nemo_rl, *REFUSED[name])
