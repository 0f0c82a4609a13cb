"""ms-swift: a conversation with its answer, and the other answer (and other media) beside it; a label for KTO; prompts for GRPO."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, Pairing, preferred
from pipeline.source.formats.fields import Row, flag, maybe_text, media_of, number, text
from pipeline.source.formats.trl import unpaired
from pipeline.source.formats.turns import apart, instead, said, shown, spoken, turns
from schemas.errors import bad_row

OTHER = ("rejected_response", "rejected_messages")


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    if "messages" not in columns:
        return None
    own = [name for name in (*OTHER, "label") if name in columns]
    return f"columns {', '.join(['messages', *own])}"


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row. Without another answer and a label, an answer is a reference, and a
    conversation that ends with the user is a prompt; `solution` is the known answer."""
    talk = spoken(row.get("messages"), "messages")
    media, name = media_of(row), maybe_text(row.get("id"), "id")
    solution = maybe_text(row.get("solution"), "solution")
    known = {"answer": solution} if solution else {}
    label = flag(row.get("label"), "label")
    other = next((name for name in OTHER if row.get(name) is not None), None)
    if other is None and label is None and (not talk or talk[-1].role != "assistant"):
        return Draft(shown(turns(row["messages"], "messages", tags=True), media), known=known, id=name)
    if not talk:
        raise bad_row("messages are empty; write the question and the answer")
    words = said(talk[-1], "messages")
    prompt = shown(talk[:-1], media)
    if other is None and label is None:
        return Draft(prompt, known=known | {"reference": words}, id=name)
    if other is None:
        return Draft(prompt, (unpaired(words),), (), (Pairing(0, None, known={"label": label}),), known, name)
    value = row[other]
    if isinstance(value, str):
        rejected = text(value, other)
    else:
        against = spoken(value, other)
        rejected = said(against[-1], other) if len(against) == 1 else apart(talk, against)[2]
    return preferred(
        prompt, Answer(words), Answer(rejected), instead=instead(prompt, media_of(row, "rejected_")),
        pair={"margin": number(row.get("margin"), "margin")}, known=known, id=name,
    )  # fmt: skip
