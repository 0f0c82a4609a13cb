"""The records of Pairwright: the data model of the whole project.

Records are named tuples: cheap to create, immutable, and a list of them becomes columns with `zip(*rows)`.
Every id is a digest of content, so that joins, caches and resumed runs need no further bookkeeping.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from json.encoder import c_make_encoder, encode_basestring_ascii  # ty: ignore[missing-module-member]
from typing import Literal, NamedTuple, get_args


def _refuse(value):
    raise TypeError(f"{type(value).__name__} cannot be represented exactly in JSON")


# json.dumps creates an encoder at each call, which takes half of its time: a sample has a hundred ids
_exactly = c_make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", True, False, False)


def digest(*parts) -> str:
    """32 hex digits: BLAKE2b of the compact JSON, with sorted keys, of `parts`, which must be JSON values.

    TypeError or ValueError for what JSON cannot represent exactly: objects, sets, NaN, infinities."""
    return hashlib.blake2b("".join(_exactly(parts, 0)).encode(), digest_size=16).hexdigest()


def one_line(text: str) -> str:
    """`text` as one line for any file or terminal: characters that are not printable are escaped, including bytes of a file name that are
    not UTF-8."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Outcome(StrEnum):
    """The outcome of one attempt to judge. A tie is only what a judge called a tie; a missing verdict is never counted as zero."""

    VERDICT = "verdict"
    TIE = "tie"
    ABSTAIN = "abstain"
    UNPARSABLE = "unparsable"
    REFUSED = "refused"
    FAILED = "failed"


class Reason(StrEnum):
    """The closed list of reasons why a row is dropped or replaced."""

    # sources and media
    BAD_ROW = "bad_row"
    NOT_READ = "not_read"  # it contains something that would change its meaning and is not read
    MISSING_FILE = "missing_file"
    UNDECODABLE = "undecodable"
    UNSUPPORTED_MEDIA = "unsupported_media"
    UNREACHABLE = "unreachable"
    UNSAFE = "unsafe"
    TOO_LARGE = "too_large"
    EMPTY_MEDIA = "empty_media"
    TOO_SLOW = "too_slow"  # its decoder timed out
    DECODER_DIED = "decoder_died"  # its decoder crashed
    EMPTY_PROMPT = "empty_prompt"
    DUPLICATE = "duplicate"
    # samples removed by filters
    CONTAMINATED = "contaminated"
    LICENCE = "licence"
    NOT_SAMPLED = "not_sampled"
    RESOLUTION = "resolution"
    ASPECT = "aspect"
    DURATION = "duration"
    OBJECTS = "objects"
    COMPLEXITY = "complexity"
    TEXT_IN_PICTURE = "text_in_picture"
    # engines
    TOO_LONG = "too_long"
    TOO_MANY_MEDIA = "too_many_media"
    ENGINE_REFUSED = "engine_refused"
    ENGINE_FAILED = "engine_failed"
    ENGINE_CRASH = "engine_crash"
    # generated prompts
    NO_MATCH = "no_match"
    UNPARSABLE = "unparsable"
    # corrupted media
    UNCHANGED = "unchanged"
    # answers that did not end by themselves
    TRUNCATED = "truncated"
    TOOL_CALL = "tool_call"
    FILTERED = "filtered"
    UNFINISHED = "unfinished"
    # answers, pairs, filters
    NO_REFERENCE = "no_reference"
    TOO_SHORT = "too_short"
    EMPTY_ANSWER = "empty_answer"
    EQUAL_ANSWERS = "equal_answers"
    CONTRADICTION = "contradiction"
    NO_VERDICT = "no_verdict"
    NO_MARGIN = "no_margin"
    SAME_REPLY = "same_reply"
    UNSAFE_ANSWER = "unsafe_answer"
    OVER_CAP = "over_cap"
    LENGTH = "length"
    SUPERSEDED = "superseded"


OPEN = frozenset({Reason.ENGINE_FAILED, Reason.UNREACHABLE})
"""Reasons that may be temporary: a server fails, limits requests or does not respond. The next build of the same folder retries them."""

REMEDIES = {
    Reason.BAD_ROW: "correct the row as its detail says, or map its columns with the source's settings",
    Reason.NOT_READ: "remove what the detail names from the row if it does not matter: it is not read, and it would change the question or the answers",
    Reason.MISSING_FILE: "put the file where the row says, or set the folder that its path starts from",
    Reason.UNDECODABLE: "convert the file again, or use another copy: this one is damaged",
    Reason.UNSUPPORTED_MEDIA: "convert the media to a supported type, or use an operator that handles this kind (`pairwright steps --media KIND`)",
    Reason.UNREACHABLE: "run the same build again once the server responds: it is requested again",
    Reason.UNSAFE: "use a path inside the source's folder, or a public address; private hosts must be allowed by name",
    Reason.TOO_LARGE: "make the file or text smaller, or raise the limit named in the detail",
    Reason.EMPTY_MEDIA: "replace the file: it has no usable image or audio",
    Reason.TOO_SLOW: "convert the file to a simpler format: its decoder timed out",
    Reason.DECODER_DIED: "convert the file again: its decoder crashed on it",
    Reason.EMPTY_PROMPT: "give the row a prompt, or set one for all rows",
    Reason.DUPLICATE: "nothing is lost: an equal or nearly equal sample is kept",
    Reason.CONTAMINATED: "keep it out of training: it is in the given evaluation set",
    Reason.LICENCE: "allow its licence in the step's settings, or leave it out",
    Reason.NOT_SAMPLED: "raise the number of samples that the step keeps",
    Reason.RESOLUTION: "widen the step's limits of width and height, or provide larger media",
    Reason.ASPECT: "widen the step's limits of the aspect ratio",
    Reason.DURATION: "widen the step's limits of seconds, or shorten the clip",
    Reason.OBJECTS: "widen the step's limits of the number of objects",
    Reason.COMPLEXITY: "widen the step's limits of complexity",
    Reason.TEXT_IN_PICTURE: "raise the step's limit of text in an image",
    Reason.TOO_LONG: "shorten the prompt, use fewer or smaller media, or raise the model's max_model_len",
    Reason.TOO_MANY_MEDIA: "use fewer media, or raise the model's limit_mm_per_prompt",
    Reason.ENGINE_REFUSED: "change what the detail names: the model or its server does not support the request",
    Reason.ENGINE_FAILED: "run the same build again: the request is retried",
    Reason.ENGINE_CRASH: "check the request named in the detail: it crashed the model's process",
    Reason.NO_MATCH: "provide more samples, or loosen the step's criteria: none matches this one",
    Reason.UNPARSABLE: "use a model that follows the format, or a prompt that states it more clearly",
    Reason.UNCHANGED: "make the corruption stronger: it did not change the media",
    Reason.TRUNCATED: "raise max_tokens, or keep such answers with on_cut: keep",
    Reason.TOOL_CALL: "serve the model without tools, or use another model",
    Reason.FILTERED: "use a model without a content filter, or remove the row",
    Reason.UNFINISHED: "check the server's log for why it ended the answer, or use another server",
    Reason.NO_REFERENCE: "give the row a reference answer, or filter such rows out",
    Reason.TOO_SHORT: "lower the share of the answer that is kept, or ask for longer answers",
    Reason.EMPTY_ANSWER: "raise max_tokens, or check the prompt: the answer is empty",
    Reason.EQUAL_ANSWERS: "raise the temperature, or sample more answers: the two are equal",
    Reason.CONTRADICTION: "decide which of the two answers is better and remove the other pair, or set `contradictions: keep`",
    Reason.NO_VERDICT: "put a judge before the step, or check why its verdicts could not be parsed",
    Reason.NO_MARGIN: "lower min_margin, or sample more answers: the judges see too little difference",
    Reason.SAME_REPLY: "use another judge or prompt: it gave the same reply to nearly every question; or set `same_reply: keep` on the judge's step",
    Reason.UNSAFE_ANSWER: "add a pair rule on an axis of safety, such as `safer`, or remove the row: the preferred answer is unsafe",
    Reason.OVER_CAP: "raise the maximum number of pairs per prompt",
    Reason.LENGTH: "ask for answers of similar length: the pair was dropped to balance lengths",
    Reason.SUPERSEDED: "nothing is lost: a newer row replaces it",
}
"""The remedy for each Reason, unless the row's own detail has a better one."""

MediaKind = Literal["image", "video", "audio"]
MEDIA_KINDS: tuple[MediaKind, ...] = get_args(MediaKind)
SAMPLE_KINDS = ("text", "image", "multi_image", "video", "audio")  # kinds of a whole Sample
COUNTED = (
    "samples",
    "candidates",
    "judgements",
    "pairs",
)  # the tables whose rows the summary counts by kind


class Media(NamedTuple):
    """One image, video or audio clip, with the properties found by probing it."""

    id: str  # SHA-256 of the bytes, hex
    kind: str  # image, video, audio
    mime: str  # e.g. image/png
    size: int  # bytes
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    seconds: float | None = None
    frames: int | None = None
    fps: float | None = None
    rate: int | None = None  # audio samples per second
    channels: int | None = None
    source: str | None = None  # where it comes from


class Part(NamedTuple):
    """A part of a message: text, or one Media by its id."""

    type: str  # text, image, video, audio
    text: str | None = None
    media: str | None = None


class Message(NamedTuple):
    role: str  # system, user, assistant
    parts: tuple[Part, ...]


class Sample(NamedTuple):
    """One prompt with its Media and known facts about it."""

    id: str
    prompt: tuple[Message, ...]
    media: tuple[str, ...]  # Media ids in prompt order
    kind: str  # one of SAMPLE_KINDS
    answer: str | None = None  # the short correct answer, for rules
    answer_type: str | None = None
    facts: str | None = None  # JSON: what is known to be true of the media
    reference: str | None = None  # a complete good answer
    source: str | None = None
    licence: str | None = None
    split: str | None = None
    step: str = "source"


class Candidate(NamedTuple):
    """One answer to a Sample, and how it was made."""

    id: str
    sample: str
    step: str
    text: str
    role: str | None = None  # chosen or rejected, if the maker already knows
    model: str | None = None  # identity of the model: name and revision, or digest of its weights
    settings: str | None = None  # JSON of the maker's settings
    seed: int | None = None
    index: int = 0
    parent: str | None = None
    prompt: tuple[Message, ...] | None = None  # the actual prompt, if it differs from the Sample's
    tokens: int | None = None
    finish: str | None = None  # stop, or length for an answer that was cut off
    logprob: float | None = None  # sum over the answer's tokens, natural log
    token_logprobs: tuple[float, ...] | None = None  # one per token, if requested


class Claim(NamedTuple):
    """One checkable statement of a Candidate."""

    id: str
    sample: str
    candidate: str
    step: str
    index: int
    question: str  # a yes/no question
    wanted: bool  # the answer that the Candidate's statement implies


class Judgement(NamedTuple):
    """One annotator's judgement of Candidates, Claims or, for a score, other Judgements. The same record for models, rules and people."""

    id: str
    sample: str
    step: str
    target: str  # candidate, claim, pair
    items: tuple[str, ...]  # ids of the judged rows
    axis: str  # what is judged: one of schemas.axes, or a source's own
    outcome: str  # one of Outcome
    value: float | None = None
    prob: float | None = None  # 0..1, probability of the verdict's positive side
    raw: str | None = None  # the judge's reply, kept so that it can be parsed again
    mass: float | None = (
        None  # 0..1, probability that the allowed words had as the reply's first token, if this was asked for
    )
    annotator: str | None = None
    version: str | None = None
    order: int = 0
    attempt: int = 0
    revision: int = 0
    parents: tuple[str, ...] = ()  # Judgements that a score is based on


class Finding(NamedTuple):
    """The content of a Judgement: fields of Judgement, in its order."""

    outcome: str
    value: float | None = None
    prob: float | None = None
    raw: str | None = None
    mass: float | None = None


class Provenance(NamedTuple):
    """The origin of a Judgement: who judged, and in which order and attempt. Fields of Judgement, in its order."""

    annotator: str | None = None
    version: str | None = None
    order: int = 0
    attempt: int = 0
    revision: int = 0


NOBODY = Provenance()  # for a Judgement whose annotator is unknown


class Span(NamedTuple):
    """A span of an answer, in characters, end exclusive."""

    start: int
    end: int
    weight: float | None = None
    label: str | None = None  # the type of error
    severity: float | None = None
    correction: str | None = None


class Pair(NamedTuple):
    """A chosen and a rejected answer to one Sample. `rejected` may be None, with a `label`, for unpaired losses."""

    id: str
    sample: str
    step: str
    chosen: str
    rejected: str | None
    pair_kind: str = "text"  # text, media, mixed
    chosen_id: str | None = None
    rejected_id: str | None = None
    margin: float | None = None
    reward_chosen: float | None = None
    reward_rejected: float | None = None
    confidence: float | None = None  # 0..1
    soft_label: float | None = None  # 0..1, probability that chosen is better
    label: bool | None = None
    rank: int | None = None
    hardness: float | None = None
    needs_media: bool | None = None
    rejected_media: tuple[str, ...] | None = None
    media_op: str | None = None
    media_list: tuple[str, ...] | None = None
    chosen_spans: tuple[Span, ...] | None = None
    rejected_spans: tuple[Span, ...] | None = None
    critique_chosen: str | None = None
    critique_rejected: str | None = None
    generator_chosen: str | None = None
    generator_rejected: str | None = None
    ref_logp_chosen: float | None = None
    ref_logp_rejected: float | None = None
    ref_stamp: str | None = None
    judgements: tuple[str, ...] = ()
    recipe: str | None = None
    seed: int | None = None


class Rejection(NamedTuple):
    """A row that was dropped, replaced or could not be made. No row disappears without one."""

    id: str  # the row that is gone; for a row that could not be made, the row it would have been made from
    table: str  # the table that lacks the row
    step: str
    reason: str  # one of Reason
    detail: str = ""
    sample: str | None = None  # of a superseded Sample: the one that replaces it


def kind_of(types: Sequence[str]) -> str:
    """The kind of a whole Sample from the kinds of its media in order: `text` without media; a video with its audio is `video`."""
    if not types:
        return "text"
    for kind in ("video", "audio"):
        if kind in types:
            return kind
    return "multi_image" if len(types) > 1 else "image"


def media_parts(messages: Iterable[Message]) -> list[Part]:
    """The media parts in order; empty for a text."""
    return [part for message in messages for part in message.parts if part.media]


def sample(prompt: tuple[Message, ...], **known) -> Sample:
    """A Sample; its id is a digest of the prompt, including media ids. `known`: other fields."""
    shown = media_parts(prompt)
    media: tuple = tuple([p.media for p in shown])
    return Sample(digest(prompt), prompt, media, kind_of([p.type for p in shown]), **known)


def successor(old: Sample, prompt: tuple[Message, ...], step: str, **known) -> Sample:
    """The Sample with which a prompt step replaces `old`: all fields are kept, except those in `known`.

    Its id also depends on the old id, so that two Samples stay distinct when they get the same prompt."""
    made = sample(prompt)
    return old._replace(id=digest(old.id, prompt), prompt=prompt, media=made.media, kind=made.kind, step=step, **known)


def candidate(sample: str, step: str, text: str, **made) -> Candidate:
    """A Candidate; its id is a digest of sample, text, settings, model, seed, index and parent. `made`: other fields."""
    row = Candidate("", sample, step, text, **made)
    name = digest(sample, text, row.settings, row.model, row.seed, row.index, row.parent)
    return Candidate(name, *row[1:])


def claim(candidate: Candidate, step: str, index: int, question: str, wanted: bool) -> Claim:
    """A Claim of a Candidate; its id is a digest of candidate, step, index, question and wanted answer."""
    return Claim(
        digest(candidate.id, step, index, question, wanted),
        candidate.sample,
        candidate.id,
        step,
        index,
        question,
        wanted,
    )


@lru_cache(4096)
def _shared(axis: str, by: Provenance) -> str:
    """Digest of what a step's Judgements have in common, computed once: they are by far the most rows. A revision keeps the id."""
    return digest(axis, by.annotator, by.version, by.order, by.attempt)


def judgement(
    sample: str, step: str, target: str, items: tuple[str, ...], axis: str, finding: Finding, by: Provenance = NOBODY,
    parents: tuple[str, ...] = (),
) -> Judgement:  # fmt: skip
    """A Judgement; its id is a digest of items, axis, annotator, version, order and attempt."""
    name = hashlib.blake2b("\n".join((_shared(axis, by), *items)).encode(), digest_size=16).hexdigest()
    # not by Judgement(...), which takes a third longer: they are the most rows
    return tuple.__new__(Judgement, (name, sample, step, target, items, axis) + finding + by + (parents,))  # noqa: RUF005


def pair(sample: str, step: str, chosen: Candidate, rejected: Candidate, **known) -> Pair:
    """A Pair of two Candidates; its id is a digest of sample, step and both ids. `known`: other fields."""
    return Pair(
        digest(sample, step, chosen.id, rejected.id),
        sample,
        step,
        chosen.text,
        rejected.text,
        chosen_id=chosen.id,
        rejected_id=rejected.id,
        generator_chosen=chosen.model,
        generator_rejected=rejected.model,
        **known,
    )
