"""The words of Pairwright as records. Everything else in the project is a function of this page.

Records are named tuples: cheap to make, immutable, and a list of them is a list of columns (`zip(*rows)`).
Every id is a digest of content, so that joins, caches and resumed runs need no further machinery.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from json.encoder import c_make_encoder, encode_basestring_ascii  # ty: ignore[missing-module-member]
from typing import Literal, NamedTuple, get_args


def _refuse(value):
    raise TypeError(f"{type(value).__name__} cannot be stated exactly in JSON")


# json.dumps sets its encoder up anew at each call, which takes half of its time: a sample has a hundred ids
_exactly = c_make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", True, False, False)


def digest(*parts) -> str:
    """32 hex characters naming `parts`, which must be JSON values: their compact JSON with sorted keys, hashed.

    Refuses (TypeError, ValueError) what JSON cannot state exactly: objects, sets, NaN, infinities."""
    return hashlib.blake2b("".join(_exactly(parts, 0)).encode(), digest_size=16).hexdigest()


def one_line(text: str) -> str:
    """`text` as one line that any file and terminal can hold: what is no printable character is written as an escape, bytes
    of a file's name that are no UTF-8 among them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Outcome(StrEnum):
    """What became of one attempt to judge. Only a judge who said tie makes a tie; a missing verdict is never a zero."""

    VERDICT = "verdict"
    TIE = "tie"
    ABSTAIN = "abstain"
    UNPARSABLE = "unparsable"
    REFUSED = "refused"
    FAILED = "failed"


class Reason(StrEnum):
    """The closed list of reasons for which a row is dropped or replaced."""

    # sources and media
    BAD_ROW = "bad_row"
    MISSING_FILE = "missing_file"
    UNDECODABLE = "undecodable"
    UNSUPPORTED_MEDIA = "unsupported_media"
    UNREACHABLE = "unreachable"
    UNSAFE = "unsafe"
    TOO_LARGE = "too_large"
    EMPTY_MEDIA = "empty_media"
    TOO_SLOW = "too_slow"  # its decoder ran out of time
    DECODER_DIED = "decoder_died"  # its decoder crashed
    EMPTY_PROMPT = "empty_prompt"
    DUPLICATE = "duplicate"
    # samples that are sifted out
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
    # prompts that are made
    NO_MATCH = "no_match"
    UNPARSABLE = "unparsable"
    # media that are corrupted
    UNCHANGED = "unchanged"
    # answers, pairs, filters
    NO_REFERENCE = "no_reference"
    TOO_SHORT = "too_short"
    EMPTY_ANSWER = "empty_answer"
    EQUAL_ANSWERS = "equal_answers"
    NO_VERDICT = "no_verdict"
    NO_MARGIN = "no_margin"
    OVER_CAP = "over_cap"
    LENGTH = "length"
    SUPERSEDED = "superseded"


OPEN = frozenset({Reason.ENGINE_FAILED, Reason.UNREACHABLE})
"""Reasons that may pass: a server that fails, limits or does not answer. The next build of the same folder asks again."""

REMEDIES = {
    Reason.BAD_ROW: "correct the row as its detail says, or map its columns with the source's settings",
    Reason.MISSING_FILE: "put the file where the row says, or set the folder that its path starts from",
    Reason.UNDECODABLE: "convert the file again, or take another copy: this one is damaged",
    Reason.UNSUPPORTED_MEDIA: "convert the media to a supported type, or use an operator that handles this kind (`pairwright steps --media KIND`)",
    Reason.UNREACHABLE: "run the same build again once the server answers: it is asked again",
    Reason.UNSAFE: "use a path inside the source's folder, or a public address; private hosts must be allowed by name",
    Reason.TOO_LARGE: "make the file or text smaller, or raise the limit that the detail names",
    Reason.EMPTY_MEDIA: "replace the file: it has no picture or sound that can be used",
    Reason.TOO_SLOW: "convert the file to a simpler format: its decoder ran out of time",
    Reason.DECODER_DIED: "convert the file again: its decoder crashed on it",
    Reason.EMPTY_PROMPT: "give the row a prompt, or set one for all rows",
    Reason.DUPLICATE: "nothing is lost: an equal or nearly equal sample stays",
    Reason.CONTAMINATED: "keep it out of training: it is in the evaluation set that was named",
    Reason.LICENCE: "allow its licence in the step's settings, or leave it out",
    Reason.NOT_SAMPLED: "raise the number of samples that the step keeps",
    Reason.RESOLUTION: "widen the step's bounds of width and height, or bring larger media",
    Reason.ASPECT: "widen the step's bounds of the aspect ratio",
    Reason.DURATION: "widen the step's bounds of seconds, or cut the clip",
    Reason.OBJECTS: "widen the step's bounds of the number of objects",
    Reason.COMPLEXITY: "widen the step's bounds of complexity",
    Reason.TEXT_IN_PICTURE: "raise how much text the step lets a picture show",
    Reason.TOO_LONG: "shorten the prompt, show fewer or smaller media, or raise the model's max_model_len",
    Reason.TOO_MANY_MEDIA: "show fewer media, or raise the model's limit_mm_per_prompt",
    Reason.ENGINE_REFUSED: "change what the detail names: the model or its server does not do what was asked",
    Reason.ENGINE_FAILED: "run the same build again: the question is asked again",
    Reason.ENGINE_CRASH: "look at the request that the detail names: the model's process died on it",
    Reason.NO_MATCH: "bring more samples, or loosen what the step looks for: none fits this one",
    Reason.UNPARSABLE: "use a model that keeps to the format, or a prompt that asks for it more plainly",
    Reason.UNCHANGED: "make the corruption stronger: the media came out as they were",
    Reason.NO_REFERENCE: "give the row a reference answer, or leave such rows out with a filter",
    Reason.TOO_SHORT: "lower the share of the answer that is kept, or ask for longer answers",
    Reason.EMPTY_ANSWER: "raise max_tokens, or look at the prompt: the model said nothing",
    Reason.EQUAL_ANSWERS: "raise the temperature, or take more answers: the two say the same",
    Reason.NO_VERDICT: "put a judge before the step, or look at why its verdicts could not be read",
    Reason.NO_MARGIN: "lower min_margin, or take more answers: the judges see too little difference",
    Reason.OVER_CAP: "raise the most pairs that a prompt may have",
    Reason.LENGTH: "ask for answers of like length: the pair was dropped to balance lengths",
    Reason.SUPERSEDED: "nothing is lost: a newer row stands in its place",
}
"""What helps against each Reason, where the row's own detail does not say it better."""

MediaKind = Literal["image", "video", "audio"]
MEDIA_KINDS: tuple[MediaKind, ...] = get_args(MediaKind)
SAMPLE_KINDS = ("text", "image", "multi_image", "video", "audio")  # what a Sample as a whole shows
COUNTED = (
    "samples",
    "candidates",
    "judgements",
    "pairs",
)  # the tables whose rows a summary counts by kind, from prompts to pairs


class Media(NamedTuple):
    """One image, video or audio clip, named by the SHA-256 of its bytes, with the facts found when it was probed once."""

    id: str  # SHA-256 of the bytes, hex
    kind: str  # image, video, audio
    mime: str  # e.g. image/png
    size: int  # bytes
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    seconds: float | None = None
    frames: int | None = None
    fps: float | None = None
    rate: int | None = None  # audio samples a second
    channels: int | None = None
    source: str | None = None  # where it was found


class Part(NamedTuple):
    """A piece of a message: text, or one Media by its id."""

    type: str  # text, image, video, audio
    text: str | None = None
    media: str | None = None


class Message(NamedTuple):
    role: str  # system, user, assistant
    parts: tuple[Part, ...]


class Sample(NamedTuple):
    """One prompt with its Media, and what is known about it."""

    id: str
    prompt: tuple[Message, ...]
    media: tuple[str, ...]  # Media ids in the order they stand in the prompt
    kind: str  # one of SAMPLE_KINDS
    answer: str | None = None  # the short right answer, for rules
    answer_type: str | None = None
    facts: str | None = None  # JSON: what is known to be true of the media
    reference: str | None = None  # a whole good answer
    source: str | None = None
    licence: str | None = None
    split: str | None = None
    step: str = "source"


class Candidate(NamedTuple):
    """One answer to a Sample, and everything that made it."""

    id: str
    sample: str
    step: str
    text: str
    role: str | None = None  # chosen or rejected where the maker already knows
    model: str | None = None  # identity of the model: name and revision, or weights digest
    settings: str | None = None  # JSON of the maker's settings
    seed: int | None = None
    index: int = 0
    parent: str | None = None
    prompt: tuple[Message, ...] | None = None  # what was really asked, where it differs from the Sample's prompt
    tokens: int | None = None
    finish: str | None = None  # stop, length
    logprob: float | None = None  # sum over the answer's tokens, natural log
    token_logprobs: tuple[float, ...] | None = None  # one a token, where the maker asked for them


class Claim(NamedTuple):
    """One checkable statement of a Candidate."""

    id: str
    sample: str
    candidate: str
    step: str
    index: int
    question: str  # a yes/no question
    wanted: bool  # the answer the Candidate's statement implies


class Judgement(NamedTuple):
    """One annotator's slip on Candidates, Claims or (a score) on other Judgements. Models, rules and people leave the same record."""

    id: str
    sample: str
    step: str
    target: str  # candidate, claim, pair
    items: tuple[str, ...]  # ids of what is judged
    axis: str  # what is said of it: one of schemas.axes, or a source's own
    outcome: str  # one of Outcome
    value: float | None = None
    prob: float | None = None  # 0..1, probability of the verdict's positive side
    raw: str | None = None  # the annotator's own words, kept so that parsing can be repeated
    annotator: str | None = None
    version: str | None = None
    order: int = 0
    attempt: int = 0
    revision: int = 0
    parents: tuple[str, ...] = ()  # Judgements a score rests on


class Finding(NamedTuple):
    """What a Judgement says: its outcome, with what belongs to it. Fields of Judgement, in its order."""

    outcome: str
    value: float | None = None
    prob: float | None = None
    raw: str | None = None


class Provenance(NamedTuple):
    """Where a Judgement comes from: who judged, and in which order and attempt it was asked. Fields of Judgement, in its order."""

    annotator: str | None = None
    version: str | None = None
    order: int = 0
    attempt: int = 0
    revision: int = 0


NOBODY = Provenance()  # of a Judgement whose annotator is not known


class Span(NamedTuple):
    """A stretch of an answer, in characters, end exclusive."""

    start: int
    end: int
    weight: float | None = None
    label: str | None = None  # the class of the fault
    severity: float | None = None
    correction: str | None = None


class Pair(NamedTuple):
    """Chosen and rejected for one Sample. `rejected` may be absent, with a `label`, for unpaired losses."""

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
    """A row that was dropped, replaced, or that a rule could not make. Nothing disappears unnamed."""

    id: str  # the row that is gone; for a row that never came to be, the row it would have come from
    table: str  # the table it is missing from
    step: str
    reason: str  # one of Reason
    detail: str = ""
    sample: str | None = None  # of a Sample that was superseded: the one that stands in its place


def kind_of(types: Sequence[str]) -> str:
    """The kind of a whole Sample, from the kinds of its media in order: none is text, video wins over its own sound."""
    if not types:
        return "text"
    for kind in ("video", "audio"):
        if kind in types:
            return kind
    return "multi_image" if len(types) > 1 else "image"


def media_parts(messages: Iterable[Message]) -> list[Part]:
    """The parts that show media, in order; none of a text."""
    return [part for message in messages for part in message.parts if part.media]


def sample(prompt: tuple[Message, ...], **known) -> Sample:
    """A Sample named by its prompt and media."""
    shown = media_parts(prompt)
    media: tuple = tuple([p.media for p in shown])
    return Sample(digest(prompt), prompt, media, kind_of([p.type for p in shown]), **known)


def successor(old: Sample, prompt: tuple[Message, ...], step: str, **known) -> Sample:
    """The Sample that a prompt step puts in the place of `old`: all that is known of it stays, but for `known`.

    Its id names its ancestor too, so that two Samples stay two when they are given the same prompt."""
    made = sample(prompt)
    return old._replace(id=digest(old.id, prompt), prompt=prompt, media=made.media, kind=made.kind, step=step, **known)


def candidate(sample: str, step: str, text: str, **made) -> Candidate:
    """A Candidate named by its Sample, its maker's settings, the model, the index and the text."""
    row = Candidate("", sample, step, text, **made)
    name = digest(sample, text, row.settings, row.model, row.seed, row.index, row.parent)
    return Candidate(name, *row[1:])


def claim(candidate: Candidate, step: str, index: int, question: str, wanted: bool) -> Claim:
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
    """What a step's Judgements have in common, hashed once: they are by far the most rows. A revision keeps the name."""
    return digest(axis, by.annotator, by.version, by.order, by.attempt)


def judgement(
    sample: str, step: str, target: str, items: tuple[str, ...], axis: str, finding: Finding, by: Provenance = NOBODY,
    parents: tuple[str, ...] = (),
) -> Judgement:  # fmt: skip
    """A Judgement named by what it judges, the axis, the annotator, its version, the order and the attempt."""
    name = hashlib.blake2b("\n".join((_shared(axis, by), *items)).encode(), digest_size=16).hexdigest()
    # not by Judgement(...), which costs a third more: they are the most rows
    return tuple.__new__(Judgement, (name, sample, step, target, items, axis) + finding + by + (parents,))  # noqa: RUF005


def pair(sample: str, step: str, chosen: Candidate, rejected: Candidate, **known) -> Pair:
    """A Pair of two Candidates, named by them and the step that laid them side by side."""
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
