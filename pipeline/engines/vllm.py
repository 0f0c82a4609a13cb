"""vLLM in this process, driven step by step.

One task calls the engine's `step()` while requests are in flight and lets all other coroutines run between two steps,
so answers arrive as they finish, without a second process. A request that vLLM refuses is a Failure of that request only.
"""

import asyncio
import contextlib
import functools
import gc
import itertools
import json
import math
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import jinja2
from cachetools import LRUCache
from pydantic import Field

from pipeline.engines._structured_output import constraint
from pipeline.engines.local import context, load_errors
from pipeline.engines.local.device import computes_bfloat16, has_gpu, share_of, weight_bytes
from pipeline.media.decode import decode_audio, decode_clip, decode_image
from pipeline.media.limits import HEARD_SECONDS
from pipeline.modeling.checkpoint import folder_with, identity, stored_dtype
from pipeline.modeling.frame_times import ARGUMENT, rate, with_times
from pipeline.modeling.request_media import media_of_request, merge_texts, read
from pipeline.modeling.special_tokens import first_tokens, markup, rounded, specials
from schemas import operator
from schemas.errors import EngineError, RowError
from schemas.messages import assistant, escape, escape_all, texts_in, user
from schemas.ports import MediaStore
from schemas.records import MEDIA_KINDS, MediaKind, Message, Part, Reason
from schemas.requests import (
    Answer,
    Failure,
    Form,
    Generate,
    Generated,
    Likelihood,
    Likely,
    Request,
    Result,
    Score,
    Scored,
)
from schemas.text import error_line

AUDIO_RATE = 16000  # samples per second, as the audio towers of the known families expect
DECODED_BYTES = 256 << 20  # decoded media cached for the next request that shows them
DECODERS = 16  # maximum decoder threads; at most one per core
MIN_SIDE = 4  # pixels; vLLM silently enlarges a smaller image
# share of the slots: answers handed out together while the model is busy, which makes their processing cheaper; as many requests wait in vLLM
BURST = 1 / 4
EQUAL = 1e-3  # relative difference of frame rates that are treated as equal: at most 0.1 s after 100 s
BAN = -100.0  # logit bias of a token that must not be generated
# vLLM's words for a prompt of too many tokens: of its processor, and of its renderer, which sees no media
TOO_LONG = re.compile(
    r"prompt (?:\(length (?P<all>\d+)\).* is longer than the maximum|contains (?P<text>\d+) input tokens)"
)
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # LoRA ranks that vLLM supports


class Settings(operator.OperatorSettings):
    model: str
    """local folder or name of a model on the Hub"""
    revision: str | None = None
    """branch, tag or commit of a Hub model"""
    adapter: str | None = None
    """folder of a LoRA adapter to apply to the model"""
    dtype: str = "auto"
    """data type of the weights; auto: the checkpoint's own on a GPU; on a CPU float32, or bfloat16 if the checkpoint is stored in it and the
    processor computes it (avx512_bf16, amx_bf16)"""
    slots: int = Field(128, ge=1, le=4_096)
    """answers computed at a time; a quarter more requests are in flight, so that the model never waits for the next"""
    max_model_len: int | None = Field(None, ge=1, le=100_000_000)
    """maximum tokens of prompt and answer together; the model's own limit by default, on a CPU what kv_cache_memory_bytes can hold of it"""
    limit_mm_per_prompt: dict[MediaKind, Annotated[int, Field(ge=0, le=1_000)]] = Field(
        {"image": 8, "video": 1, "audio": 1}
    )
    """maximum media of each kind in one request"""
    fps: float = Field(2.0, gt=0, le=1_000)
    """frames per second sampled from a video"""
    max_frames: int = Field(64, ge=1, le=100_000)
    """maximum frames sampled from a video, evenly spaced"""
    max_seconds: float = Field(HEARD_SECONDS, gt=0, le=86_400)
    """maximum seconds of an audio clip; the rest is cut off"""
    tensor_parallel_size: int = Field(1, ge=1, le=1_024)
    """GPUs that the model is split over; for copies on several GPUs, run several `vllm serve` and use the engine openai"""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """share of the GPU's memory that vLLM may use"""
    kv_cache_memory_bytes: int | None = Field(None, ge=1, le=1 << 50)
    """size of the key-value cache in bytes, instead of that share; on a CPU by default enough for 8,192 tokens of prompt and the longest answer of
    the recipe, at least 128 MiB, at most half of the free memory beside the weights"""
    mm_processor_cache_gb: float = Field(1.0, ge=0, le=10_000)
    """gigabytes of processed media to cache, so that a clip is encoded once for all its requests"""
    enable_prefix_caching: bool = True
    """cache keys and values of common prompt prefixes, such as a maker's and its judges'"""
    enforce_eager: bool = False
    """run without CUDA graphs: faster start, slower answers; always on for a CPU"""


def identity_of(settings: Settings) -> str:
    """The model's identity, followed by those settings that change its answers and are not the default."""
    name, _ = identity(settings.model, settings.revision)
    changed = settings.model_dump(include={"dtype", "fps", "max_frames", "max_seconds"}, exclude_defaults=True)
    if (
        dtype := dtype_of(settings)
    ) == "bfloat16":  # `auto` in float32, or on a GPU, keeps the name of older runs' answers
        changed = {"dtype": dtype, **changed}
    if settings.adapter:
        changed["adapter"], _ = identity(settings.adapter)
    return " ".join([name, *(f"{key}={value}" for key, value in changed.items())])


def dtype_of(settings: Settings) -> str:
    """The data type that the weights have on this machine; `auto` on a GPU, where the checkpoint decides."""
    if settings.dtype != "auto" or has_gpu():
        return settings.dtype
    folder = folder_with(("config.json",), settings.model, settings.revision) if computes_bfloat16() else None
    return "bfloat16" if folder and stored_dtype(folder) == "bfloat16" else "float32"


def share(settings: Settings) -> float:
    """The share (0..1) of the device's memory that the engine needs: as set on a GPU, an estimate on a CPU."""
    if has_gpu():
        return settings.gpu_memory_utilization
    kept = (
        (settings.kv_cache_memory_bytes or context.LEAST) + int(settings.mm_processor_cache_gb * 2**30) + DECODED_BYTES
    )
    return share_of(settings.model, settings.revision, kept)


def capabilities(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """(names of supported requests, accepted media kinds), as far as the settings tell before the model is loaded."""
    return VLLM.can, frozenset(kind for kind, most in settings.limit_mm_per_prompt.items() if most)


def features(settings: Settings) -> tuple[frozenset[str], frozenset[str], int]:
    """(names of supported requests, accepted media kinds as far as the settings tell, slots) of the engine."""
    return *capabilities(settings), settings.slots + _burst(settings)


async def connect(settings: Settings, media: MediaStore, longest: int = 0) -> "VLLM":
    """Loads the model; blocks for seconds to minutes. `longest`: maximum tokens of an answer in the run. EngineError, with the setting that helps,
    if it cannot be loaded, or its adapter has no effect."""
    engine = VLLM(settings, media, *_load(settings, longest))
    if settings.adapter:
        await engine.check_adapter()
    return engine


def _burst(settings: Settings) -> int:
    return math.ceil(BURST * settings.slots)


def _load(settings: Settings, longest: int):
    """(vLLM's engine, its context on a CPU)."""
    import torch

    cpu = not torch.cuda.is_available()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # this process already belongs to the engine
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if cpu:
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")  # compiling the log-probabilities takes 9 s on a CPU
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    dtype = dtype_of(settings)
    options: dict[str, Any] = {
        "dtype": dtype,
        "max_model_len": settings.max_model_len,
        "enforce_eager": settings.enforce_eager,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_memory_bytes": settings.kv_cache_memory_bytes,
    }
    if cpu:
        options |= {
            "dtype": "float32" if dtype == "auto" else dtype,
            "enforce_eager": True,
            "enable_chunked_prefill": False,  # with seeds it crashes on a CPU: "Generator does not use offset"
        }
        del options["gpu_memory_utilization"]
    if settings.adapter:
        options |= {"enable_lora": True, "max_lora_rank": _rank(settings.adapter)}
    args = EngineArgs(
        model=settings.model, revision=settings.revision, tokenizer_revision=settings.revision, max_num_seqs=settings.slots,
        limit_mm_per_prompt=dict(settings.limit_mm_per_prompt), mm_processor_cache_gb=settings.mm_processor_cache_gb,
        enable_prefix_caching=settings.enable_prefix_caching, tensor_parallel_size=settings.tensor_parallel_size,
        disable_log_stats=True, use_tqdm_on_load=False, **options,
    )  # fmt: skip
    found = None
    try:
        if cpu:
            found = _context(args.create_engine_config(), settings, longest)
            args.max_model_len, args.kv_cache_memory_bytes = found.tokens, found.kv_bytes
        return LLMEngine.from_engine_args(args), found
    except EngineError:
        raise
    except Exception as error:  # a model's code, its files and the device raise anything
        raise EngineError(f"vLLM cannot load {settings.model}: {load_errors.explained(error, settings)}") from error


def _context(config, settings: Settings, longest: int) -> context.Context:
    """The context for vLLM's configuration of the model on a CPU. EngineError if it does not fit into memory."""
    model, parallel = config.model_config, config.parallel_config
    heads, layers = model.get_num_kv_heads(parallel), model.get_num_layers(parallel)
    sizes = context.Sizes(
        model.max_model_len, 2 * layers * heads * model.get_head_size() * model.dtype.itemsize,
        2 * weight_bytes(settings.model, settings.revision),
    )  # fmt: skip
    return context.fitted(sizes, settings, longest)


def _rank(adapter: str) -> int:
    """The smallest rank supported by vLLM that fits the adapter."""
    try:
        rank = json.loads(Path(adapter, "adapter_config.json").read_text())["r"]
        return next(most for most in RANKS if most >= rank)
    except (OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        raise EngineError(f"{adapter} is not a LoRA adapter of rank {RANKS[-1]} or less; set another folder") from error


class VLLM:
    """An Engine over one loaded vLLM model, created by `connect`.

    `seconds` is the time spent in vLLM's steps; `requests`, `prompt_tokens` and `answer_tokens` are totals."""

    can = frozenset({"Generate", "Form", "Score", "Likelihood"})

    def __init__(self, settings: Settings, media: MediaStore, llm, sized: context.Context | None = None):
        """`sized`: the context that was chosen for it."""
        self.identity = identity_of(settings)
        self._burst = _burst(settings)
        self.slots = settings.slots + self._burst
        self.seconds = 0.0
        self.requests = self.prompt_tokens = self.answer_tokens = 0
        self._settings = settings
        self._store = media
        self._llm: Any = llm
        self._sized = sized
        self._limits = dict(llm.renderer.mm_processor.info.allowed_mm_limits) if llm.renderer.mm_processor else {}
        self._family = llm.model_config.hf_config.model_type
        self._tokens = _Tokens(llm.get_tokenizer(), llm.model_config)
        self.media = frozenset(k for k in MEDIA_KINDS if self._limits.get(k) and self._tokens.shows(k))
        self._decoded = LRUCache(DECODED_BYTES, getsizeof=_size)
        self._decoders = ThreadPoolExecutor(min(DECODERS, len(os.sched_getaffinity(0))), "decode")
        self._decoding: dict[Part, asyncio.Future] = {}
        self._window = asyncio.Semaphore(self.slots)
        self._flying: dict[str, asyncio.Future] = {}
        self._numbers = map(str, itertools.count())
        self._stepper: asyncio.Task | None = None
        self._dead: EngineError | None = None
        self._lora = _lora(settings.adapter)

    async def ask(self, request: Request) -> Result:
        """The result, or a Failure if this request cannot be answered. EngineError if the engine has died or is closed."""
        async with self._window:
            if self._dead:
                raise self._dead
            self.requests += 1
            try:
                if not isinstance(request, Generate | Score | Likelihood):
                    kind = type(request).__name__
                    raise RowError(Reason.ENGINE_REFUSED, f"vLLM does not support {kind}; use the engine hf")
                params, ids = self._params(request)
                messages, answer = self._asked(request)
                media = [(part, await self._media(part)) for part in self._shown(messages)]
                output = await self._submit(self._prompt(messages, answer, media), params)
                self._check_whole(output, request)
            except RowError as error:
                return Failure(error.reason, error.detail)
        return self._likely(output, answer) if answer else self._result(output, ids)

    async def check_adapter(self) -> None:
        """vLLM silently ignores adapter weights with unknown names. EngineError if all of them were ignored."""
        probe, lora = Likelihood((user("hello"), assistant("hello"))), self._lora
        adapted = await self.ask(probe)
        self._lora = None
        plain = await self.ask(probe)
        self._lora = lora
        self.requests = self.prompt_tokens = 0
        self.seconds = 0.0
        if adapted == plain:
            await self.close()
            raise EngineError(
                f"the adapter {self._settings.adapter} has no effect: the names of its weights do not match {self._settings.model} in vLLM; "
                "set an adapter of this model"
            )

    async def close(self) -> None:
        """Frees the model, so that another can be loaded in this process. Requests in flight raise EngineError.

        vLLM also tears down what its engines in one process share: no other engine here can be used afterwards."""
        self._dead = EngineError(f"the engine of {self.identity} is closed")
        if self._stepper:
            self._stepper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stepper
        self._fail(self._dead)
        self._decoders.shutdown(cancel_futures=True)
        if self._llm:
            self._llm.engine_core.shutdown()
            self._llm = None
            del self._tokens
            self._decoded.clear()
            gc.collect()

    # the engine's loop

    async def _submit(self, prompt: dict, params):
        if self._dead:  # died while the media were decoded
            raise self._dead
        number = next(self._numbers)
        try:
            self._llm.add_request(number, prompt, params, lora_request=self._lora)
        except Exception as error:  # vLLM refuses a request with any of a dozen error types
            if found := TOO_LONG.search(str(error)):
                length = int(found["all"] or found["text"])
                raise self._too_long(length + params.max_tokens, f"the prompt has {length:,} tokens") from error
            raise RowError(_reason(error), f"vLLM refused the request: {error_line(error, named=True)}") from error
        future = self._flying[number] = asyncio.get_running_loop().create_future()
        if self._stepper is None or self._stepper.done():
            self._stepper = asyncio.create_task(self._run())
        try:
            return await future
        except asyncio.CancelledError:
            if self._flying.pop(number, None):
                self._llm.abort_request([number])
            raise

    async def _run(self) -> None:
        done: list = []
        while self._flying:
            started = time.perf_counter()
            try:
                outputs = self._llm.step()
            except Exception as error:  # noqa: BLE001  after a failed step the engine's state is unknown
                self._dead = EngineError(f"vLLM crashed while running {self.identity}: {error_line(error, named=True)}")
                self._dead.__cause__ = error
                self._fail(self._dead)
                break
            finally:
                self.seconds += time.perf_counter() - started
            done += outputs
            if len(done) >= self._burst or self._llm.get_num_unfinished_requests() < self._settings.slots:
                for output in done:
                    if future := self._flying.pop(output.request_id, None):
                        future.set_result(output)
                done.clear()
            await asyncio.sleep(0)

    def _fail(self, error: EngineError) -> None:
        for future in self._flying.values():
            future.set_exception(error)
        self._flying.clear()

    # from requests to vLLM's arguments, and back

    def _params(self, request: Generate | Score | Likelihood):
        """(sampling parameters, for a Score the first token id of each choice)."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        options: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY}
        ids = None
        if isinstance(request, Score):
            ids = self._tokens.first(request.choices)
            options |= {"temperature": 0.0, "max_tokens": 1, "logprob_token_ids": [i for i in ids if i is not None]}
        elif isinstance(request, Likelihood):
            options |= {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0}
        else:
            options |= {
                "n": request.n, "temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k,
                "max_tokens": request.max_tokens, "logit_bias": self._tokens.banned, "stop": list(request.stop),
                "seed": request.seed if request.temperature > 0 else None,
                "logprobs": 0 if request.logprobs else None, "structured_outputs": _structure(request.form),
            }  # fmt: skip
        try:
            return SamplingParams(**options), ids
        except Exception as error:  # ValueError in some vLLM releases, its own type in others
            raise RowError(
                Reason.ENGINE_REFUSED, f"vLLM refused the settings: {error_line(error, named=True)}"
            ) from error

    def _asked(self, request: Generate | Score | Likelihood) -> tuple[tuple[Message, ...], list[int]]:
        """(messages of the prompt, token ids of the answer whose likelihood is requested)."""
        if not isinstance(request, Likelihood):
            return request.messages, []
        *before, last = request.messages
        return tuple(before), self._tokens.answer(last)

    def _shown(self, messages: tuple[Message, ...]) -> list[Part]:
        media = media_of_request(messages, self.media, self.identity)
        for kind, count in Counter(part.type for part in media).items():
            if count > self._limits[kind]:
                limit = f"the engine accepts {self._limits[kind]}; raise limit_mm_per_prompt or remove the row"
                raise RowError(Reason.TOO_MANY_MEDIA, f"{count} {kind} items in one request, {limit}")
        return media

    def _prompt(self, messages: tuple[Message, ...], answer: list[int], media: list[tuple[Part, Any]]) -> dict:
        prompt: dict[str, Any] = {"prompt_token_ids": [*self._tokens.prompt(messages), *answer]}
        if media:
            prompt["multi_modal_data"] = data = {}
            prompt["multi_modal_uuids"] = names = {}  # so that vLLM need not hash the media
            for part, item in media:
                data.setdefault(part.type, []).append(item)
                names.setdefault(part.type, []).append(
                    f"{part.type} {part.media}"
                )  # with the type: a video and its audio share an id
            if self._family in ARGUMENT and (rates := {rate(metadata) for _, metadata in data.get("video", ())}):
                prompt["mm_processor_kwargs"] = {"videos_kwargs": {"fps": _one(rates, self._family)}}
        return prompt

    async def _media(self, part: Part):
        """Decoded on a thread: a large image takes as long as several of the engine's steps, which would be blocked meanwhile."""
        if (item := self._decoded.get(part)) is not None:
            return item
        if (decoding := self._decoding.get(part)) is None:
            decoding = asyncio.get_running_loop().run_in_executor(self._decoders, self._decode, part)
            self._decoding[part] = decoding
            decoding.add_done_callback(lambda done: self._keep(part, done))
        return await asyncio.shield(decoding)  # other requests may be waiting for it

    def _keep(self, part: Part, decoded: asyncio.Future) -> None:
        del self._decoding[part]
        if not decoded.cancelled() and not decoded.exception() and _size(decoded.result()) <= DECODED_BYTES:
            self._decoded[part] = decoded.result()

    def _decode(self, part: Part):
        name, data = f"{part.type} {part.media}", read(self._store, part)
        if part.type == "image":
            image = decode_image(data, name)
            if min(image.size) < MIN_SIDE:
                raise RowError(Reason.EMPTY_MEDIA, f"{name} has {image.width} x {image.height} pixels; remove the row")
            return image
        if part.type == "audio":
            wave = decode_audio(data, AUDIO_RATE, name, self._settings.max_seconds)
            return wave, AUDIO_RATE
        clip = decode_clip(data, self._settings.fps, self._settings.max_frames, name)
        frames, metadata = with_times(clip, self._family)
        return frames, metadata | {"video_backend": "pyav", "do_sample_frames": False}

    def _too_long(self, tokens: int, what: str) -> RowError:
        """The error of a request that needs `tokens` of context; `what`: why, in a few words."""
        limit, model, sized = self._llm.model_config.max_model_len, self._settings.model, self._sized
        if sized is None or limit >= sized.sizes.own:
            return RowError(Reason.TOO_LONG, f"{what}, and {model} takes {limit:,}, the answer included")
        tokens = min(tokens, sized.sizes.own)
        remedy = f"set max_model_len: {tokens}"
        if self._settings.kv_cache_memory_bytes:
            remedy += f" and kv_cache_memory_bytes: {sized.sizes.kv_bytes(tokens)}"
        return RowError(
            Reason.TOO_LONG, f"{what}, and {model} was given {limit:,} of its {sized.sizes.own:,}; {remedy}"
        )

    def _check_whole(self, output, request: Request) -> None:
        """RowError if a context that was chosen here, shorter than the model's own, cut off an answer: that is not the model's answer."""
        if not isinstance(request, Generate) or self._settings.max_model_len or not self._sized:
            return
        if self._sized.tokens < self._sized.sizes.own and any(
            o.finish_reason == "length" and len(o.token_ids) < request.max_tokens for o in output.outputs
        ):
            length = len(output.prompt_token_ids)
            what = f"a prompt of {length:,} tokens leaves no room for an answer of {request.max_tokens:,}"
            raise self._too_long(length + request.max_tokens, what)

    def _result(self, output, ids: list[int | None] | None) -> Result:
        bad = [o.finish_reason for o in output.outputs if o.finish_reason not in ("stop", "length")]
        if len(bad) == len(output.outputs):  # if others are whole, only these are lost: see `schemas.finish.unfinished`
            return Failure(Reason.ENGINE_FAILED, f"vLLM ended an answer with finish reason {bad[0]}")
        length = len(output.prompt_token_ids)
        self.prompt_tokens += length
        self.answer_tokens += sum(len(o.token_ids) for o in output.outputs)
        if ids is None:
            return Generated(tuple(_answer(o) for o in sorted(output.outputs, key=lambda o: o.index)), length)
        found = output.outputs[0].logprobs[0]
        return Scored(tuple(None if i is None else rounded(found[i].logprob) for i in ids), length)

    def _likely(self, output, answer: list[int]) -> Likely:
        length = len(output.prompt_token_ids)
        self.prompt_tokens += length
        found = zip(output.prompt_logprobs[-len(answer) :], answer, strict=True)
        return Likely(tuple(rounded(logprobs[i].logprob) for logprobs, i in found), length - len(answer))


class _Tokens:
    """The model's tokenizer and chat template: prompts as token ids, banned tokens, first tokens of choices."""

    def __init__(self, tokenizer, config):
        self._tokenizer = tokenizer
        self._template = tokenizer.chat_template or _processor_template(config)
        special = specials(tokenizer)
        self._specials = markup(special)
        ends = {tokenizer.eos_token_id, *_listed(config.try_get_generation_config().get("eos_token_id"))}
        self.first = functools.cache(functools.partial(first_tokens, tokenizer))  # a judge repeats the same choices
        self.banned = {i: BAN for i in special.values() if i not in ends and i < config.get_vocab_size()} or None

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of the rendered chat, one placeholder per media item. A last turn by the assistant is continued."""
        turns = [{"role": m.role, "content": self._content(m)} for m in messages]
        continued = messages[-1].role == "assistant"
        try:
            text = self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, add_generation_prompt=not continued,
                continue_final_message=continued,
            )  # fmt: skip
            return self._tokenizer.encode(text, add_special_tokens=False)  # the template has added them
        except Exception as error:  # raised by the template itself, or by invalid Unicode
            raise RowError(
                Reason.ENGINE_REFUSED, f"the chat template refused the prompt: {error_line(error, named=True)}"
            ) from error

    def answer(self, message: Message) -> list[int]:
        """Token ids of the assistant's message, without the end of its turn. RowError if it is empty."""
        text = "".join(texts_in(merge_texts(message.parts)))
        if message.role != "assistant" or not text:
            raise RowError(Reason.EMPTY_ANSWER, "there is no answer to compute the likelihood of; remove the row")
        return self._tokenizer.encode(escape(text, self._specials), add_special_tokens=False)

    def shows(self, kind: str) -> bool:
        """Whether the template has a placeholder for media of this kind; a text-only template drops or prints the parts."""
        text = {"type": "text", "text": "hello"}
        try:
            without, shown = (
                self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": parts}], chat_template=self._template, tokenize=False
                )
                for parts in ([text], [{"type": kind}, text])
            )
        except (jinja2.TemplateError, TypeError):
            return False
        return shown != without and "'type'" not in shown

    def _content(self, message: Message) -> str | list[dict]:
        parts = merge_texts(message.parts)
        texts = iter(escape_all(texts_in(parts), self._specials))
        parts = [
            {"type": "text", "text": next(texts)} if part.type == "text" else {"type": part.type} for part in parts
        ]
        return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _processor_template(config) -> str | None:
    from transformers import AutoProcessor

    return getattr(AutoProcessor.from_pretrained(config.model, revision=config.revision), "chat_template", None)


def _lora(adapter: str | None):
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, adapter)


def _structure(form: Form | None):
    if form is None:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(**constraint(form))


def _answer(output) -> Answer:
    if output.logprobs is None:
        return Answer(output.text, len(output.token_ids), output.finish_reason)
    each = tuple(rounded(logprobs[i].logprob) for logprobs, i in zip(output.logprobs, output.token_ids, strict=True))
    return Answer(output.text, len(output.token_ids), output.finish_reason, rounded(sum(each)), each)


def _listed(value) -> list:
    return value if isinstance(value, list) else [value]


def _one(rates: set[float], family: str) -> float:
    """The frames per second of all videos of a request. RowError if they differ."""
    if max(rates) - min(rates) > EQUAL * max(rates):
        detail = (
            f"vLLM gives {family} one frame rate for all videos of a request, but these have {min(rates):.2f} to {max(rates):.2f} frames per "
            "second; show videos of the same length, or use the engine hf"
        )
        raise RowError(Reason.ENGINE_REFUSED, detail)
    return min(rates)


def _size(item) -> int:
    """Bytes of a decoded image, of (frames, metadata) or of (wave, rate)."""
    return item[0].nbytes if isinstance(item, tuple) else item.width * item.height * 3


def _reason(error: Exception) -> Reason:
    text = str(error)
    return Reason.TOO_LONG if "model length" in text or "context length" in text else Reason.ENGINE_REFUSED
