from benchmarks import does_it_help as bench
from flows.planning import load
from flows.runs import executor

BEFORE = {"image": 0.5, "multi_image": 0.4, "video": 0.2, "audio": 0.4, "mean": 0.375, "recall": 0.9}
BEFORE |= dict.fromkeys(bench.NOVELTY, 0.3)


def scaled(by: float, **others: float) -> dict[str, float]:
    return {name: value * by for name, value in BEFORE.items()} | {"recall": 0.95} | others


def test_the_recipe_runs_every_training_on_one_pass_and_evaluates_each_on_the_same_prompts():
    made = load.checked(bench.recipe(3))
    units = executor.plan(made)
    assert [u.name for u in units if u.kind == "pass"] == ["pass0-best_worst"]
    evaluations = {s.name: s.step.settings for s in made.steps if s.family == "evaluate"}
    assert set(evaluations) == {"before", "dpo", "grpo", *bench.SHUFFLED}
    assert len({s["seed"] for s in evaluations.values()}) == 1
    trained = {s.step.binds: s.step.settings for s in made.steps if s.family == "train"}
    assert {e["model"] for e in evaluations.values()} == {"policy", *trained}
    shuffled = [s for s in trained.values() if s.get("shuffle")]
    assert len({s["seed"] for s in shuffled}) == len(bench.SHUFFLED)
    assert all({**s, "shuffle": None, "seed": 3} == {**trained["dpo"], "shuffle": None} for s in shuffled)


def test_two_seeds_have_nothing_in_common_but_the_checkpoint():
    one, two = (
        {s.step.settings["seed"] for s in load.checked(bench.recipe(n)).steps if "seed" in s.step.settings}
        for n in (1, 2)
    )
    assert one.isdisjoint(two)


def test_the_control_is_the_mean_of_the_shuffled_trainings():
    def evaluated(value):
        held = {"value": 1.0, "prompts": 10}
        of = {
            kind: {"hallucination": {"value": value}, "prompts": 100, "held_out": held}
            for kind in (*bench.MEDIA, "mean")
        }
        of["mean"]["recall"] = {"value": 0.9}
        return of

    names = ("before", "dpo", "grpo", *bench.SHUFFLED)
    found = bench.figures({name: evaluated(value) for name, value in zip(names, (0.4, 0.1, 0.1, 0.3, 0.4, 0.5))})
    assert round(found["control"]["video"], 6) == 0.4
    assert list(found) == list(bench.MODELS)
    assert round(found["before"]["audio, seen"], 6) == round(30 / 90, 6)


def test_a_verdict_counts_the_seeds_in_which_a_claim_holds():
    good = {"before": BEFORE, "dpo": scaled(0.2), "grpo": scaled(0.1), "control": scaled(1.1)}
    bad = {**good, "dpo": scaled(0.2, video=0.15, recall=0.85), "control": scaled(0.9)}
    lines = list(bench.verdicts({1: good, 2: bad}))
    assert lines[0].startswith("- holds: dpo: mean hallucination below a third of before: true in 2 of 2 seeds")
    failed = [line for line in lines if "FAILS" in line]
    assert ["video" in failed[0], "recall" in failed[1], "control" in failed[2]] == [True] * 3
    assert all("true in 1 of 2 seeds" in line for line in failed)


def test_the_table_ends_with_the_mean_over_the_seeds():
    seed = dict.fromkeys(bench.MODELS, BEFORE)
    lines = list(bench.table({1: seed, 2: seed}))
    assert len(lines) == 2 + 3 * len(bench.MODELS)
    assert lines[-1] == "| mean | control | 0.500 | 0.400 | 0.200 | 0.400 | 0.375 | 0.900 |"
