import json
import random
import warnings

import numpy as np
import pytest

from annotators.measures import agreement
from annotators.measures.agreement import Vote, reliability

FLEISS = [  # ten items, fourteen votes each on five labels, from the encyclopedia's worked example: kappa 0.210
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def preferences(said: dict[str, list[float | None]], **known) -> list[Vote]:
    """{judge: value on item 0, 1, ...}"""
    return [
        Vote(f"q{i}", f"item{i}", name, "preference", value, **known)
        for name, values in said.items()
        for i, value in enumerate(values)
    ]


def of(votes, axis: str = "preference") -> dict:
    """quality(), which must not warn and must be JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reliability(votes, axis)
    return json.loads(json.dumps(found, allow_nan=False))


def test_fleiss_kappa_of_the_worked_example():
    assert agreement.fleiss_kappa(np.array(FLEISS)) == pytest.approx(0.210, abs=5e-4)
    assert agreement.percent_agreement(np.array(FLEISS)) == pytest.approx(0.378, abs=5e-4)


def test_cohens_kappa_by_hand():
    # 50 items: both yes 20, only the first 5, only the second 10, both no 15. Agreed .7, by chance .5 x .6 + .5 x .4 = .5
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert agreement.cohen_kappa(first, second) == pytest.approx(0.4)
    assert agreement.cohen_kappa(["y"] * 3, ["y"] * 3) is None
    assert agreement.cohen_kappa([], []) is None


def test_alpha_by_hand():
    # two judges, four items: (1,1) (2,2) (1,2) (2,2). Coincidences: 1-1 twice, 2-2 four times, 1-2 and 2-1 once each; of 8 values three are 1.
    # Disagreement seen 2 / 8, expected 2 x 3 x 5 / (8 x 7): alpha = 1 - (1/4) / (30/56) = 8/15, the same at every level with two values
    counts = np.array([[2, 0], [0, 2], [1, 1], [0, 2]])
    for level in agreement.LEVELS:
        assert agreement.krippendorff_alpha(counts, [1, 2], level) == pytest.approx(8 / 15)


def test_a_share_has_wilsons_interval():
    # 8 of 10 at 95 %: (.8 + .192073 -+ 1.959964 sqrt(.016 + .00960365)) / 1.384146
    assert agreement.wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert agreement.wilson_interval(0, 5)[0] == 0.0
    assert agreement.wilson_interval(5, 5)[1] == 1.0


def test_figures_of_three_people_by_hand():
    #          items   0  1  2   3
    said = {"person:1": [2, 1, -1, 0], "person:2": [1, 2, -2, 0], "person:3": [1, -1, -1, None]}
    found = of(preferences(said))
    assert (found["votes"], found["items"]) == (11, 4)
    together = found["agreement"]["preference"]
    # sides agree on item 0 and 2 wholly, on 1 in one of three twos, on 3 in the one
    assert together["percent"] == pytest.approx((1 + 1 / 3 + 1 + 1) / 4, abs=1e-4)
    # cohen 1-2: all four the same = 1. 1-3: items 0..2 ++- and +--: agreed 2/3, by chance 2/9 + 2/9 = 4/9: .4; 2-3 alike
    assert together["cohen"] == pytest.approx((1 * 4 + 0.4 * 3 + 0.4 * 3) / 10, abs=1e-4)
    # steps differ where sides do not
    assert together["alpha"]["nominal"] < together["alpha"]["ordinal"]
    one, three = found["annotators"]["person:1"], found["annotators"]["person:3"]
    assert one["agreement"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert three["agreement"] == pytest.approx((1 + 0 + 1) / 3, abs=1e-4)
    assert (one["ties"], three["ties"]) == (0.25, 0)
    assert (three["votes"], three["skipped"], three["skip_rate"]) == (3, 1, 0.25)
    assert one["skill"] > three["skill"]
    assert one["left"] is one["gold"] is one["seconds"] is one["repeats"] is None


def test_time_gold_sides_and_repeats_by_hand():
    votes = [
        Vote("q1", "a", "p", "preference", 1, seconds=10, left=True, gold=True),
        Vote("q1", "a", "p", "other", 4, seconds=10),
        Vote("q2", "b", "p", "preference", -1, seconds=30, left=True, gold=False),
        Vote("q3", "c", "p", "preference", 0, seconds=50, left=None, gold=True),
        Vote("q4", "a", "p", "preference", 2, seconds=20, left=False, repeat_of="q1"),  # the same answer again
        Vote("q5", "b", "p", "preference", 1, seconds=20, left=True, repeat_of="q2"),  # the same side again
        Vote("q6", "z", "p", "preference", 1, repeat_of="never asked"),
    ]
    p = of(votes)["annotators"]["p"]
    assert (p["votes"], p["seconds"], p["timed"]) == (3, 20, 5)  # 10 20 20 30 50
    assert (p["gold"]["n"], p["gold"]["share"]) == (3, pytest.approx(2 / 3, abs=1e-4))
    assert (p["left"]["n"], p["left"]["share"]) == (4, 0.75)
    assert p["repeats"] == {"n": 2, "share": 0.5}
    assert p["longest_run"] == 2


def test_a_question_about_several_answers_is_one_question():
    votes = [Vote("q1", c, "p", "rank", -i, seconds=9, gold=True) for i, c in enumerate("abc")]
    votes += [Vote("q2", c, "p", "rank", -i, seconds=9, repeat_of="q1") for i, c in enumerate("acb")]
    p = of([*votes, Vote("q3", "x", "p", "rank", None)], "rank")["annotators"]["p"]
    assert (p["votes"], p["gold"]["n"], p["timed"], p["skipped"]) == (3, 1, 2, 1)
    assert p["skip_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert p["repeats"] == {"n": 3, "share": 0.3333}  # b and c changed places


def test_ratings_have_no_sides_and_their_own_axis():
    votes = [Vote(f"q{i}", f"c{i}", who, "helpful", float(1 + i), left=None) for i in range(4) for who in "ab"]
    found = of(votes, "helpful")
    assert found["agreement"]["helpful"]["alpha"] == {"nominal": 1, "ordinal": 1, "interval": 1}
    assert found["annotators"]["a"]["ties"] is None


@pytest.mark.parametrize(
    "said",
    [
        {"a": [1, 1, -1]},  # one judge
        {"a": [1, None], "b": [None, 1]},  # no item in common
        {"a": [1, 1], "b": [1, 1]},  # constant
        {"a": [None, None]},  # only skipped
        {},
    ],
)
def test_where_nothing_can_be_compared_there_is_no_figure(said):
    found = of(preferences(said))
    assert found["annotators"].keys() == said.keys()
    for figures in found["agreement"].values():
        assert (
            figures["fleiss"] is figures["cohen"] is figures["alpha"]["nominal"] is figures["alpha"]["ordinal"] is None
        )
    for person in found["annotators"].values():
        assert person["skill"] is None
        assert person["flags"] == []


def campaign() -> list[Vote]:
    """Six people on 120 pairs whose better side is tossed; who is odd says so by name."""
    rng = random.Random(11)
    votes = []
    for i in range(120):
        truth = rng.choice([1, -1])
        for name in ("good:1", "good:2", "good:3", "chance", "lefty", "hasty", "gold"):
            right = {"chance": 0.5, "gold": 0.4}.get(name, 0.9)
            value = truth if rng.random() < right else -truth
            first_left = rng.random() < 0.5
            if name == "lefty" and rng.random() < 0.6:
                value = 1 if first_left else -1
            known = (value == truth) if i % 4 == 0 and name in ("good:1", "gold") else None
            seconds = rng.uniform(2, 4) if name == "hasty" else rng.uniform(20, 40)
            votes.append(
                Vote(f"{name}{i}", f"pair{i}", name, "preference", value, seconds, (value > 0) == first_left, known)
            )
    return votes


def test_odd_people_are_flagged_with_the_reason_and_others_are_not():
    people = of(campaign())["annotators"]
    assert [people[f"good:{i}"]["flags"] for i in (1, 2, 3)] == [[], [], []]
    (chance,) = people["chance"]["flags"]
    assert "is not significantly above chance" in chance
    assert any("chose the left side" in flag for flag in people["lefty"]["flags"])
    assert ["s per question; the others take" in flag for flag in people["hasty"]["flags"]] == [True]
    assert any("of 30 gold questions right" in flag for flag in people["gold"]["flags"])
    assert people["good:1"]["skill"] == pytest.approx(0.9, abs=0.06)


def test_whoever_gives_one_answer_all_along_is_flagged():
    rng = random.Random(2)
    votes = [
        Vote(f"{name}{i}", f"c{i}", name, "helpful", 3.0 if name == "straight" else float(rng.randint(1, 5)))
        for name in ("a", "b", "straight")
        for i in range(30)
    ]
    people = of(votes, "helpful")["annotators"]
    assert any(flag.startswith("the same answer 30 times in a row") for flag in people["straight"]["flags"])
    assert not any("in a row" in flag for name in "ab" for flag in people[name]["flags"])
