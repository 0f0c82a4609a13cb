"""Forward passes of the engine hf: functions that take a transformers model and an encoded prompt, and return plain values."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoder, Prompt
from pipeline.modeling.logps import autocast, replace_head_input, token_logps
from pipeline.modeling.sampling import State, read
from pipeline.modeling.special_tokens import rounded
from schemas.errors import RowError
from schemas.records import MEDIA_KINDS, Reason
from schemas.requests import Answer, Beams, Form, Generate
from schemas.text import error_line


def continued(prompt: Prompt, ids: list[int]) -> Prompt:
    """The prompt followed by the first tokens of an answer."""
    return prompt._replace(ids=[*prompt.ids, *ids])


@torch.no_grad()
def generate(model, encoder: Encoder, prompt: Prompt, asked: Generate) -> tuple[Answer, ...]:
    """n answers; the i-th (from 0) is sampled with the seed `seed + i`."""
    return tuple(_one(model, encoder, prompt, asked, asked.seed + i) for i in range(asked.n))


def _one(model, encoder: Encoder, prompt: Prompt, asked: Generate, seed: int) -> Answer:
    inputs = _inputs(model, prompt)
    options: dict[str, Any]
    if asked.temperature > 0:
        options = {
            "do_sample": True,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "top_k": asked.top_k or None,
        }
    else:
        options = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if asked.stop:
        options |= {"stop_strings": list(asked.stop), "tokenizer": encoder.tokenizer}
    if asked.form:
        options["logits_processor"] = [_held_to(asked.form, model, encoder)]
    with torch.random.fork_rng(), autocast(model):
        torch.manual_seed(seed)
        out = model.generate(
            **inputs, **options, max_new_tokens=asked.max_tokens, suppress_tokens=encoder.banned or None,
            eos_token_id=sorted(encoder.stops), pad_token_id=encoder.end, return_dict_in_generate=True,
            output_logits=asked.logprobs,
        )  # fmt: skip
    ids = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    each = None
    if asked.logprobs:
        each = tuple(
            rounded(logits[0].float().log_softmax(-1)[i].item()) for logits, i in zip(out.logits, ids, strict=True)
        )
    return _answer(encoder, ids, asked.stop, each)


def _answer(encoder: Encoder, ids: list[int], stop: Sequence[str], each: tuple[float, ...] | None) -> Answer:
    ended = bool(ids) and ids[-1] in encoder.stops
    text = encoder.tokenizer.decode(ids, skip_special_tokens=True)
    cut = min((at for s in stop if (at := text.find(s)) >= 0), default=None)
    finish = "stop" if ended or cut is not None else "length"
    return Answer(text[:cut], len(ids), finish, None if each is None else rounded(sum(each)), each)


def _held_to(form: Form, model, encoder: Encoder):
    """A logits processor that constrains an answer to its form."""
    import xgrammar
    from xgrammar.contrib.hf import LogitsProcessor

    size = model.get_output_embeddings().weight.shape[0]
    known = xgrammar.TokenizerInfo.from_huggingface(
        encoder.tokenizer, vocab_size=size, stop_token_ids=sorted(encoder.stops)
    )
    compiler = xgrammar.GrammarCompiler(known)
    try:
        if form.schema:
            grammar = compiler.compile_json_schema(form.schema, any_whitespace=False)
        else:
            grammar = compiler.compile_regex(form.regex or "|".join(map(re.escape, form.choice)))
    except RuntimeError as error:
        raise RowError(Reason.ENGINE_REFUSED, f"cannot compile the structured output: {error_line(error)}") from error
    return LogitsProcessor(grammar)


@torch.no_grad()
def beams(model, encoder: Encoder, prompt: Prompt, asked: Beams) -> tuple[Answer, ...]:
    """Diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424): groups choose in turn, and a token is penalised by `diversity` for
    each time that earlier groups chose it at the same position. Sorted by mean log-probability, best first, without duplicates."""
    width = asked.beams // asked.groups
    rows = width * asked.groups
    state = read(model, [prompt], rows)
    ids: list[list[int]] = [[] for _ in range(rows)]
    logps: list[list[float]] = [[] for _ in range(rows)]
    total = torch.full((rows,), -torch.inf)
    total[::width] = 0.0  # at first all beams of a group are equal
    done: dict[tuple[int, ...], Answer] = {}
    for place in range(asked.max_tokens):
        state.logits[:, encoder.banned] = -torch.inf
        next_logps = state.logits.log_softmax(-1).cpu()
        chosen = _choose(next_logps, total, asked.groups, asked.diversity)
        ids, logps = (
            [[*ids[row], token] for row, token in chosen],
            [[*logps[row], next_logps[row, token].item()] for row, token in chosen],
        )
        total = torch.tensor([total[row] + next_logps[row, token] for row, token in chosen])
        last = place == asked.max_tokens - 1
        for at in range(rows):
            answer = _answer(encoder, ids[at], asked.stop, tuple(map(rounded, logps[at])))
            if total[at] > -torch.inf and (last or answer.finish == "stop"):
                done.setdefault(tuple(ids[at]), answer)
                total[at] = -torch.inf
        if last or not (total > -torch.inf).any():
            break
        kept = torch.tensor([row for row, _ in chosen], device=model.device)
        tokens = torch.tensor([token for _, token in chosen], device=model.device)
        state = _follow(state, model, kept, tokens)
    best = sorted(done.values(), key=lambda a: -(a.logprob or 0.0) / max(1, a.tokens))
    return tuple(best[: asked.beams])


def _choose(logps: torch.Tensor, total: torch.Tensor, groups: int, diversity: float) -> list[tuple[int, int]]:
    """(row, token) of each beam's next step, group by group; logps [beams, vocabulary], total [beams]."""
    width = len(total) // groups
    used = torch.zeros(logps.shape[1])
    chosen: list[tuple[int, int]] = []
    for group in range(groups):
        rows = slice(group * width, (group + 1) * width)
        scores = total[rows, None] + logps[rows] - diversity * used
        for flat in scores.flatten().topk(width).indices.tolist():
            row, token = divmod(flat, logps.shape[1])
            chosen.append((group * width + row, token))
            used[token] += 1
    return chosen


def _follow(state: State, model, rows: torch.Tensor, tokens: torch.Tensor) -> State:
    with autocast(model):
        return state.select(rows).next(model, tokens)


@torch.no_grad()
def first(model, prompt: Prompt, ids: Sequence[int | None]) -> tuple[float | None, ...]:
    """The log-probability of each token as the answer's first token; None for an id that is None."""
    with replace_head_input(model, lambda hidden: hidden[:, -1:]), autocast(model):
        logps = model(**_inputs(model, prompt), use_cache=False).logits[0, -1].float().log_softmax(-1)
    return tuple(None if i is None else rounded(logps[i].item()) for i in ids)


@torch.no_grad()
def likelihood(model, prompt: Prompt, ids: list[int]) -> tuple[float, ...]:
    """The log-probability of each token of an answer."""
    return tuple(map(rounded, token_logps(model, collate([prompt], [[ids]]).to(model.device))[0].tolist()))


@torch.no_grad()
def embed(model, prompt: Prompt) -> tuple[float, ...]:
    """The mean of the decoder's last hidden states over the prompt, normalised to length 1."""
    seen: list[torch.Tensor] = []
    hook = model.get_decoder().register_forward_hook(lambda module, args, out: seen.append(out[0]))
    try:
        with replace_head_input(model, lambda hidden: hidden[:, -1:]), autocast(model):
            model(**_inputs(model, prompt), use_cache=False)
    finally:
        hook.remove()
    return tuple(round(x, 6) for x in F.normalize(seen[0][0].float().mean(0), dim=0).tolist())


@torch.no_grad()
def attend(model, encoder: Encoder, prompt: Prompt, ids: list[int], media: int) -> tuple[float, ...]:
    """The share of each media item in the attention that the answer's tokens pay to media (mean over layers, heads and tokens).

    RowError if the prompt shows none, or does not have exactly one stretch of placeholders per item, for example if two are adjacent."""
    if not media:
        raise RowError(Reason.ENGINE_REFUSED, "the prompt shows no media; attention to them needs a row with media")
    places = runs(prompt.ids, placeholders(encoder))
    if len(places) != media:
        raise RowError(
            Reason.ENGINE_REFUSED,
            f"the prompt has {media} media items but {len(places)} stretches of placeholders; show one item per prompt",
        )
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")  # other implementations do not return attention weights
    try:
        with autocast(model):
            out = model(**_inputs(model, continued(prompt, ids)), use_cache=False, output_attentions=True)
    finally:
        model.set_attn_implementation(usual)
    paid = torch.stack([layer[0].float().mean(0) for layer in out.attentions]).mean(0)
    return shares(paid[len(prompt.ids) :].cpu().numpy(), places)


def shares(paid: np.ndarray, places: Sequence[range]) -> tuple[float, ...]:
    """Attention [answer tokens, tokens] -> one share per place, summing to 1; equal shares if no attention goes to any."""
    sums = np.array([paid[:, place.start : place.stop].sum() for place in places])
    total = sums.sum()
    return tuple(round(float(x), 4) for x in (sums / total if total > 0 else np.full(len(places), 1 / len(places))))


def placeholders(encoder: Encoder) -> set[int]:
    """Ids of the placeholder tokens for media."""
    names = (getattr(encoder.processor, f"{kind}_token", None) for kind in MEDIA_KINDS)
    return {encoder.tokenizer.convert_tokens_to_ids(name) for name in names if name}


def runs(ids: Sequence[int], of: set[int]) -> list[range]:
    """Maximal stretches of one repeated token of the set `of`."""
    found: list[range] = []
    for at, token in enumerate(ids):
        if token not in of:
            continue
        if found and found[-1].stop == at and ids[at - 1] == token:
            found[-1] = range(found[-1].start, at + 1)
        else:
            found.append(range(at, at + 1))
    return found


def perturb(model, processor, picture: Image.Image, epsilon: float, step: float, steps: int, seed: int) -> bytes:
    """A PNG whose features in the vision encoder are as far as projected gradient ascent gets from those of the image (PGD, Madry et al.
    2018, arXiv 1706.06083); no channel differs by more than `epsilon` (of 255) from the image as resized by the processor.

    It starts at a random point within the bound: at the image itself the gradient is zero."""
    picture, places, rest = _laid_out(processor, picture)
    device = model.device
    clean = torch.from_numpy(np.asarray(picture, dtype=np.float32)).to(device)
    mean, std = (torch.tensor(v, device=device) for v in (processor.image_mean, processor.image_std))
    index = torch.from_numpy(places).to(device)

    def features(pixels: torch.Tensor) -> torch.Tensor:
        shown = ((pixels / 255 - mean) / std).flatten()[index]
        found = model.get_image_features(pixel_values=shown.to(model.dtype), **rest)
        return torch.cat([t.flatten() for t in _tensors(found)]).float()

    with torch.no_grad():
        wanted = features(clean)
    generator = torch.Generator().manual_seed(seed)
    bound = float(int(epsilon))
    moved = clean + ((torch.rand(clean.shape, generator=generator) * 2 - 1) * bound).to(device)
    for _ in range(steps):
        moved = moved.clamp(0, 255).detach().requires_grad_()
        (slope,) = torch.autograd.grad((features(moved) - wanted).square().mean(), moved)
        moved = torch.min(torch.max(moved + step * slope.sign(), clean - bound), clean + bound)
    file = io.BytesIO()
    Image.fromarray(moved.detach().clamp(0, 255).round().byte().cpu().numpy()).save(file, "PNG")
    return file.getvalue()


def _laid_out(processor, picture: Image.Image) -> tuple[Image.Image, np.ndarray, dict]:
    """(image at a size that the processor keeps, source index of each value in `pixel_values`, the model's other arguments).

    The layout is found by running three images through the processor whose pixel values encode their own index."""
    plain = {"return_tensors": "np", "do_rescale": False, "do_normalize": False}
    for _ in range(3):
        given = processor(images=[picture], **plain)
        grid = given.get("image_grid_thw")
        height, width = given["pixel_values"].shape[-2:] if grid is None else grid[0, 1:] * processor.patch_size
        if picture.size == (width, height):
            break
        picture = picture.resize((int(width), int(height)), Image.Resampling.BICUBIC)
    count = int(np.prod((*picture.size, 3)))
    numbers = np.arange(count).reshape(picture.height, picture.width, 3)
    places = np.zeros(given["pixel_values"].shape, np.int64)
    for digit in range(3):
        part = (numbers >> 8 * digit & 255).astype(np.uint8)
        places += processor(images=[Image.fromarray(part)], **plain)["pixel_values"].astype(np.int64) << 8 * digit
    if places.max() >= count or len(np.unique(places)) != count:
        raise RowError(Reason.ENGINE_REFUSED, "the model's processor mixes pixels; use another model for this step")
    rest = {name: torch.as_tensor(value) for name, value in given.items() if name != "pixel_values"}
    return picture, places, rest


def _tensors(found) -> list[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        return [found]
    if isinstance(found, list | tuple):
        return [t for part in found for t in _tensors(part)]
    return _tensors(
        found.pooler_output if getattr(found, "pooler_output", None) is not None else found.last_hidden_state
    )


def _inputs(model, prompt: Prompt) -> dict[str, torch.Tensor]:
    """The model's arguments for one prompt, on its device."""
    ids = torch.tensor([prompt.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **prompt.media}
    inputs |= {
        name: torch.tensor([[*types, *[0] * (len(prompt.ids) - len(types))]]) for name, types in prompt.types.items()
    }
    return {name: value.to(model.device) for name, value in inputs.items()}
