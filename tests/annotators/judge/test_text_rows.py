"""Judges ask about a sample without media in other words, and about one with media in the words that they always had."""

import asyncio

import pytest

from annotators.judge import listwise, pairwise, pointwise, segments
from schemas.messages import text_of, user
from schemas.operator import SampleRows
from schemas.records import candidate, sample
from schemas.requests import Answer, Generated
from tests.support.rows import context, rows_of

TEXTS = ["34 roses", "19 roses"]
JUDGES = {
    "pairwise": (pairwise, {"facts": True}),
    "pointwise": (pointwise, {}),
    "axes": (pointwise, {"axes": ("visual_faithfulness",)}),
    "listwise": (listwise, {}),
    "segments": (segments, {"facts": True}),
}


def asked(name: str, rows: SampleRows) -> str:
    texts = []

    class Keeps:
        identity, slots, can = "keeps@1", 4, frozenset({"Generate"})

        async def ask(self, request):
            texts.append(text_of(request.messages))
            return Generated((Answer("", 1, "stop"),), 1)

    module, settings = JUDGES[name]
    step = context(name, engines={"m": Keeps()})
    asyncio.run(module.judge(rows, module.Settings(model="m", **settings), step))
    return texts[0]


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_says_what_a_sample_is(name):
    text = SampleRows(sample((user("Nora sold 34 roses. How many?"),)))
    text.candidates = [candidate(text.sample.id, "sample", answer, index=i) for i, answer in enumerate(TEXTS)]
    assert "the facts and any text in the question" in asked(name, text)
    assert "shown" not in asked(name, text)
    pictured = asked(name, rows_of(TEXTS))
    assert "what is shown" in pictured
    assert "any text in the question" not in pictured
