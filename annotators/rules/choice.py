"""The letter of a multiple-choice answer, in the various forms in which models write it.

Patterns are tried from the most to the least reliable. The first that matches decides; if it finds two letters, there is no choice.
"A man stands there" contains no choice. A choice that stands alone in the first line counts, whatever the reason below it rejects, unless a
later line takes it back."""

import re

from annotators.rules.answers import RuleResult, bad_known_answer, final_answer, normalise_text

L = "[A-J]"
NOT_A_LIST = r"(?!\W{0,4}(?:or|and|/|&)\W{0,4}[A-J](?!\w))"  # and not "B or C"
WAYS = tuple(
    re.compile(way)
    for way in (
        rf"^\W*({L}|[a-j])\W*$",  # (B), **B**, "b", B.
        rf"^[(\[{{*\"']*({L}){NOT_A_LIST}[)\]}}*\"']*(?:[.:,;)\]]|\s-)",  # B. two cups
        rf"(?i:answer|option|choice)(?i:\s{{1,3}}is|\s{{1,3}}would be)?[\s:=(\[*\"']{{1,6}}({L})\b(?!['’]){NOT_A_LIST}",  # the answer is (B)
        rf"[(\[*]({L})[)\]*]",  # I choose (B)
        rf"\b({L})\b(?=\s{{1,3}}(?:is|was) (?:the )?(?:correct|right|best|answer))",  # B is correct
        rf"(?<![a-zA-Z0-9_'’])(?!(?:A|I)\s{{1,3}}(?!(?:and|or|but|because|since|as|is)\b)\w)({L})(?![a-zA-Z0-9_'’])",  # a letter alone
    )
)
LATEX_MARKUP = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}$]")
DENIED = re.compile(
    rf"(?i:\bnot|n't|\bneither|\bnor)\s(?i:be\s)?(?i:(?:the\s)?(?:option|answer|choice)\s)?[(*]{{0,3}}{L}\b(?!['’])[)*]{{0,3}}"
)
OPTION = re.compile(rf"(?:^|\s)\(?({L})[).:]\s+([^\n]*?)(?=\s\(?{L}[).:]\s|\n|$)")


def options_of(question: str) -> dict[str, str]:
    """{letter: option} of the options in a question, as `A. a roof`, `(A) a roof` or `A: a roof`, on separate lines or not; {} if
    there are fewer than two, or a letter occurs twice."""
    found = OPTION.findall(question)
    return dict(found) if len(dict(found)) == len(found) > 1 else {}


def choice(text: str, answer: str, options: dict[str, str]) -> RuleResult:
    """Whether the answer is the right letter or the text of the right option, and no other (Open-R1-Video, MMBench).

    RowError if the known answer is neither a letter nor an option."""
    wanted = chosen_letter(answer) or _option(answer, options)
    if wanted is None:
        raise bad_known_answer(answer, "is neither a letter from A to J nor one of the options in the question")
    found, _ = final_answer(text)
    read = _chosen(found, options) if found else None
    return RuleResult(float(read == wanted), read)


_STATED = re.compile(
    rf"(?i:answer|option|choice)(?i:\s{{1,3}}is|\s{{1,3}}would be)[\s:=(\[*\"']{{1,6}}({L})\b(?!['’])|(?i:answer|choice)\s?:\s?\(?({L})\b"
    rf"|\b({L})\b(?=\s{{1,3}}(?:is|was|are|would be|could be|might be|may be)\s(?:also\s|both\s|the\s){{0,2}}(?:correct|right|true|best|answer|possible))"
)
_TAKES_BACK = (
    r"(?i:\b(?:or|both|either|also|too|as well|wait|actually|correction|sorry|instead|on second thought|reconsider\w*|change)\b)[^.\n]{0,60}?\b[A-J]\b"
    r"|\b[A-J]\b[^.\n]{0,40}\b(?:too|as well|also)\b|(?i:\bnot\b|n't\b)[^.\n]{0,20}\b%s\b"
)


def _chosen(text: str, options: dict[str, str]) -> str | None:
    """The letter of the whole text; of a text with a letter, or an option, alone in its first line that letter, if no line below names
    another answer or takes it back."""
    first, _, reasons = LATEX_MARKUP.sub(" ", text).strip().partition("\n")
    alone = WAYS[0].fullmatch(first.strip())
    letter = alone[1].upper() if alone else _option(first, options)
    if letter is None and (led := WAYS[1].match(first.strip())) and options.get(led[1]):
        letter = led[1] if normalise_text(first.strip()[led.end() :]) == normalise_text(options[led[1]]) else None
    if letter is None or not reasons.strip():
        return _option(text, options) or chosen_letter(text)
    others = {word for found in _STATED.findall(reasons) for word in found if word}
    others |= {found[1].upper() for line in reasons.splitlines() if (found := WAYS[0].fullmatch(line.strip()))}
    if others - {letter} or re.search(_TAKES_BACK % letter, reasons):
        return None
    return letter


def chosen_letter(text: str) -> str | None:
    """The letter (A to J) that a text chooses; None if there is none or more than one."""
    text = DENIED.sub(" ", LATEX_MARKUP.sub(" ", text)).strip()
    for way in WAYS:
        found = {match.upper() for match in way.findall(text)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _option(text: str, options: dict[str, str]) -> str | None:
    words = normalise_text(text)
    found = [name for name, option in options.items() if words and normalise_text(option) == words]
    return found[0] if len(found) == 1 else None
