#!/bin/bash
# transformers 5.19.0: VideoMetadata.sampled_fps is not the rate at which the sampled frames stand.
#
# 20 frames drawn evenly from 300 at 30 a second, the first and the last among them (numpy.linspace, as transformers' own sampling by number
# does), stand .525 s apart, the last at 9.97 s. sampled_fps is their number by the whole length: 2.0, so a model that reads it (Qwen2.5-VL)
# is told .5 s, and 9.5 s for the last frame. With 4 frames it is told 7.5 s for the frame of 9.97 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.19.0 pillow==12.3.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from transformers.video_utils import VideoMetadata

found = {}
for wanted in (20, 4):
    indices = np.linspace(0, 299, wanted).round().astype(int).tolist()
    film = VideoMetadata(total_num_frames=300, fps=30.0, duration=10.0, frames_indices=indices)
    found[wanted] = round((wanted - 1) / film.sampled_fps, 2), round(indices[-1] / 30, 2)
    print(wanted, "frames: sampled_fps", film.sampled_fps, "last frame told at", found[wanted][0], "s, stands at", found[wanted][1], "s")
assert found == {20: (9.5, 9.97), 4: (7.5, 9.97)}, found
PY
echo "as described"
