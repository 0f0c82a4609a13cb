"""Prompts as token ids and positions, batches to hidden states.

Packing: a row has the media of one scene once, then several questions with their answers. A mask hides the questions from
each other, so that each is computed exactly as if it were alone."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from pipeline.scenes.model.features import Feature
from pipeline.scenes.model.judging import ENDS
from pipeline.scenes.model.model import MERGE, STEPS_A_SECOND, Thinker

IGNORED = -100  # label of a position without loss


class Prompt(NamedTuple):
    """ids: int64 [L]; positions: int64 [3, L] (time, row, column); features: all parts, including texts."""

    ids: np.ndarray
    positions: np.ndarray
    features: list[str | Feature]

    @property
    def end(self) -> int:
        """The position of the next token."""
        return int(self.positions[:, -1].max()) + 1 if self.ids.size else 0


class AnsweredQuestion(NamedTuple):
    """A question with its answer, and the weight of the answer's tokens in the loss.

    marks: targets at each comma, full stop and end of the answers that the question quotes; see `judging.Quality.marks`"""

    question: str
    answer: str
    weight: float = 1.0
    marks: tuple[int | None, ...] = ()


class Prompter:
    """Builds prompts as the chat template does, directly as token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.encode = lru_cache(10_000)(self._encode)  # the same questions recur
        self.head = self.encode("<|im_start|>user\n")
        self.tail = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self.stop = self.encode("<|im_end|>")
        self.fence = np.concatenate([self.encode("<<<"), self.encode(">>>")])
        self.ending = np.concatenate([self.encode(before + end) for end in ENDS for before in ("", " ")])
        token = tokenizer.convert_tokens_to_ids
        vision = (token("<|vision_bos|>"), token("<|vision_eos|>"))
        self._around = {"image": vision, "video": vision, "audio": (token("<|audio_bos|>"), token("<|audio_eos|>"))}
        self._slot = {kind: token(f"<|{kind.upper()}|>") for kind in self._around}

    def _encode(self, text: str) -> np.ndarray:
        """Token ids of `text`."""
        return np.array(self.tokenizer.encode(text, add_special_tokens=False), np.int64)

    def decode(self, ids) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def ends(self, ids: np.ndarray) -> np.ndarray:
        """The indices of the commas, full stops and closing fences of quoted answers."""
        opened, closed = (np.cumsum(ids == mark) for mark in self.fence)
        return np.flatnonzero((opened > closed) & np.isin(ids, self.ending) | (ids == self.fence[1]))

    def context(self, features: list[str | Feature]) -> Prompt:
        """The prompt up to the question."""
        ids, positions, at = [self.head], [_line(0, len(self.head))], len(self.head)
        for feature in features:
            if isinstance(feature, str):
                inside, places = self.encode(feature), _line(at, len(self.encode(feature)))
            else:
                before, after = self._around[feature.kind]
                places = _places(feature, at + 1)
                inside = np.full(places.shape[1] + 2, self._slot[feature.kind])
                inside[[0, -1]] = before, after
                places = np.concatenate([_line(at, 1), places, _line(places.max() + 1, 1)], 1)
            ids.append(inside)
            positions.append(places)
            at = places.max() + 1
        return Prompt(np.concatenate(ids), np.concatenate(positions, 1), features)

    def prompt(self, features: list[str | Feature], question: str) -> Prompt:
        """The complete prompt, up to the first token of the answer."""
        return self.extend(self.context(features), np.concatenate([self.encode(question), self.tail]))

    def extend(self, prompt: Prompt, ids: np.ndarray) -> Prompt:
        """`prompt` followed by text."""
        positions = np.concatenate([prompt.positions, _line(prompt.end, len(ids))], 1)
        return Prompt(np.concatenate([prompt.ids, ids]), positions, prompt.features)


def _line(start: int, length: int) -> np.ndarray:
    """Positions of text, int64 [3, length]: the same in all three dimensions."""
    return np.broadcast_to(start + np.arange(length), (3, length))


def _places(feature: Feature, start: int) -> np.ndarray:
    """Positions of a media item's tokens, int64 [3, tokens]."""
    if feature.kind == "audio":
        frames = feature.values.shape[1]
        return _line(start, ((frames - 1) // 2 + 1 - 2) // 2 + 1)  # the tower halves the number of frames twice
    times, rows, columns = feature.grid
    grid = np.indices((times, rows // MERGE, columns // MERGE)).reshape(3, -1)
    step = STEPS_A_SECOND if feature.kind == "video" else 0  # the two frames of a grid are one second
    return start + grid * np.array([[step], [1], [1]])


def media_inputs(rows: list[list[str | Feature]]) -> dict[str, torch.Tensor]:
    """The towers' inputs for all media of a batch, in order."""
    out = {}
    media = [feature for row in rows for feature in row if isinstance(feature, Feature)]
    for kind, values, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if found := [f for f in media if f.kind == kind]:
            out[values] = torch.from_numpy(np.concatenate([f.values for f in found]))
            out[grids] = torch.tensor([f.grid for f in found])
    if found := [f.values for f in media if f.kind == "audio"]:
        out["input_features"] = torch.from_numpy(np.stack(found))  # all have the same length
        out["feature_attention_mask"] = torch.ones(len(found), found[0].shape[1], dtype=torch.long)
    return out


def collate(prompts: list[Prompt]) -> dict[str, torch.Tensor]:
    """One batch of prompts, padded on the right."""
    count, length = len(prompts), max(p.ids.size for p in prompts)
    ids, seen = np.zeros((2, count, length), np.int64)
    positions = np.zeros((3, count, length), np.int64)
    for i, prompt in enumerate(prompts):
        n = prompt.ids.size
        ids[i, :n], seen[i, :n], positions[:, i, :n] = prompt.ids, 1, prompt.positions
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(seen),
        "position_ids": torch.from_numpy(positions),
        **media_inputs([p.features for p in prompts]),
    }


def pack(prompter: Prompter, rows: list[tuple[list[str | Feature], list[AnsweredQuestion]]]):
    """Rows of (a scene's features, its answered questions) -> batch, labels [B, L], weights [B, L], marks [B, L].

    marks: those of `Answered` at their positions; IGNORED elsewhere"""
    filled = [_fill(prompter, features, answered) for features, answered in rows]
    count, length = len(filled), max(row[0].shape[1] for row in filled)
    table = np.zeros((4, count, length), np.int64)  # ids, labels, segments, marks
    table[1:] = np.array([IGNORED, -1, IGNORED])[:, None, None]
    positions = np.zeros((3, count, length), np.int64)
    weights = np.zeros((count, length), np.float32)
    for i, (tokens, places, weight) in enumerate(filled):
        n = tokens.shape[1]
        table[:, i, :n], positions[:, i, :n], weights[i, :n] = tokens, places, weight
    ids, labels, segments, marks = torch.from_numpy(table)
    batch = {
        "input_ids": ids,
        "attention_mask": _mask(segments),
        "position_ids": torch.from_numpy(positions),
        **media_inputs([features for features, _ in rows]),
    }
    return batch, labels, torch.from_numpy(weights), marks


def _fill(prompter: Prompter, features: list[str | Feature], answered: list[AnsweredQuestion]):
    """One row: int64 [4, L] of ids, labels, segments and marks, int64 [3, L] positions, float32 [L] weights."""
    context = prompter.context(features)
    n = context.ids.size
    tokens = [np.stack([context.ids, np.full(n, IGNORED), np.zeros(n, np.int64), np.full(n, IGNORED)])]
    positions, weights = [context.positions], [np.zeros(n)]
    for segment, (question, answer, weight, marks) in enumerate(answered, 1):
        asked = np.concatenate([prompter.encode(question), prompter.tail])
        said = np.concatenate([prompter.encode(answer), prompter.stop])
        ids = np.concatenate([asked, said])
        labels = np.concatenate([np.full(asked.size, IGNORED), said])
        counts = np.full(ids.size, weight)
        counts[: asked.size], counts[-1] = 0, min(weight, 1) / 2  # where to stop is easily learnt
        marked = np.full(ids.size, IGNORED)
        if marks:
            marked[prompter.ends(asked)] = [IGNORED if mark is None else mark for mark in marks]
        tokens.append(np.stack([ids, labels, np.full(ids.size, segment), marked]))
        positions.append(_line(context.end, ids.size))
        weights.append(counts)
    return np.concatenate(tokens, 1), np.concatenate(positions, 1), np.concatenate(weights)


def _mask(segments: torch.Tensor) -> torch.Tensor:
    """bool [B, 1, L, L]: each position attends to the context (segment 0) and its own segment, up to itself."""
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    shared = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    return ((before & shared) | torch.eye(length, dtype=torch.bool))[
        :, None
    ]  # padding attends to itself: no empty rows


def hidden_states(model: Thinker, input_ids, position_ids, attention_mask=None, **rest):
    """The language model's output object before the head, so that the head runs only where it is needed.

    rest: the towers' inputs of `media_inputs`, and further arguments of the language model."""
    config, embeds = model.config, model.get_input_embeddings()(input_ids)

    def put(token: int, found: torch.Tensor) -> None:
        nonlocal embeds
        embeds = embeds.masked_scatter((input_ids == token)[..., None], found.to(embeds.dtype))

    if "pixel_values" in rest:
        seen = model.get_image_features(rest.pop("pixel_values"), rest.pop("image_grid_thw"), return_dict=True)
        put(config.image_token_id, torch.cat(seen.pooler_output))
    if "pixel_values_videos" in rest:
        seen = model.get_video_features(rest.pop("pixel_values_videos"), rest.pop("video_grid_thw"), return_dict=True)
        put(config.video_token_id, torch.cat(seen.pooler_output))
    if "input_features" in rest:
        mask = rest.pop("feature_attention_mask")
        heard = model.get_audio_features(rest.pop("input_features"), mask, return_dict=True)
        put(config.audio_token_id, heard.last_hidden_state)
    return model.model(inputs_embeds=embeds, position_ids=position_ids, attention_mask=attention_mask, **rest)
