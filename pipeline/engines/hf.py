"""transformers in this process, for what vLLM cannot return: attention, beam search, hidden states, gradients, reward heads.

One request at a time, on a separate thread: use it only where no other engine supports the request."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import Field

from pipeline.engines.local.device import has_gpu, share_of
from pipeline.media.decode import decode_audio, decode_image, decode_video
from pipeline.modeling.checkpoint import folder_of, folder_with, identity
from pipeline.modeling.request_media import media_of_request, read
from pipeline.modeling.special_tokens import first_tokens, markup, specials
from schemas import operator
from schemas.errors import EngineError, RowError, TrainError
from schemas.messages import escape
from schemas.ports import MediaStore
from schemas.records import MEDIA_KINDS, Message, Part, Reason, media_parts
from schemas.requests import (
    Attend,
    Attended,
    Beams,
    Embed,
    Embedded,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Likely,
    Perturb,
    Perturbed,
    Rate,
    Rated,
    Request,
    Result,
    Score,
    Scored,
)
from schemas.text import error_line

ANSWERS = frozenset({"Generate", "Form", "Beams", "Score", "Likelihood", "Embed", "Attend", "Perturb"})
RATES = frozenset({"Rate"})  # requests that a reward model supports
ROOM = 1 << 30  # bytes of memory for one request, including gradients of an image
FRAMES = 8  # frames of a video, for a model that only accepts images
HEAD = "ForSequenceClassification"  # suffix of the architecture of reward models


class Settings(operator.OperatorSettings):
    model: str
    """local folder or name of a model on the Hub"""
    revision: str | None = None
    """branch, tag or commit of a Hub model"""
    slots: int = Field(4, ge=1, le=1_024)
    """maximum requests that are queued here; they are processed one by one"""


def identity_of(settings: Settings) -> str:
    """The model's identity with the suffix ` hf`, so that its answers are not mixed up with another engine's."""
    return f"{identity(settings.model, settings.revision)[0]} hf"


def share(settings: Settings) -> float:
    """The share (0..1) of the machine's memory that the model needs, an estimate; on a GPU 1, as memory is allocated on demand."""
    return 1.0 if has_gpu() else share_of(settings.model, settings.revision, ROOM)


def capabilities(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """(names of supported requests, accepted media kinds), as far as the settings tell before the model is loaded."""
    return ANSWERS | RATES, frozenset(MEDIA_KINDS)


def features(settings: Settings) -> tuple[frozenset[str], frozenset[str], int]:
    """(names of supported requests, accepted media kinds as far as the class of the model tells, slots) of the engine; reads the model's
    configuration. EngineError if that is not possible."""
    folder = folder_with(("config.json",), settings.model, settings.revision)
    return _class_of(str(folder)).can, frozenset(MEDIA_KINDS), settings.slots


async def connect(settings: Settings, media: MediaStore, longest: int = 0) -> "HF":
    """Loads the model; blocks. It needs no memory set aside for the `longest` answer. EngineError if transformers cannot load it."""
    folder = str(folder_of(settings.model, settings.revision))
    try:
        return _class_of(folder)(settings, media, folder)
    except TrainError as error:
        raise EngineError(str(error)) from error


def _class_of(folder: str) -> "type[HF]":
    """The class for the model in a folder, by the architectures in its config."""
    import transformers

    try:
        names = transformers.AutoConfig.from_pretrained(folder).architectures or []
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"transformers cannot load {folder}: {error_line(error)}") from error
    if any(name.endswith(HEAD) for name in names):
        return _RewardModel
    if any(hasattr(getattr(transformers, name, None), "get_text_features") for name in names):
        return _DualEncoder
    return HF


class HF:
    """An Engine over one transformers model, created by `connect`.

    `seconds` is its busy time; `requests`, `prompt_tokens` and `answer_tokens` are totals."""

    can = ANSWERS

    def __init__(self, settings: Settings, media: MediaStore, folder: str):
        self.identity = identity_of(settings)
        self.slots = settings.slots
        self.seconds = 0.0
        self.requests = self.prompt_tokens = self.answer_tokens = 0
        self._store = media
        self._turn = ThreadPoolExecutor(1, thread_name_prefix="hf")
        self._load(folder)

    def _load(self, folder: str) -> None:
        from pipeline.modeling.encode import Encoder
        from pipeline.modeling.load import load

        self._model: Any = load(folder)
        self._encoder = Encoder(folder)
        self.media = frozenset(k for k in MEDIA_KINDS if getattr(self._encoder.processor, f"{k}_token", None))

    async def ask(self, request: Request) -> Result:
        """The result, or a Failure if this request cannot be answered. EngineError if the engine is closed."""
        if self._model is None:
            raise EngineError(f"the engine of {self.identity} is closed")
        self.requests += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._turn, self._timed, request)
        except RowError as error:
            return Failure(error.reason, error.detail)

    async def close(self) -> None:
        """Frees the model."""
        self._turn.shutdown()
        self._model = None

    def _timed(self, request: Request) -> Result:
        started = time.perf_counter()
        try:
            if type(request).__name__ not in self.can:
                raise RowError(
                    Reason.ENGINE_REFUSED,
                    f"{self.identity} does not support {type(request).__name__}; use another model for this step",
                )
            return self._answer(request)
        except (RuntimeError, ValueError, IndexError) as error:  # raised by a model's own code for a request it rejects
            full = "out of memory" in str(error).lower()  # may succeed later; all other errors are permanent
            raise RowError(
                Reason.ENGINE_FAILED if full else Reason.ENGINE_REFUSED,
                f"transformers: {error_line(error)}",
            ) from error
        finally:
            self.seconds += time.perf_counter() - started

    def _answer(self, request: Request) -> Result:
        from pipeline.engines.local import forward

        model, encoder = self._model, self._encoder
        if isinstance(request, Perturb):
            if "image" not in self.media:
                raise RowError(
                    Reason.ENGINE_REFUSED, f"{self.identity} does not see images; use another model for this step"
                )
            picture = decode_image(read(self._store, Part("image", media=request.media)), f"image {request.media}")
            made = forward.perturb(
                model,
                encoder.processor.image_processor,
                picture,
                request.epsilon,
                request.step,
                request.steps,
                request.seed,
            )
            name = self._store.add(made)
            self._store.sync()  # the result that names it may be cached before the shard's media are synced
            return Perturbed(name)
        if isinstance(request, Likelihood | Attend):
            prompt, ids, media = self._judged(request.messages)
            self.prompt_tokens += len(prompt.ids)
            if isinstance(request, Likelihood):
                return Likely(forward.likelihood(model, prompt, ids), len(prompt.ids))
            return Attended(forward.attend(model, encoder, prompt, ids, media), len(prompt.ids))
        prompt = self._prompt(request.messages)
        self.prompt_tokens += len(prompt.ids)
        if isinstance(request, Score):
            return Scored(
                forward.first(model, prompt, first_tokens(encoder.tokenizer, request.choices)), len(prompt.ids)
            )
        if isinstance(request, Embed):
            return Embedded(forward.embed(model, prompt), len(prompt.ids))
        if isinstance(request, Beams):
            answers = forward.beams(model, encoder, prompt, request)
        elif isinstance(request, Generate):
            if request.n > 1 and request.temperature == 0:
                raise RowError(
                    Reason.ENGINE_REFUSED, "n > 1 at temperature 0 gives n equal answers; set n: 1 or raise temperature"
                )
            answers = forward.generate(model, encoder, prompt, request)
        self.answer_tokens += sum(a.tokens for a in answers)
        return Generated(answers, len(prompt.ids))

    def _prompt(self, messages: tuple[Message, ...]):
        """The encoded prompt; a last turn by the assistant is appended, to be continued."""
        from pipeline.engines.local.forward import continued

        if messages[-1].role == "assistant":
            prompt, ids, _ = self._judged(messages)
            return continued(prompt, ids)
        media = tuple(
            (part.type, read(self._store, part)) for part in media_of_request(messages, self.media, self.identity)
        )
        return self._encoder.encode(messages, media, "the prompt")

    def _judged(self, messages: tuple[Message, ...]):
        """(the prompt before the last message, that message's token ids, the number of media)."""
        *before, last = messages
        if last.role != "assistant":
            raise RowError(Reason.EMPTY_ANSWER, "there is no answer; the last message must be by the assistant")
        media = len(media_parts(before))
        ids = self._encoder.answer("".join(part.text or "" for part in last.parts), "the answer")[:-1]
        return self._prompt(tuple(before)), ids, media


class _RewardModel(HF):
    """A reward model: one number for a text conversation."""

    can = RATES
    media = frozenset()

    def _load(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._specials = markup(specials(self._tokenizer))
            self._model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"transformers cannot load {folder}: {error_line(error)}") from error
        if self._model.config.num_labels != 1:
            raise EngineError(
                f"{folder} has {self._model.config.num_labels} classes; use a reward model, which has a single output"
            )
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _answer(self, request: Request) -> Rated:
        import torch

        assert isinstance(request, Rate)  # all that `can` has
        media_of_request(request.messages, self.media, self.identity)
        turns = [
            {"role": m.role, "content": escape("".join(p.text or "" for p in m.parts), self._specials)}
            for m in request.messages
        ]
        inputs = self._tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True).to(
            self._model.device
        )
        with torch.no_grad():
            value = self._model(**inputs).logits[0, 0].item()
        self.prompt_tokens += inputs["input_ids"].shape[1]
        return Rated(round(value, 4), inputs["input_ids"].shape[1])


class _DualEncoder(HF):
    """A dual encoder (CLIP, SigLIP, CLAP): `Embed` of a text, or of one image, video or audio clip.

    A text is truncated to the model's maximum length; a video is the mean of its frames (CLIP4Clip, arXiv 2104.08860)."""

    can = frozenset({"Embed"})
    media = frozenset()

    def _load(self, folder: str) -> None:
        import torch
        from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer

        try:
            self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._specials = markup(specials(self._tokenizer))
            hears = hasattr(self._model, "get_audio_features")
            self._processor: Any = (AutoFeatureExtractor if hears else AutoImageProcessor).from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"transformers cannot load {folder}: {error_line(error)}") from error
        self.media = frozenset({"audio"} if hears else {"image", "video"})
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _answer(self, request: Request) -> Embedded:
        import torch
        import torch.nn.functional as F

        assert isinstance(request, Embed)  # all that `can` has
        media = media_of_request(request.messages, self.media, self.identity)
        text = "".join(p.text or "" for m in request.messages for p in m.parts)
        if len(media) + bool(text.strip()) != 1:
            raise RowError(
                Reason.ENGINE_REFUSED, f"{self.identity} embeds one text or one media item at a time; send only one"
            )
        with torch.no_grad():
            found, tokens = self._seen(media[0]) if media else self._read(text)
        each = found if isinstance(found, torch.Tensor) else found.pooler_output
        vector = F.normalize(F.normalize(each.float(), dim=-1).mean(0), dim=0)
        self.prompt_tokens += tokens
        return Embedded(tuple(round(x, 6) for x in vector.tolist()), tokens)

    def _read(self, text: str):
        """(features of a text, its number of tokens)."""
        config = self._model.config.text_config
        # SigLIP was trained on padded texts without a mask: it reads the last position
        padded = config.model_type.startswith("siglip")
        inputs = self._tokenizer(
            escape(text, self._specials), return_tensors="pt", padding="max_length" if padded else False,
            truncation=True, max_length=min(config.max_position_embeddings, self._tokenizer.model_max_length),
        )  # fmt: skip
        names = ("input_ids",) if padded else ("input_ids", "attention_mask")
        given = {name: inputs[name].to(self._model.device) for name in names}
        return self._model.get_text_features(**given), inputs["input_ids"].shape[1]

    def _seen(self, part: Part):
        """(features of a media item, 0 tokens); one row per frame of a video."""
        data, name = read(self._store, part), f"{part.type} {part.media}"
        if part.type == "audio":
            rate = self._processor.sampling_rate
            inputs = self._processor(decode_audio(data, rate, name), sampling_rate=rate, return_tensors="pt")
            return self._model.get_audio_features(**inputs.to(self._model.device)), 0
        frames = [decode_image(data, name)] if part.type == "image" else list(decode_video(data, None, FRAMES, name)[0])
        inputs = self._processor(images=frames, return_tensors="pt").to(self._model.device)
        return self._model.get_image_features(**inputs), 0
