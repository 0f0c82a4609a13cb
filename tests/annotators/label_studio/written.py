"""Results as the editor wrote them when an annotator labeled the questions of tests/support/questions.py in a browser."""

from annotators.people.question import Task


def entry(name: str, type: str, value: dict, to: str = "prompt", id: str = "EJDBRjMSQD") -> dict:
    return {"id": id, "type": type, "value": value, "origin": "manual", "to_name": to, "from_name": name}


def choices(name: str, *chosen: str) -> dict:
    return entry(name, "choices", {"choices": list(chosen)})


def stars(axis: str, count: int) -> dict:
    return entry(axis, "rating", {"rating": count}, "response")


def whole(text: str) -> dict:
    return entry("corrected_response", "textarea", {"text": [text]}, "response")


def ranker(ranked: list[str], unacceptable: list[str] = (), left: list[str] = ()) -> dict:
    buckets = {"_": list(left), "ranked": list(ranked), "unacceptable": list(unacceptable)}
    return entry("rank", "ranker", {"ranker": buckets}, "responses")


TWO = {"start": 0, "end": 3}
DOG = {"start": 38, "end": 41}
SPANS = [
    entry("fault", "labels", {**TWO, "text": "Two", "labels": ["count"]}, "response", "EdQZM080ey"),
    entry("fault", "labels", {**DOG, "text": "dog", "labels": ["object"]}, "response", "5iS-DXuS54"),
    entry("severity", "choices", {**DOG, "text": "dog", "choices": ["3"]}, "response", "5iS-DXuS54"),
    entry("correction", "textarea", {**DOG, "text": ["star"]}, "response", "5iS-DXuS54"),
]
AS_IT_WAS = "Two red crosses 👨‍👩‍👧 stand left of a dog."
RIGHT = "Three red crosses 👨‍👩‍👧 stand left of a star."

WRITTEN = {
    Task.PAIRWISE: [
        choices("preference", "L1"), choices("flags", "both_bad"),
        entry("rationale", "textarea", {"text": ["it names the colour"]}),
    ],
    Task.RANKING: [ranker(["r3", "r1"], ["r2"]), choices("done", "sorted")],
    Task.RATINGS: [stars("helpfulness", 4), stars("faithfulness", 2), stars("safety", 5), choices("flags", "unsafe")],
    Task.CORRECT: [*SPANS, choices("verdict", "corrected"), whole(RIGHT)],
    Task.SAFETY: [choices("verdict", "unsafe"), choices("harm", "violence", "other"), choices("severity", "2")],
}  # fmt: skip
