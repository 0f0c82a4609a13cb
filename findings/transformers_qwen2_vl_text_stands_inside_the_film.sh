#!/bin/bash
# transformers 5.19.0: in Qwen2-VL and Qwen2.5-VL the text behind a long film gets positions inside the film.
#
# get_rope_index numbers a film of 32 x 2 x 2 tokens by time, height and width, and goes on behind it at the longer side (2), not behind its
# last moment. One text token, the film, three text tokens:
#   Qwen2-VL     time of the film 1 to 32, the text behind it 3, 4, 5: on the positions of the film's third to fifth moment
#   Qwen2.5-VL   (2 frames a second, 4 positions a second) film 1 to 125, the text behind it 3, 4, 5
# rope_deltas, by which generate() numbers the tokens that it adds, counts from the film's end: the same token has another position in a
# forward pass over the whole text than when it is generated. vLLM 0.32 and the authors' code go on behind the largest position. A model
# trained by the one and served by the other sees different positions; pictures are not affected (one moment).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.19.0
"$folder/venv/bin/python" - <<'PY'
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2VLConfig, Qwen2VLModel

TEXT = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
}
KINDS = torch.tensor([[0] + [2] * 128 + [0] * 3])  # 0 text, 2 film
GRID = torch.tensor([[32, 4, 4]])  # moments, height, width in patches; 2 x 2 patches are one token


def positions(model, **film):
    place, delta = model.get_rope_index(torch.ones(1, 132, dtype=torch.long), KINDS, video_grid_thw=GRID, **film)
    times = place[0, 0].tolist()
    return {"film": (min(times[1:129]), max(times[1:129])), "text behind it": times[129:], "next by rope_deltas": 132 + int(delta)}


def built(config, model, vision):
    return model(config(text_config=TEXT, vision_config=vision))


old = positions(built(Qwen2VLConfig, Qwen2VLModel, {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2}))
new = positions(
    built(Qwen2_5_VLConfig, Qwen2_5_VLModel, {"depth": 1, "hidden_size": 16, "out_hidden_size": 16, "num_heads": 2, "tokens_per_second": 4}),
    second_per_grid_ts=torch.tensor([1.0]),
)
print("Qwen2-VL  ", old)
print("Qwen2.5-VL", new)
assert old == {"film": (1, 32), "text behind it": [3, 4, 5], "next by rope_deltas": 33}
assert new == {"film": (1, 125), "text behind it": [3, 4, 5], "next by rope_deltas": 126}
PY
echo "as described"
