"""Small made-up rows for tests of operators that ask no model."""

from pipeline.media.probe import probe_and_store
from schemas import arrow, messages
from schemas.operator import Context, SampleRows
from schemas.records import Finding, Outcome, Part, candidate, judgement, sample


def context(step: str = "step", media=None, **parts) -> Context:
    return Context(step, "v1", media, "test", **parts)


def rows_of(
    texts: list[str], scores: list[float | None] = (), question: str = "what is there ?", **known
) -> SampleRows:
    """One sample with an image, an answer a text, and a score each (None: the judge abstained)."""
    rows = SampleRows(sample((messages.user(Part("image", media="ab" * 32), question),), **known))
    rows.candidates = [candidate(rows.sample.id, "sample", text, index=i) for i, text in enumerate(texts)]
    rows.judgements = [
        judgement(
            rows.sample.id, "score", "candidate", (c.id,), "score",
            Finding(Outcome.ABSTAIN if score is None else Outcome.VERDICT, score),
        )
        for c, score in zip(rows.candidates, scores, strict=False)
    ]  # fmt: skip
    return rows


class Held:
    """Tables whose rows are given, in batches of three."""

    def __init__(self, **tables: list):
        self.tables = tables

    def batches(self, table, columns=None):
        rows = self.tables.get(table, [])
        for start in range(0, len(rows), 3):
            batch = arrow.to_batch(table, rows[start : start + 3])
            yield batch.select(columns) if columns else batch


def tables_of(store, rows: list[tuple[str, list[bytes]]], **known) -> Held:
    """Samples `rows.jsonl#1`, `#2` ... of these prompts and media files, which are kept in the store."""
    media, samples = {}, []
    for number, (prompt, files) in enumerate(rows, 1):
        shown = [probe_and_store(data, f"file {number}", store) for data in files]
        media |= {m.id: m for m in shown}
        parts = [Part(m.kind, media=m.id) for m in shown]
        samples.append(sample((messages.user(*parts, prompt),), source=f"rows.jsonl#{number}", **known))
    return Held(media=list(media.values()), samples=samples)
