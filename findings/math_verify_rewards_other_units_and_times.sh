#!/bin/bash
# math-verify 0.9.0: answers that differ in their unit, or in all but the first number, are verified as right.
#
# A reward by verify(parse(known), parse(answer)) is True for
#   known "5 m"   answer "5 km"           units are left out of both sides
#   known "$3$"   answer "It is 3:45."    a time is read as its hours
#   known "$50$"  answer "50 %"           a share is equal to the number of its percent
# and, as it should be, False for known "5 m" and answer "6 m". Questions about clocks, scales and measures in pictures are of this kind: a
# wrong answer earns the full reward.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "math-verify[antlr4_13_2]==0.9.0"
"$folder/venv/bin/python" - <<'PY'
from math_verify import parse, verify

found = {}
for known, answer in (("5 m", "5 km"), ("$3$", "It is 3:45."), ("$50$", "50 %"), ("5 m", "6 m")):
    found[known, answer] = verify(parse(known), parse(answer))
    print(f"known {known!r}, answer {answer!r}: {found[known, answer]}")
assert list(found.values()) == [True, True, True, False], found
PY
echo "as described"
