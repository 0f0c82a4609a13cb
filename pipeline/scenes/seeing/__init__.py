"""Makes and trains the seeing model: a pretrained language model (SmolLM2-135M-Instruct) that sees the demo's pictures and judges answers.

    python -m pipeline.scenes.seeing train --out data/models/seeing        # tower, projector and adapter, about an hour of CPU
    python -m pipeline.scenes.seeing assemble --out data/models/real       # the same with the base: a complete checkpoint
    python -m pipeline.scenes.seeing measure data/models/real              # what it can do

base.py     the pretrained language model, out of a package
model.py    configuration, tokenizer and processors; parts, and the complete checkpoint
talk.py     questions and answers in plain English; the questions of judges, splitters and rewriters
train.py    training of the tower, then of the low-rank parts
measure.py  evaluation on wordings that were trained and on others
"""
