"""Chat messages and media bytes -> model inputs, by the model's own processor and chat template.

Needs no weights, so it also serves as a dry check: every row that cannot be used for training raises a RowError."""

from typing import Any, NamedTuple

import jinja2
import numpy as np
import torch
from transformers import AutoConfig, AutoProcessor, PreTrainedTokenizerBase

from pipeline.dataset.read import Example
from pipeline.media.decode import decode_audio, decode_clip, decode_image
from pipeline.media.limits import HEARD_SECONDS
from pipeline.modeling.frame_times import ARGUMENT, rate, with_times
from pipeline.modeling.request_media import merge_texts
from pipeline.modeling.special_tokens import markup, specials
from schemas.errors import RowError, TrainError
from schemas.messages import escape, escape_all, texts_in
from schemas.records import MEDIA_KINDS, Message, Reason
from schemas.text import error_line, same_text

FPS = 2.0  # frames per second, as in the engines
MAX_FRAMES = 64  # per video, as in the engines
FIXED_SOUNDS = {"Qwen2AudioProcessor"}  # processors whose audio tower is limited to 30 seconds


class Prompt(NamedTuple):
    """A prompt as model inputs."""

    ids: list[int]
    types: dict[str, list[int]]  # other per-token outputs of the processor, by name
    media: dict[str, torch.Tensor]  # features by name; the first dimension runs over media items or their patches


class Encoded(NamedTuple):
    """One encoded pair: token ids of both answers, each with its end-of-turn token."""

    id: str
    kind: str  # one of SAMPLE_KINDS
    prompt: Prompt
    answers: tuple[list[int], list[int]]  # chosen, rejected

    def size(self, shared: bool) -> int:
        """Tokens of its rows, as `collate` makes them."""
        prompt, lengths = len(self.prompt.ids), [len(answer) for answer in self.answers]
        return prompt + sum(lengths) if shared else 2 * (prompt + max(lengths))


class Encoder:
    """Encodes with the processor of one model folder, or the tokenizer of a text-only model, whose `processor` is None. A prompt is
    encoded once for all its pairs.

    TrainError if the folder has neither, or no chat template that takes a question and its answer."""

    def __init__(self, folder: str, fps: float = FPS, max_frames: int = MAX_FRAMES, max_seconds: float = HEARD_SECONDS):
        try:
            found: Any = AutoProcessor.from_pretrained(folder)
            config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise TrainError(f"transformers cannot load a processor from {folder}: {error_line(error)}") from error
        self.tokenizer = getattr(found, "tokenizer", found)
        if not isinstance(self.tokenizer, PreTrainedTokenizerBase):
            raise TrainError(f"{folder} has no tokenizer; use a model that writes text")
        self.processor: Any = None if found is self.tokenizer else found
        special = specials(self.tokenizer)
        self._specials = markup(special)
        self._family = config.model_type
        self._frames, self._seconds = (fps, max_frames), max_seconds
        self._limit = min(self.tokenizer.model_max_length, _positions(config))
        self._prompts: dict[tuple[Message, ...], Prompt] = {}
        self.end = self._end_of_turn()
        self.stops = {self.end, self.tokenizer.eos_token_id}
        self.banned = sorted(set(special.values()) - self.stops)  # ids that must not occur in an answer

    def pair(self, example: Example) -> Encoded:
        """The encoded pair. RowError if it cannot be used for training: an answer is missing or empty, both are equal, or it is too long."""
        if example.rejected is None:
            raise RowError(
                Reason.EMPTY_ANSWER, f"{example.id} has no rejected answer, which this loss needs; use an unpaired loss"
            )
        if same_text(example.chosen, example.rejected):
            raise RowError(
                Reason.EQUAL_ANSWERS, f"{example.id}: chosen and rejected are the same text; remove the pair"
            )
        answers = self.answer(example.chosen, example.id), self.answer(example.rejected, example.id)
        prompt = self.prompt(example.messages, example.media, example.id)
        if (tokens := len(prompt.ids) + max(map(len, answers))) > self._limit:
            raise RowError(
                Reason.TOO_LONG,
                f"{example.id} has {tokens} tokens, but the model is limited to {self._limit}; use fewer or shorter media",
            )
        return Encoded(example.id, example.kind, prompt, answers)

    def answer(self, text: str, row: str) -> list[int]:
        """Token ids of an answer, ending with its end-of-turn token. RowError if it is empty; `row` names it."""
        ids = self.tokenizer.encode(escape(text, self._specials), add_special_tokens=False)
        if not text.strip() or not ids:
            raise RowError(Reason.EMPTY_ANSWER, f"{row} has an empty answer; remove the row")
        return [*ids, self.end]

    def prompt(self, messages: tuple[Message, ...], media: tuple[tuple[str, bytes], ...], row: str) -> Prompt:
        """The prompt up to the start of the answer. `media`: (kind, bytes) in prompt order. RowError as of `encode`."""
        if messages not in self._prompts:
            self._prompts[messages] = self.encode(messages, media, row)
        return self._prompts[messages]

    def text(self, ids: list[int]) -> str:
        """The text of an answer's tokens, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def encode(self, messages: tuple[Message, ...], media: tuple[tuple[str, bytes], ...], row: str) -> Prompt:
        """Like `prompt`, but not cached. RowError if the media cannot be decoded or the processor or template does not accept them."""
        try:
            turns = [{"role": m.role, "content": self._content(m)} for m in messages]
            chat = self._chat(turns, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise RowError(Reason.ENGINE_REFUSED, f"{row}: the model's chat template refuses it: {error}") from error
        if self.processor is None:
            if media:
                raise RowError(
                    Reason.UNSUPPORTED_MEDIA,
                    f"{row} shows {media[0][0]}, but the model reads only text; use a multimodal model or remove the row",
                )
            return Prompt(self.tokenizer.encode(chat, add_special_tokens=False), {}, {})
        given: dict[str, list[bytes]] = {kind: [data for k, data in media if k == kind] for kind in MEDIA_KINDS}
        options = self._decoded(given, row)
        try:
            inputs = self.processor(text=[chat], return_tensors="pt", **options)
        except (ValueError, TypeError, IndexError, StopIteration, RuntimeError) as error:
            raise RowError(Reason.UNSUPPORTED_MEDIA, f"{row}: the model's processor failed: {error}") from error
        ids = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        types = {k: inputs.pop(k)[0].tolist() for k in [*inputs] if k.endswith("token_type_ids")}
        if (
            given["video"] and self._family in ARGUMENT
        ):  # the argument itself can only give one rate for all videos of a prompt
            frames = self.processor.video_processor.temporal_patch_size  # of a grid
            inputs["video_second_per_grid"] = torch.tensor([frames / rate(told) for told in options["video_metadata"]])
        self._count(ids, chat, {kind: len(data) for kind, data in given.items()}, inputs, row)
        return Prompt(ids, types, dict(inputs))

    def _chat(self, turns: list[dict], **options) -> str:
        return (self.processor or self.tokenizer).apply_chat_template(turns, tokenize=False, **options)

    def _content(self, message: Message) -> str | list[dict]:
        parts = merge_texts(message.parts)
        texts = iter(escape_all(texts_in(parts), self._specials))
        if all(part.type == "text" for part in parts):
            return "".join(texts)
        return [{"type": "text", "text": next(texts)} if part.type == "text" else {"type": part.type} for part in parts]

    def _decoded(self, given: dict[str, list[bytes]], row: str) -> dict[str, Any]:
        """Keyword arguments for the processor."""
        options: dict[str, Any] = {}
        if given["image"]:
            options["images"] = [decode_image(data, f"an image of {row}") for data in given["image"]]
        if given["video"]:
            clips = [decode_clip(data, *self._frames, f"a video of {row}") for data in given["video"]]
            videos, metadata = zip(*(with_times(clip, self._family) for clip in clips), strict=True)
            options |= {"videos": list(videos), "video_metadata": list(metadata), "do_sample_frames": False}
        if given["audio"]:
            hertz = self.processor.feature_extractor.sampling_rate
            waves = [decode_audio(data, hertz, f"an audio clip of {row}", self._seconds) for data in given["audio"]]
            options |= {"audio": waves, "audio_kwargs": {"sampling_rate": hertz, **self._uncut(waves)}}
        return options

    def _uncut(self, waves: list[np.ndarray]) -> dict[str, Any]:
        """Options that keep the processor from truncating long audio clips, as vLLM does not truncate them either."""
        if type(self.processor).__name__ in FIXED_SOUNDS:
            return {}
        usual, longest = getattr(self.processor.feature_extractor, "n_samples", 0), max(map(len, waves))
        return {"truncation": False, **({"max_length": longest} if longest > usual else {})}

    def _count(
        self, ids: list[int], chat: str, given: dict[str, int], features: dict[str, torch.Tensor], row: str
    ) -> None:
        """RowError unless all media have their tokens in the prompt: a template that drops media would train a blind model."""
        tokens = {kind: getattr(self.processor, f"{kind}_token", None) for kind in given}
        found = {k: ids.count(self.tokenizer.convert_tokens_to_ids(t)) if t else 0 for k, t in tokens.items()}
        wanted = {kind: self._by_grid(kind, features) for kind in given}
        if not found["video"] and tokens["video"] and 0 < given["video"] == chat.count(tokens["video"]):
            # InternVL's and GLM's processors put the tokens of images in the place of a video's
            images = wanted["image"] if wanted["image"] is not None else found["image"] * bool(given["image"])
            found |= {"image": images, "video": found["image"] - images * (wanted["image"] is not None)}
        for kind, count in given.items():
            expected = found[kind] if wanted[kind] is None else wanted[kind]
            if bool(found[kind]) != bool(count) or found[kind] != expected:
                raise RowError(
                    Reason.UNSUPPORTED_MEDIA,
                    f"{row} shows {count} {kind} items, for which the prompt has {found[kind]} tokens instead of {expected}: "
                    "the model or its chat template does not support them; use another model or remove the row",
                )

    def _by_grid(self, kind: str, features: dict[str, torch.Tensor]) -> int | None:
        """Tokens of all media of a kind according to their grids; None if the processor tells none."""
        grid = features.get(f"{kind}_grid_thw")
        side = getattr(getattr(self.processor, f"{kind}_processor", None), "merge_size", 1)
        return None if grid is None else int(grid.prod(1).sum()) // side**2

    def _end_of_turn(self) -> int:
        """Id of the token that the chat template appends to an answer."""
        asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "ANSWER"}]
        try:
            shown = self._chat(asked)
        except (ValueError, jinja2.TemplateError) as error:  # ValueError: there is none
            raise TrainError(
                f"{self.tokenizer.name_or_path} has no chat template for a question and its answer ({error_line(error)}); use a model that "
                "was tuned to chat, or add chat_template.jinja to its folder"
            ) from error
        tail = self.tokenizer.encode(shown.rpartition("ANSWER")[2].strip(), add_special_tokens=False)
        return tail[0] if tail else self.tokenizer.eos_token_id


def _positions(config) -> int:
    return getattr(getattr(config, "thinker_config", config).get_text_config(), "max_position_embeddings", 1 << 30)
