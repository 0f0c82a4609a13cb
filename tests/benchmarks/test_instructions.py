import json
import math
import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from annotators.rules.instructions import followed, instructions_of
from benchmarks import instructions as bench
from flows.planning import load
from tests.support.text_model import VOCABULARY, llama, make

RIGHT = {
    "title": "<<The Rain>>",
    "quotation": '"Rain falls."',
    "words": "The {keywords} rain falls.",
    "end": "Rain falls. {end_phrase}",
    "start": "{start_phrase} rain falls.",
    "short": "Rain falls down.",
    "twice": "{keyword} rain and {keyword} wind.",
    "sentences": "Rain falls. ",
    "highlight": "*Rain* falls.",
    "postscript": "Rain falls.\n\nP.S. Take a coat.",
    "no_comma": "one two three four five six seven eight nine ten eleven twelve",
    "choice": "My answer is maybe.",
}


def test_every_kind_can_be_followed_and_says_what_it_asks():
    for kind in bench.KINDS:
        for seed in range(5):
            prompt, wanted = kind("rain", random.Random(seed))
            given = {name: value for _, arguments in wanted for name, value in arguments.items()}
            text = RIGHT[kind.__name__].format_map(given | {"keywords": " and ".join(given.get("keywords", []))})
            rules = instructions_of(
                json.dumps({"instruction_id_list": [n for n, _ in wanted], "kwargs": [a for _, a in wanted]})
            )
            assert followed(text * given.get("num_sentences", 1), rules).value == 1
            assert followed("Rain falls.", rules).value < 1
            told = [value for name, value in given.items() if name in ("end_phrase", "start_phrase", "keyword")]
            assert "rain" in prompt
            assert all(phrase in prompt for phrase in [*told, *given.get("keywords", [])])


def test_the_held_topics_are_others_and_seeds_have_other_prompts(tmp_path):
    assert not set(bench.TRAINED) & set(bench.HELD)
    sets = []
    for seed in ("1", "2"):
        lines = map(
            json.loads, bench.write_rows(tmp_path / "rows.jsonl", bench.TRAINED, 3, seed).read_text().splitlines()
        )
        sets.append({line["prompt"] for line in lines})
    assert [len(prompts) for prompts in sets] == [36, 36]
    assert len(sets[0] & sets[1]) < 10  # 3 of 48 topics: about 2 alike where a kind has one text


def test_the_control_differs_in_the_shuffle_alone(tmp_path):
    rows = bench.write_rows(tmp_path / "rows.jsonl", bench.TRAINED, 1, "1")
    checked = load.checked(bench.recipe(str(make(tmp_path / "model")), 4, rows, rows))
    one, other = (step.step.settings for step in checked.steps if step.family == "train")
    assert {**other, "shuffle": False} == {**one, "shuffle": False}
    assert other["shuffle"] != one.get("shuffle", False)


def test_a_model_that_finds_every_word_as_likely_has_the_log_probability_of_one_in_all_words(tmp_path):
    folder = make(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(folder)
    assert len(set(bench.plain_sentences())) == 200
    assert bench.english(str(folder)) == pytest.approx(-math.log(len(VOCABULARY)), abs=1e-5)


def found(before: float, after: float, control: float, english: float = -3.0) -> bench.Found:
    def around(value):
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    values = dict(zip(bench.MODELS, (before, after, control)))
    return bench.Found(
        {name: around(value) for name, value in values.items()},
        {name: around(values[name] - before) for name in ("after", "control")},
        dict.fromkeys(bench.MODELS, 15.0), {name: {"title": value} for name, value in values.items()},
        {"before": -3.0, "after": english, "control": -3.0}, 100, 600.0, 2.0,
    )  # fmt: skip


def test_a_verdict_counts_the_seeds_in_which_a_claim_holds():
    good, bad = found(0.3, 0.5, 0.31), found(0.3, 0.4, 0.25, english=-3.1)
    assert [line.split(":")[0] for line in bench.verdicts({1: good})] == ["- holds"] * 3
    lines = list(bench.verdicts({1: good, 2: bad}))
    assert all(line.startswith("- FAILS") and "true in 1 of 2 seeds" in line for line in lines)
    assert lines[2].endswith("(+0.0% +3.3%)")
    assert list(bench.kinds({1: good, 2: bad}))[2:] == ["| before | 0.30 |", "| after | 0.45 |", "| control | 0.28 |"]
    assert list(bench.table({1: good}))[3] == (
        "| 1 | 100 | after | 0.500 (0.450 to 0.550) | +0.200 (+0.150 to +0.250) | 15.0 | -3.000 | | |"
    )


@pytest.mark.engine
def test_the_whole_way_of_one_seed_in_small(tmp_path, monkeypatch):
    """A model that draws from 66 words says more than 12, or fewer, as it happens: both without commas, so there are pairs."""
    monkeypatch.setattr(bench, "KINDS", (bench.no_comma,))
    of = bench.measure(str(make(tmp_path / "model", config=llama(head_dim=32))), 1, 6, 3, tmp_path / "out")
    assert of.pairs > 0
    assert list(of.right) == list(of.english) == list(of.kinds) == list(bench.MODELS)
    assert of.gain["after"]["value"] == pytest.approx(
        of.right["after"]["value"] - of.right["before"]["value"], abs=1e-4
    )
    assert of.cpu > 1
    assert 0 < of.memory < 5
