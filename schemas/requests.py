"""Requests to engines and their results. Requests refer to media by id; only the engine opens their bytes."""

from typing import NamedTuple

from schemas.records import Message, Reason


class Form(NamedTuple):
    """Structured output; exactly one of the three is set. The engine constrains the answer to it, token by token."""

    choice: tuple[str, ...] = ()  # the answer is exactly one of these
    schema: str | None = None  # the answer is JSON valid under this JSON Schema (given as JSON)
    regex: str | None = None


class Generate(NamedTuple):
    """Requests n answers. A last message by the assistant is continued; the answers are what follows it."""

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()  # an answer ends before the first of these
    form: Form | None = None
    logprobs: bool = False  # return each token's log-probability


class Beams(NamedTuple):
    """Requests the answers of a diverse beam search (arXiv 1610.02424): each group of beams is penalised for tokens of earlier groups."""

    messages: tuple[Message, ...]
    beams: int = 5
    groups: int = 5
    diversity: float = 3.0
    max_tokens: int = 70
    stop: tuple[str, ...] = ()


class Score(NamedTuple):
    """Requests the log-probability of each choice's first token as the first token of the answer."""

    messages: tuple[Message, ...]
    choices: tuple[str, ...]


class Likelihood(NamedTuple):
    """Requests the log-probability of each token of the last message, which must be by the assistant."""

    messages: tuple[Message, ...]


class Rate(NamedTuple):
    """Requests a reward model's score of the last message, which must be by the assistant."""

    messages: tuple[Message, ...]


class Embed(NamedTuple):
    """Requests an embedding of the messages: the mean of the last hidden states, or a dual encoder's output."""

    messages: tuple[Message, ...]


class Attend(NamedTuple):
    """Requests how much attention the last message, which must be by the assistant, pays to each media item before it."""

    messages: tuple[Message, ...]


class Perturb(NamedTuple):
    """Requests an adversarial image for the model's vision encoder: projected gradient ascent away from its features (PGD, arXiv 1706.06083)."""

    media: str  # id of an image
    epsilon: float  # maximum change of a channel, of 255
    step: float  # change per step, of 255
    steps: int
    seed: int = 0


class Answer(NamedTuple):
    text: str
    tokens: int
    finish: str  # stop: it is whole; length, tool_calls, content_filter, or another word of a server: it is not (schemas/finish.py)
    logprob: float | None = None  # sum over the tokens, natural log; None if the engine does not return it
    token_logprobs: tuple[float, ...] | None = None  # one per token, rounded to 4 digits, if requested
    thought: str | None = (
        None  # what a server reports apart from the text; empty if it only reports that there was a thought
    )


class Generated(NamedTuple):
    answers: tuple[Answer, ...]  # n, in order of index; for Beams best first
    prompt_tokens: int


class Scored(NamedTuple):
    logprobs: tuple[
        float | None, ...
    ]  # one per choice, natural log; None: not among the tokens that the engine reports
    prompt_tokens: int


class Likely(NamedTuple):
    logprobs: tuple[float, ...]  # one per token of the answer, natural log, rounded to 4 digits
    prompt_tokens: int


class Rated(NamedTuple):
    value: float  # rounded to 4 digits
    prompt_tokens: int


class Embedded(NamedTuple):
    vector: tuple[float, ...]  # normalised to length 1
    prompt_tokens: int


class Attended(NamedTuple):
    shares: tuple[float, ...]  # one per media item in order: its share of all attention to media; they sum to 1
    prompt_tokens: int


class Perturbed(NamedTuple):
    media: str  # id of the new image, which the engine has added to the media store
    prompt_tokens: int = 0


class Failure(NamedTuple):
    """This request failed; the engine continues."""

    reason: Reason
    detail: str


class Refused(Failure):
    """The server refused the request. If it refuses all requests of a step, the run is at fault (pipeline/storage/refusals.py)."""


Chat = Generate | Beams | Score | Likelihood | Rate | Embed | Attend  # requests about messages
Request = Chat | Perturb
Success = Generated | Scored | Likely | Rated | Embedded | Attended | Perturbed
Result = Success | Failure
