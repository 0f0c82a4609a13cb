"""ms-swift: a conversation with its answer and a rejected answer (and other media); or a KTO label; or prompts for GRPO."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, DraftPair, pair_draft
from pipeline.source.formats.fields import Row, flag, maybe_text, media_of, number, text
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import answer_text, instead, place_media, split_answers, to_conversation, turns
from pipeline.source.formats.unread import MEDIA, answers_in
from schemas.errors import bad_row

OTHER = ("rejected_response", "rejected_messages")

READS = (
    "messages[]", "rejected_response[]", "rejected_messages[]", "label", "margin", "solution", "id", *MEDIA,
    *(f"rejected_{name}" for name in MEDIA),
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    if "messages" not in columns:
        return None
    own = [name for name in (*OTHER, "label") if name in columns]
    if not own and answers_in(columns):
        return None
    return f"columns {', '.join(['messages', *own])}"


def read(row: Row) -> Draft:
    """A Draft. Without a rejected answer or label, the answer becomes the reference, and a conversation that ends with the user is a
    prompt; `solution` is the known answer. RowError if a field is missing or invalid."""
    conversation = to_conversation(row.get("messages"), "messages")
    media, name = media_of(row), maybe_text(row.get("id"), "id")
    solution = maybe_text(row.get("solution"), "solution")
    known = {"answer": solution} if solution else {}
    label = flag(row.get("label"), "label")
    other = next((name for name in OTHER if row.get(name) is not None), None)
    if other is None and label is None and (not conversation or conversation[-1].role != "assistant"):
        return Draft(place_media(turns(row["messages"], "messages", tags=True), media), known=known, id=name)
    if not conversation:
        raise bad_row("messages are empty; add the question and the answer")
    words = answer_text(conversation[-1], "messages")
    prompt = place_media(conversation[:-1], media)
    if other is None and label is None:
        return Draft(prompt, known=known | {"reference": words}, id=name)
    if other is None:
        return Draft(prompt, (unpaired(words),), (), (DraftPair(0, None, known={"label": label}),), known, name)
    value = row[other]
    if isinstance(value, str):
        rejected = text(value, other)
    else:
        rejected_conversation = to_conversation(value, other)
        rejected = (
            answer_text(rejected_conversation[-1], other)
            if len(rejected_conversation) == 1
            else split_answers(conversation, rejected_conversation)[2]
        )
    return pair_draft(
        prompt, Answer(words), Answer(rejected), instead=instead(prompt, media_of(row, "rejected_")),
        pair={"margin": number(row.get("margin"), "margin")}, known=known, id=name,
    )  # fmt: skip
