"""What judges call the two answers and their verdicts, and the values that these words have in a bracket, a tag or a JSON value."""

import re

STRENGTHS = {
    str(n): 4.0 - n for n in range(1, 8)
}  # 1 the first answer is much better, 4 equally good, 7 the second is much better
ABSTAIN, UNKNOWN = "abstain", "unknown"  # values of statements that are no side
Value = float | str
NUMBER_WORDS = {
    word: n
    for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
}
# labels: the groups n, o, b, zo and zn hold what `side_of` takes for the first or the second answer
NOUNS = "answer|response|reply|assistant|option|model|candidate|output|caption|description|completion"  # each parser has more
NOUN = rf"(?:{NOUNS}|choice|system|solution)"
NUMBERED = rf"(?:the )?{NOUN}(?: number)?[ _#(\[-]{{0,3}}(?P<n>one|two|[12ab])\b[)\]]?(?:'s (?:answer|response))?"
ORDINAL = rf"(?:the )?(?P<o>first|second|1st|2nd)(?: (?:{NOUN}|one)\b)?"
ZH_NOUN = r"(?:回答|答案|回复|响应|助手|选项|模型|描述|答复)"
CHINESE = rf"第\s?(?P<zo>[一二12])\s?(?:个|条|份|种|段)?{ZH_NOUN}?|{ZH_NOUN}\s?(?P<zn>[一二12ABab甲乙])(?![A-Za-z0-9])"
LABEL = rf"(?:{NUMBERED}|{ORDINAL}|{CHINESE}|\(?(?P<b>one|two|[12ab])\b\)?)"
REF = rf"(?:{NUMBERED}|(?:the )(?P<o>first|second|former|latter)(?: (?:{NOUN}|one))?|(?P<b>(?-i:[AB12]|[Oo]ne|[Tt]wo))\b(?!['.]?\w))"
SIDES = {
    "one": 1.0, "1": 1.0, "a": 1.0, "first": 1.0, "1st": 1.0, "former": 1.0, "一": 1.0, "甲": 1.0,
    "two": -1.0, "2": -1.0, "b": -1.0, "second": -1.0, "2nd": -1.0, "latter": -1.0, "二": -1.0, "乙": -1.0,
}  # fmt: skip
# that neither is better, and that one is: PREDICATE "clearly better", WINS "is clearly better", END what may stand after it
TIES = re.compile(
    r"(?:(?:it's |it is |this is |they are |that's )?(?:a |an )?(?:(?:exact |perfect |clear )?tie|tied|draw|even|equal|same|c)|both(?: are)? equal(?:ly good)?|equally good"
    r"|both (?:answers?|responses?) are equally good|no preference|neither is better|both|neutral|平局|打平|平手|一样好|同样好|相同|不分上下|都好)",
    re.IGNORECASE,
)
NO_TIE = {"both", "neutral", "no preference", "neither is better"}
ADVERBS = r"(?:(?:much|slightly|clearly|significantly|far|marginally|considerably|somewhat|a bit|a little|definitely|obviously|overall|generally|certainly|still|by far|therefore|thus|indeed|simply|strongly|notably|substantially|ultimately|just|only slightly|way|moderately|the|a|my|our) ){0,4}"
PREDICATE = rf"{ADVERBS}(?:better|best|superior|preferable|preferred|stronger|winner|winning|more appropriate|most appropriate|favou?red|(?:correct|right|stronger|preferred) (?:choice|pick|verdict))(?: (?:{NOUN}|one|choice|pick))?(?: of the two)?"
BE = r"(?:is|was|would be|should be|seems|seems to be|comes out|remains|has to be|must be|'s)"
THAN = rf"(?: (?:than|over|to) (?:the other(?: (?:{NOUN}|one))?|(?:the )?{NOUN} (?:one|two|[12ab])\b|[AB12]\b|the (?:first|second)(?: (?:{NOUN}|one))?))?"
WINS = rf"(?:{BE} {PREDICATE}|(?:clearly |narrowly |slightly |easily )?(?:wins|prevails|has (?:a |the )?(?:slight |clear |small )?edge|is the one|takes (?:it|the win)|(?:is|would be) my (?:pick|choice|winner|preference)|gets my vote|it is)|should (?:win|be (?:preferred|chosen|selected))|is to be preferred|(?:clearly |slightly )?(?:outperforms|beats|surpasses)(?= ))"
END = (
    rf"(?!\s?[:=(-]\s?\(?\d){THAN}(?: overall| here| by far| by a (?:wide|large|clear) margin| in (?:general|total|my (?:opinion|view)|every (?:way|respect)))?"
    rf"(?=\s*(?:$|[.!](?!\w)|[;)\]|]|[,:](?!\s*(?:or |and |/)?\(?(?:[AB12]|one|two|tie)\b)|\(|- |-$|because\b|since\b|as\b|due\b|given\b|though\b|although\b|even\b|but\b|while\b|for (?:its|being|the)\b|so\b|and (?:is|it|more|also|wins|the other|{NOUN})\b|\ufffc))"
)
BEATEN = rf"(?:outperforms|beats|surpasses|over|is {PREDICATE} than)"

# what stands before a value: MARKER "the final verdict", MARK_SEP " is: "
MARKER = (
    r"(?:(?:the|my|our|a|final|overall|revised|updated|corrected|new|ultimate|last|definitive|overall final|conclusive|pairwise|best|better|preferred|correct|right|winning|superior|stronger|chosen|selected"
    r"|more accurate|more helpful) ){0,4}"
    rf"(?:verdict|judge?ment|decision|conclusion|choice|preference|winner|result|rating|score|ranking|selection|vote|pick|evaluation|assessment|determination|preferred|chosen|selected|final|overall|better|best|correction|strength|(?:我的|最终|总体|综合)?(?:评分|得分|评级)|answer|{NOUN}|one)"
    r"(?: (?:of the two|here|overall|is as follows|number|\(?1 ?(?:-|to) ?7\)?|\(?from 1 to 7\)?|on a scale (?:of|from) 1 (?:-|to) 7|verdict|judge?ment|between the two))?"
)
MARK_SEP = r"(?:\s*(?::|=|->)\s*(?:is )?|\s?(?:是|为)\s?| (?:is(?: for)?|would be|goes to|must be|has to be|was)(?: clearly| therefore| thus| still)?:? | - )"


def compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern, re.IGNORECASE)


def named(pattern: str, suffix: str) -> str:
    """`pattern` with its groups renamed, so that it can occur twice in an expression."""
    return re.sub(r"\(\?P<(\w+)>", rf"(?P<\g<1>{suffix}>", pattern)


WHOLE = re.compile(rf"(?:the )?(?:{LABEL})(?:[ ,:-]{{1,3}}{WINS}{THAN})?", re.IGNORECASE)
COMPARED = re.compile(
    rf"{NOUN}?[ _]?(?P<x>one|two|[12ab])\s{{0,3}}(?P<sign>(?:>|<){{1,3}}|~?=+|~)\s{{0,3}}{NOUN}?[ _]?(?P<y>one|two|[12ab])",
    re.IGNORECASE,
)
EDGE = " \t\n*_#.!:()[]{}'\"`$\\|,"
_ITEM_MARK = re.compile(r"^[-+•]\s+")


def side_of(match: re.Match, suffix: str = "") -> float | None:
    """The side that the label groups of a match name."""
    word = next(
        (w for name, w in match.groupdict().items() if w and name in {g + suffix for g in ("n", "o", "b", "zo", "zn")}),
        None,
    )
    return SIDES[word.lower()] if word else None


def bare(content: str) -> str:
    """`content` without marks of lists, emphasis and brackets around it."""
    return " ".join(_ITEM_MARK.sub("", content.strip()).strip(EDGE).split())


def preference_value(content: str) -> Value:
    """The value of a bracket, a tag or a JSON value: 1 the first, -1 the second, 0 a tie, `abstain`, or `unknown`."""
    words = bare(content)
    if words.lower() in ("abstain", "cannot decide"):
        return ABSTAIN
    if TIES.fullmatch(words) and words.lower() not in NO_TIE:
        return 0.0
    if compared := COMPARED.fullmatch(words):
        x, y = SIDES[compared["x"].lower()], SIDES[compared["y"].lower()]
        if x == y:
            return UNKNOWN
        return 0.0 if compared["sign"][0] in "=~" else x if compared["sign"][0] == ">" else y
    whole = WHOLE.fullmatch(words) if not words.lower().startswith("one is") else None
    side = whole and side_of(whole)
    return side if side else UNKNOWN


STEP = re.compile(
    r"(?:step |rating |score )?(?P<s>[1-7]|one|two|three|four|five|six|seven)(?:\.0{1,2})?(?:\s{0,2}/\s{0,2}7| out of 7)?(?:\s{0,2}[-:(,]\s{0,2}[a-z][^\n]{0,80})?",
    re.IGNORECASE,
)


def step_of(word: str) -> float:
    """The strength that a number from 1 to 7 or its word means."""
    return STRENGTHS[str(NUMBER_WORDS.get(word.lower(), word))]


def strength_value(content: str) -> Value:
    """The strength in a bracket, a tag or a JSON value, 3 to -3, `abstain`, or `unknown`."""
    words = bare(content)
    if words.lower() == ABSTAIN:
        return ABSTAIN
    step = STEP.fullmatch(words)
    return step_of(step["s"]) if step else UNKNOWN
