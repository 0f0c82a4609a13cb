"""MMPR, the training data of MPO: a question, a correct or grounded answer, and a wrong or ungrounded one."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, maybe_text, media_of, text
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA

READS = ("question", "chosen", "rejected", "answer_gt", "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return "columns question, chosen, rejected" if {"question", "chosen", "rejected"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft; `answer_gt` is the known answer. RowError if a field is missing or invalid."""
    answer = maybe_text(row.get("answer_gt"), "answer_gt")
    return pair_draft(
        place_media(turns(text(row.get("question"), "question"), "question", tags=True), media_of(row)),
        Answer(text(row.get("chosen"), "chosen")), Answer(text(row.get("rejected"), "rejected")),
        known={"answer": answer} if answer else {}, id=maybe_text(row.get("id"), "id"),
    )  # fmt: skip
