"""What a clause of plain words says of two answers, in English and Chinese."""

import re
from typing import Any

from annotators.judge import _objects
from annotators.judge._labels import (
    ADVERBS,
    BE,
    BEATEN,
    CHINESE,
    END,
    NOUN,
    NUMBERED,
    PREDICATE,
    REF,
    SIDES,
    WINS,
    ZH_NOUN,
    Value,
    compiled,
    named,
    side_of,
)
from annotators.judge._reply import LONGEST, QUOTE, REPORTS, is_conditional, is_denied, is_hedged, sentences

OPENERS = (
    r"(?:(?:so|thus|therefore|hence|overall|in conclusion|in summary|to conclude|to summarize|in the end|ultimately|finally|all in all|on balance|in short|in sum|in total|consequently|accordingly"
    r"|clearly|as a result|for (?:this|these|that) reasons?|that said|still|nevertheless|nonetheless|however|but|and|then|yes|okay|ok|well|sure|actually|no doubt|no|wait|this means|which means|meaning"
    r"|i (?:would |'d |do |also |clearly |firmly |strongly |still |now |must |have to )?(?:think|believe|feel|say|find|judge|conclude|consider|rate|decide|determine|maintain)(?: that)?"
    r"|i'd (?:say|judge|conclude)(?: that)?|we (?:can )?conclude(?: that)?|in my (?:opinion|view|judge?ment|assessment)|it is clear(?: that)?|it's clear(?: that)?|i am confident(?: that)?|i'm confident(?: that)?"
    r"|on reflection|on second thoughts?|correction|there is no doubt that|without (?:a )?doubt|based on (?:this|these|the above|that|my analysis|the analysis|the image)|given (?:this|these|the above|that)|at the end"
    r"|my|the|that|because|since|here)[\s,:]++){0,6}"
)
_I_PREFER = r"i (?:would |will |do |clearly |strongly |slightly |therefore |thus |still |would still |have to |'d |'ll )?(?:slightly )?(?:choose|pick|select|prefer|favou?r|go with|vote for|opt for|side with|lean (?:towards?|to)|judge|rate|declare|am going with|give it to|give the (?:win|edge|nod|victory) to|consider)|i'm going with|i'(?:d|ll) (?:choose|pick|select|prefer|favou?r|go with|vote for|opt for|lean (?:towards?|to)|rate|judge|consider)|slightly prefer|(?:a )?(?:slight |clear |strong |mild |small )?(?:preference (?:for|goes to)|edge (?:to|for|goes to))|(?:choosing|my vote goes to|the nod goes to|the win goes to|the edge goes to)"
_PLAIN = [
    compiled(rf"{OPENERS}{REF}(?:,? (?:therefore|thus|overall|clearly),?)? ?{WINS}{END}"),
    compiled(rf"{OPENERS}(?:{_I_PREFER}) {REF}(?: (?:as |to be |to come out )?{PREDICATE}| higher| as the winner| the winner)?{END}"),
    compiled(rf"{OPENERS}(?:i )?(?:rate|judge|choose|decide|conclude|vote|pick|prefer)\b[^:,;]{{0,40}}: {REF}\W*$"),
    compiled(rf"{OPENERS}{REF} (?:clearly |slightly |narrowly )?{BEATEN} {named(REF, '2')}{END}"),
]  # fmt: skip
_ALONE_SO = compiled(
    r"\W*(?:so|thus|therefore|hence|consequently|overall|in conclusion|finally|ultimately|clearly|definitely|all in all|on balance|without (?:a )?doubt)[\s,:]+(?:it is |it's |i (?:say|choose|pick)[,:]? )?"
    + REF
    + r"\W*$"
)
_TIE_CLAUSE = compiled(
    rf"{OPENERS}(?:(?:it|this|that|the result|the comparison|the verdict|they)(?:'s| is| are|'re| ends in) (?:a |an |therefore a |thus a |essentially a )?(?:tie|draw|tied)"
    rf"|(?:they|both|the two|both (?:{NOUN}s?))(?: are|'re) (?:exactly |essentially |basically |virtually |practically )?(?:the same|identical|equivalent|on par|comparable|evenly matched)"
    rf"|(?:there(?: is|'s)|i (?:see|find)) no (?:real |clear |significant |meaningful )?difference(?: in quality)?(?: between (?:them|the (?:two|answers|responses|two answers|two responses)|both))?(?: in quality)?"
    rf"|neither(?: {NOUN}| one)?(?: of (?:them|the two))? is (?:clearly |really )?better(?: than the other)?"
    rf"|i (?:would |'d )?(?:call|declare|rate|judge|consider) (?:it|this|them) (?:as )?(?:a )?(?:tie|draw|equal)"
    rf"|(?:both|the two|they)(?: {NOUN}s?)?(?: are| seem)? (?:equally good|tied|of (?:equal|similar|the same|comparable) quality|equal in quality|equally good overall)"
    rf"|{NOUN}s? (?:1|a|one) and (?:{NOUN} )?(?:2|b|two) are (?:equally good|tied|equal|of equal quality)|equally good){END}"
)
_WORSE = compiled(
    rf"{OPENERS}{REF} {BE} {ADVERBS}(?:worse|inferior|weaker|less accurate|less faithful|less correct|less helpful)(?: {NOUN})? (?:than|to) {named(REF, '2')}(?: overall)?(?=\s*(?:$|[.!;]))"
)
_TIE_ALONE = compiled(r"(?:a |an )?(?:tie|draw)\W*")
_ZH_OPEN = r"(?>因此|所以|综上所述|综上|总的来说|总体而言|总体来说|总之|我认为|我觉得|最终|故|显然|整体上|整体而言|但是?|而|那么|我的结论是|可见|我选择|我更?倾向于|我更喜欢|我选|选择|选|而?是|[,:\s])*"
_ZH_LABEL = rf"(?:{CHINESE}|(?P<b>(?-i:[AB12]))(?![A-Za-z0-9]))"
_ZH = [
    compiled(rf"{_ZH_OPEN}{_ZH_LABEL}\s?(?:的)?(?:质量|整体|总体)?(?:明显|略微|略|稍微|稍|显然|总体上|整体上|相对|是|更|要|比{named(_ZH_LABEL, '2')}|为){{0,4}}(?:更好|较好|最好|更优|更佳|较佳|好一些|优于.{{1,8}}|胜出|获胜|胜过.{{1,8}}|好|更胜一筹)(?:的)?(?:一个|回答|答案)?(?=\s*(?:$|[,.。!;:(]))"),
    compiled(rf"{_ZH_OPEN}(?:我选择|我更?倾向于|我更喜欢|我选|选择|选|更好的是){_ZH_LABEL}(?=\s*(?:$|[,.。!;:(]))"),
    compiled(rf"{_ZH_OPEN}(?:最终|我的|总体|综合|更好的|较好的|最好的|最佳|更优的|优胜的|胜出的|最后的?)*(?:结论|判断|判定|裁决|答案|回答|回复|选择|评价|结果|胜者|获胜者|偏好)(?:应该是|是|为|:)[:\s]*{_ZH_LABEL}(?:更好|较好|更优|胜出|获胜)?(?=\s*(?:$|[,.。!;:(]))"),
]  # fmt: skip
_ZH_WORSE = compiled(
    rf"{_ZH_OPEN}{_ZH_LABEL}(?:的)?(?:质量|整体|总体)?(?:明显|显然|略|稍)?(?:不如|不及|劣于|差于|逊于|比(?={named(_ZH_LABEL, '3')}(?:更|要)?差)){named(_ZH_LABEL, '2')}(?:更|要)?差?(?:好)?(?=\s*(?:$|[,.。!;:(]))"
)
_ZH_TIE = compiled(
    rf"{_ZH_OPEN}+(?:两个?{ZH_NOUN}?|两者|二者|它们|都|结果|最终|结论|是|为|[:\s])*(?:一样好?|同样好|不分上下|不相上下|没有(?:明显)?(?:差别|区别)|不分伯仲|平局|打平|平手|旗鼓相当|难分高下|质量相当)(?=\s*(?:$|[,.。!;:]))"
)
_ZH_FOREIGN = re.compile(r"如果|若|假如|假设|要求|声称|说[:,“]|除非")
_ZH_DENIES = re.compile(rf"不|没|并非|可能|也许|或许|{_ZH_FOREIGN.pattern}")


def spoken(clause: str, before: str) -> Value | None:
    """The value that a clause of plain words states."""
    for pattern in _PLAIN:
        if found := pattern.match(clause):
            side = side_of(found)
            head = found[0].lower()
            if side and not (
                found["b"]
                and found["b"].lower() == "one"
                and re.search(r"\bthan the other|\bone (?:one|answer|response)\b", clause.lower())
            ):
                return side if not re.search(r"\bthan\b.*\b(?:both|before)\b", head) else None
    if found := _ALONE_SO.match(clause):
        return side_of(found)
    if (found := _WORSE.match(clause)) and (side := side_of(found)) and side_of(found, "2") == -side:
        return -side
    if _TIE_CLAUSE.match(clause) or (not before and _TIE_ALONE.fullmatch(clause)):
        return 0.0
    if re.search(r"[\u4e00-\u9fff]", clause) and not _ZH_FOREIGN.search(before):
        if _ZH_TIE.match(clause):
            return 0.0
        head = re.split(r"[,;。]", clause)[0]
        if found := _ZH_WORSE.match(clause):
            side = side_of(found)
            return -side if side else None
        if not _ZH_DENIES.search(head):
            for pattern in _ZH:
                if found := pattern.match(clause):
                    return side_of(found)
    return None


# what is said of both answers, where no verdict is given --------------------------------------------------------------------

_TRUTH = r"(?:accurate|correct|faithful|truthful|helpful|appropriate|suitable|reliable|trustworthy|precise|factual|aligned|consistent|grounded)"
_MORE = compiled(
    rf"{OPENERS}{REF} (?:is|was|seems) (?:much |clearly |slightly |significantly |far |overall |therefore |also )?(?:the )?more (?:factually |visually )?{_TRUTH}(?: and (?:more )?\w+)?"
    rf"(?: {NOUN}| one)?(?: (?:to|with) (?:the )?(?:image|picture|video|photo|audio|question|visual evidence))?(?: than {named(REF, '2')})?(?: overall)?\W*$"
)
_DOES_BETTER = compiled(
    rf"{OPENERS}{REF} (?:describes|answers|matches|captures|reflects|addresses|depicts|represents|follows) (?:the |this |what is )?(?:[a-z]+ )?(?:[a-z]+ )?(?:better|best|more (?:accurately|faithfully|correctly|precisely|truthfully))"
    rf"(?: than {named(REF, '2')})?(?: overall)?\W*$"
)
_ZH_MORE = compiled(
    rf"{_ZH_OPEN}{_ZH_LABEL}(?:的)?(?:描述|回答)?(?:比{named(_ZH_LABEL, '4')})?(?:明显|显然|略)?更(?:加|为)?(?:准确|忠实|真实|正确|符合图片|符合图像|贴近图片|可靠)(?:的)?。?"
    r"\s*$"
)
_SCORE_KEY = re.compile(
    r"(?:score|rating)?_?(?:of_|for_)?(?:answer|response|assistant|model|option|candidate)?_?(one|two|[12ab])(?:_(?:score|rating))?"
)
_EQUALLY = compiled(
    rf"{OPENERS}(?:both|the two|they)(?: {NOUN}s?)?(?: are|'re) (?:equally|just as) {_TRUTH}(?: and \w+)?(?: overall)?\W*$"
)
_RIGHT = compiled(
    rf"(?:only )?{REF} is (?:correct|right|accurate|faithful)(?: to the (?:image|picture|video))?(?:[,;]? (?:while|whereas|but|and)? ?{named(REF, '2')} is (?:wrong|incorrect|inaccurate|not(?: correct| right| accurate)?))?\W*"
    rf"|only {named(REF, '6')} (?:matches|fits|describes|answers) the (?:image|picture|video|question)(?: correctly)?\W*"
)
_TERSE = compiled(
    rf"(?:overall,? )?{REF} (?:much |slightly |clearly )?better(?: overall)?(?:,? (?:because|since|as) [^.\n]{{1,200}})?\W*"
)
_AS_GOOD = compiled(
    rf"{OPENERS}{REF} is (?:just |exactly |about |every bit )?as (?:good|{_TRUTH}) as {named(REF, '2')}(?: overall)?\W*$"
)
_SCORED = re.compile(
    rf"(?:{NUMBERED}|(?:the )(?P<o>first|second)(?: {NOUN})?|(?P<b>(?-i:[AB])))\s{{0,2}}(?::|=|-|gets?|scores?|receives?|earns?|deserves?|is rated|has|with|\()?\s{{0,2}}(?:a |an )?(?:(?:rating|score) of )?"
    r"(?P<s>\d{1,3}(?:\.\d{1,2})?)(?:\s{0,2}/\s{0,2}(?P<of>\d{1,3})| out of (?P<of2>\d{1,3}))?(?: points?| stars?)?\)?(?![\w%]|[.,]\d)",
    re.IGNORECASE,
)
_SCORE_WORD = re.compile(
    r"/|\b(?:out of|total|points?|stars?|ratings?|scores?|rated?|gets?|receives?|earns?|deserves?)\b", re.IGNORECASE
)
_SCORES_ONLY = re.compile(
    rf"(?>{OPENERS}(?:(?:the )?(?:final |overall |total )?(?:(?:rating|score)s?|total)(?: are| for| of)?|i (?:would )?(?:rate|give|score)|{QUOTE})?[\s,.;:*#>|/()-]*+(?:and|while|whereas|but|vs\.?|{QUOTE})?[\s,.;:*#|/()-]*+){{1,6}}",
    re.IGNORECASE,
)


def of_scores(value: dict[str, Any]) -> float | None:
    """The side with the higher score in {"answer_1": 4, "answer_2": 2}; None for any other object."""
    given = {}
    for key, score in value.items():
        found = _SCORE_KEY.fullmatch(_objects.name_of(key))
        if found and isinstance(score, int | float) and not isinstance(score, bool):
            given[SIDES[found[1]]] = score
    if set(given) != {1.0, -1.0}:
        return None
    return 0.0 if given[1.0] == given[-1.0] else 1.0 if given[1.0] > given[-1.0] else -1.0


def compared(prose: str) -> float | None:
    """The side that a reply without a verdict says is true to the image, or scores higher; 0 if both are equally so. None if it says more than
    that of them, or something else of one."""
    text = prose.strip()
    if (
        len(text) <= LONGEST
        and (found := _RIGHT.fullmatch(text) or _TERSE.fullmatch(text))
        and not is_conditional(text)
    ):
        return side_of(found) if side_of(found) != side_of(found, "2") else None
    if len(text) > LONGEST or is_conditional(text) or is_hedged(text) or is_denied(text) or REPORTS.search(text):
        return None
    said = list(sentences(text))
    if len(said) == 1:
        if found := _ZH_MORE.match(said[0]):
            return side_of(found)
        if found := _MORE.match(said[0]) or _DOES_BETTER.match(said[0]):
            return side_of(found) if side_of(found) != side_of(found, "2") else None
        if (found := _AS_GOOD.match(said[0])) and side_of(found) != side_of(found, "2"):
            return 0.0
        if _EQUALLY.match(said[0]):
            return 0.0
    scores = list(_SCORED.finditer(text))
    if len(scores) != 2 or not _SCORE_WORD.search(text) or not _SCORES_ONLY.fullmatch(_SCORED.sub(QUOTE, text)):
        return None
    given = {side_of(one): (float(one["s"]), one["of"] or one["of2"]) for one in scores}
    if set(given) != {1.0, -1.0} or given[1.0][1] != given[-1.0][1]:
        return None
    difference = given[1.0][0] - given[-1.0][0]
    return 0.0 if not difference else 1.0 if difference > 0 else -1.0
