"""What must hold before the first step, because its failure would be silent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import torch

from pipeline.dataset.read import Example
from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded, Encoder, Prompt
from pipeline.modeling.logps import token_logps
from schemas.errors import RowError, TrainError
from schemas.records import Rejection

ROWS = 8  # pairs of each kind that a check looks at


def dry(examples: Iterable[Example], encoder: Encoder, step: str) -> Iterator[Encoded | Rejection]:
    """Every pair as the model would get it, or why it cannot be trained on. Needs no weights."""
    for example in examples:
        try:
            yield encoder.pair(example)
        except RowError as error:
            yield Rejection(example.id, "pairs", step, error.reason, error.detail, example.sample)


def start_up(model, pairs: Sequence[Encoded]) -> dict:
    """What a report says of the checks; TrainError where the model is blind to its media."""
    sees = sees_media(model, pairs)
    shared, difference = shares_prefix(model, pairs)
    return {"sees_media": sees, "shared_prefix": shared, "shared_prefix_difference": difference}


@torch.no_grad()
def sees_media(model, pairs: Sequence[Encoded]) -> dict[str, float]:
    """Swaps the media among prompts of each kind: kind -> largest change of a token's log-probability.

    TrainError where nothing changes. A kind without two prompts whose media differ and have one size is left out."""
    changes = {}
    for kind, group in _swappable(pairs).items():
        prompts = [pair.prompt for pair in group]
        swapped = [p._replace(media=q.media) for p, q in zip(prompts, prompts[1:] + prompts[:1], strict=True)]
        answers = [[pair.answers[0]] for pair in group]
        seen, other = (token_logps(model, collate(p, answers).to(model.device)) for p in (prompts, swapped))
        changes[kind] = float((seen - other).abs().max())
        if changes[kind] <= noise(model) / 100:  # nothing but the media differs, so not even the noise
            raise TrainError(
                f"the model does not see its media: other {kind} in the same prompts changed no log-probability "
                f"(by more than {changes[kind]:.1g}); check that the processor and the model belong together"
            )
    return changes


@torch.no_grad()
def shares_prefix(model, pairs: Sequence[Encoded]) -> tuple[bool, float]:
    """Whether sharing a prompt between two answers leaves every log-probability as it is, and the largest difference.

    The plain forward gives each answer a row of its own. False for models with sliding windows or linear attention."""
    few = [pair for group in _by_kind(pairs).values() for pair in group[:2]]
    prompts, answers = [p.prompt for p in few], [p.answers for p in few]
    plain = token_logps(model, collate(prompts, answers, shared=False).to(model.device))
    shared = token_logps(model, collate(prompts, answers).to(model.device))
    difference = float((plain - shared).abs().max())
    return difference <= noise(model), difference


def noise(model) -> float:
    """How far two ways to compute a token's log-probability may differ, natural log."""
    return 5e-2 if model.device.type == "cuda" else 1e-3  # bfloat16, float32


def _by_kind(pairs: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    kinds = defaultdict(list)
    for pair in pairs:
        kinds[pair.kind].append(pair)
    return kinds


def _swappable(pairs: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    """kind -> some pairs whose media can stand in for one another."""
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
