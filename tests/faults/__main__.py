"""Many tries of every fault, and the table of them in docs/operations.md.

python -m tests.faults                     all, and the table
python -m tests.faults WORD ...            those whose area or name holds a word; no table
python -m tests.faults --seconds 10 ...    no more tries of a fault when it has had so long
"""

import argparse
import logging
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.fault import Fault, dice, every

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN = "<!-- from here to the next mark written by `make faults` -->\n"
END = "<!-- end of what `make faults` wrote -->\n"


def tried(fault: Fault, seconds: float) -> Counter[str]:
    """Outcome -> how often, of one try at least."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + seconds
    for number in range(fault.trials):
        if number and time.monotonic() > until:
            break
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            try:
                fault.trial(dice(fault, number), Path(folder))
            except Exception as error:  # noqa: BLE001 - whatever came is the outcome
                outcomes[f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"] += 1
            else:
                outcomes["as expected"] += 1
    return outcomes


def table(rows: list[tuple[Fault, Counter[str]]]) -> str:
    lines = ["| area | fault | expected | trials | outcome |", "|---|---|---|---|---|"]
    for fault, outcomes in rows:
        found = "; ".join(f"{n} {what}" for what, n in outcomes.most_common())
        cells = (fault.area, fault.name, fault.expected, outcomes.total(), found)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main(words: list[str], seconds: float) -> int:
    rows = []
    for fault in every():
        if words and not any(word in f"{fault.area}: {fault.name}" for word in words):
            continue
        started = time.monotonic()
        rows.append((fault, tried(fault, seconds)))
        found = "; ".join(f"{n} {what}" for what, n in rows[-1][1].most_common())
        print(f"{fault.area}: {fault.name}: {found} ({time.monotonic() - started:.0f} s)", flush=True)
    if not words:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table(rows) + END + rest.split(END)[1])
    return int(any(set(outcomes) != {"as expected"} for _, outcomes in rows))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # what servers say of their faults, thousands of times
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("words", nargs="*")
    arguments.add_argument("--seconds", type=float, default=math.inf)
    chosen = arguments.parse_args()
    sys.exit(main(chosen.words, chosen.seconds))
