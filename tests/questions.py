"""Questions for tests: what people are asked, with answers, media and an order that a test can state."""

from annotators.people.question import Question, Task, order, uid

MEDIA = {
    "text": (),
    "image": (("a" * 64, "image/png"),),
    "multi_image": (("a" * 64, "image/png"), ("b" * 64, "image/png")),
    "video": (("c" * 64, "video/mp4"),),
    "audio": (("d" * 64, "audio/wav"),),
}
TEXTS = {
    Task.PAIRWISE: ("a red cross is left of a blue star.", "a blue cross is left of a blue star."),
    Task.RANKING: ("a red cross.", "a blue cross.", "two stars."),
    Task.RATINGS: ("a red cross is left of a blue star.",),
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
        "prompt": "where is the cross ?", "media": MEDIA[kind], "texts": texts,
    }  # fmt: skip
    return Question(**(known | parts))
