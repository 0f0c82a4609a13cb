"""MMPR, what MPO trains on: a question, an answer that is right or grounded, and one that is not."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, preferred
from pipeline.source.formats.fields import Row, maybe_text, media_of, text
from pipeline.source.formats.turns import shown, turns


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    return "columns question, chosen, rejected" if {"question", "chosen", "rejected"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row. `answer_gt` is the known answer."""
    answer = maybe_text(row.get("answer_gt"), "answer_gt")
    return preferred(
        shown(turns(text(row.get("question"), "question"), "question", tags=True), media_of(row)),
        Answer(text(row.get("chosen"), "chosen")), Answer(text(row.get("rejected"), "rejected")),
        known={"answer": answer} if answer else {}, id=maybe_text(row.get("id"), "id"),
    )  # fmt: skip
