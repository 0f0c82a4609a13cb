"""What a text asserts: the text without its thoughts and without what it denies, doubts, quotes, asks, supposes or takes back.

English only, by words and punctuation, in linear time. What is removed leaves a blank, so that its neighbours do not become one phrase."""

import re

from schemas.thinking import without_thinking

GONE = " \u0000 "  # marks what was removed: no word, no digit
_CLAUSE = r"(?:(?!\s(?:but|so|and\s(?:so|it|the|that))\s|\d,\d|\d\.\d|:\d\d)[^,;:.!?()\n\u0000]|\d[,.:]\d){0,300}"  # to its end
_AUX = r"(?:is|are|was|were|be|been|do|does|did|has|have|had|can|could|will|would|should|may|might|must)"
_QUOTE = re.compile(r"\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”|‘[^’\n]{0,300}’")
_INTRODUCED = re.compile(
    r"(?:\b(?:is|are|was|were|be|answer|reads?|says?|called|named|word|letter|label)\b|'s|[:=])\W{0,3}$", re.IGNORECASE
)
_OTHERS = re.compile(r"\b(?:some|many|most|others|people|passage|text|question|article|user|if)\b", re.IGNORECASE)
_BLANKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"[^.!?\n]{0,300}\?",  # a question
        rf"(?:(?<=[.!?\n,;\u0000])|^)\s*(?:if|suppose|assuming|unless|whether|had)\b{_CLAUSE}",  # a supposition
        rf"(?:,\s|(?<=[.!?\n])\s?|^)(?:since|because|although|though|even though|as)\s(?!(?:well|follows)\b){_CLAUSE}",  # a reason
        rf"\s(?:because|although|though|even though)\s{_CLAUSE}",
        rf"(?:(?<=[.!?\n,;:\u0000])|^){_CLAUSE}\b(?:{_AUX}(?:\snot|n't)|cannot|can't|won't|never|could be|might|may be|perhaps|maybe|possibly|once|used to|formerly"
        rf"|nobody|nothing|wrong|incorrect|false|not true|not sure|unsure|guess)\b(?!\s(?:only|just)\b){_CLAUSE}",
        rf"(?:(?<=[.!?\n,;:\u0000])|^)\s*(?:some|many|most|others|people)\s(?:people\s)?(?:would\s|might\s|often\s)?(?:say|think|believe|claim){_CLAUSE}",
        rf"\b(?:not|no longer|rather than|instead of|unlike|than|as opposed to|in contrast to|compared (?:to|with)|except|neither|nor|without|versus|near|excluding)\b(?!\s(?:only|just)\b){_CLAUSE}",
    )
)  # fmt: skip
_CERTAIN = re.compile(
    r"\b(?:there is |there's )?(?:no|without(?: a| any)?) (?:doubt|question)\b(?: that\b)?,?", re.IGNORECASE
)
_TAKEN_BACK = re.compile(
    r"(?:(?<=[.!?\n])|(?<=no,))\s*(?:no,\s)?(?:wait|actually|sorry|correction|oops|hold on|on second thought|let me correct)\b[^\w\n]{0,3}", re.IGNORECASE
)  # fmt: skip


def asserted(text: str) -> str | None:
    """The text without what it does not assert; None if a thought is not closed."""
    rest = without_thinking(text)
    if rest is None:
        return None
    rest = rest.replace("’", "'").replace("**", "").replace("__", "")
    rest = _CERTAIN.sub(" ", latest(rest))
    rest = _QUOTE.sub(_quoted, rest)
    for blank in _BLANKS:
        rest = blank.sub(GONE, rest)
    return rest


def latest(text: str) -> str:
    """What follows the last place at which a text takes back what it said; all of it if there is none."""
    places = [match.end() for match in _TAKEN_BACK.finditer(text)]
    return text[places[-1] :] if places else text


def _quoted(match: re.Match) -> str:
    """A quotation that is itself the answer stays, without its marks."""
    before = match.string[max(0, match.start() - 80) : match.start()]
    stays = match[0] == match.string.strip() or (_INTRODUCED.search(before) and not _OTHERS.search(before))
    return f" {match[0][1:-1]} " if stays else GONE
