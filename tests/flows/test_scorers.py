"""The sample recipes of rules, scorers, attention and the tree, as runs: answers come from the scripted server or the tiny model,
scores from rules and from small real scorer models."""

import json
from collections import Counter

import pytest

from flows.runs import executor
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import RECIPES, finished, rows
from tests.support.scorer_models import clip_model, reward_model, trained_model

pytestmark = pytest.mark.engine

FORMS = {
    "exact": ("red", "red"), "normalised": ("A red cup", "a RED cup."), "math": ("1/2", "so it is $0.5$"), "choice": ("B", "(B) a leaf"),
    "number": ("3", "there are three"), "iou": ("[0, 0, 10, 10]", '{"bbox_2d": [0, 0, 10, 9]}'),
}  # fmt: skip


def rows_of_answers() -> list[dict]:
    return [
        {"prompt": f"{kind} ? A. a roof B. a leaf", "answer": answer, "answer_type": kind, "reference": said}
        for kind, (answer, said) in FORMS.items()
    ] + [{"prompt": "how many ?", "answer": "many", "answer_type": "number", "reference": "3"}]


ROWS = {
    "rule_answers": rows_of_answers(),
    "rule_class": [{"prompt": "how does she feel ?", "answer": "sad", "reference": "She is sad."}],
    "rule_form": [
        {"prompt": "how many ?", "reference": "cups: 3"}, {"prompt": "how many, as JSON ?", "reference": '{"answer": 3}'},
        {"prompt": "who is it ?", "reference": "I'm sorry, I cannot say who that is."},
    ],
    "rule_instructions": [
        {"prompt": "Name two rivers.", "instruction_id_list": ["startend:end_checker", "punctuation:no_comma"],
         "kwargs": [{"end_phrase": "That is all.", "num_words": None}, {}], "reference": "Rhine and Danube. That is all."},
        {"prompt": "Name a lake.", "instruction_id_list": ["startend:end"], "kwargs": [{}], "reference": "Como"},
    ],
    "scorer_reward": [{"prompt": f"what is on page {i} ?", "image": f"{i}.jpg"} for i in range(4)],
    "scorer_clip": [{"prompt": f"what is on page {i} ?", "image": f"{i}.jpg"} for i in range(4)],
}  # fmt: skip
MODELS = {
    "scorer_reward": {"reward": reward_model}, "scorer_clip": {"clip": clip_model}, "scorer_likelihood": {"trained": trained_model},
    "tree_csr": {"clip": clip_model},
}  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The run of a sample recipe, finished; each is run once."""
    place = tmp_path_factory.mktemp("scorers")
    for i in range(4):
        (place / f"{i}.jpg").write_bytes(jpeg(i))
    done: dict[str, executor.Run] = {}
    with served(Endpoint()) as url:

        def run(name: str) -> executor.Run:
            if name not in done:
                settings = [
                    f"models.{m}.model={make(place / f'{name}-{m}')}" for m, make in MODELS.get(name, {}).items()
                ]
                if name in ROWS:
                    (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, ROWS[name])))
                    settings.append(f"rows.path={place / name}.jsonl")
                if "openai" in (RECIPES / f"{name}.yaml").read_text():
                    settings.append(f"models.policy.base_url={url}")
                done[name] = finished(name, settings, place)
            return done[name]

        yield run


def values(run, axis: str) -> Counter:
    return Counter((s.outcome, s.value) for s in rows(run, "judgements") if s.axis == axis)


def test_each_answer_type_has_its_rule_and_an_answer_of_another_kind_is_a_rejection(build):
    run = build("rule_answers")
    kinds = {s.id: s.answer_type for s in rows(run, "samples")}
    told = {(kinds[s.sample], s.annotator) for s in rows(run, "judgements")}
    assert told == {(kind, f"rule.{'final' if kind in ('choice', 'number') else kind}") for kind in FORMS}
    pairs = rows(run, "pairs")
    assert {kinds[p.sample] for p in pairs} == set(FORMS)
    assert {p.chosen for p in pairs} == {said for _, said in FORMS.values()}
    bad = [r for r in rows(run, "rejections") if r.reason == "bad_row"]
    assert ["rows" in r.detail or "jsonl" in r.detail for r in bad] == [True]


def test_labels_make_pairs(build):
    pairs = rows(build("rule_class"), "pairs")
    assert {p.chosen for p in pairs} == {"She is sad."}
    assert pairs


def test_forms_make_pairs_and_refusals_are_counted(build):
    run = build("rule_form")
    chosen = {(p.step, p.chosen) for p in rows(run, "pairs")}
    assert chosen == {("right_wrong", "cups: 3"), ("of_json", '{"answer": 3}')}
    assert values(run, "refusal") == {("verdict", 1.0): 1, ("verdict", 0.0): 8}


def test_the_instructions_of_a_row_make_pairs_and_a_bad_one_is_named_while_the_rest_goes_on(build):
    run = build("rule_instructions")
    pairs = rows(run, "pairs")
    assert {p.chosen for p in pairs} == {"Rhine and Danube. That is all."}
    assert values(run, "instructions")["verdict", 1.0] == 1
    (bad,) = [r for r in rows(run, "rejections") if r.reason == "bad_row"]
    assert bad.detail.endswith("correct it, or remove it from instruction_id_list")
    assert "the instruction 'startend:end' is not known; did you mean 'startend:end_checker'?" in bad.detail


@pytest.mark.parametrize("name", ["scorer_reward", "scorer_clip", "scorer_likelihood"])
def test_scorers_rank_the_answers(build, name):
    run = build(name)
    scores = {s.items[0]: s.value for s in rows(run, "judgements") if s.axis == "score"}
    answers = {c.id for c in rows(run, "candidates")}
    assert answers == scores.keys()
    assert None not in scores.values()
    pairs = rows(run, "pairs")
    assert pairs
    assert all(scores[p.chosen_id] > scores[p.rejected_id] for p in pairs)


def test_lengths_stand_beside_a_reward(build):
    run = build("scorer_reward")
    words = {c.id: len(c.text.split()) for c in rows(run, "candidates")}
    assert {s.items[0]: s.value for s in rows(run, "judgements") if s.axis == "length"} == words


def test_an_implicit_reward_names_both_models(build):
    run = build("scorer_likelihood")
    assert {len(s.annotator.split(" against ")) for s in rows(run, "judgements") if s.axis == "score"} == {2}
    assert all(s.value < 0 for s in rows(run, "judgements") if s.axis == "fluency")


def test_what_is_known_stands_against_who_looked_elsewhere(build):
    run = build("attention_mia")
    answers = {c.id: c for c in rows(run, "candidates")}
    shares = {s.items[0]: s.value for s in rows(run, "judgements") if s.axis == "attention"}
    called = {s.items[0]: s for s in rows(run, "judgements") if s.axis == "hallucination"}
    pictures = {s.id: len(s.media) for s in rows(run, "samples")}
    assert all(0 <= share <= 1 for share in shares.values())
    for name, slip in called.items():
        if answers[name].role == "chosen":
            assert slip.value == 0
        else:
            low = shares[name] <= {2: 0.8, 3: 0.7}[pictures[slip.sample]]
            assert (slip.value == -1) == low
    for p in rows(run, "pairs"):
        assert answers[p.chosen_id].role == "chosen"
        assert called[p.rejected_id].value == -1
    assert rows(run, "pairs")


def test_paths_of_a_tree_make_pairs(build):
    run = build("tree_csr")
    scores = {s.items[0]: s.value for s in rows(run, "judgements") if s.axis == "score"}
    assert {c.id for c in rows(run, "candidates")} == scores.keys()
    pairs = rows(run, "pairs")
    assert pairs
    for p in pairs:
        own = [scores[c.id] for c in rows(run, "candidates") if c.sample == p.sample]
        assert (scores[p.chosen_id], scores[p.rejected_id]) == (max(own), min(own))


def test_rewards_by_rule_train_a_model(build):
    run = build("rule_grpo")
    (figures,) = json.loads((run.folder / "summary.json").read_text())["train"].values()
    assert figures["steps"] == 2
    assert 0 < figures["reward_first"] <= 2  # at most 1 for what it says and 1 for its form
