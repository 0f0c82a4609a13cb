"""Nectar: a transcript and the ranked answers of several models; rank 1 is the best."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, Turn
from pipeline.source.formats.fields import Row, maybe_text, number, text
from pipeline.source.formats.turns import as_text_piece
from pipeline.source.formats.vlfeedback import records
from schemas.axes import RANK
from schemas.errors import bad_row
from schemas.records import Outcome

JUDGE = "nectar"
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}

READS = ("prompt", "answers.answer", "answers.model", "answers.rank")


def fits(columns: Mapping[str, Any]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    found = columns.get("answers") if "prompt" in columns else None
    first = found[0] if isinstance(found, list) and found else found
    ranked = isinstance(first, dict) and {"answer", "rank"} <= set(first)
    return "columns prompt, answers with ranks" if ranked else None


def read(row: Row) -> Draft:
    """A Draft: a judgement on `rank` per answer (0 the best, -1 the next ...). Answers are ranked, not paired: add a pair rule.

    A rank that is missing becomes a judgement without a value. RowError if a field is missing or invalid."""
    entries = records(row.get("answers"), "answers")
    if not entries:
        raise bad_row("answers are empty; add at least one {answer, model, rank}")
    answers, said = [], []
    for place, entry in enumerate(entries):
        where = f"answers[{place}]"
        answers.append(
            Answer(
                text(entry.get("answer"), f"{where}.answer").strip(), maybe_text(entry.get("model"), f"{where}.model")
            )
        )
        rank = number(entry.get("rank"), f"{where}.rank")
        value, outcome = (None, Outcome.UNPARSABLE) if rank is None else (1 - rank, Outcome.VERDICT)
        said.append(DraftJudgement((place,), RANK, value, JUDGE, None, outcome))
    return Draft(transcript(text(row.get("prompt"), "prompt"), "prompt"), tuple(answers), tuple(said))


def transcript(words: str, name: str, answered: bool = False) -> tuple[Turn, ...]:
    """The messages of a text `Human: ... Assistant: ...`, each after an empty line; with `answered`, it ends with the Assistant's answer. A
    text without speakers is one question.

    RowError if the speakers do not take turns, beginning with Human."""
    before, *rest = _SPEAKER.split(words)
    if not rest and not answered:
        return (Turn("user", as_text_piece(words)),)
    spoken = [(speaker, said.strip()) for speaker, said in zip(rest[::2], rest[1::2], strict=True)]
    if spoken and not answered and spoken[-1] == ("Assistant", ""):
        spoken.pop()
    expected = [("Human", "Assistant")[i % 2] for i in range(len(spoken))]
    if before.strip() or [speaker for speaker, _ in spoken] != expected or not spoken or len(spoken) % 2 == answered:
        end = "Assistant" if answered else "Human"
        raise bad_row(
            f"{name} is not a transcript in which Human and Assistant alternate and {end} is last; correct it"
        )
    return tuple(Turn(_ROLES[speaker], as_text_piece(said)) for speaker, said in spoken)
