import pytest
import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded, Prompt
from pipeline.modeling.logps import answer_mask, token_logps
from pipeline.scenes.world import SCENES
from pipeline.train._checks import shares_prefix

EACH_KIND = pytest.mark.parametrize("kind", sorted(SCENES))


def both(pairs, shared=True):
    return collate([p.prompt for p in pairs], [p.answers for p in pairs], shared)


@EACH_KIND
def test_a_shared_prompt_gives_the_log_probabilities_of_separate_rows(model, pairs, kind):
    with torch.no_grad():
        shared, plain = (token_logps(model, both(pairs[kind], way)) for way in (True, False))
    # sums of about 15 layers' float32 roundings on values of up to 20
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=0)
    assert (shared != 0).sum() == sum(len(a) for p in pairs[kind] for a in p.answers)


@EACH_KIND
def test_a_shared_prompt_gives_the_gradients_of_separate_rows(model, pairs, kind):
    model.requires_grad_(True)
    gradients = []
    for way in (True, False):
        model.zero_grad()
        token_logps(model, both(pairs[kind][:4], way)).sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None]))
    shared, plain = gradients
    assert float((shared - plain).norm() / plain.norm()) < 1e-4
    tower = model.get_encoder(modality="audio" if kind == "audio" else "image")
    assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in tower.parameters())


@EACH_KIND
def test_they_are_what_the_model_says_of_the_whole_conversation(model, encoder, examples, pairs, kind):
    """The processor's own expansion of prompt and answer, the model's own logits, no hook."""
    example, pair = examples[kind][0], pairs[kind][0]
    with torch.no_grad():
        found = token_logps(model, both([pair]))[0][: len(pair.answers[0])]
        ids = torch.tensor([pair.prompt.ids + pair.answers[0]])
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **pair.prompt.media).logits[0]
    start = len(pair.prompt.ids)
    wanted = logits.log_softmax(-1)[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert encoder.tokenizer.decode(pair.answers[0]) == example.chosen + "<|im_end|>"


def test_a_row_may_hold_any_number_of_answers(model, pairs):
    prompt, answers = pairs["video"][0].prompt, [list(range(300, 300 + n)) for n in (1, 5, 3)]
    with torch.no_grad():
        shared, plain = (token_logps(model, collate([prompt], [answers], way)) for way in (True, False))
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=0)
    assert answer_mask(collate([prompt], [answers])).sum(1).tolist() == [1, 5, 3]


TEXT = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def qwen():
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    tower = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 14,
    }
    tokens = {"image_token_id": 120, "video_token_id": 121, "vision_start_token_id": 122, "vision_end_token_id": 123}
    config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": rope}, vision_config=tower, **tokens)
    return Qwen2_5_VLForConditionalGeneration(config)


def gemma():
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    text = TEXT | {"head_dim": 16, "sliding_window": 16}
    config = Gemma3Config(text_config=text, vision_config=tower, image_token_index=120, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


@pytest.mark.parametrize(("make", "shares"), [(qwen, True), (gemma, False)])
def test_the_check_finds_out_which_families_can_share_a_prompt(make, shares):
    """Gemma 3 slides a window over the row, in which the second answer is far from its prompt."""
    torch.manual_seed(0)
    model = make().eval()
    ids = torch.randint(3, 110, (61,)).tolist()
    found, difference = shares_prefix(model, [Encoded("1", "text", Prompt(ids[:40], {}, {}), (ids[40:52], ids[52:]))])
    assert found is shares
    assert difference < 1e-5 if shares else difference > 1e-2
