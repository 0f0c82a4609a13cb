"""The training loop over pairs, and the optimizer that GRPO shares."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import torch

from pipeline.modeling.batch import Batch, buckets, parts
from pipeline.modeling.encode import Encoded
from pipeline.modeling.logps import answer_mask, token_logps
from pipeline.train._plan import Plan, give_back_memory
from pipeline.train.losses import loss_of
from pipeline.train.losses._side import Side, sft
from schemas.errors import TrainError

CLIP = 1.0  # largest norm of the gradient
TAIL = 10  # the summary averages over this many last steps


class Optimizer:
    """AdamW on the weights that are not frozen, with linear warmup, linear decay to zero over `total` steps and gradient clipping.

    Writes one line per step to metrics.jsonl in `folder`. TrainError if every weight is frozen."""

    def __init__(self, model, lr: float, betas: tuple[float, float], warmup: int, total: int, folder: Path):
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        if not self._weights:
            raise TrainError("every weight is frozen; list fewer towers in `freeze`")
        self._adam = torch.optim.AdamW(self._weights, lr=lr, betas=betas, weight_decay=0.0)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: min(1.0, (step + 1) / max(1, warmup)) * (1 - step / total)
        )
        self._file = folder / "metrics.jsonl"
        self._file.write_text("")
        self.total = total
        self.lines: list[dict] = []
        self._loss = 0.0

    def add(self, loss: torch.Tensor) -> None:
        """Adds the gradient of a part of the step's loss, which is the sum of its parts. TrainError if it is not finite."""
        if not torch.isfinite(loss):
            raise TrainError(f"the loss became {loss.item()} at step {len(self.lines) + 1}; lower `lr`")
        loss.backward()
        self._loss += loss.item()
        give_back_memory()

    def step(self, **facts: float) -> None:
        """One update by what was added; `facts` are logged with it."""
        norm = torch.nn.utils.clip_grad_norm_(self._weights, CLIP)
        rate = self._schedule.get_last_lr()[0]
        self._adam.step()
        self._schedule.step()
        self._adam.zero_grad()
        self.log(loss=self._loss, grad_norm=norm.item(), lr=rate, **facts)
        self._loss = 0.0

    def log(self, **facts: float) -> None:
        """Counts a step and writes its line, without an update."""
        self.lines.append({"step": len(self.lines) + 1, **facts})
        with self._file.open("a") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")

    def last(self, name: str) -> float:
        """The mean of a logged value over the last TAIL steps that have it."""
        return fmean([line[name] for line in self.lines if name in line][-TAIL:])


def fit(
    model,
    pairs: Sequence[Encoded],
    before: Sequence[torch.Tensor],
    settings,
    plan: Plan,
    folder: Path,
    progress: Callable,
) -> dict:
    """Trains on pairs; `before` has their reference log-probabilities. On a CPU the same seed and plan give bit-identical weights.

    Returns steps, and as means over the last TAIL steps: loss, accuracy (share of pairs whose chosen log-ratio exceeds the rejected
    one) and margin (beta times the difference of the log-ratios, natural log)."""
    rng = random.Random(settings.seed)
    lengths = [pair.size(True) for pair in pairs]
    sizes = [pair.size(plan.shared) for pair in pairs]
    loss_fn = loss_of(settings.loss)
    total = settings.epochs * -(-len(pairs) // settings.batch_size)
    optimizer = Optimizer(model, settings.lr, settings.betas, settings.warmup, total, folder)
    for _ in range(settings.epochs):
        for rows in buckets(range(len(pairs)), lengths, settings.batch_size, rng):
            tokens = sum(len(pairs[i].answers[0]) for i in rows)  # chosen ones
            gains = []
            for part in parts(rows, sizes, plan.tokens):
                batch = plan.collate([pairs[i].prompt for i in part], [pairs[i].answers for i in part], model.device)
                policy = token_logps(model, batch, plan.recompute(batch))
                chosen, rejected = chosen_and_rejected(policy, [before[i] for i in part], batch)
                loss = loss_fn(chosen, rejected, settings.beta, settings.label_smoothing).sum() / len(rows)
                if settings.sft:
                    loss = loss + settings.sft * sft(chosen, tokens)
                optimizer.add(loss)
                gains.append((chosen.ratio - rejected.ratio).detach())
            gained = torch.cat(gains)
            optimizer.step(accuracy=(gained > 0).float().mean().item(), margin=settings.beta * gained.mean().item())
            progress(len(optimizer.lines), total, f"loss {optimizer.lines[-1]['loss']:.3f}")
    return {"steps": len(optimizer.lines), **{name: optimizer.last(name) for name in ("loss", "accuracy", "margin")}}


def chosen_and_rejected(policy: torch.Tensor, reference: Sequence[torch.Tensor], batch: Batch) -> tuple[Side, Side]:
    """(chosen, rejected) of a batch in which the two alternate. policy [answers, tokens]; reference: one [scored tokens] per pair."""
    before = torch.zeros_like(policy).index_put(batch.place, torch.cat(list(reference)).to(policy.device))
    mask = answer_mask(batch)
    chosen, rejected = (Side(policy[i::2], before[i::2], mask[i::2]) for i in (0, 1))
    return chosen, rejected
