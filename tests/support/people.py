"""People without a server: samples with answers, and what somebody says of them, written straight into a ledger."""

from itertools import count

from annotators.judge import people
from annotators.people import plan
from annotators.people.ledger import Annotation, Ledger
from annotators.people.question import AxisVerdict, ParsedAnnotation, Question, Unusable
from schemas import messages
from schemas.operator import SampleRows
from schemas.records import Finding, Outcome, Part, candidate, judgement, sample

ids = count(1)


def rows(number: int, answers: int = 2, scores: tuple[float, ...] = (), truth: tuple[float, ...] = ()) -> SampleRows:
    """A sample with an image and answers, and Judgements on `score` and `truth` where given."""
    picture = Part("image", media=f"{number:064x}")
    found = SampleRows(sample((messages.user(picture, f"what is shown in picture {number} ?"),)))
    found.candidates = [candidate(found.sample.id, "sample", f"answer {number} {i}", index=i) for i in range(answers)]
    for axis, values in (("score", scores), ("truth", truth)):
        found.judgements += [
            judgement(found.sample.id, axis, "candidate", (c.id,), axis, Finding(Outcome.VERDICT, value))
            for c, value in zip(found.candidates, values)
        ]
    return found


def planned(ledger: Ledger, seen: list[SampleRows], settings: people.Settings, campaign: str = "c") -> list[Question]:
    """Plans as `judge.people` does; returns what the ledger asks."""
    asked = {(q.sample, q.items): q.gold is not None for q in ledger.questions(withdrawn=True)}
    chosen = plan.select_drafts(
        plan.drafts(seen, settings, lambda media: dict.fromkeys(media, "image/png")), settings, asked
    )
    ledger.plan(q for draft in chosen for q in plan.questions(draft, campaign, settings))
    return list(ledger.questions())


def says(ledger: Ledger, question: Question, person: int, value: float | None, *, id: int | None = None, task: int = 1,
         updated: str = "2026-01-01T00:00:00.000000+00:00", seconds: float = 9.0) -> str:  # fmt: skip
    """A person's preference on a pairwise question (None: skipped), as the server would have it."""
    outcome = Outcome.TIE if value == 0 else Outcome.VERDICT
    reply = None if value is None else ParsedAnnotation((AxisVerdict("preference", (0, 1), outcome, value),))
    seen = Annotation(id or next(ids), task, question.uid, person, updated, value is None, seconds, [value])
    return ledger.record(seen, reply)


def spoils(ledger: Ledger, question: Question, person: int, reason: str = "missing_verdict") -> str:
    return ledger.record(
        Annotation(next(ids), 1, question.uid, person, "2026-01-01T00:00:00.000000+00:00", False, 9.0, []),
        Unusable(reason),
    )
