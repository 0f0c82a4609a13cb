"""Sampling answers from the model in training: the prompt is encoded once, its n answers are decoded in one batch."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache

from pipeline.modeling.batch import features
from pipeline.modeling.encode import Prompt
from pipeline.modeling.logps import autocast, replace_head_input, takes_positions

ANSWERS = 256  # maximum answers sampled at a time


@torch.no_grad()
def sample(
    model, prompts: Sequence[Prompt], n: int, temperature: float, max_tokens: int, stops: Collection[int],
    banned: Sequence[int], generator: torch.Generator | None = None,
) -> list[list[list[int]]]:  # fmt: skip
    """n answers to each prompt, as token ids including the stop token, if one was reached within `max_tokens`; temperature 0 is greedy.

    `banned` tokens are never sampled: a media placeholder in an answer would break the next forward."""
    size = max(1, ANSWERS // n)
    answers = []
    for start in range(0, len(prompts), size):
        drawn = _draw(model, prompts[start : start + size], n, temperature, max_tokens, stops, banned, generator)
        answers += [_until(row, stops) for row in drawn.tolist()]
    return [answers[i : i + n] for i in range(0, len(answers), n)]


def _draw(model, prompts, n, temperature, max_tokens, stops, banned, generator) -> torch.Tensor:
    """[prompts * n, max_tokens] ids; after a stop token only stop tokens."""
    state = read(model, prompts, n)
    ends = torch.tensor(sorted(stops), device=model.device)
    drawn = ends[0].repeat(len(state.logits), max_tokens)
    growing = torch.arange(len(drawn), device=model.device)  # the rows still in `state`
    ended = torch.zeros_like(growing, dtype=torch.bool)
    for place in range(max_tokens):
        state.logits[:, list(banned)] = -torch.inf
        token = _choose(state.logits, temperature, generator).masked_fill(ended, int(ends[0]))
        drawn[growing, place] = token
        ended = torch.isin(token, ends)
        if place == max_tokens - 1 or ended.all():
            break
        if ended.sum() >= len(ended) / 2:  # drop finished rows, so that a few long answers do not cost a full batch
            kept = (~ended).nonzero()[:, 0]
            growing, token, ended, state = growing[kept], token[kept], ended[kept], state.select(kept)
        state = state.next(model, token)
    return drawn


class State(NamedTuple):
    """Answers that are being decoded, one per row."""

    logits: torch.Tensor  # [rows, vocabulary] for the next token
    cache: DynamicCache
    mask: torch.Tensor  # [rows, tokens so far]
    position: torch.Tensor | None  # [..., rows, 1] of the last token; None if the model numbers tokens itself

    def select(self, rows: torch.Tensor) -> "State":
        """The state of these rows only (indices, repeats allowed). Changes the cache in place."""
        self.cache.batch_select_indices(rows)
        position = None if self.position is None else self.position.index_select(-2, rows)
        return State(self.logits[rows], self.cache, self.mask[rows], position)

    def next(self, model, token: torch.Tensor) -> "State":
        """The state after one more token [rows] per answer."""
        mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1)
        position = None if self.position is None else self.position + 1
        inputs = {"input_ids": token[:, None], "attention_mask": mask, "past_key_values": self.cache}
        if position is not None:
            inputs["position_ids"] = position
        with autocast(model):
            out = model(**inputs, use_cache=True)
        return State(out.logits[:, -1].float(), self.cache, mask, position)


def read(model, prompts: Sequence[Prompt], n: int) -> State:
    """The state after the prompts, each encoded once and repeated as n rows."""
    length = max(len(prompt.ids) for prompt in prompts)

    def padded(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([[0] * (length - len(row)) + row for row in rows], device=model.device)

    inputs = {name: value.to(model.device) for name, value in features(prompts).items()}
    inputs |= {name: padded([prompt.types[name] for prompt in prompts]) for name in prompts[0].types}
    mask = padded([[1] * len(prompt.ids) for prompt in prompts])
    seen: dict = {}

    def number(_, args, kwargs):  # most models leave it to the decoder, which would count the padding
        if kwargs.get("position_ids") is None and takes_positions(model):
            kwargs |= {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        seen.update(kwargs)
        return args, kwargs

    hook = model.get_decoder().register_forward_pre_hook(number, with_kwargs=True)
    try:
        with replace_head_input(model, lambda hidden: hidden[:, -1:]), autocast(model):
            out = model(
                input_ids=padded([prompt.ids for prompt in prompts]), attention_mask=mask, **inputs,
                past_key_values=DynamicCache(config=model.config.get_text_config()), use_cache=True,
            )  # fmt: skip
    finally:
        hook.remove()
    out.past_key_values.batch_repeat_interleave(n)
    position = seen.get("position_ids")
    if position is not None:
        position = position[..., -1:].repeat_interleave(n, -2)
    logits = out.logits[:, -1].float().repeat_interleave(n, 0)
    return State(logits, out.past_key_values, mask.repeat_interleave(n, 0), position)


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]


def _until(row: list[int], stops: Collection[int]) -> list[int]:
    """The tokens up to and including the first stop token."""
    for place, token in enumerate(row):
        if token in stops:
            return row[: place + 1]
    return row
