"""Checks before the first training step, of conditions whose failure would be silent."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import torch
import transformers

from pipeline.dataset.read import Example
from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded, Encoder, Prompt
from pipeline.modeling.logps import takes_positions, token_logps
from pipeline.modeling.positions import numbered_by_transformers
from schemas.errors import RowError, TrainError
from schemas.records import Rejection

ROWS = 8  # pairs per kind in a check
log = logging.getLogger(__name__)


def encode_pairs(examples: Iterable[Example], encoder: Encoder, step: str) -> Iterator[Encoded | Rejection]:
    """Every pair encoded for the model, or a Rejection if it cannot be trained on. Needs no weights."""
    for example in examples:
        try:
            yield encoder.pair(example)
        except RowError as error:
            yield Rejection(example.id, "pairs", step, error.reason, error.detail, example.sample)


def run_checks(model, pairs: Sequence[Encoded]) -> dict:
    """Runs the checks: {sees_media, shared_prefix, shared_prefix_difference, positions}. TrainError if the model ignores its media, or
    numbers the text after a video differently from vLLM."""
    sees = sees_media(model, pairs)
    shared, difference = shares_prefix(model, pairs)
    positions = positions_behind_videos(model, pairs)
    return {
        "sees_media": sees,
        "shared_prefix": shared,
        "shared_prefix_difference": difference,
        "positions": positions,
    }


@torch.no_grad()
def sees_media(model, pairs: Sequence[Encoded]) -> dict[str, float]:
    """Swaps the media among prompts of each kind, until one shows a change: kind -> largest change of its tokens' log-probabilities (natural log).

    TrainError if nothing changes. A kind without two prompts whose media differ but have the same size is left out."""
    changes = {}
    for kind, group in _swappable(pairs).items():
        changes[kind] = 0.0
        for pair, other in zip(group, group[1:] + group[:1], strict=True):
            swapped = pair.prompt._replace(media=other.prompt.media)
            seen, swap = (_logps(model, prompt, [pair.answers[0]]) for prompt in (pair.prompt, swapped))
            changes[kind] = max(changes[kind], float((seen - swap).abs().max()))
            if changes[kind] > noise(model) / 100:  # only the media differ, so even numerical noise is absent
                break
        else:
            raise TrainError(
                f"the model does not see its media: swapping the media of {kind} prompts changed no log-probability "
                f"by more than {changes[kind]:.1g}; check that the checkpoint's processor belongs to its model"
            )
    return changes


@torch.no_grad()
def shares_prefix(model, pairs: Sequence[Encoded]) -> tuple[bool, float | None]:
    """Whether sharing a prompt between two answers leaves every log-probability unchanged, and the largest difference (natural log).

    The reference is a row per answer, of the longest pair of each kind. False for models with sliding windows or linear attention; those
    whose decoder takes no positions have no difference."""
    if not takes_positions(model):
        return False, None
    difference = 0.0
    for group in _by_kind(pairs).values():
        pair = max(group, key=lambda pair: pair.size(True))
        plain, shared = (_logps(model, pair.prompt, pair.answers, way) for way in (False, True))
        difference = max(difference, float((plain - shared).abs().max()))
    return difference <= noise(model), difference


def _logps(model, prompt: Prompt, answers: Sequence[list[int]], shared: bool = True) -> torch.Tensor:
    return token_logps(model, collate([prompt], [answers], shared).to(model.device))


def positions_behind_videos(model, pairs: Sequence[Encoded]) -> str | None:
    """Who numbers the positions behind a video as they are numbered here, `transformers and vLLM` or `vLLM`; None if there is no video, or
    the model's positions have no rows and columns. A line is logged if transformers' own numbers are not used.

    TrainError if the text after a video does not begin after the video's largest position, where vLLM puts it."""
    video = next((pair for pair in pairs if "video_grid_thw" in pair.prompt.media), None)
    ours = None if video is None else _positions(model, video)
    if video is None or ours is None:
        return None
    tokens = {getattr(model.config, f"{kind}_token_id", None) for kind in ("video", "image")}  # GLM's frames are images
    last = max(at for at, token in enumerate(video.prompt.ids) if token in tokens)
    wanted = int(ours[:, : last + 1].max()) + 1
    if not bool((ours[:, last + 1] == wanted).all()):
        raise TrainError(
            f"the text after a video begins at position {int(ours[0, last + 1])} in transformers {transformers.__version__}, but at {wanted} "
            "in vLLM, so the model would be trained on other prompts than it answers; leave out videos, or install another transformers"
        )
    with numbered_by_transformers(model) as replaced:
        theirs = _positions(model, video) if replaced else ours
    if theirs is not None and torch.equal(ours, theirs):
        return "transformers and vLLM"
    log.warning(
        "transformers %s numbers positions of prompts with videos otherwise than vLLM; they are numbered as in vLLM",
        transformers.__version__,
    )
    return "vLLM"


@torch.no_grad()
def _positions(model, pair: Encoded) -> torch.Tensor | None:
    """[3, tokens] positions of a pair's prompt and chosen answer; None if the model's positions have one number each."""
    seen: dict = {}
    decoder = model.get_decoder()
    # of the first call: the head's are told nothing of the prompt
    hook = decoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.update({} if seen else kwargs), with_kwargs=True
    )
    try:
        _logps(model, pair.prompt, [pair.answers[0]])
    finally:
        hook.remove()
    positions = seen.get("position_ids")
    return positions[-3:, 0] if positions is not None and positions.dim() == 3 else None


def noise(model) -> float:
    """Largest difference that two computations of the same token's log-probability may have, natural log."""
    return 5e-2 if model.device.type == "cuda" else 1e-3  # bfloat16, float32


def _by_kind(pairs: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    kinds = defaultdict(list)
    for pair in pairs:
        kinds[pair.kind].append(pair)
    return kinds


def _swappable(pairs: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    """kind -> up to ROWS pairs with media of the same size, of which at least two differ."""
    found = {}
    for kind, group in _by_kind(pairs).items():
        alike = defaultdict(list)
        for pair in group:
            if pair.prompt.media:
                alike[_size(pair.prompt)].append(pair)
        for same in alike.values():
            first = same[0].prompt.media
            others = [p for p in same[1:] if any(not torch.equal(v, first[k]) for k, v in p.prompt.media.items())]
            if others:
                found[kind] = [same[0], *others[: ROWS - 1]]
                break
    return found


def _size(prompt: Prompt) -> tuple:
    return tuple(
        (name, tuple(value.shape) if value.is_floating_point() else tuple(value.flatten().tolist()))
        for name, value in prompt.media.items()
    )
