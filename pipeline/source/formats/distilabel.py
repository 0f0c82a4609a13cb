"""distilabel: an instruction, the generations of several models, their ratings, and the pair that its DPO step made from them."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, DraftPair, Turn, pair_draft
from pipeline.source.formats.fields import (
    Media,
    Row,
    as_list,
    both_or_neither,
    decode_base64,
    maybe_text,
    media_of,
    number,
    text,
    type_name,
)
from pipeline.source.formats.turns import answers, place_media, turns
from pipeline.source.formats.ultrafeedback import reward_fields
from pipeline.source.formats.unread import MEDIA
from schemas.axes import RATING
from schemas.errors import bad_row
from schemas.records import Outcome
from schemas.text import same_text

READS = (
    "messages[]", "instruction[]", "prompt[]", "chosen[]", "rejected[]", "generations", "generation_models", "ratings", "rationales",
    "rationales-for-ratings", "model_name", "chosen_model", "rejected_model", "chosen_rating", "rejected_rating", "prompt_id", "image_type",
    *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    for names in (("generations",), ("chosen", "rejected", "chosen_model", "rejected_model")):
        if set(names) <= set(columns):
            return f"columns {', '.join(names)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. A failed generation (null) is an empty answer, a rating that could not be parsed (null) a Judgement without a value.
    RowError if a field is missing or invalid."""
    media = media_of(row)
    if row.get("image_type") == "base64" and "image" in media:
        media["image"] = [decode_base64(text(value, "image"), "image") for value in media["image"]]
    name = maybe_text(row.get("prompt_id"), "prompt_id")
    paired = row.get("chosen") is not None or row.get("rejected") is not None
    if row.get("generations") is None:
        if not paired:
            raise bad_row("generations are missing, and so are chosen and rejected; add one or the other")
        return _pair(row, media, name)
    found, ratings = _generations(row), _ratings(row)
    if not paired:
        return Draft(place_media(_prompt(row), media), found, ratings, id=name)
    return _merged(_pair(row, media, name), found, ratings)


def _merged(pair: Draft, found: tuple[Answer, ...], ratings: tuple[DraftJudgement, ...]) -> Draft:
    """The pair's Draft with all generations as answers; the pair's two are found among them by text, or appended."""
    places = [_place(answer, found) for answer in pair.answers]
    missing = [answer for answer, place in zip(pair.answers, places, strict=True) if place is None]
    more = iter(range(len(found), len(found) + len(missing)))
    at = [next(more) if place is None else place for place in places]
    said = ratings or tuple(s._replace(items=(at[s.items[0]],)) for s in pair.said)
    roles = {at[i]: answer.role for i, answer in enumerate(pair.answers)}
    answers = tuple(a._replace(role=roles.get(i)) for i, a in enumerate((*found, *missing)))
    return pair._replace(answers=answers, said=said, pairs=(DraftPair(at[0], at[1], None, pair.pairs[0].known),))


def _prompt(row: Row) -> tuple[Turn, ...]:
    """The prompt: messages, or an instruction (`prompt` in other steps)."""
    if row.get("messages") is not None:
        return turns(row["messages"], "messages", tags=True)
    name = next((name for name in ("instruction", "prompt") if row.get(name) is not None), "instruction")
    return turns(row.get(name), name, tags=True)


def _pair(row: Row, media: Media, name: str | None) -> Draft:
    asked = row["prompt"] if row.get("prompt") is not None else row.get("instruction")
    prompt, chosen, rejected = answers(asked, row.get("chosen"), row.get("rejected"))
    models = [maybe_text(row.get(f"{side}_model"), f"{side}_model") for side in ("chosen", "rejected")]
    names = ("chosen_rating", "rejected_rating")
    scores = both_or_neither(*(number(row.get(field), field) for field in names), names)
    judge = _judge(row)
    return pair_draft(
        place_media(prompt, media), Answer(chosen, models[0]), Answer(rejected, models[1]),
        said=tuple(DraftJudgement((i,), RATING, score, judge) for i, score in enumerate(scores or ())), id=name, pair=reward_fields(scores),
    )  # fmt: skip


def _generations(row: Row) -> tuple[Answer, ...]:
    texts, models = row["generations"], as_list(row.get("generation_models"))
    if not isinstance(texts, list):
        raise bad_row(f"generations are {type_name(texts)}; use a list of texts")
    if models and len(models) != len(texts):
        raise bad_row(f"there are {len(texts)} generations, but {len(models)} generation_models; give one for each")
    return tuple(
        Answer("" if words is None else text(words, f"generations[{i}]"), maybe_text(model, f"generation_models[{i}]"))
        for i, (words, model) in enumerate(zip(texts, models or [None] * len(texts), strict=True))
    )


def _ratings(row: Row) -> tuple[DraftJudgement, ...]:
    values, count = row.get("ratings"), len(row["generations"])
    if values is None:
        return ()
    words = row.get("rationales-for-ratings") or row.get("rationales") or [None] * count
    if not isinstance(values, list) or not isinstance(words, list) or not len(values) == len(words) == count:
        sizes = [len(v) if isinstance(v, list) else type_name(v) for v in (values, words)]
        raise bad_row(f"there are {count} generations, {sizes[0]} ratings and {sizes[1]} rationales; give one for each")
    out = []
    for i, (value, why) in enumerate(zip(values, words, strict=True)):
        rating = number(value, f"ratings[{i}]")
        outcome = Outcome.UNPARSABLE if rating is None else Outcome.VERDICT
        out.append(DraftJudgement((i,), RATING, rating, _judge(row), maybe_text(why, f"rationales[{i}]"), outcome))
    return tuple(out)


def _judge(row: Row) -> str:
    """The judge: the model of the last step."""
    return maybe_text(row.get("model_name"), "model_name") or "distilabel"


def _place(answer: Answer, found: tuple[Answer, ...]) -> int | None:
    """Index of the generation that equals an answer; None if there is none."""
    for i, other in enumerate(found):
        if same_text(other.text, answer.text) and answer.model in (None, other.model):
            return i
    return None
