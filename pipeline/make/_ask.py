"""Shared by the makers: their sampling settings, requests to a model, and answers as Candidates."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from pydantic import Field, model_serializer

from pipeline.corrupt._apply import Spec, corrupted_prompt
from pipeline.corrupt.kinds import swap
from schemas.finish import only_thought, unfinished
from schemas.messages import sample_label
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import Candidate, Media, Message, Reason, Rejection, Sample, candidate, digest
from schemas.requests import Answer, Generate


class SamplingSettings(Base):
    """How answers are sampled."""

    temperature: float = Field(1.0, ge=0)
    """sampling temperature; 0 is greedy decoding, which allows only n=1"""
    top_p: float = Field(1.0, gt=0, le=1)
    """nucleus sampling: share of the probability mass to sample from"""
    top_k: int = Field(0, ge=0, le=10_000_000)
    """how many of the most likely tokens to sample from; 0 means all"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """maximum length of an answer, in tokens"""
    seed: int = 0
    """random seed of the answers"""
    role: str | None = None
    """chosen or rejected, if the method already knows the role of these answers"""


class AnswerSettings(SamplingSettings):
    """SamplingSettings of makers whose replies are the answers themselves."""

    on_cut: Literal["reject", "keep"] = "reject"
    """what happens to an answer that `max_tokens` cut off: it is rejected (`truncated`), or kept with `finish: length`"""

    @model_serializer(mode="wrap")
    def _without_default(self, dump):
        """Leaves out the default of `on_cut`, so that ids of answers from before this setting do not change."""
        return {name: value for name, value in dump(self).items() if name != "on_cut" or value != "reject"}


class MediaSettings(SamplingSettings):
    """SamplingSettings of makers that may show the model other media than the sample's."""

    media: Spec | None = None
    """what the model sees instead of the sample's media: `none`, or a corruption; the sample keeps its media"""


def fits(settings: MediaSettings) -> bool:
    """Whether the step must see all samples before the first one: only `swap` does."""
    return isinstance(settings.media, swap.Swap)


def fit(seen: Iterable[SampleRows], settings: MediaSettings, context: Context) -> Fitted:
    """The pool of media that `swap` chooses from."""
    return swap.fit(seen, settings.media, context)


def seed_of(seed: int, sample: str) -> int:
    """A 31-bit seed for one sample (given by its id), so that answers depend neither on order nor on the batch."""
    return int(digest(seed, sample)[:8], 16) & 0x7FFFFFFF


def generate_request(messages: tuple[Message, ...], settings: SamplingSettings, seed: int, **more: Any) -> Generate:
    """The Generate request for `messages` with these settings; `more` sets further fields of it."""
    return Generate(
        messages, temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k,
        max_tokens=settings.max_tokens, seed=seed,
    )._replace(**more)  # fmt: skip


async def prompt_with_media(
    prompt: tuple[Message, ...], settings: MediaSettings, sample: Sample, context: Context
) -> tuple[tuple[Message, ...], list[Media]]:
    """The prompt as the model sees it, and the Media created for it (none without `media`). Raises RowError as `corrupted` does."""
    return (prompt, []) if settings.media is None else await corrupted_prompt(prompt, settings.media, sample, context)


def rejection_of(parent: Candidate, reason: Reason, detail: str, context: Context) -> Rejection:
    """The Rejection for a new answer that could not be made from `parent`; `parent` itself stays live."""
    return Rejection(f"{parent.id}~{context.step}", "candidates", context.step, reason, detail, parent.sample)


def answer_rows(
    answer: Answer, prefix: str, row: dict[str, Any], sample: Sample, settings: AnswerSettings, context: Context
) -> list[Candidate | Rejection]:
    """The Candidate `prefix` + the answer's text, made as `row` says, followed by a Rejection if it was cut off and `on_cut` does not keep it
    (TRUNCATED), or if it is blank or a thought alone (EMPTY_ANSWER). Of an answer that ended in any other way the Rejection only."""
    row = row | {
        "tokens": answer.tokens, "finish": answer.finish, "logprob": answer.logprob, "token_logprobs": answer.token_logprobs,
    }  # fmt: skip
    new, *empty = candidates_of(answer.text, prefix, row, sample, context)
    gone = partial(Rejection, new.id, "candidates", context.step, sample=sample.id)
    told = lambda why: f"{sample_label(sample)}: {why}"
    cut, thought = unfinished(answer, settings.max_tokens), only_thought(answer)
    if cut and cut.reason != Reason.TRUNCATED:
        return [gone(cut.reason, told(cut.detail))]
    if cut and (settings.on_cut == "reject" or thought or empty):
        return [new, gone(cut.reason, told(cut.detail))]
    return [new, gone(Reason.EMPTY_ANSWER, told("the model thought, and gave no answer"))] if thought else [new, *empty]


def candidates_of(
    text: str, prefix: str, row: dict[str, Any], sample: Sample, context: Context
) -> list[Candidate | Rejection]:
    """The Candidate with the text `prefix` + `text`, followed by a Rejection EMPTY_ANSWER if `text` is blank."""
    new = candidate(sample.id, context.step, prefix + text, **row)
    if text.strip():
        return [new]
    return [new, Rejection(new.id, "candidates", context.step, Reason.EMPTY_ANSWER, "", sample.id)]
