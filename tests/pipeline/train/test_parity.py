"""TRL is the oracle: its trainer's loss on our batches is our loss."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import AutoProcessor
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker
from trl import DPOConfig, DPOTrainer

from pipeline.modeling.batch import collate
from pipeline.modeling.load import load
from pipeline.modeling.logps import token_logps
from pipeline.scenes.world import SCENES
from pipeline.train._loop import chosen_and_rejected
from pipeline.train.losses.dpo import loss as dpo
from tests.pipeline.train.conftest import TINY


class Bodied(Thinker):
    """A thinker as TRL wants it: `base_model` gives the last hidden states, not the logits."""

    @property
    def base_model(self):
        return self._body

    def _body(self, **inputs):
        head, self.lm_head = self.lm_head, torch.nn.Identity()
        try:
            return SimpleNamespace(last_hidden_state=Thinker.forward(self, **inputs).logits)
        finally:
            self.lm_head = head


class Rows:
    """A collator of TRL's kind: all chosen, then all rejected, each behind its prompt and media."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __call__(self, rows):
        pairs = [self.pairs[row["number"]] for row in rows]
        prompts, answers = [p.prompt for p in pairs] * 2, [[p.answers[side]] for side in (0, 1) for p in pairs]
        inputs = collate(prompts, answers).inputs
        answered = torch.zeros_like(inputs["input_ids"])
        for row, prompt, (answer,) in zip(answered, prompts, answers, strict=True):
            row[len(prompt.ids) : len(prompt.ids) + len(answer)] = 1
        return inputs | {"completion_mask": answered}


@pytest.mark.parametrize("kind", sorted(SCENES))
def test_our_dpo_loss_is_that_of_trl(model, pairs, kind, tmp_path):
    few = pairs[kind][:4]
    reference = load(TINY)
    torch.manual_seed(0)
    for weight in model.get_decoder().parameters():
        weight.data += 0.05 * torch.randn_like(weight)  # else the loss is ln 2 whatever the inputs
    batch = collate([p.prompt for p in few], [p.answers for p in few])
    with torch.no_grad():
        before = token_logps(reference, batch)[batch.place].split([sum(map(len, p.answers)) for p in few])
        ours = float(dpo(*chosen_and_rejected(token_logps(model, batch), before, batch), beta=0.1).mean())
    rows = {"number": [0, 1, 2, 3], "prompt": ["?"] * 4, "chosen": ["a"] * 4, "rejected": ["b"] * 4, "images": [[]] * 4}
    arguments = DPOConfig(
        str(tmp_path), per_device_train_batch_size=4, beta=0.1, max_length=None, bf16=False, use_cpu=True, report_to=[],
        gradient_checkpointing=False, save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    model.__class__ = reference.__class__ = Bodied
    trainer = DPOTrainer(
        model, reference, args=arguments, train_dataset=Dataset.from_dict(rows), data_collator=Rows(few),
        processing_class=AutoProcessor.from_pretrained(TINY),
    )  # fmt: skip
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, trainer.data_collator(list(trainer.train_dataset))))
    assert abs(ours - 0.6931) > 1e-3
    assert ours == pytest.approx(theirs, abs=1e-5)
