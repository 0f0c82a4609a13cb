import torch

from pipeline.modeling.sampling import sample


def test_the_likeliest_answers_are_those_of_transformers(model, encoder, mixed):
    prompts = [pair.prompt for pair in mixed[:8]]  # two of each kind, so of several lengths
    found = sample(model, prompts, 1, 0, 40, encoder.stops, encoder.banned)
    for prompt, (answer,) in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt.ids])
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **prompt.media, do_sample=False, max_new_tokens=40,
            eos_token_id=encoder.end, pad_token_id=0, suppress_tokens=encoder.banned,
        )  # fmt: skip
        assert answer == out[0, len(prompt.ids) :].tolist()


def test_answers_end_with_a_stop_or_at_the_limit_and_hold_no_special_token(model, encoder, mixed):
    prompts = [pair.prompt for pair in mixed[:4]]
    generator = torch.Generator().manual_seed(0)
    answers = sample(model, prompts, 16, 3.0, 12, encoder.stops, encoder.banned, generator)
    assert [len(several) for several in answers] == [16] * 4
    for answer in (answer for several in answers for answer in several):
        assert not set(answer) & set(encoder.banned)
        assert not set(answer[:-1]) & encoder.stops
        assert answer[-1] in encoder.stops or len(answer) == 12


def test_a_seed_gives_the_same_answers_again(model, encoder, mixed):
    prompts = [pair.prompt for pair in mixed[:4]]
    first, again = (
        sample(model, prompts, 4, 1.0, 20, encoder.stops, encoder.banned, torch.Generator().manual_seed(1))
        for _ in "12"
    )
    assert first == again
    assert len({tuple(answer) for several in first for answer in several}) > 4
