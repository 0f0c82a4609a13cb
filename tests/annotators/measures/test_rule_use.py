"""Whether a rule suits the answers is told from those that contain the known answer."""

import asyncio

from annotators.judge import rule
from annotators.measures.rule_use import Known, RuleUse
from tests.support.rows import context, rows_of


def used(texts: list[str], settings: dict) -> dict:
    rows = rows_of(texts, question="How many books did Elena sell?", answer="42")
    slips = asyncio.run(rule.judge(rows, rule.Settings(**settings), context("truth")))
    use = RuleUse()
    use.add(Known("42", "How many books did Elena sell?"), {c.id: c.text for c in rows.candidates}, slips)
    return use.report()


def test_a_rule_that_takes_sentences_for_wrong_is_named_with_the_one_to_take():
    texts = [
        f"Elena sold 42 books{end}"
        for end in (".", "!", " in all.", " on Monday.", ", not 28.", " in May.", " by noon.", " there.", " at last.")
    ]
    # ten contain 42 and nine are sentences, which `exact` takes for wrong; the eleventh does not contain it
    assert used([*texts, "42", "Elena sold 28."], {"kind": "exact"}) == {
        "truth": {"rule": "exact", "contain": 10, "wrong": 9, "final": 9, "take": "final"}
    }
    assert used([*texts, "42"], {}) == {}  # final finds them
    assert used([*texts[:8], "42"], {"kind": "exact"}) == {}  # 9 answers say too little
    assert used([*texts[:8], "42", " 42 ", "42\n"], {"kind": "exact"}) == {}  # 8 of 11 are less than nine of ten


def test_where_final_does_not_read_them_either_contains_is_named():
    texts = [f"{n} books or 42 books." for n in range(1, 12)]
    assert used(texts, {"kind": "exact"})["truth"] == {
        "rule": "exact",
        "contain": 11,
        "wrong": 11,
        "final": 0,
        "take": "contains",
    }
