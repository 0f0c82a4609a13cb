#!/bin/bash
# lm-eval 0.4.13 (langdetect 1.0.9): IFEval's check "in English, all capital letters" fails plain English, and is drawn anew each time.
#
# The checker asks langdetect for the language of the answer as it stands, and langdetect takes capitals for other languages. Of 50 checks:
#   RAIN FALLS ON THE ROOF.   passes in capitals 0 times (taken for German), in lower case, by the lower-case checker, 50 (now and then one more or less)
#   THE TRAIN LEAVES.         0 and 50 (Vietnamese)
#   A DOG BARKS TWICE.        some 20 and some 10: the same answer passes or fails by chance, since langdetect is not seeded
# A reward or evaluation by it punishes right answers, and two runs over the same answers differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lm_eval[ifeval]==0.4.13" langdetect==1.0.9
NLTK_DATA=$folder "$folder/venv/bin/python" - <<'PY'
from lm_eval.tasks.ifeval.instructions import CapitalLettersEnglishChecker, LowercaseLettersEnglishChecker

capitals, lower = CapitalLettersEnglishChecker("capitals"), LowercaseLettersEnglishChecker("lower")


def passed(text):
    """How often of 50 the text passes in capitals, and in lower case."""
    return sum(capitals.check_following(text) for _ in range(50)), sum(lower.check_following(text.lower()) for _ in range(50))


found = {text: passed(text) for text in ("RAIN FALLS ON THE ROOF.", "THE TRAIN LEAVES.", "A DOG BARKS TWICE.")}
for text, counts in found.items():
    print(text, counts)
for text in ("RAIN FALLS ON THE ROOF.", "THE TRAIN LEAVES."):
    assert found[text][0] <= 5 and found[text][1] >= 45, text  # a draw: 0 and 50 in nearly every run
assert all(0 < count < 50 for count in found["A DOG BARKS TWICE."])
PY
echo "as described"
