"""Trains the demo's model: 1.6 million parameters that take pictures, videos and sounds, hallucinate on purpose, and judge
answers.

    python -m pipeline.scenes.model --out data/models/tiny --seed 1

model.py        configuration, tokenizer and processors; saving and loading as a Hub checkpoint
features.py     media as the arrays that the towers take
pack.py         prompts as token ids and positions; several questions about one scene in one row
warmup.py       pretraining of the towers
habits.py       the hallucinations in the last captions
judging.py      answers of every quality, and the judges' questions about them
pretrain.py     training of the language model: to answer and over-describe; then, with more layers, to judge
measure.py      evaluation
bench_pairs.py  labelled preference pairs, as a file
"""
