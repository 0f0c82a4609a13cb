"""What a Judgement is about: its `axis`. A line on each that our own steps leave or look for; a recipe or a source may name others.

Of a candidate the higher value is better, of a pair a value above 0 says that its first item is, of a claim 1 says that it holds; axes that mean
something else say so."""

PREFERENCE = "preference"
"""which of two answers is better, and how clearly: -2 to 2, or -1 to 1 of who knows no steps; 0 is a tie"""
RANK = "rank"
"""place of an answer among all to its prompt: 0 the best, -1 the next"""
RATING = "rating"
"""a grade for one answer"""
SCORE = "score"
"""what a step makes of others' judgements, or a model's own number: what pair rules look for first"""
TRUTH = "truth"
"""what is known, not judged: 0 a right answer, below 0 a wrong one; of a claim 1 or 0; of a pair the better answer. Judges are measured by it"""
CLAIM = "claim"
"""whether a claim holds, as a judge sees it: 1 or 0"""
FORM = "form"
"""whether an answer could be split into claims: 1 or 0, not how good it is"""
RECALL = "recall"
"""share of what a complete answer states that is stated and true: 0..1"""
FORMAT = "format"
"""whether an answer keeps to a form that was asked for: 0 it does, -1 not"""
REFUSAL = "refusal"
"""whether an answer refuses: 1 it does, 0 not"""
IOU = "iou"
"""overlap of two boxes, intersection over union: 0..1"""
LENGTH = "length"
"""words of an answer"""
TOKENS = "tokens"
"""tokens of an answer, as its engine counted them"""
ATTENTION = "attention"
"""share of a model's attention to media that goes to the picture which is asked about: 0..1"""
HALLUCINATION = "hallucination"
"""0 for an answer that is taken as right, -1 for one that attention takes as hallucinated"""
BLIND = "blind"
"""what a judge prefers without the media, or with others: one verdict, however it was asked"""
FAULTS = "faults"
"""minus the number of faulty spans in an answer; 0 without fault"""
SAFE = "safe"
"""whether an answer is safe: 1 or 0"""
SEVERITY = "severity"
"""how bad the harm of an answer is: 0 none, to 3; the higher the worse"""
BOTH_BAD = "both_bad"
"""1: no answer that was shown is good enough"""
UNSAFE = "unsafe"
"""1: what was shown is unsafe"""
MEDIA_BROKEN = "media_broken"
"""1: the media could not be seen or heard"""
UNACCEPTABLE = "unacceptable"
"""1: this answer cannot be used, whatever its place"""
SKIPPED = "skipped"
"""a person passed the question on"""
HARM = "harm:"
"""what axes begin with that say of a kind of harm, `harm:violence`, that it is there: 1"""

FLAGS = (BOTH_BAD, UNSAFE, MEDIA_BROKEN)  # what people may tick of everything that is shown

_NOT_QUALITY = frozenset({FORM, SEVERITY, UNACCEPTABLE, SKIPPED, *FLAGS})


def is_quality(axis: str) -> bool:
    """Whether two answers can be put in order by what is said of them on `axis`: on any, but for those that say something else of an answer
    than how good it is."""
    return axis not in _NOT_QUALITY and not axis.startswith(HARM)
