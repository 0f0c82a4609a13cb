#!/bin/bash
# reasoning-gym 0.1.25: two of its scorers give full marks to one fixed reply, whatever the question.
#
# Seen, for 50 questions each (seed 1):
#   game_of_life_halting  the known answers are "True" (24) and "False" (26). `score_answer` compares the truth of two strings, and any
#                         string that is not empty is true: "True", "False" and "I do not know" all score 1.0 on all 50.
#   puzzle24              the numbers of the question are not compared with those of the answer: 4*3*2*1 scores 1.0 on every question whose
#                         range holds 1 to 4.
# A policy trained on these rewards (GRPO) needs to learn one sentence only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PY'
from collections import Counter

import reasoning_gym


def mean(name, reply):
    rows = reasoning_gym.create_dataset(name, size=50, seed=1)
    return sum(rows.score_answer(reply, row) for row in rows) / 50


halting = reasoning_gym.create_dataset("game_of_life_halting", size=50, seed=1)
print("known answers", dict(Counter(row["answer"] for row in halting)))
found = {reply: mean("game_of_life_halting", reply) for reply in ("True", "False", "I do not know")}
print("game_of_life_halting", found)
found["4*3*2*1"] = mean("puzzle24", "4*3*2*1")
print("puzzle24 4*3*2*1", found["4*3*2*1"])
assert {row["answer"] for row in halting} == {"True", "False"}
assert set(found.values()) == {1.0}, found
PY
echo "as described"
