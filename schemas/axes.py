"""What a Judgement is about: its `axis`. These are the axes that our own steps write or read; recipes and sources may use others.

Unless stated otherwise: for a candidate a higher value is better, for a pair a value above 0 means that its first item is better, for a
claim 1 means that it holds."""

PREFERENCE = "preference"
"""which of two answers is better, and by how much: -2 to 2 (-3 to 3 in HelpSteer's sets), or -1 to 1 from judges without grades; 0 is a tie"""
RANK = "rank"
"""rank of an answer among all answers to its prompt: 0 is the best, -1 the next"""
RATING = "rating"
"""a grade for one answer"""
SCORE = "score"
"""computed from other judgements, or a model's own number: pair operators use it first"""
TRUTH = "truth"
"""ground truth: 0 a correct answer, below 0 a wrong one; for a claim 1 or 0; for a pair the better answer. Judges are measured against it"""
CLAIM = "claim"
"""whether a claim holds, according to a judge: 1 or 0"""
FORM = "form"
"""whether an answer could be split into claims: 1 or 0; says nothing about its quality"""
RECALL = "recall"
"""share of the claims of a complete answer that are stated and true: 0..1"""
FORMAT = "format"
"""whether an answer follows the requested format: 0 if so, -1 if not"""
REFUSAL = "refusal"
"""whether an answer is a refusal: 1 if so, 0 if not"""
IOU = "iou"
"""overlap of two boxes, intersection over union: 0..1"""
LENGTH = "length"
"""number of words of an answer"""
TOKENS = "tokens"
"""number of tokens of an answer, as counted by its engine"""
ATTENTION = "attention"
"""share of the model's attention to media that goes to the image in question: 0..1"""
HALLUCINATION = "hallucination"
"""0 for an answer considered correct, -1 for one considered hallucinated, judged by attention"""
BLIND = "blind"
"""a judge's preference without the media, or with other media: one verdict over all orders"""
FAULTS = "faults"
"""minus the number of marked errors in an answer; 0 without errors"""
SAFE = "safe"
"""whether an answer is safe: 1 or 0"""
SEVERITY = "severity"
"""severity of an answer's harm: 0 (none) to 3; higher is worse"""
BOTH_BAD = "both_bad"
"""1: none of the shown answers is acceptable"""
UNSAFE = "unsafe"
"""1: the shown content is unsafe"""
MEDIA_BROKEN = "media_broken"
"""1: the media could not be seen or heard"""
UNACCEPTABLE = "unacceptable"
"""1: this answer is unusable, whatever its rank"""
SKIPPED = "skipped"
"""a person skipped the question"""
HARM = "harm:"
"""prefix of axes for types of harm, such as `harm:violence`; 1: present"""

FLAGS = (BOTH_BAD, UNSAFE, MEDIA_BROKEN)  # flags that people may set for a whole task

_NOT_QUALITY = frozenset({FORM, SEVERITY, UNACCEPTABLE, SKIPPED, *FLAGS})


def is_quality(axis: str) -> bool:
    """Whether answers can be ranked by their values on `axis`; not for those that say something else about an answer than how good it is."""
    return axis not in _NOT_QUALITY and not axis.startswith(HARM)
