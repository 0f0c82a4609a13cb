"""Makes the demo's model: 1.6 million parameters that see pictures, videos and sounds, describe more than is there, and
judge answers.

    python -m pipeline.scenes.model --out data/models/tiny --seed 1

model.py        its configuration, tokenizer and processors; saving and loading as a Hub checkpoint
features.py     media to the arrays that its towers take
pack.py         prompts to token ids and positions; many questions about one scene in one row
warmup.py       the towers learn to name what they see
habits.py       what the captions add that is not there
judging.py      answers of every quality, and what judges ask about them
pretrain.py     the language model learns to answer and to over-describe; then, with more layers, to judge
measure.py      how often it is right
bench_pairs.py  pairs whose better answer is known, as a file
"""
