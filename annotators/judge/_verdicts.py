"""Verdicts on two answers, as judges write them: which is better, or by how much.

A reply is a list of statements: brackets, marked values ("Verdict: B"), lines that are nothing but a label, and plain sentences ("so answer
one is better"). A statement stands at the beginning of its clause, behind words that only connect; what is quoted, reported, ordered,
denied, hedged or conditional does not count. The verdict is what all statements agree on; one that revises drops those before it."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from annotators.judge import _objects
from annotators.judge._reply import (
    LONGEST,
    QUOTE,
    REPORTS,
    REVISES,
    TAKES_BACK,
    ParsedReply,
    abstains,
    folded,
    is_conditional,
    is_denied,
    is_hedged,
    is_order,
    outcome_without_verdict,
    sentences,
    strip_quotes,
)
from schemas.records import Outcome

STRENGTHS = {
    str(n): 4.0 - n for n in range(1, 8)
}  # 1 the first answer is much better, 4 equally good, 7 the second is much better
_ABSTAIN, _UNKNOWN = "abstain", "unknown"  # values of statements that are no side
_PENDING = "pending"  # takes back what was said before, without a value of its own
Value = float | str

# labels ------------------------------------------------------------------------------------------------------------------

_NOUN = r"(?:answer|response|reply|assistant|option|model|candidate|output|caption|description|completion|choice|system|solution)"
_NUMBERED = rf"(?:the )?{_NOUN}(?: number)?[ _#(\[-]{{0,3}}(?P<n>one|two|[12ab])\b[)\]]?(?:'s (?:answer|response))?"
_ORDINAL = rf"(?:the )?(?P<o>first|second|1st|2nd)(?: (?:{_NOUN}|one)\b)?"
_ZH_NOUN = r"(?:回答|答案|回复|响应|助手|选项|模型|描述|答复)"
_CHINESE = (
    rf"第\s?(?P<zo>[一二12])\s?(?:个|条|份|种|段)?{_ZH_NOUN}?|{_ZH_NOUN}\s?(?P<zn>[一二12ABab甲乙])(?![A-Za-z0-9])"
)
_LABEL = rf"(?:{_NUMBERED}|{_ORDINAL}|{_CHINESE}|\(?(?P<b>one|two|[12ab])\b\)?)"
_REF = rf"(?:{_NUMBERED}|(?:the )(?P<o>first|second|former|latter)(?: (?:{_NOUN}|one))?|(?P<b>(?-i:[AB12]|[Oo]ne|[Tt]wo))\b(?!['.]?\w))"
_SIDES = {
    "one": 1.0, "1": 1.0, "a": 1.0, "first": 1.0, "1st": 1.0, "former": 1.0, "一": 1.0, "甲": 1.0,
    "two": -1.0, "2": -1.0, "b": -1.0, "second": -1.0, "2nd": -1.0, "latter": -1.0, "二": -1.0, "乙": -1.0,
}  # fmt: skip
_TIES = re.compile(
    r"(?:(?:it's |it is |this is |they are |that's )?(?:a |an )?(?:(?:exact |perfect |clear )?tie|tied|draw|even|equal|same|c)|both(?: are)? equal(?:ly good)?|equally good"
    r"|both (?:answers?|responses?) are equally good|no preference|neither is better|both|neutral|平局|打平|平手|一样好|同样好|相同|不分上下|都好)",
    re.IGNORECASE,
)
_NO_TIE = {"both", "neutral", "no preference", "neither is better"}
_ADVERBS = r"(?:(?:much|slightly|clearly|significantly|far|marginally|considerably|somewhat|a bit|a little|definitely|obviously|overall|generally|certainly|still|by far|therefore|thus|indeed|simply|strongly|notably|substantially|ultimately|just|only slightly|way|moderately|the|a|my|our) ){0,4}"
_PREDICATE = rf"{_ADVERBS}(?:better|best|superior|preferable|preferred|stronger|winner|winning|more appropriate|most appropriate|favou?red|(?:correct|right|stronger|preferred) (?:choice|pick|verdict))(?: (?:{_NOUN}|one|choice|pick))?(?: of the two)?"
_BE = r"(?:is|was|would be|should be|seems|seems to be|comes out|remains|has to be|must be|'s)"
_THAN = rf"(?: (?:than|over|to) (?:the other(?: (?:{_NOUN}|one))?|(?:the )?{_NOUN} (?:one|two|[12ab])\b|[AB12]\b|the (?:first|second)(?: (?:{_NOUN}|one))?))?"
_WINS = rf"(?:{_BE} {_PREDICATE}|(?:clearly |narrowly |slightly |easily )?(?:wins|prevails|has (?:a |the )?(?:slight |clear |small )?edge|is the one|takes (?:it|the win)|(?:is|would be) my (?:pick|choice|winner|preference)|gets my vote|it is)|should (?:win|be (?:preferred|chosen|selected))|is to be preferred|(?:clearly |slightly )?(?:outperforms|beats|surpasses)(?= ))"
_END = (
    rf"(?!\s?[:=(-]\s?\(?\d){_THAN}(?: overall| here| by far| by a (?:wide|large|clear) margin| in (?:general|total|my (?:opinion|view)|every (?:way|respect)))?"
    rf"(?=\s*(?:$|[.!](?!\w)|[;)\]|]|[,:](?!\s*(?:or |and |/)?\(?(?:[AB12]|one|two|tie)\b)|\(|- |-$|because\b|since\b|as\b|due\b|given\b|though\b|although\b|even\b|but\b|while\b|for (?:its|being|the)\b|so\b|and (?:is|it|more|also|wins|the other|{_NOUN})\b|\ufffc))"
)
_BEATEN = rf"(?:outperforms|beats|surpasses|over|is {_PREDICATE} than)"

_MARKER = (
    r"(?:(?:the|my|our|a|final|overall|revised|updated|corrected|new|ultimate|last|definitive|overall final|conclusive|pairwise|best|better|preferred|correct|right|winning|superior|stronger|chosen|selected"
    r"|more accurate|more helpful) ){0,4}"
    rf"(?:verdict|judge?ment|decision|conclusion|choice|preference|winner|result|rating|score|ranking|selection|vote|pick|evaluation|assessment|determination|preferred|chosen|selected|final|overall|better|best|correction|strength|(?:我的|最终|总体|综合)?(?:评分|得分|评级)|answer|{_NOUN}|one)"
    r"(?: (?:of the two|here|overall|is as follows|number|\(?1 ?(?:-|to) ?7\)?|\(?from 1 to 7\)?|on a scale (?:of|from) 1 (?:-|to) 7|verdict|judge?ment|between the two))?"
)
_MARK_SEP = r"(?:\s*(?::|=|->)\s*(?:is )?|\s?(?:是|为)\s?| (?:is(?: for)?|would be|goes to|must be|has to be|was)(?: clearly| therefore| thus| still)?:? | - )"
_OPENERS = (
    r"(?:(?:so|thus|therefore|hence|overall|in conclusion|in summary|to conclude|to summarize|in the end|ultimately|finally|all in all|on balance|in short|in sum|in total|consequently|accordingly"
    r"|clearly|as a result|for (?:this|these|that) reasons?|that said|still|nevertheless|nonetheless|however|but|and|then|yes|okay|ok|well|sure|actually|no|wait|this means|which means|meaning"
    r"|i (?:would |'d |do |also |clearly |firmly |strongly |still |now |must |have to )?(?:think|believe|feel|say|find|judge|conclude|consider|rate|decide|determine|maintain)(?: that)?"
    r"|i'd (?:say|judge|conclude)(?: that)?|we (?:can )?conclude(?: that)?|in my (?:opinion|view|judge?ment|assessment)|it is clear(?: that)?|it's clear(?: that)?|i am confident(?: that)?|i'm confident(?: that)?"
    r"|on reflection|on second thoughts?|correction|there is no doubt that|without (?:a )?doubt|no doubt|based on (?:this|these|the above|that|my analysis|the analysis|the image)|given (?:this|these|the above|that)|at the end"
    r"|my|the|that|because|since|here)[\s,:]+){0,6}"
)
_CONCLUDES = re.compile(
    r"\b(?:so|thus|therefore|hence|overall|conclusion|conclude|summary|end|ultimately|finally|balance|short|consequently|accordingly|result|reasons?)\b",
    re.IGNORECASE,
)
_SCOPED = re.compile(
    r"\b(?:in terms of|regarding|with (?:respect|regard) to|when it comes to|as for|concerning|from the (?:perspective|point of view|standpoint) of|as far as|for (?:accuracy|detail|clarity|style|helpfulness|relevance|fluency)"
    r"|on (?:accuracy|detail|clarity|style|helpfulness|relevance|fluency)|in (?:accuracy|detail|clarity|style)\b)|方面|从.{0,12}(?:来看|角度)",
    re.IGNORECASE,
)


def _compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern, re.IGNORECASE)


def _named(pattern: str, suffix: str) -> str:
    """`pattern` with its groups renamed, so that it can occur twice in an expression."""
    return re.sub(r"\(\?P<(\w+)>", rf"(?P<\g<1>{suffix}>", pattern)


_I_PREFER = r"i (?:would |will |do |clearly |strongly |slightly |therefore |thus |still |would still |have to |'d |'ll )?(?:slightly )?(?:choose|pick|select|prefer|favou?r|go with|vote for|opt for|side with|lean (?:towards?|to)|judge|rate|declare|am going with|give it to|give the (?:win|edge|nod|victory) to|consider)|i'm going with|i'(?:d|ll) (?:choose|pick|select|prefer|favou?r|go with|vote for|opt for|lean (?:towards?|to)|rate|judge|consider)|slightly prefer|(?:a )?(?:slight |clear |strong |mild |small )?(?:preference (?:for|goes to)|edge (?:to|for|goes to))|(?:choosing|my vote goes to|the nod goes to|the win goes to|the edge goes to)"
_PLAIN = [
    _compiled(rf"{_OPENERS}{_REF}(?:,? (?:therefore|thus|overall|clearly),?)? ?{_WINS}{_END}"),
    _compiled(rf"{_OPENERS}(?:{_I_PREFER}) {_REF}(?: (?:as |to be |to come out )?{_PREDICATE}| higher| as the winner| the winner)?{_END}"),
    _compiled(rf"{_OPENERS}(?:i )?(?:rate|judge|choose|decide|conclude|vote|pick|prefer)\b[^:,;]{{0,40}}: {_REF}\W*$"),
    _compiled(rf"{_OPENERS}{_REF} (?:clearly |slightly |narrowly )?{_BEATEN} {_named(_REF, '2')}{_END}"),
]  # fmt: skip
_ALONE_SO = _compiled(
    r"\W*(?:so|thus|therefore|hence|consequently|overall|in conclusion|finally|ultimately|clearly|definitely|all in all|on balance|without (?:a )?doubt)[\s,:]+(?:it is |it's |i (?:say|choose|pick)[,:]? )?"
    + _REF
    + r"\W*$"
)
_TIE_CLAUSE = _compiled(
    rf"{_OPENERS}(?:(?:it|this|that|the result|the comparison|the verdict|they)(?:'s| is| are|'re| ends in) (?:a |an |therefore a |thus a |essentially a )?(?:tie|draw|tied)"
    rf"|(?:they|both|the two|both (?:{_NOUN}s?))(?: are|'re) (?:exactly |essentially |basically |virtually |practically )?(?:the same|identical|equivalent|on par|comparable|evenly matched)"
    rf"|(?:there(?: is|'s)|i (?:see|find)) no (?:real |clear |significant |meaningful )?difference(?: in quality)?(?: between (?:them|the (?:two|answers|responses|two answers|two responses)|both))?(?: in quality)?"
    rf"|neither(?: {_NOUN}| one)?(?: of (?:them|the two))? is (?:clearly |really )?better(?: than the other)?"
    rf"|i (?:would |'d )?(?:call|declare|rate|judge|consider) (?:it|this|them) (?:as )?(?:a )?(?:tie|draw|equal)"
    rf"|(?:both|the two|they)(?: {_NOUN}s?)?(?: are| seem)? (?:equally good|tied|of (?:equal|similar|the same|comparable) quality|equal in quality|equally good overall)"
    rf"|{_NOUN}s? (?:1|a|one) and (?:{_NOUN} )?(?:2|b|two) are (?:equally good|tied|equal|of equal quality)|equally good){_END}"
)
_WORSE = _compiled(
    rf"{_OPENERS}{_REF} {_BE} {_ADVERBS}(?:worse|inferior|weaker|less accurate|less faithful|less correct|less helpful)(?: {_NOUN})? (?:than|to) {_named(_REF, '2')}(?: overall)?(?=\s*(?:$|[.!;]))"
)
_TIE_ALONE = _compiled(r"(?:a |an )?(?:tie|draw)\W*")
_ZH_OPEN = r"(?:因此|所以|综上所述|综上|总的来说|总体而言|总体来说|总之|我认为|我觉得|最终|故|显然|整体上|整体而言|但是?|而|那么|我的结论是|可见|我选择|我更?倾向于|我更喜欢|我选|选择|选|而?是|[,:\s])*"
_ZH_LABEL = rf"(?:{_CHINESE}|(?P<b>(?-i:[AB12]))(?![A-Za-z0-9]))"
_ZH = [
    _compiled(rf"{_ZH_OPEN}{_ZH_LABEL}\s?(?:的)?(?:质量|整体|总体)?(?:明显|略微|略|稍微|稍|显然|总体上|整体上|相对|是|更|要|比{_named(_ZH_LABEL, '2')}|为){{0,4}}(?:更好|较好|最好|更优|更佳|较佳|好一些|优于.{{1,8}}|胜出|获胜|胜过.{{1,8}}|好|更胜一筹)(?:的)?(?:一个|回答|答案)?(?=\s*(?:$|[,.。!;:(]))"),
    _compiled(rf"{_ZH_OPEN}(?:我选择|我更?倾向于|我更喜欢|我选|选择|选|更好的是){_ZH_LABEL}(?=\s*(?:$|[,.。!;:(]))"),
    _compiled(rf"{_ZH_OPEN}(?:最终|我的|总体|综合|更好的|较好的|最好的|最佳|更优的|优胜的|胜出的|最后的?)*(?:结论|判断|判定|裁决|答案|回答|回复|选择|评价|结果|胜者|获胜者|偏好)(?:应该是|是|为|:)[:\s]*{_ZH_LABEL}(?:更好|较好|更优|胜出|获胜)?(?=\s*(?:$|[,.。!;:(]))"),
]  # fmt: skip
_ZH_WORSE = _compiled(
    rf"{_ZH_OPEN}{_ZH_LABEL}(?:的)?(?:质量|整体|总体)?(?:明显|显然|略|稍)?(?:不如|不及|劣于|差于|逊于|比(?={_named(_ZH_LABEL, '3')}(?:更|要)?差)){_named(_ZH_LABEL, '2')}(?:更|要)?差?(?:好)?(?=\s*(?:$|[,.。!;:(]))"
)
_ZH_TIE = _compiled(
    rf"{_ZH_OPEN}(?:两个?{_ZH_NOUN}?|两者|二者|它们|都|结果|最终|结论|是|为|[:\s])*(?:一样好?|同样好|不分上下|不相上下|没有(?:明显)?(?:差别|区别)|不分伯仲|平局|打平|平手|旗鼓相当|难分高下|质量相当)(?=\s*(?:$|[,.。!;:]))"
)
_ZH_FOREIGN = re.compile(r"如果|若|假如|假设|要求|声称|说[:,“]|除非")
_ZH_DENIES = re.compile(rf"不|没|并非|可能|也许|或许|{_ZH_FOREIGN.pattern}")

_WHOLE = re.compile(rf"(?:the )?(?:{_LABEL})(?:[ ,:-]{{1,3}}{_WINS}{_THAN})?", re.IGNORECASE)
_COMPARED = re.compile(
    rf"{_NOUN}?[ _]?(?P<x>one|two|[12ab])\s{{0,3}}(?P<sign>(?:>|<){{1,3}}|~?=+|~)\s{{0,3}}{_NOUN}?[ _]?(?P<y>one|two|[12ab])",
    re.IGNORECASE,
)
_EDGE = " \t\n*_#.!:()[]{}'\"`$\\|,"
_ITEM_MARK = re.compile(r"^[-+•]\s+")


def _side(match: re.Match, suffix: str = "") -> float | None:
    """The side that the label groups of a match name."""
    word = next(
        (w for name, w in match.groupdict().items() if w and name in {g + suffix for g in ("n", "o", "b", "zo", "zn")}),
        None,
    )
    return _SIDES[word.lower()] if word else None


def _bare(content: str) -> str:
    """`content` without marks of lists, emphasis and brackets around it."""
    return " ".join(_ITEM_MARK.sub("", content.strip()).strip(_EDGE).split())


def preference_value(content: str) -> Value:
    """The value of a bracket, a tag or a JSON value: 1 the first, -1 the second, 0 a tie, `abstain`, or `unknown`."""
    words = _bare(content)
    if words.lower() in ("abstain", "cannot decide"):
        return _ABSTAIN
    if _TIES.fullmatch(words) and words.lower() not in _NO_TIE:
        return 0.0
    if compared := _COMPARED.fullmatch(words):
        x, y = _SIDES[compared["x"].lower()], _SIDES[compared["y"].lower()]
        if x == y:
            return _UNKNOWN
        return 0.0 if compared["sign"][0] in "=~" else x if compared["sign"][0] == ">" else y
    whole = _WHOLE.fullmatch(words) if not words.lower().startswith("one is") else None
    side = whole and _side(whole)
    return side if side else _UNKNOWN


_STEP = re.compile(
    r"(?:step |rating |score )?(?P<s>[1-7]|one|two|three|four|five|six|seven)(?:\.0{1,2})?(?:\s{0,2}/\s{0,2}7| out of 7)?(?:\s{0,2}[-:(,]\s{0,2}[a-z][^\n]{0,80})?",
    re.IGNORECASE,
)
_STEPS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}


def strength_value(content: str) -> Value:
    """The strength in a bracket, a tag or a JSON value, 3 to -3, `abstain`, or `unknown`."""
    words = _bare(content)
    if words.lower() == _ABSTAIN:
        return _ABSTAIN
    step = _STEP.fullmatch(words)
    return STRENGTHS[_STEPS.get(step["s"].lower(), step["s"])] if step else _UNKNOWN


class Statement(NamedTuple):
    """The statement of one part of a reply."""

    value: Value
    revises: bool = False


Reading = Callable[[str], Value]

# the text as lines -------------------------------------------------------------------------------------------------------

_TAGS = re.compile(
    r"<((?:final_|overall_|my_)?(?:answer|verdict|winner|result|choice|preference|decision|judge?ment|conclusion|selection|output|rating|score|response|better|pick|preferred|selected|best|vote)|final|(?:better|best|preferred|chosen)_(?:answer|response))>\s{0,20}(?P<value>[^<>]{1,120}?)\s{0,20}</\1>",
    re.IGNORECASE,
)
_BOXED = re.compile(
    r"\$?\$?\\(?:boxed|fbox)\s?\{(?:\s*\\(?:text|textbf|mathrm|mathbf|texttt)\s?\{)?(?P<value>[^{}\n]{1,80})\}{1,2}\$?\$?"
)
_RESULT = re.compile(
    r"\[(?:RESULT|VERDICT|FINAL ANSWER|ANSWER|FINAL VERDICT|JUDGMENT|WINNER|OUTPUT|(?:最终)?(?:结论|判断|裁决|结果))\]:?(?:\s{0,3}\[/RESULT\])?[ \t]{0,3}",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\[\[\s{0,4}([^\[\]\n]{1,40}?)\s{0,4}\]\]")
_ARROW = re.compile(r"(?<![<>=-])[=-]>(?!>)")
_EMOJI = re.compile(r"[🏆👉🥇🎯⭐➡]\ufe0f?\s?")
_MARKUP = re.compile(
    r"\*{1,3}|_{2,3}|~~|(?<![^\s])_(?=\w)|(?<=\w)_(?![\w])|</?(?:b|i|strong|em|u|p|br|span|div|mark)\s?/?>",
    re.IGNORECASE,
)
_ROW = re.compile(r"\|?\s*[^|\n]{0,60}\|[^\n]{0,200}")
_SECTION = re.compile(r"(?:evaluation|assessment|rating|score|analysis)\W*$", re.IGNORECASE)
_MARK_ROW = re.compile(
    r"(?:overall |final )?(?:winner|verdict|better|best|preferred|choice|result|decision)", re.IGNORECASE
)
_DECIDES = re.compile(
    rf"{_MARK_ROW.pattern}|total(?: score| points)?|(?:overall|final)(?: score| rating)?|sum|总分|总体|获胜者?|胜者|结论",
    re.IGNORECASE,
)
_TOTAL = re.compile(r"(?P<n>\d{1,4}(?:\.\d{1,3})?)(?:\s?/\s?(?P<of>\d{1,4}))?")
_WON = re.compile(r"[✅✓✔🏆☑️x]+|yes|better|best|winner|wins|won|better ✅|✅ (?:better|winner)|胜|更好", re.IGNORECASE)
_LOST = re.compile(r"[❌✗✘-]+|no|worse|loses|lost|loser|败|较差", re.IGNORECASE)
_MARK_ONLY = re.compile(rf"#{{0,6}}\s{{0,4}}(?:\d[.)] )?{_MARKER}\s{{0,3}}[:=]?", re.IGNORECASE)
_LISTED = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*+•])(?:\s|$)")
_QUOTED_LABEL = re.compile(
    r"(?<=[:=])(\s{0,3})[\"'`“]{1,2}(?P<value>[\w \[\]]{1,16}[.]?)[\"'`”]{1,2}(?=\s*[.!]?\s*$)", re.MULTILINE
)
_LABELLED = re.compile(
    rf"(?:^|\n)[^\S\n]{{0,4}}[*_#>]{{0,4}}\s?{_MARKER}[*_]{{0,3}}\s?[:=]\s{{0,3}}[*_]{{0,3}}\s?[\"'`“]", re.IGNORECASE
)


def _prepared(reply: str) -> str:
    """The reply's own prose: tags and boxes as marked lines, tables as lines, without markup, JSON objects and quotes."""
    text = strip_quotes(reply)
    text = _ARROW.sub(": ", _EMOJI.sub("", text))
    text = _BOXED.sub(lambda m: f"\nverdict: {m['value']}\n", text)
    text = _TAGS.sub(lambda m: f"\nverdict: {m['value']}\n", text)
    text = _RESULT.sub("\nverdict: ", text)
    return _MARKUP.sub("", text)


def _unquoted(match: re.Match) -> str:
    """A quoted label after a marker at the beginning of its line is the judge's own; any other stays quoted."""
    line = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
    bare = _MARKUP.sub("", line).strip(" #:=")
    return f"{match[1]}{match['value']}" if len(bare) < 60 and re.fullmatch(_MARKER, bare, re.IGNORECASE) else match[0]


def _lines(text: str) -> list[str]:
    """The lines, stripped, without blank ones; a heading that is only a marker is joined with the line after it, a table's row is
    "first cell: second cell" if it has no others."""
    found: list[str] = []
    waiting = ""
    columns: list[float | None] = []
    raws = text.splitlines()
    heads = {preference_value(raw) for raw in raws if len(raw) < 60 and _whole_label(raw)}  # both: headings
    last = max((place for place, raw in enumerate(raws) if raw.strip()), default=0)
    for place, raw in enumerate(raws):
        line = raw.strip()
        if not line or not line.strip("-=*_|: "):
            continue
        cells = _cells(line)
        columns = [] if not cells else columns or _columns(cells)
        line = _winner(cells, columns) or _row(line)
        is_head = (len(heads) > 1 or _SECTION.search(waiting)) and _whole_label(line) and place < last
        if waiting and not _LISTED.match(line) and not is_head:
            line = f"{waiting.strip('# ').rstrip(':= ')}: {line}"
        elif waiting and is_head and len(heads) == 1:
            line = f"{line}:"
        waiting = ""
        if len(line) < 60 and _MARK_ONLY.fullmatch(line) and not _whole_label(line):
            waiting = line
            continue
        found.append(line)
    return found


def _whole_label(line: str) -> bool:
    return bool(_WHOLE.fullmatch(line.strip(_EDGE)))


def _cells(line: str) -> list[str]:
    """The cells of a table's row; [] for another line."""
    if len(line) > LONGEST or line.count("|") < 2:
        return []
    return [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def _columns(cells: list[str]) -> list[float | None]:
    """The answer that each column of a table is about, from its first row; [] unless both answers have one column each."""
    found = [_side(whole) if (whole := _WHOLE.fullmatch(_bare(cell))) else None for cell in cells]
    return found if sorted(side for side in found if side) == [-1.0, 1.0] else []


def _winner(cells: list[str], columns: list[float | None]) -> str:
    """A table's row that tells the winner by a mark or by totals in the columns of both answers, as a marked value; "" for any other."""
    if not columns or len(cells) != len(columns) or not _DECIDES.fullmatch(_bare(cells[0])):
        return ""
    given = {side: _bare(cell) for side, cell in zip(columns, cells, strict=True) if side}
    numbers = [_TOTAL.fullmatch(given[side]) for side in (1.0, -1.0)]
    first, second = numbers
    if first and second and first["of"] == second["of"] and not _MARK_ROW.fullmatch(_bare(cells[0])):
        difference = float(first["n"]) - float(second["n"])
        return f"verdict: {'tie' if not difference else 'one' if difference > 0 else 'two'}"
    marked = [side for side, cell in given.items() if _WON.fullmatch(cell)]
    if len(marked) == 1 and all(not cell or _LOST.fullmatch(cell) for side, cell in given.items() if side != marked[0]):
        return f"verdict: {'one' if marked[0] > 0 else 'two'}"
    return ""


def _row(line: str) -> str:
    """A table's row of two cells as a marked value; others unchanged, so that no label in them is alone on its line."""
    if line.count("|") < 1 or len(line) > LONGEST or not _ROW.fullmatch(line):
        return line
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    cells = [cell for cell in cells if cell.strip("- ")]
    return f"{cells[0]}: {cells[1]}" if len(cells) == 2 else f"| {line} |"


# statements --------------------------------------------------------------------------------------------------------------

_CLAUSE = re.compile(
    r"[,;]\s|\s\(|\s-\s|:\s|(?<=\s)(?=(?:because|since|although|though|while|whereas|but|so|therefore|thus|hence|and|which)\s)|(?<=[,;:])(?=[\u4e00-\u9fff])",
    re.IGNORECASE,
)
_CONNECTED = re.compile(
    r"(?:so|therefore|thus|hence|but|and so|overall|i|my|yet|however|consequently)\b", re.IGNORECASE
)
_MARKED = re.compile(rf"{_OPENERS}(?P<mark>{_MARKER})(?P<sep>{_MARK_SEP})(?P<rest>[^\n]{{0,120}})", re.IGNORECASE)
_VALUE = re.compile(
    rf"(?:clearly |therefore |that |i (?:choose|pick|prefer) |(?:i )?go with |is )?(?:not {_named(_NUMBERED, '8')},? but (?:rather )?|not \(?(?:one|two|[12ab])\)?,? but (?:rather )?)?(?P<value>{_NUMBERED}|{_named(_ORDINAL, '1')}|{_CHINESE}|[\[(]?(?P<b>one|two|[12ab])\b[\])]?)(?: ?{_WINS})?{_END}",
    re.IGNORECASE,
)
_TIE_VALUE = re.compile(
    rf"(?:it's |it is |this is |they are )?(?:a |an )?(?:tie|draw|tied|equal(?:ly good)?|c|both (?:answers |responses )?(?:are )?(?:equally good|equal|of (?:equal|similar|the same|comparable) quality)|even){_END}",
    re.IGNORECASE,
)
_COMPARED_VALUE = re.compile(rf"{_COMPARED.pattern}{_END}", re.IGNORECASE)
_STEP_VALUE = re.compile(
    r"(?P<s>[1-7]|one|two|three|four|five|six|seven)(?![A-Za-z0-9])(?:\.0{1,2}\b)?(?:\s?分|\s{0,2}/\s{0,2}7\b| (?:out )?of (?:7|seven)\b)?(?!\s{0,2}[/%]|\s{0,2}-\s{0,2}\d|[.,]\d|\s+(?:or|to|and|out)\b|,\s*\d)"
    r"(?=\s*(?:$|[.!;:,)\]|(]|- |because\b|since\b|as\b))",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    rf"{_OPENERS}(?:(?:on|using) (?:a|the) scale (?:of|from) 1 ?(?:to|-) ?7,? )?(?:(?:i (?:would |'d |'ll |will )?|i'd |i'll )(?:rate|give|score|assign|choose|pick|select|say)|(?:it is|it's)(?= an? ))"
    r"(?: (?:it|this|them|the (?:pair|comparison|two|preference)|a|an|as|at|with|rating|score|strength|number|of))* (?=\w)",
    re.IGNORECASE,
)


def _marked(clause: str, read: "_Form") -> Value | None:
    """The text after a marker at the beginning of a clause ("Final verdict: B", "the better answer is B"); None without one."""
    found = _MARKED.match(clause)
    if not found:
        return None
    mark, is_colon = found["mark"].lower(), bool(re.match(r"\s*(?::|=|->)", found["sep"]))
    if not is_colon and mark.endswith(("final", "overall")):
        return None
    if re.fullmatch(rf"(?:the |a )?{_NOUN}|one|the one", mark) and mark not in (
        "answer",
        "the answer",
        "choice",
        "the choice",
        "output",
    ):
        return None  # "Response: 2" is a heading
    return read.marked(found["rest"].lstrip(" *"))


class _Form(NamedTuple):
    """How the values of a form are read."""

    value: Reading  # of a bracket, a tag, a JSON value, a line
    marked: Callable[[str], Value | None]  # at the beginning of the text after a marker
    spoken: bool  # whether plain sentences give a value
    scale: bool  # whether values are numbers


def _preferred(rest: str) -> Value | None:
    if found := _COMPARED_VALUE.match(rest):
        return preference_value(found[0])
    if _TIE_VALUE.match(rest):
        return 0.0
    found = _VALUE.match(rest)
    if not found:
        return None
    word = next(w for name, w in found.groupdict().items() if w and name != "value")
    return _SIDES[word.lower()]


def _step(rest: str) -> Value | None:
    found = _STEP_VALUE.match(rest)
    return STRENGTHS[_STEPS.get(found["s"].lower(), found["s"])] if found else None


PREFERENCE = _Form(preference_value, _preferred, True, False)
STRENGTH = _Form(strength_value, _step, False, True)


def _statements(reply: str, form: _Form) -> Iterator[Statement]:
    lines = _lines(_prepared(reply))
    yield from _alone(lines, form)
    for line in lines:
        for sentence in sentences(line):
            yield from _said(sentence, form)


def _said(sentence: str, form: _Form) -> Iterator[Statement]:
    """The statements of one sentence."""
    if "[[" in sentence:
        yield from _bracketed(sentence, form)
        return
    if len(sentence) > LONGEST or is_conditional(sentence) or sentence.endswith("?") or _SAID_BY.search(sentence):
        return
    revises = bool(REVISES.match(sentence))
    if TAKES_BACK.match(sentence):
        yield Statement(_PENDING, True)
    reported = False
    for clause, before in _clauses(sentence):
        reported = bool(REPORTS.search(before)) and not _CONNECTED.match(clause)
        if reported or is_order(clause) or is_hedged(clause):
            continue
        value = _marked(clause, form)
        if value is None and form.scale and (given := _GIVEN.match(clause)):
            value = form.marked(clause[given.end() :])
        if value is None and form.spoken and not _SCOPED.search(before) and not _is_aspect(before):
            value = _spoken(clause, before)
            if value == 0 and abstains(before):
                continue
        if value is not None and not _HEADED.match(before):
            yield Statement(value, revises)


_HEADED = re.compile(rf"\W*{_NOUN} (?:one|two|[12ab])\s?:", re.IGNORECASE)  # "Answer 2: ..." is said of that answer
_ASPECT = re.compile(r"\W*[\w/-]+(?: [\w/&-]+){0,4}:\s*", re.IGNORECASE)
_NO_ASPECT = re.compile(
    rf"\W*(?:{_OPENERS})?(?:{_MARKER}|in (?:conclusion|summary|short)|summary|reason(?:ing)?|explanation|analysis|i \w+.*)\W*",
    re.IGNORECASE,
)


def _is_aspect(before: str) -> bool:
    """Whether what stands before a clause only names what it is about: "Accuracy:"."""
    return bool(_ASPECT.fullmatch(before)) and not _NO_ASPECT.fullmatch(before) and not _CONCLUDES.search(before)


_LEADING = re.compile(r"^[^\w(\[|]+")


def _clauses(sentence: str) -> Iterator[tuple[str, str]]:
    """(the text from the beginning of a clause on, the text before it) of each clause."""
    starts = [0, *(m.end() for m in _CLAUSE.finditer(sentence))]
    for start in dict.fromkeys(starts):
        yield _LEADING.sub("", sentence[start:]), sentence[:start]


def _spoken(clause: str, before: str) -> Value | None:
    """The value that a clause of plain words states."""
    for pattern in _PLAIN:
        if found := pattern.match(clause):
            side = _side(found)
            head = found[0].lower()
            if side and not (
                found["b"]
                and found["b"].lower() == "one"
                and re.search(r"\bthan the other|\bone (?:one|answer|response)\b", clause.lower())
            ):
                return side if not re.search(r"\bthan\b.*\b(?:both|before)\b", head) else None
    if found := _ALONE_SO.match(clause):
        return _side(found)
    if (found := _WORSE.match(clause)) and (side := _side(found)) and _side(found, "2") == -side:
        return -side
    if _TIE_CLAUSE.match(clause) or (not before and _TIE_ALONE.fullmatch(clause)):
        return 0.0
    if re.search(r"[\u4e00-\u9fff]", clause) and not _ZH_FOREIGN.search(before):
        if _ZH_TIE.match(clause):
            return 0.0
        head = re.split(r"[,;。]", clause)[0]
        if found := _ZH_WORSE.match(clause):
            side = _side(found)
            return -side if side else None
        if not _ZH_DENIES.search(head):
            for pattern in _ZH:
                if found := pattern.match(clause):
                    return _side(found)
    return None


_LISTING = re.compile(r"[\s,/|()]*(?:or|and|,|/|\||oder|或|、)?[\s,/|()\"'`]*", re.IGNORECASE)
_WRONG_AFTER = re.compile(
    r"\s*(?:is|would be|was|cannot|can't|isn't|seems?|may|might|could)?\s*(?:not\b|wrong\b|incorrect\b|false\b|inappropriate\b|be fair\b|out of\b|be\b|means?\b|stands for\b|if\b|in case\b|when\b|too\b|would\b|\?)"
    rf"|[^.]{{0,60}}?\b(?:in|inside|within|of|by|from|which|that|is what) (?:the )?{_NOUN} (?:one|two|[12ab])\b|[^.]{{0,20}}?\b(?:appears|stands|occurs|is written|is hidden|is planted)\b",
    re.IGNORECASE,
)


MANY = 64  # brackets in a sentence: more are a repetitive reply
_OF_SEVERAL = re.compile(
    rf"\b(?:ignor\w+|disregard\w*|despite|string|phrase|command|token)\b|\b{_NOUN} (?:one|two|[12ab])(?:'s|s)? (?:just |also |only |simply )?(?:has|had|have|shows?|puts?|gives?|prints?|displays?|uses?|carries|repeats|mentions|quotes|slips in|smuggles in|hides|plants)? ?(?:an? |the |its |in )?(?:\w+ )?$"
    r"|\b(?:one|another|each|any) of\b|\beither\b|如果|要求|声称|不是|并非|不应|可能",
    re.IGNORECASE,
)


def _bracketed(sentence: str, form: _Form) -> Iterator[Statement]:
    """The brackets of a sentence that are its author's verdict; a list of them is the format."""
    found = list(_BRACKETS.finditer(sentence))
    if len(found) > MANY or sentence.endswith("?"):
        return
    values = [form.value(bracket[1]) for bracket in found]
    if len(set(values)) > 1 and all(
        _LISTING.fullmatch(sentence, a.end(), b.start()) for a, b in itertools.pairwise(found)
    ):
        if not sentence[: found[0].start()].strip(_EDGE):  # "[[1]] or [[2]]" is two verdicts
            yield from map(Statement, values)
        return
    revises = bool(REVISES.match(sentence))
    for bracket, value in zip(found, values, strict=True):
        before, after = (
            sentence[max(0, bracket.start() - LONGEST) : bracket.start()],
            sentence[bracket.end() :][:LONGEST],
        )
        clause = _CLAUSE.split(before)[-1] if before else ""
        connected = bool(_CONNECTED.match(clause.strip())) or bool(re.search(r"(?:所以|因此|我认为)[^,]*$", before))
        tail = re.split(r"[;.]\s", before)[-1]
        connected = connected or (bool(_CONNECTED.match(tail.strip())) and not REPORTS.search(tail))
        if _IDEAL.match(tail):
            continue
        if is_conditional(before) or is_conditional(after.split(". ")[0]) or _WRONG_AFTER.match(after):
            continue
        if (REPORTS.search(before) and not connected) or is_order(clause) or is_denied(clause) or is_hedged(clause):
            continue
        if _OF_SEVERAL.search(before) and not connected:
            continue
        named = {_side(label) for label in _NAMED.finditer(clause)}
        if isinstance(value, float) and value and named and value not in named:
            continue  # "Answer 1 was written as [[2]]"
        if not _HEADED.fullmatch(before.rstrip()):
            yield Statement(value, revises)


_SAID_BY = re.compile(
    r"[,;] (?:so )?(?:says?|said|claims?|claimed|argues?|writes?|wrote|thinks?|according to|if you ask)\b",
    re.IGNORECASE,
)
_IDEAL = re.compile(r"\W*(?:better|best|ideal|perfect) would be\b", re.IGNORECASE)  # "Better would be: ..."
_NAMED = re.compile(rf"\b{_NUMBERED}", re.IGNORECASE)
_FIRST = re.compile(
    rf"\W{{0,6}}(?:(?P<l>(?-i:[AB]))\s?[).]\s+(?=[^\W\d]|\W)|(?P<w>one|two|[12]|(?-i:[AB])|{_NOUN} (?:one|two|[12ab]))\b\s?(?:\(|[,:)]?\s?-?-?\s?(?=(?:because|since|as)\b)|- |, ))"
    rf"(?!\(?(?:[12]|[AB]|one|two)\b(?! is| {_NOUN}))",
    re.IGNORECASE,
)
_FIRST_TIE = re.compile(
    r"\W{0,6}(?:a )?(?:tie|draw)(?:\s?\(|, (?=both|they|the two|because|since|as\b)| - |,? (?=because|since)\b)",
    re.IGNORECASE,
)
_ONE_IS = re.compile(
    rf"\W{{0,6}}(?P<w>one|two|[12]|(?-i:[AB]))\b is {_ADVERBS}(?:most appropriate|best|better|superior|preferable|correct|right|preferred)(?: (?:{_NOUN}|one|choice))?(?! than the other\b){_END}",
    re.IGNORECASE,
)


def _alone(lines: list[str], form: _Form) -> Iterator[Statement]:
    """Lines that are nothing but a value; lines with the labels of both sides are headings and have none. The first line may continue with a
    reason ("A) because it is true")."""
    labels = [
        (line, form.value(line)) for line in lines if len(line) < 60 and "[[" not in line and not line.endswith(":")
    ]
    labels = [(line, value) for line, value in labels if value != _UNKNOWN]
    numbered = [line for line, _ in labels if re.fullmatch(r"\W*\(?\d[.)]\W*", line)]
    if len(numbered) > 1 or (numbered and len(lines) > 1 and form.scale):
        labels = [(line, value) for line, value in labels if line not in numbered]
    if len({value for _, value in labels}) > 1 and not form.scale:
        if len(labels) == len(lines):
            yield from (Statement(value) for _, value in labels)
        labels = []
    yield from (Statement(value) for _, value in labels)
    if not form.scale and lines:
        first = lines[0][:LONGEST]
        if (found := _ONE_IS.match(first)) and not _SAID_BY.search(first):
            yield Statement(_SIDES[found["w"].lower()])
        elif _FIRST_TIE.match(first):
            yield Statement(0.0)
        elif (found := _FIRST.match(first)) and not is_conditional(first):
            label = (found["l"] or found["w"]).lower().split()[-1]
            others = [line for line in lines[1:] if re.match(r"\W{0,4}[A-J]\s?[).:]\s", line)] if found["l"] else []
            if not others and not is_hedged(first[: found.end() + 20]):
                yield Statement(_SIDES[label])
    elif lines and (found := re.match(r"\W{0,4}(?P<s>[1-7])\s?(?:\(|- |, |: )(?=[a-z])", lines[0], re.IGNORECASE)):
        yield Statement(STRENGTHS[found["s"]])


_KEYS = re.compile(
    r"(?:final_|overall_|my_|the_)*(?:verdict|winner|better|best|better_(?:answer|response|one)|best_(?:answer|response)|preferred(?:_(?:answer|response))?|preference|choice|chosen|answer|result|decision"
    r"|judge?ment|selected|selection|pick|label|conclusion|rating|score|strength|vote|final|better_index|winner_index|ranking|output)"
)


def _from_objects(values: list[_objects.Found], form: _Form) -> Iterator[Statement]:
    """The verdicts of JSON objects, under any of the keys that judges use."""
    for found in values:
        if not isinstance(found.value, dict):
            continue
        inner = [found.value, *(v for v in found.value.values() if isinstance(v, dict))]
        for key, value in ((k, v) for one in inner for k, v in one.items()):
            if (
                _KEYS.fullmatch(_objects.name_of(key))
                and isinstance(value, str | int | float)
                and not isinstance(value, bool)
            ):
                written = str(int(value)) if isinstance(value, float) and value == value // 1 else str(value)
                if not isinstance(value, str) or len(value) < 60:
                    yield Statement(form.value(written.strip("[] ")))


# what is said of both answers, where no verdict is given --------------------------------------------------------------------

_TRUTH = r"(?:accurate|correct|faithful|truthful|helpful|appropriate|suitable|reliable|trustworthy|precise|factual|aligned|consistent|grounded)"
_MORE = _compiled(
    rf"{_OPENERS}{_REF} (?:is|was|seems) (?:much |clearly |slightly |significantly |far |overall |therefore |also )?(?:the )?more (?:factually |visually )?{_TRUTH}(?: and (?:more )?\w+)?"
    rf"(?: {_NOUN}| one)?(?: (?:to|with) (?:the )?(?:image|picture|video|photo|audio|question|visual evidence))?(?: than {_named(_REF, '2')})?(?: overall)?\W*$"
)
_DOES_BETTER = _compiled(
    rf"{_OPENERS}{_REF} (?:describes|answers|matches|captures|reflects|addresses|depicts|represents|follows) (?:the |this |what is )?(?:[a-z]+ )?(?:[a-z]+ )?(?:better|best|more (?:accurately|faithfully|correctly|precisely|truthfully))"
    rf"(?: than {_named(_REF, '2')})?(?: overall)?\W*$"
)
_ZH_MORE = _compiled(
    rf"{_ZH_OPEN}{_ZH_LABEL}(?:的)?(?:描述|回答)?(?:比{_named(_ZH_LABEL, '4')})?(?:明显|显然|略)?更(?:加|为)?(?:准确|忠实|真实|正确|符合图片|符合图像|贴近图片|可靠)(?:的)?。?"
    r"\s*$"
)
_SCORE_KEY = re.compile(
    r"(?:score|rating)?_?(?:of_|for_)?(?:answer|response|assistant|model|option|candidate)?_?(one|two|[12ab])(?:_(?:score|rating))?"
)
_EQUALLY = _compiled(
    rf"{_OPENERS}(?:both|the two|they)(?: {_NOUN}s?)?(?: are|'re) (?:equally|just as) {_TRUTH}(?: and \w+)?(?: overall)?\W*$"
)
_RIGHT = _compiled(
    rf"(?:only )?{_REF} is (?:correct|right|accurate|faithful)(?: to the (?:image|picture|video))?(?:[,;]? (?:while|whereas|but|and)? ?{_named(_REF, '2')} is (?:wrong|incorrect|inaccurate|not(?: correct| right| accurate)?))?\W*"
    rf"|only {_named(_REF, '6')} (?:matches|fits|describes|answers) the (?:image|picture|video|question)(?: correctly)?\W*"
)
_TERSE = _compiled(
    rf"(?:overall,? )?{_REF} (?:much |slightly |clearly )?better(?: overall)?(?:,? (?:because|since|as) [^.\n]{{1,200}})?\W*"
)
_AS_GOOD = _compiled(
    rf"{_OPENERS}{_REF} is (?:just |exactly |about |every bit )?as (?:good|{_TRUTH}) as {_named(_REF, '2')}(?: overall)?\W*$"
)
_SCORED = re.compile(
    rf"(?:{_NUMBERED}|(?:the )(?P<o>first|second)(?: {_NOUN})?|(?P<b>(?-i:[AB])))\s{{0,2}}(?::|=|-|gets?|scores?|receives?|earns?|deserves?|is rated|has|with|\()?\s{{0,2}}(?:a |an )?(?:(?:rating|score) of )?"
    r"(?P<s>\d{1,3}(?:\.\d{1,2})?)(?:\s{0,2}/\s{0,2}(?P<of>\d{1,3})| out of (?P<of2>\d{1,3}))?(?: points?| stars?)?\)?(?![\w%]|[.,]\d)",
    re.IGNORECASE,
)
_SCORE_WORD = re.compile(
    r"/|\b(?:out of|total|points?|stars?|ratings?|scores?|rated?|gets?|receives?|earns?|deserves?)\b", re.IGNORECASE
)
_SCORES_ONLY = re.compile(
    rf"(?:{_OPENERS}(?:(?:the )?(?:final |overall |total )?(?:(?:rating|score)s?|total)(?: are| for| of)?|i (?:would )?(?:rate|give|score)|{QUOTE})?[\s,.;:*#>|/()-]*(?:and|while|whereas|but|vs\.?|{QUOTE})?[\s,.;:*#|/()-]*){{1,6}}",
    re.IGNORECASE,
)


def _of_scores(value: dict[str, Any]) -> float | None:
    """The side with the higher score in {"answer_1": 4, "answer_2": 2}; None for any other object."""
    given = {}
    for key, score in value.items():
        found = _SCORE_KEY.fullmatch(_objects.name_of(key))
        if found and isinstance(score, int | float) and not isinstance(score, bool):
            given[_SIDES[found[1]]] = score
    if set(given) != {1.0, -1.0}:
        return None
    return 0.0 if given[1.0] == given[-1.0] else 1.0 if given[1.0] > given[-1.0] else -1.0


def _compared(prose: str) -> float | None:
    """The side that a reply without a verdict says is true to the image, or scores higher; 0 if both are equally so. None if it says more than
    that of them, or something else of one."""
    text = prose.strip()
    if (
        len(text) <= LONGEST
        and (found := _RIGHT.fullmatch(text) or _TERSE.fullmatch(text))
        and not is_conditional(text)
    ):
        return _side(found) if _side(found) != _side(found, "2") else None
    if len(text) > LONGEST or is_conditional(text) or is_hedged(text) or is_denied(text) or REPORTS.search(text):
        return None
    said = list(sentences(text))
    if len(said) == 1:
        if found := _ZH_MORE.match(said[0]):
            return _side(found)
        if found := _MORE.match(said[0]) or _DOES_BETTER.match(said[0]):
            return _side(found) if _side(found) != _side(found, "2") else None
        if (found := _AS_GOOD.match(said[0])) and _side(found) != _side(found, "2"):
            return 0.0
        if _EQUALLY.match(said[0]):
            return 0.0
    scores = list(_SCORED.finditer(text))
    if len(scores) != 2 or not _SCORE_WORD.search(text) or not _SCORES_ONLY.fullmatch(_SCORED.sub(QUOTE, text)):
        return None
    given = {_side(one): (float(one["s"]), one["of"] or one["of2"]) for one in scores}
    if set(given) != {1.0, -1.0} or given[1.0][1] != given[-1.0][1]:
        return None
    difference = given[1.0][0] - given[-1.0][0]
    return 0.0 if not difference else 1.0 if difference > 0 else -1.0


def preference(text: str, tie: bool = True) -> ParsedReply[float]:
    """Which of two answers is better: 1 the first, -1 the second, 0 (outcome tie) neither.

    Two statements that differ are unparsable, and a tie if `tie` is false."""
    return _agreed(text, PREFERENCE, tie)


def strength(text: str, tie: bool = True) -> ParsedReply[float]:
    """By how much the first of two answers is better, 3 to -3, from a rating of 1 (first much better), 4 (equal) to 7 (second much better).

    Parsed like `preference`, but only from numbers; a 4 is unparsable if `tie` is false."""
    return _agreed(text, STRENGTH, tie)


def _agreed(text: str, form: _Form, tie: bool) -> ParsedReply[float]:
    reply = folded(text)
    if reply is None:
        return ParsedReply(Outcome.UNPARSABLE)
    own = _objects.own_words(_QUOTED_LABEL.sub(_unquoted, reply))
    objects = [found for found in map(_single, _objects.values_in(own)) if isinstance(found.value, dict)]
    statements = [*_from_objects(objects, form), *_statements(_objects.without_objects(own, objects, "\n"), form)]
    revised = [place for place, statement in enumerate(statements) if statement.revises]
    values = {statement.value for statement in (statements[revised[-1] :] if revised else statements)}
    values -= {_PENDING}
    if values == {_ABSTAIN}:
        return ParsedReply(Outcome.ABSTAIN)
    if not statements:
        outcome = outcome_without_verdict(text)
        compared = None
        if form.spoken and outcome is Outcome.UNPARSABLE:
            rest = _prepared(_objects.without_objects(own, objects, "\n"))
            compared = (
                _of_scores(objects[0].value) if len(objects) == 1 and not re.search(r"\d", rest) else _compared(rest)
            )
        if compared is None:
            return ParsedReply(outcome)
        values = {compared}
    if len(values) != 1 or _UNKNOWN in values:
        return ParsedReply(Outcome.UNPARSABLE)
    (value,) = values
    if not isinstance(value, float) or not (value or tie):
        return ParsedReply(Outcome.UNPARSABLE)
    return ParsedReply(Outcome.VERDICT if value else Outcome.TIE, value)


def _single(found: _objects.Found) -> _objects.Found:
    """The object in a list of one."""
    value = found.value
    return found._replace(value=value[0]) if isinstance(value, list) and len(value) == 1 else found
