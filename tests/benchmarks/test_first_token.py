from collections import Counter

from benchmarks.first_token import Found, of_texts, table


def test_each_side_is_right_in_half_of_the_questions():
    found = Counter((question.judge, question.right) for question in of_texts(10))
    told = "claims, told to answer yes or no"
    assert found == {
        ("claims", 1): 10,
        ("claims", 0): 10,
        (told, 1): 10,
        (told, 0): 10,
        ("pairwise", 1): 10,
        ("pairwise", -1): 10,
    }


def test_verdicts_are_counted_by_mass():
    found = [Found("claims", 0.14, True, False), Found("claims", 0.19, False, False), Found("claims", 1.0, True, True)]
    assert table(found) == [
        {"judge": "claims", "mass": "0.1 to 0.2", "verdicts": 2, "right": 0.5, "kept": 0.0},
        {"judge": "claims", "mass": "0.99 to 1", "verdicts": 1, "right": 1.0, "kept": 1.0},
    ]
