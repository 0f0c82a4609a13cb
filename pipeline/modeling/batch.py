"""Rows of `[prompt | answer | answer ...]` whose answers do not attend to each other, padded to a common length."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from pipeline.modeling.encode import Prompt

T = TypeVar("T")
BUCKETS = 8  # batches per stretch that is sorted by length


class Batch(NamedTuple):
    """Model inputs and where the answers' tokens are. In the shapes, `answers` is the number of answers, `tokens` the length of the longest,
    `scored` the sum of their lengths."""

    inputs: dict[str, torch.Tensor]  # the model's arguments: ids and mask [rows, length], media features
    sees: torch.Tensor | None  # bool [rows, 1, length, length]: attention mask; None if every row has one answer
    shift: (
        torch.Tensor | None
    )  # [rows, length]: subtracted from positions, so that each answer starts right after the prompt
    source: torch.Tensor  # [scored]: flat index of the token that predicts each answer token
    target: torch.Tensor  # [scored]: ids of the answer tokens
    place: tuple[torch.Tensor, torch.Tensor]  # [scored] each: index of the answer, position within it
    shape: tuple[int, int]  # answers, tokens

    @property
    def size(self) -> int:
        """Tokens that the model computes, with padding."""
        return self.inputs["input_ids"].numel()

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            {k: v.to(device) for k, v in self.inputs.items()},
            None if self.sees is None else self.sees.to(device),
            None if self.shift is None else self.shift.to(device),
            self.source.to(device),
            self.target.to(device),
            (self.place[0].to(device), self.place[1].to(device)),
            self.shape,
        )


def collate(prompts: Sequence[Prompt], answers: Sequence[Sequence[list[int]]], shared: bool = True) -> Batch:
    """A Batch of prompts with their answers, at least one each. `shared`: one row per prompt with all its answers; otherwise one row per
    answer. ValueError for an empty batch."""
    if not shared:
        prompts = [prompt for prompt, several in zip(prompts, answers, strict=True) for _ in several]
        answers = [[answer] for several in answers for answer in several]
    length = max(len(p.ids) + sum(map(len, a)) for p, a in zip(prompts, answers, strict=True))
    ids, segment, shift = (np.zeros((len(prompts), length), np.int64) for _ in range(3))
    segment -= 1  # padding
    source, target, place = [], [], []
    number = 0
    for row, (prompt, several) in enumerate(zip(prompts, answers, strict=True)):
        begin = end = len(prompt.ids)
        ids[row, :end], segment[row, :end] = prompt.ids, 0
        for part, answer in enumerate(several, 1):
            start, end = end, end + len(answer)
            ids[row, start:end], segment[row, start:end], shift[row, start:end] = answer, part, start - begin
            source += [row * length + i for i in (begin - 1, *range(start, end - 1))]
            target += answer
            place += [(number, i) for i in range(len(answer))]
            number += 1
    inputs = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy((segment >= 0).astype(np.int64)),
        **_types(prompts, length),
        **features(prompts),
    }
    alone = max(map(len, answers)) == 1
    return Batch(
        inputs,
        None if alone else _sees(torch.from_numpy(segment)),
        None if alone else torch.from_numpy(shift),
        torch.tensor(source),
        torch.tensor(target),
        tuple(torch.tensor(place).T),
        (number, max(len(answer) for several in answers for answer in several)),
    )


def features(prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
    """The media features of all prompts, concatenated in order; empty without media."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.media)
    return {name: torch.cat([p.media[name] for p in prompts if name in p.media]) for name in names}


def _types(prompts: Sequence[Prompt], length: int) -> dict[str, torch.Tensor]:
    """Per-token types; answers and padding have type 0, text."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.types)
    return {
        name: torch.tensor([(t := p.types.get(name, [])) + [0] * (length - len(t)) for p in prompts]) for name in names
    }


def _sees(segment: torch.Tensor) -> torch.Tensor:
    """Attention mask: each token attends to the prompt and to its own answer, up to itself."""
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return (causal & ((segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])))[:, None]


def parts(rows: Sequence[int], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """`rows` in order of their `sizes` in tokens, in parts of at most `most` tokens with padding; a row larger than that is a part of its own."""
    part: list[int] = []
    for row in sorted(rows, key=lambda i: sizes[i]):
        if part and (len(part) + 1) * sizes[row] > most:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def buckets(items: Sequence[T], sizes: Sequence[int], size: int, rng: random.Random) -> Iterator[list[T]]:
    """All items once, in random batches of `size` with similar lengths; the last batch of a stretch of BUCKETS batches may be smaller."""
    order = list(range(len(items)))
    rng.shuffle(order)
    for start in range(0, len(order), size * BUCKETS):
        stretch = sorted(order[start : start + size * BUCKETS], key=lambda i: sizes[i])
        batches = [stretch[i : i + size] for i in range(0, len(stretch), size)]
        rng.shuffle(batches)
        yield from ([items[i] for i in batch] for batch in batches)
