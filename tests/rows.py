"""Small made-up rows for tests of operators that ask no model."""

from schemas import chat
from schemas.operator import Context, Rows
from schemas.records import Outcome, Part, candidate, judgement, sample


def context(step: str = "step", **parts) -> Context:
    return Context(step, "v1", None, "test", **parts)


def rows_of(texts: list[str], scores: list[float | None] = (), question: str = "what is there ?", **known) -> Rows:
    """One sample with an image, an answer a text, and a score each (None: the judge abstained)."""
    rows = Rows(sample((chat.user(Part("image", media="ab" * 32), question),), **known))
    rows.candidates = [candidate(rows.sample.id, "sample", text, index=i) for i, text in enumerate(texts)]
    rows.judgements = [
        judgement(
            rows.sample.id, "score", "candidate", (c.id,), "score",
            Outcome.ABSTAIN if score is None else Outcome.VERDICT, value=score,
        )
        for c, score in zip(rows.candidates, scores, strict=False)
    ]  # fmt: skip
    return rows
