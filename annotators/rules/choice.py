"""The letter of a multiple-choice answer, in the many ways in which models write it.

From the surest way to the least sure; the first that finds a letter decides, and where it finds two the answer is no choice.
"A man stands there" names no letter."""

import re

from annotators.rules.answers import Checked, final, plain, unfit

L = "[A-J]"
ALONE = r"(?!\W{0,4}(?:or|and|/|&)\W{0,4}[A-J](?!\w))"  # and not "B or C"
WAYS = tuple(
    re.compile(way)
    for way in (
        rf"^\W*({L}|[a-j])\W*$",  # (B), **B**, "b", B.
        rf"^[(\[{{*\"']*({L}){ALONE}[)\]}}*\"']*(?:[.:,;)\]]|\s-)",  # B. two cups
        rf"(?i:answer|option|choice)(?i:\s{{1,3}}is|\s{{1,3}}would be)?[\s:=(\[*\"']{{1,6}}({L})\b(?!['’]){ALONE}",  # the answer is (B)
        rf"[(\[*]({L})[)\]*]",  # I choose (B)
        rf"\b({L})\b(?=\s{{1,3}}(?:is|was) (?:the )?(?:correct|right|best|answer))",  # B is correct
        rf"(?<![a-zA-Z0-9_'’])(?!(?:A|I)\s{{1,3}}(?!(?:and|or|but|because|since|as|is)\b)\w)({L})(?![a-zA-Z0-9_'’])",  # a letter alone
    )
)
DRESS = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}$]")
OPTION = re.compile(rf"(?:^|\s)\(?({L})[).:]\s+([^\n]*?)(?=\s\(?{L}[).:]\s|\n|$)")


def options_of(question: str) -> dict[str, str]:
    """The options that a question lists, as `A. a roof`, `(A) a roof` or `A: a roof`, in lines of their own or not; {} where
    it lists none or one letter twice."""
    found = OPTION.findall(question)
    return dict(found) if len(dict(found)) == len(found) > 1 else {}


def choice(text: str, answer: str, options: dict[str, str]) -> Checked:
    """Whether the right letter is chosen, or the words of the right option are said, and no other (Open-R1-Video, MMBench)."""
    wanted = letter(answer) or _option(answer, options)
    if wanted is None:
        raise unfit(answer, "is neither a letter from A to J nor one of the options that the question lists")
    said, _ = final(text)
    read = (_option(said, options) or letter(said)) if said else None
    return Checked(float(read == wanted), read)


def letter(said: str) -> str | None:
    """The letter that `said` chooses; None where it is none or more than one."""
    said = DRESS.sub(" ", said).strip()
    for way in WAYS:
        found = {match.upper() for match in way.findall(said)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _option(said: str, options: dict[str, str]) -> str | None:
    words = plain(said)
    found = [name for name, option in options.items() if words and plain(option) == words]
    return found[0] if len(found) == 1 else None
