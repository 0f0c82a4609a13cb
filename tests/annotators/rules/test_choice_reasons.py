"""What a reply chooses of "Which? A. a red square B. a dog C. none", where B is right: derived by hand. A wrong 0 makes a right answer
`rejected`, a wrong 1 a wrong one `chosen`."""

import pytest

from annotators.rules.choice import choice, options_of

QUESTION = "Which?\nA. a red square\nB. a dog\nC. none"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        # the choice stands alone, its reason names what it rejects
        ("Answer: B\n\nA is wrong since there is no square.", 1), ("Final Answer: B. It cannot be A.", 1), ("B\n\nA is wrong.", 1), ("B.\nA and C are wrong.", 1),
        ("**B**\n\nOption A shows a square, which is not there.", 1), ("(B)\nNot A, as nothing is red.", 1), ("Answer: B\nReason: A has no dog.", 1),
        ("Answer: B. a dog\n\nA is a square and C is nothing.", 1), ("Final answer: **B**\n\nUnlike A, it is an animal.", 1), ("a dog\n\nA is not in the picture.", 1),
        ("<answer>B</answer>\nA is wrong.", 1), ("$\\boxed{B}$\n\nA does not fit.", 1), ("A is wrong, C is wrong.\nAnswer: B", 1), ("B\n\nA dog is there.", 1),
        ("Answer: B\n\nI ruled out A and C.", 1), ("The answer is B.", 1), ("B", 1), ("b", 1), ("I choose (B).", 1), ("B. a dog", 1), ("B is correct.", 1),
        # the same of a wrong letter
        ("Answer: A\n\nB is wrong since there is no dog.", 0), ("Final Answer: A. It cannot be B.", 0), ("A\n\nB is wrong.", 0), ("C\nNot B.", 0),
        ("a red square\n\nB is not in the picture.", 0), ("Answer: C\n\nNeither A nor B.", 0),
        # two answers, or one that is taken back
        ("Both A and B", 0), ("A or B", 0), ("Answer: B or C", 0), ("B\nor A", 0), ("B\nA", 0), ("Answer: B\n\nA is also correct.", 0), ("B\n\nActually, A.", 0),
        ("Answer: B\n\nWait, the answer is A.", 0), ("Answer: B\nAnswer: A", 0), ("Answer: A\nAnswer: B", 1), ("B\n\nThe answer is A.", 0), ("Answer: B\n\nIt is not B.", 0),
        ("B\n\nBoth A and B are right.", 0), ("Answer: B\n\nC might be right too.", 0), ("Answer: B\n\nA could be correct.", 0), ("<answer>A</answer><answer>B</answer>", 0),
        # no choice
        ("", 0), ("A dog is there, not a square.", 0), ("None of A, B, C", 0), ("I cannot tell.", 0), ("It depends\n\nB is a dog.", 1),
    ],
)  # fmt: skip
def test_a_letter_alone_counts_whatever_its_reason_rejects(text, right):
    assert choice(text, "B", options_of(QUESTION)).value == right
