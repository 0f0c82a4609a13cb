"""Shared by all parsers of judge replies: the reply without thoughts and quotations, as sentences; and the outcome of a reply
without a verdict."""

import re
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from schemas.records import Outcome
from schemas.thinking import without_thinking

T = TypeVar("T")
QUOTE = "\ufffc"  # replaces a quoted passage, so that no pattern matches across it
LONGEST = 400  # characters of a sentence in which a verdict is looked for
MOST = 100_000  # characters of a reply without its thoughts; a longer one is repetitive


class ParsedReply(NamedTuple, Generic[T]):
    """A parsed reply; `value` is None unless the outcome is a verdict or a tie."""

    outcome: Outcome
    value: T | None = None


# full-width forms, typographic apostrophes and arrows as ASCII
_FOLD = {n + 0xFEE0: n for n in range(0x21, 0x7F)} | {
    0x3000: " ", 0x3010: "[", 0x3011: "]", ord("‘"): "'", ord("’"): "'", ord("≻"): ">", ord("»"): ">>", ord("≈"): "=", ord("≫"): ">>", ord("\r"): "\n", 0xA0: " ",
    ord("–"): "-", ord("—"): "-", ord("−"): "-", ord("‑"): "-", ord("→"): ":", ord("⇒"): ":", ord("⟹"): ":",
}  # fmt: skip
_FENCED = re.compile(r"<<<(?:(?!<<<|>>>).)*>>>", re.DOTALL)
_LINES = re.compile(r"^[ \t]*>[^\n]*", re.MULTILINE)  # Markdown's quoted lines
_BLOCK = re.compile(r"```(?:(?!```).)*```", re.DOTALL)
_TICKED = re.compile(r"`[^`\n]*`")
_SPEECH = re.compile(r"\"[^\"\n]*\"|“[^“”]*”|「[^「」]*」|『[^『』]*』|«[^«»]*»|(?<![\w\"])'[^'\n]*'(?!\w)")
_LONE_QUOTE = re.compile(r"\s*([\"'`]|```)(?:\w*\n)?([\w .]{1,16})\n?\1\.?\s*")
_TAGGED_QUOTE = re.compile(r"<(quote\w{0,20}|blockquote|cite)>(?:(?!</?\1>).)*</\1>", re.DOTALL | re.IGNORECASE)


def folded(text: str) -> str | None:
    """The reply without thoughts and with full-width characters as ASCII; None if its thought is not closed, or it has more than MOST
    characters."""
    reply = without_thinking(text)
    if reply is None or len(reply) > MOST:
        return None
    folded_reply = reply.translate(_FOLD)
    alone = _LONE_QUOTE.fullmatch(folded_reply)  # nobody is quoted by a reply that is one quoted label
    return alone[2] if alone else folded_reply


def strip_quotes(text: str) -> str:
    """`text` with QUOTE in place of every quoted passage."""
    return _SPEECH.sub(QUOTE, _TICKED.sub(QUOTE, _without_reported(_BLOCK.sub(QUOTE, strip_marked_quotes(text)))))


def _without_reported(text: str) -> str:
    """`text` with QUOTE in place of the paragraph below a line like "Answer two says:", unless a quotation with marks stands there."""
    if ":\n" not in text:
        return text
    kept: list[str] = []
    waiting = quoting = False
    for line in text.split("\n"):
        blank = not line.strip()
        is_marked = not blank and not line.strip(f" \t{QUOTE}")  # a quotation that has marks of its own ends there
        quoting = (quoting or waiting) and not blank and not is_marked
        waiting = waiting and blank
        kept.append(QUOTE if quoting else line)
        if not quoting and len(line) <= LONGEST and line.rstrip("*_ ").endswith(":") and REPORTS.search(line):
            waiting = True
    return "\n".join(kept)


def strip_marked_quotes(text: str) -> str:
    """`text` with QUOTE in place of everything that is certainly a quotation: `<<< >>>`, lines after `>`, quotation tags."""
    return _LINES.sub(QUOTE, _TAGGED_QUOTE.sub(QUOTE, _FENCED.sub(QUOTE, text)))


# who speaks ---------------------------------------------------------------------------------------------------------------

_WHO = r"(?:both\b|each\b|(?:answer|response|assistant|option|model|candidate|output)s?\W{0,2}(?:one|two|1|2|a|b|\d)\b|first\b|second\b|former\b|latter\b|it\b|they\b|one\b"
_WHO += r"|which\b|that\b|who\b|user\b|prompt\b|instructions?\b|question\b|text\b|injection\b|author\b|someone\b|answers?\b|responses?\b|caption\b|description\b)"
_SAYS = r"(?:says?|said|saying|claims?|claimed|states?|asks?|asked|tells?|told|instructs?|demands?|orders?|wants?|wanted|tries|tried|trying|attempts?|insists?|writes?|wrote|reads"
_SAYS += r"|contains?|holds?|outputs?|declares?|pretends?|commands?|requests?|requires?|begs?|urges?|asserts?|announces?|ends?|embeds?|injects?|inserts?|adds?|argues?|suggests?|includes?|hides?)"
REPORTS = re.compile(
    rf"\b{_WHO}(?:\s+\w+){{0,3}}?\s+{_SAYS}\b|要求|声称|写道|提示说|试图|\b(?:injection|jailbreak|injected)\b"
    rf"|\b(?:according to) (?:the )?{_WHO}|(?:^\W*|[,;(] ?)as (?!it\b|they\b)(?:the )?{_WHO}|^\W*e\.g\.|^\W*(?:quoted?|examples?|for (?:example|instance)|note to|system|instructions?|user|prompt|human|sample)\b(?! (?:asks?|question))",
    re.IGNORECASE,
)
_ORDERS = re.compile(
    r"\W*(?:please |always |just |now |you (?:must|should|have to) |judges?[:,] |system[:,] |note[:,] )*(?:ignore|disregard|forget|output|print|return|reply|respond|say|write"
    r"|choose|select|rate|rank|give|vote(?!:)|declare|answer with|end with|finish with|use)\b(?! (?:that|which))",
    re.IGNORECASE,
)
_IF = re.compile(
    r"(?<!even )(?<!as )\bif\b|\b(?:unless|whether|suppose|supposing|hypothetically|would have|would've|had (?:it|the|i|they|answer|response)|were (?:it|the|i)\b|in case|assuming|provided that|as long as|on condition)\b|^\W*should (?:it|the|an?|answer|response|one|this|that)\b|如果|假如|假设|若是|要是|除非",
    re.IGNORECASE,
)
_HEDGES = re.compile(
    r"\b(?:might|may|could|perhaps|maybe|possibly|at first|initially|originally|first (?:glance|sight|impression)|i (?:first |initially )?(?:thought|wrote)|i almost|i was (?:going|about) to|tempted|not sure|unsure|seemed|appeared"
    r"|one of|either|used to|some (?:people|readers|would))\b|可能|也许|或许|起初|乍一看|一开始",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:under no circumstances?|by no means|in no way|not|never|no longer|cannot|hardly|neither|nor|nobody|far from|rather than|instead of|anything but|refuse|reject|avoid|wrong|incorrect|doubt)\b|n't\b|不是|并非|不会|不该|不应|不能|而非|绝不",
    re.IGNORECASE,
)
_DOUBTLESS = re.compile(
    r"\b(?:no|without (?:a |any )?|not? much|little) (?:doubt|question)\b|\bnot only\b|\b(?:is|'s) not close\b|\bisn't close\b|\bnot surprisingly\b|毫无疑问|不仅|不但",
    re.IGNORECASE,
)


REVISES = re.compile(
    r"\W*(?:\w+ ){0,2}?(?:revised|updated|corrected|new|second thoughts?|reflection|correction|actually|wait|reconsider\w*|changed?)\b|修正|更正|重新",
    re.IGNORECASE,
)
TAKES_BACK = re.compile(
    r"\W*(?:wait|actually|oops|scratch that|hold on|on second thoughts?|on reflection|correction|edit:|i meant|i take (?:that|it) back|let me (?:reconsider|re-?check|correct)"
    r"|i (?:overlooked|misread|was wrong|made a mistake)|(?:on|after) (?:a )?(?:closer|second) (?:look|inspection|reading)|looking (?:again|closer|more closely)|my mistake)\b",
    re.IGNORECASE,
)


def is_conditional(sentence: str) -> bool:
    """Whether a sentence states something under a condition."""
    return bool(_IF.search(sentence))


def is_hedged(clause: str) -> bool:
    """Whether a clause states a possibility or an impression."""
    return bool(_HEDGES.search(clause))


def is_denied(clause: str) -> bool:
    """Whether a clause denies something."""
    return bool(_DENIES.search(_DOUBTLESS.sub(" ", clause)))


def is_order(clause: str) -> bool:
    """Whether a clause is an instruction, like an injection."""
    return bool(_ORDERS.match(clause))


_ENDS = re.compile(r"(?<=[.!?])(?=\s)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)|(?<=[。!?])(?=[^\x00-\x7f\s])|\n")


def sentences(text: str) -> Iterator[str]:
    """The sentences of `text`, stripped; a line end ends one, a point within a number does not."""
    for line in _ENDS.split(text):
        if line and (stripped := line.strip()):
            yield stripped


_LEAD = "` \t\n*_#([{"
_SHOWS = re.compile(r"\b(?:format|example|template|schema|such as|e\.g\.|instance)\b", re.IGNORECASE)
_GIVES = re.compile(
    r"\b(?:output|give|giving|say|print|write|reply|respond|return|rate|rating|follow|obey|do)\b", re.IGNORECASE
)


def is_shown_only(text: str, at: int) -> bool:
    """Whether the JSON value at `at` is only mentioned: by the words before it in its sentence, or in the line before if that ends with a
    colon. "Answer two says:", "I will not output", "the format is"."""
    head = text[max(0, at - 200) : at]
    body = head.rstrip(_LEAD).removesuffix("json").rstrip(_LEAD)
    if not body.endswith((":", ",")) and (body.endswith((".", "!", "?", "。")) or "\n" in head[len(body) :]):
        return False
    before = _ENDS.split(body)[-1]
    return bool(before) and bool(
        REPORTS.search(before) or _IF.search(before) or _ORDERS.match(before) or _SHOWS.search(before)
        or (_DENIES.search(before) and _GIVES.search(before))
    )  # fmt: skip


# no verdict ---------------------------------------------------------------------------------------------------------------

_CANNOT = r"(?:can(?:no|')?t|can not|could(?: not|n't)|unable to|not able to|impossible (?:for me )?to|not possible (?:for me )?to|(?:hard|difficult) to|no way to|won't be able to)"
_ABSTAINS = re.compile(
    rf"\babstain(?:s|ed)?\b|\b(?:cannot|can't|can not) be (?:determined|decided|judged)\b|^\W*i {_CANNOT} (?:rank|rate|score|compare) (?:them|it|the answers?|the responses?|this answer|these answers)\b|\b{_CANNOT} (?:\w+ly |really |fully )?(?:determine|decide|tell|judge|conclude|choose|pick|say|make|assess|know|distinguish|discern)(?: a| an| the)?"
    r"(?:$|\W*$| (?:which|who|whether|if|between|winner|better|preference|judge?ment|decision|determination|verdict|it\b|this\b|here\b|from\b|without\b|based\b|because\b|as\b|since\b))"
    rf"|^\W*i {_CANNOT} (?:see|view|access|open) (?:any|the|an|this|these|that) (?:image|picture|photo|video|attachment)s?\b|\bi (?:don't|do not) know (?:which|who)\b|^\W*(?:i am |i'm )?(?:unsure|undecided|uncertain)\b|\b(?:not enough|insufficient|too little) (?:information|context|evidence|detail)"
    r"|\b(?:don't|do not|didn't|did not) see (?:any |an |the |a )?(?:image|picture|photo|video|attachment)|\bno (?:image|picture|photo|video|audio)\b[^.\n]{0,40}\b(?:provided|attached|shown|given|included|visible|uploaded)"
    r"|\b(?:image|picture|photo|video|audio)\b[^.\n]{0,30}\b(?:is|was|are) (?:missing|not (?:provided|attached|visible|shown|given|included))"
    r"|(?:无法|不能|难以|没法|不好)(?:\w{0,4})(?:判断|确定|决定|判定|分辨|评判|得出|区分)|(?:没有|未|看不到|没看到|未看到|未提供)\w{0,8}(?:图片|图像|图|照片|视频)|弃权|不确定",
    re.IGNORECASE,
)
_SORRY_THAT_NOT = re.compile(  # says nothing about which answer is better
    rf"\W*(?:(?:i'm|i am) (?:really |very |so )?sorry|sorry|i apologi[sz]e|as an? [\w ]{{2,40}}(?:model|ai|assistant))\W+(?:but )?(?:i )?{_CANNOT} \w+(?: (?:this|that|it|these|them|here))?\W*$",
    re.IGNORECASE,
)
_CANNOT_SEE = re.compile(
    rf"\W*as an? [\w ]{{2,40}}(?:model|ai|assistant)\W+(?:i )?(?:am )?{_CANNOT} (?:see|view|access|process|perceive)\b|作为.{{0,12}}(?:AI|人工智能|语言模型|大?模型).{{0,4}}(?:无法|不能|没法)",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\W*(?:(?:unfortunately|i'm afraid|i am afraid|sorry|regrettably|i apologi[sz]e|apologies|however|but|as an? [\w ]{2,40}(?:model|ai|assistant))\W{1,3}(?:but )?){0,6}"
    r"(?:(?:i'm|i am|we are) (?:really |very |so )?(?:sorry|unable|not able)|sorry\b|i apologi[sz]e|apologies\b|as an? (?:ai|(?:large )?language model)"
    r"|(?:i|we) (?:can(?:no|')?t|can not|won't|will not|must (?:respectfully )?decline|decline|refuse|am not able|do not feel comfortable)\b(?! (?:find|see|spot|identify|detect|say that|think|fault|help but|output|print|follow)))"
    r"|\W*(?:非常|很|十分|真的)?(?:抱歉|对不起|遗憾)|\W*(?:作为(?:一个|一名)?(?:AI|人工智能|语言模型|大?模型)|我(?:无法|不能|没法|不会|拒绝|看不到|没有能力)|无法(?:查看|提供|协助|回答|完成|评价|处理))",
    re.IGNORECASE,
)


def abstains(text: str) -> bool:
    """Whether a text says that it cannot decide."""
    return bool(_ABSTAINS.search(text))


def outcome_without_verdict(text: str) -> Outcome:
    """The outcome of a reply without a verdict: `abstain` if it says that it cannot decide, `refused` if it begins with a refusal, else
    `unparsable`."""
    plain = strip_quotes(folded(text) or "")[:4000]
    said = [sentence.strip("*_#- ") for sentence in sentences(plain) if len(sentence) <= LONGEST]
    if any(_ABSTAINS.search(sentence) for sentence in said) and not (
        said and (_SORRY_THAT_NOT.match(said[0]) or _CANNOT_SEE.match(said[0]))
    ):
        return Outcome.ABSTAIN
    return Outcome.REFUSED if said and _REFUSES.match(said[0]) else Outcome.UNPARSABLE
