"""Replies of judges, each with what a careful person reads in it: `handed` of many models and prompts, `real` of one small model, `own`
written after the prompts of MT-Bench, Arena-Hard, Prometheus, LLaVA-Critic, VLFeedback, RewardBench and others, `fresh` by a second reader, who labelled each batch before it was read.

A verdict that a person does not read is wrong, which is worse than one that is lost."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from flows.commands.read_replies import FORMS, read_replies

HERE = Path(__file__).parent / "replies"
FILES = ("handed", "real", "own", "fresh")
LEAST = {"handed": 0.99, "real": 0.99, "own": 0.99, "fresh": 0.96}  # share of the clear ones that is read
READ = ("verdict", "tie")
DOCS = Path(__file__).parents[3] / "docs" / "judge_quality.md"


@cache
def rows(name: str) -> list[tuple[dict, dict]]:
    """(what a person reads, what is read) of each row of a file."""
    path = HERE / f"{name}.jsonl"
    return list(zip(map(json.loads, path.read_text().splitlines()), read_replies(str(path)), strict=True))


def kind(wanted: dict, found: dict) -> str:
    """`read` as a person does, `lost`, `wrong`, or `other`: no verdict either way, but another reason."""
    if (wanted["outcome"], wanted.get("value")) == (found["outcome"], found.get("value")):
        return "read"
    if found["outcome"] in READ:
        return "wrong"
    return "lost" if wanted["outcome"] in READ else "other"


@pytest.mark.parametrize("name", FILES)
def test_no_verdict_is_read_that_a_person_does_not_read(name):
    assert [(wanted["text"], found) for wanted, found in rows(name) if kind(wanted, found) == "wrong"] == []


@pytest.mark.parametrize("name", FILES)
def test_clear_verdicts_are_read(name):
    clear = [kind(wanted, found) for wanted, found in rows(name) if wanted["outcome"] in READ]
    assert clear.count("read") >= LEAST[name] * len(clear)


def test_the_files_hold_every_form_and_every_outcome():
    assert {wanted["form"] for name in FILES for wanted, _ in rows(name)} == set(FORMS)
    assert {wanted["outcome"] for wanted, _ in rows("own")} == {"verdict", "tie", "abstain", "refused", "unparsable"}
    assert len(rows("handed")) == 79
    assert len(rows("own")) > 300


@pytest.mark.parametrize("name", FILES)
def test_the_table_in_the_docs_is_what_is_read(name):
    counts = Counter(kind(wanted, found) for wanted, found in rows(name))
    clear = sum(wanted["outcome"] in READ for wanted, _ in rows(name))
    line = next(line for line in DOCS.read_text().splitlines() if re.match(rf"\| `{name}` \| now \|", line))
    numbers = [int(cell) for cell in line.split("|")[3:-1] if cell.strip().isdigit()]
    assert numbers == [len(rows(name)), clear, counts["read"], counts["lost"], counts["wrong"], counts["other"]]
