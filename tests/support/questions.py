"""Questions for tests: what people are asked, with answers, media and an order that a test can state."""

from annotators.people.question import Question, Task, order, uid

MEDIA = {
    "text": (),
    "image": (("a" * 64, "image/png"),),
    "multi_image": (("a" * 64, "image/png"), ("b" * 64, "image/png")),
    "video": (("c" * 64, "video/mp4"),),
    "audio": (("d" * 64, "audio/wav"),),
}
PROMPTS = {
    "text": "which shape has four equal sides ?", "image": "describe the picture .", "video": "what happens in the video ?",
    "multi_image": "which picture has a square ?", "audio": "what do you hear ?",
}  # fmt: skip
TEXTS = {
    Task.PAIRWISE: ("there is a red square at the top left.", "there is a blue square at the top left, and a dog."),
    Task.RANKING: ("a red square and a cross.", "a blue cross.", "two stars."),
    Task.RATINGS: ("there is a red square at the top left.",),
    Task.CORRECT: ("Two red crosses 👨‍👩‍👧 stand left of a dog.",),
    Task.SAFETY: ("mix what is under the sink.",),
}


def question(
    task: str, kind: str = "image", *, texts: tuple[str, ...] = (), places: tuple[int, ...] | None = None, **parts
) -> Question:
    """A Question with `texts` by place; `places` is its order, by default the one that is drawn."""
    texts = texts or TEXTS[Task(task)]
    items = tuple(f"candidate{i}" for i in range(len(texts)))
    name = uid("campaign", task, kind, items, "", 0)
    known = {
        "uid": name, "task": task, "sample": "sample", "kind": kind, "items": items,
        "order": places or order(name, len(items), seed=1), "desk": "", "ask": 0, "gold": None,
        "prompt": PROMPTS[kind], "media": MEDIA[kind], "texts": texts,
    }  # fmt: skip
    return Question(**(known | parts))
