"""Bounding boxes: parsed from the notations that models use, compared by intersection over union (IoU)."""

import re

from annotators.rules.answers import RuleResult, bad_known_answer, final_answer

Box = tuple[float, float, float, float]

_N = r"[-+]?\d{1,9}(?:\.\d{1,9})?"
_S = r"(?:\s{0,4},\s{0,4}|\s{1,4})"
NOTATIONS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"[\[(]\s{{0,4}}({_N}){_S}({_N}){_S}({_N}){_S}({_N})\s{{0,4}}[\])]",  # [x1, y1, x2, y2], {"bbox_2d": [...]}
        rf"[\[(]\s{{0,4}}({_N}){_S}({_N})\s{{0,4}}[\])]{_S}[\[(]\s{{0,4}}({_N}){_S}({_N})\s{{0,4}}[\])]",  # (x1,y1),(x2,y2)
        r"\W{1,6}".join(rf"{name}\W{{1,6}}({_N})" for name in ("x1", "y1", "x2", "y2")),  # {"x1": 1, "y1": 2, ...}
        rf"^\s{{0,4}}({_N}){_S}({_N}){_S}({_N}){_S}({_N})\s{{0,4}}$",  # x1, y1, x2, y2
    )
)


def boxes_of(text: str) -> list[Box]:
    """The distinct boxes in a text, as corners (x1, y1, x2, y2), in order; only those in the first notation of NOTATIONS that occurs."""
    for notation in NOTATIONS:
        if found := notation.findall(text):
            return list(dict.fromkeys((float(a), float(b), float(c), float(d)) for a, b, c, d in found))
    return []


def iou(text: str, answer: str) -> RuleResult:
    """IoU of the answer's box with the right one, 0..1 (the reward of VLM-R1 and Visual-RFT). Both must be in the same units.

    0 if there is no box, several boxes, or one without area. RowError if the known answer is not one box with an area."""
    wanted = boxes_of(answer)
    if len(wanted) != 1 or not _area(wanted[0]):
        raise bad_known_answer(answer, "is not a single box [x1, y1, x2, y2] with an area above 0")
    found = boxes_of(final_answer(text)[0] or "")
    if len(found) != 1:
        return RuleResult(0.0, None)
    return RuleResult(round(overlap(found[0], wanted[0]), 4), str(list(found[0])))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2) in the same units, 0..1; 0 if either has no area."""
    both = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return both / (_area(one) + _area(other) - both) if _area(one) and _area(other) else 0.0


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
