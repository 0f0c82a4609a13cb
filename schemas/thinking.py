"""The thoughts of a reply, as model families write them, and the reply without them.

What a model thinks before it replies contains drafts ("maybe [[1]]") that are not its reply. Most servers move thoughts into a separate
field; otherwise the thought is in the text, between marks. A chat template may open the thought in the prompt, so that only the
mark that closes it is in the reply."""

import re

# marks that open and close a thought
TAGS = "think|thinking|thought|thoughts|reasoning|analysis|scratchpad|reflection|inner_monologue|seed:think"  # Qwen, DeepSeek, GLM, EXAONE, Seed
PAIRS = (
    (rf"<(?:{TAGS})>", rf"</(?:{TAGS})>"),
    (r"\[THINK\]", r"\[/THINK\]"),  # Magistral
    (r"◁think▷", r"◁/think▷"),  # Kimi
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # OpenThinker, Sky-T1
    (r"<unused94>(?:thought)?", r"<unused95>"),  # MedGemma
    (r"<\|channel>thought", r"<channel\|>"),  # Gemma 4
    (r"<details type=\"reasoning\"[^<>\n]{0,200}>", r"</details>"),  # Open WebUI
)
_OPENS = "|".join(opens for opens, _ in PAIRS)
_CLOSES = "|".join(closes for _, closes in PAIRS)
_CLOSE = re.compile(_CLOSES, re.IGNORECASE)
_INLINE = r"`[^`\n]*`|(?<!\w)\"[^\"\n]*\"(?!\w)|“[^“”\n]*”"  # a mark in here is a quotation
_MARK = re.compile(rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})|{_INLINE}", re.IGNORECASE)
_CLOSED_IN_LINE = re.compile(rf"[^\n]{{0,200}}?(?:{_CLOSES})", re.IGNORECASE)
_HEADED = (  # thoughts between headings; the text must begin with the first one
    (
        re.compile(r"\s*Here is my thought process:"),
        re.compile(r"^\W{0,4}Here is my response:", re.MULTILINE),
    ),  # Granite 3.2
    (re.compile(r"\s*Here are my reasoning steps:"), re.compile(r"\[BEGIN FINAL RESPONSE\]")),  # Apriel
    (re.compile(r"\s*analysis(?=[A-Z])"), re.compile(r"assistantfinal")),  # gpt-oss, its marks removed
)
_CHANNEL = re.compile(
    r"<\|channel\|>\s{0,4}(\w{1,20})[^<\n]{0,80}(?:<\|constrain\|>\w{0,20})?<\|message\|>"
)  # gpt-oss (harmony)
_ENDS = re.compile(
    r"<\|(?:end|return|call|START_RESPONSE|END_RESPONSE|START_TEXT|END_TEXT|begin_of_solution|end_of_solution|begin_of_box|end_of_box"
    r"|im_end|endoftext|eot_id)\|>|\[END FINAL RESPONSE\]|<end_of_turn>"
)


def without_thinking(text: str) -> str | None:
    """The reply in `text` without its thoughts, stripped if one was removed; None if a thought is not closed: then there is no reply.

    A closing mark without an opening one ends a thought that began in the prompt: everything before it is removed. Marks in double quotes or backticks
    within a line are quotations and do not count, nor does an opening mark inside a thought unless it is closed in the same line. Marks of
    the end of a reply are removed too. Pure, in linear time; a text without any mark is returned unchanged."""
    if "<|channel|>" in text:
        return _final_channel(text)
    for opens, closes in _HEADED:
        if opens.match(text):
            ends = [m.end() for m in closes.finditer(text)]
            return _ended(text[ends[-1] :]) if ends else None
    kept: list[str] = []
    start = depth = 0
    last_close = max((close.start() for close in _CLOSE.finditer(text)), default=-1)
    for mark in _MARK.finditer(text):
        if mark["opens"]:
            if depth == 0:
                kept.append(text[start : mark.start()])
                depth = 1
            elif mark.end() < last_close and _CLOSED_IN_LINE.match(text, mark.end()):
                depth += 1
        elif mark["closes"]:
            if depth == 0:
                kept.clear()
            depth = max(depth - 1, 0)
            start = mark.end()
    if depth:
        return None
    return _ended("".join([*kept, text[start:]])) if start else _ended(text) if _ENDS.search(text) else text


def _final_channel(text: str) -> str | None:
    """The last content of the channel `final`; None if there is none."""
    channels = list(_CHANNEL.finditer(text))
    if not channels or channels[-1][1] != "final":
        return None
    return _ended(text[channels[-1].end() :])


def _ended(text: str) -> str:
    """`text` stripped and without the marks around a reply."""
    return _ENDS.sub(" ", text).strip()
