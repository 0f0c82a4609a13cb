"""What an engine can be asked, and what it answers. Requests name media by their hash; only the engine opens bytes."""

from typing import NamedTuple

from schemas.records import Message, Reason


class Form(NamedTuple):
    """What an answer must look like; one of the three is set. An engine holds the answer to it, token by token."""

    choice: tuple[str, ...] = ()  # one of these, word for word
    schema: str | None = None  # JSON of this JSON Schema (itself JSON)
    regex: str | None = None


class Generate(NamedTuple):
    """Ask for n answers. A last message of the assistant's is continued; the answers are what follows it."""

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    top_k: int = 0  # 0: all tokens
    stop: tuple[str, ...] = ()  # an answer ends before the first of these
    form: Form | None = None
    logprobs: bool = False  # keep each token's log-probability


class Beams(NamedTuple):
    """Ask for the answers of a diverse beam search: `groups` of beams, each penalised for tokens that groups before it chose."""

    messages: tuple[Message, ...]
    beams: int = 5
    groups: int = 5
    diversity: float = 3.0
    max_tokens: int = 70
    stop: tuple[str, ...] = ()


class Score(NamedTuple):
    """Ask for the log-probability of each choice's first token as the first token of the answer."""

    messages: tuple[Message, ...]
    choices: tuple[str, ...]


class Likelihood(NamedTuple):
    """Ask for the log-probability of each token of the last message, which is the assistant's."""

    messages: tuple[Message, ...]


class Rate(NamedTuple):
    """Ask a model with a head for one number (a reward model) for its number: how good the last message, the assistant's, is."""

    messages: tuple[Message, ...]


class Embed(NamedTuple):
    """Ask for one vector that stands for the messages: the mean of the last hidden states."""

    messages: tuple[Message, ...]


class Attend(NamedTuple):
    """Ask how much the last message, the assistant's, looks at each media before it."""

    messages: tuple[Message, ...]


class Perturb(NamedTuple):
    """Ask for an image that the model's vision encoder takes for something else: projected gradient descent (PGD) away from its own features."""

    media: str  # id of an image
    epsilon: float  # largest change of a channel, of 255
    step: float  # change a step, of 255
    steps: int
    seed: int = 0


class Answer(NamedTuple):
    text: str
    tokens: int
    finish: str  # stop, length
    logprob: float | None = None  # sum over the tokens, natural log; None where the engine does not say
    token_logprobs: tuple[float, ...] | None = None  # one a token, rounded to 4 digits, when asked


class Generated(NamedTuple):
    answers: tuple[Answer, ...]  # n of them, in order of index; of Beams the best first
    prompt_tokens: int


class Scored(NamedTuple):
    logprobs: tuple[float | None, ...]  # one a choice, natural log; None: not among the tokens the engine reports
    prompt_tokens: int


class Likely(NamedTuple):
    logprobs: tuple[float, ...]  # one a token of the answer, natural log, rounded to 4 digits
    prompt_tokens: int


class Rated(NamedTuple):
    value: float  # rounded to 4 digits
    prompt_tokens: int


class Embedded(NamedTuple):
    vector: tuple[float, ...]  # of length 1
    prompt_tokens: int


class Attended(NamedTuple):
    shares: tuple[float, ...]  # one a media in order, of the attention that goes to media at all; they sum to 1
    prompt_tokens: int


class Perturbed(NamedTuple):
    media: str  # id of the new image, which the engine put into the media store
    prompt_tokens: int = 0


class Failure(NamedTuple):
    """This one request got no answer; the engine goes on."""

    reason: Reason
    detail: str


class Refused(Failure):
    """The server does not do what the request asks. When it does so for every request of a step, that is the run's fault (pipeline/storage/refusals.py)."""


Chat = Generate | Beams | Score | Likelihood | Rate | Embed | Attend  # requests about messages
Request = Chat | Perturb
Found = Generated | Scored | Likely | Rated | Embedded | Attended | Perturbed
Result = Found | Failure
