"""MM-RLHF's `dpo_pairs.jsonl`: human preferences on images and videos, with reasons."""

from collections.abc import Collection

from pipeline.source.formats.draft import TIED, Answer, Draft, DraftJudgement, DraftPair, pair_draft
from pipeline.source.formats.fields import (
    Row,
    both_or_neither,
    flag,
    maybe_text,
    media_of,
    media_reference,
    number,
    text,
)
from pipeline.source.formats.turns import instead, place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import PREFERENCE
from schemas.errors import bad_row
from schemas.records import Outcome
from schemas.text import same_text

CATEGORIES = ("mcq", "long", "short", "safety", "video")
OWN = ("chosen_reason", "rejected_reason", "is_tie", "mixed_up_image", "ls_factor", "reference_chosen_logp")

READS = (
    "prompt", "chosen", "rejected", "chosen_reason", "rejected_reason", "is_tie", "mixed_up_image", "reference_chosen_logp",
    "reference_rejected_logp", "id", *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    own = [name for name in OWN if name in columns]
    if own and {"prompt", "chosen", "rejected"} <= set(columns):
        return f"columns prompt, chosen, rejected and {', '.join(own)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. A tie is a judgement without a pair of texts. `mixed_up_image` is a pair of its own beside it: the chosen answer is better
    with its image than with that one. <image> is also the place of a video. The sample's `split` is its category in MM-RLHF-RewardBench.
    RowError if a field is missing or invalid."""
    words, media = text(row.get("prompt"), "prompt"), media_of(row)
    if "video" in media and "image" not in media:
        words = words.replace("<image>", "<video>")
    prompt = place_media(turns(words, "prompt", tags=True), media)
    tie = flag(row.get("is_tie"), "is_tie") or False
    logps = ("reference_chosen_logp", "reference_rejected_logp")
    reference = both_or_neither(*(number(row.get(name), name) for name in logps), logps)
    known = (
        {"ref_logp_chosen": reference[0], "ref_logp_rejected": reference[1], "ref_stamp": "mm_rlhf"}
        if reference
        else {}
    )
    mixed = instead(prompt, _mixed(row))
    alone = mixed is not None and same_text(text(row.get("chosen"), "chosen"), text(row.get("rejected"), "rejected"))
    draft = pair_draft(
        prompt, Answer(text(row.get("chosen"), "chosen")), Answer(text(row.get("rejected"), "rejected")),
        instead=mixed if alone else None, id=maybe_text(row.get("id"), "id"), known=_category(row),
        said=(DraftJudgement((0, 1), PREFERENCE, 0.0 if tie else 1.0, "mm_rlhf", None, Outcome.TIE if tie else Outcome.VERDICT),),
        pair=known | {
            "critique_chosen": maybe_text(row.get("chosen_reason"), "chosen_reason"),
            "critique_rejected": maybe_text(row.get("rejected_reason"), "rejected_reason"),
        },
    )  # fmt: skip
    beside = () if mixed is None or alone else (DraftPair(0, 0, mixed),)
    if not tie:
        return draft._replace(pairs=(*draft.pairs, *beside))
    pairs = draft.pairs if alone else beside
    answers = tuple(answer._replace(role=None) for answer in draft.answers)
    return draft._replace(answers=answers, pairs=pairs, no_pair=TIED)


def _category(row: Row) -> dict[str, str]:
    """The category counted separately by MM-RLHF-RewardBench: the first folder of the image's or video's path."""
    paths = [path for path in (row.get("image"), row.get("video")) if isinstance(path, str)]
    found = {name for path in paths for name in CATEGORIES if path.startswith(f"{name}/")}
    return {"split": found.pop()} if len(found) == 1 else {}


def _mixed(row: Row) -> dict[str, list]:
    value = row.get("mixed_up_image")
    if value is True:
        raise bad_row("mixed_up_image is true; give the path of the rejected side's image, or leave it out")
    return {"image": [media_reference(value, "mixed_up_image")]} if value else {}
