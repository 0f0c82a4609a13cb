"""Instructions that code can check, by the names and arguments of IFEval (Zhou et al. 2023, arXiv 2311.07911), and three of our own.

A row holds them as google/IFEval does: `instruction_id_list` and `kwargs`, one object for each, in which null means not given. An empty answer
follows none. Where IFEval's code asks a random language detector, needs data from the network, draws a missing number, or counts a word inside
another one, this does not (docs/rules.md)."""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from annotators.rules import sandbox
from annotators.rules.answers import RuleResult
from annotators.rules.language import LANGUAGES, language_of
from schemas.errors import bad_row
from schemas.text import did_you_mean

RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "less than": lambda n, limit: n < limit,
    "at least": lambda n, limit: n >= limit,
    "at most": lambda n, limit: n <= limit,  # IFEval has the first two
    "exactly": lambda n, limit: n == limit,
}
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ABBREVIATION = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|a\.m|p\.m|u\.s|no|fig|jr|sr|[a-z])\.$", re.IGNORECASE
)
_END = re.compile(r"[.!?…]+[\"'”’)\]*]*(?=\s|$)|[。！？]+")


class Instruction(NamedTuple):
    """One instruction of a row."""

    name: str
    given: dict[str, Any]


class Kind(NamedTuple):
    """A kind of instruction: its check of an answer, and the type of each argument."""

    check: Callable[..., bool]
    takes: dict[str, str]  # argument -> number, text, texts, relation, language, object
    restrains: bool = False  # it only forbids: nearly any short reply follows it


def followed(text: str, wanted: tuple[Instruction, ...], loose: bool = False) -> RuleResult:
    """The share of the instructions that an answer follows; `read` names those that it does not.

    loose: one is followed if it is without the first line, the last line, both, or none of them, each with and without asterisks (IFEval's
    loose accuracy). NoVerdict if a row's regular expression or schema takes too long; RowError if it is not valid."""
    texts = [text]
    if loose:
        lines = text.split("\n")
        cut = ["\n".join(lines[first:last]).strip() for first in (0, 1) for last in (len(lines), len(lines) - 1)]
        texts += [*cut[1:], *(body.replace("*", "") for body in cut)]
    missed = [
        i.name for i in wanted if not any(body.strip() and KINDS[i.name].check(body, **i.given) for body in texts)
    ]
    return RuleResult(
        round(1 - len(missed) / len(wanted), 4),
        f"not followed: {', '.join(missed)}"[:200] if missed else "all followed",
    )


@lru_cache(256)
def instructions_of(facts: str | None) -> tuple[Instruction, ...]:
    """The instructions in a Sample's facts; empty if it has none. RowError (BAD_ROW) that names one that is unknown, or its argument."""
    found = json.loads(facts) if facts and '"instruction_id_list"' in facts else None
    if not isinstance(found, dict):
        return ()
    names, given = found.get("instruction_id_list"), found.get("kwargs") or []
    if not isinstance(names, list) or not names:
        raise bad_row("instruction_id_list is not a list of names")
    if not isinstance(given, list) or len(given) not in (0, len(names)):
        raise bad_row(
            f"kwargs has {len(given) if isinstance(given, list) else 'no'} entries for {len(names)} instructions"
        )
    return tuple(_instruction(name, of) for name, of in zip(names, given or [{}] * len(names), strict=True))


def _instruction(name: Any, given: Any) -> Instruction:
    if name not in KINDS:
        raise bad_row(f"the instruction {str(name)[:80]!r} is not known; {did_you_mean(str(name)[:80], KINDS)}")
    kind = KINDS[name]
    if not isinstance(given, dict | None):
        raise bad_row(f"the kwargs of {name} are {type(given).__name__}, not an object")
    given = {key: value for key, value in (given or {}).items() if value is not None}
    if strange := given.keys() ^ kind.takes.keys():
        raise bad_row(
            f"{name} takes {', '.join(kind.takes) or 'no kwargs'}; it is given {', '.join(given) or 'none'}, which differs in {min(strange)}"
        )
    return Instruction(name, {key: _argument(name, key, value, kind.takes[key]) for key, value in given.items()})


def _argument(name: str, key: str, value: Any, wanted: str) -> Any:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value) and value >= 0
    text = isinstance(value, str) and bool(value.strip())
    fine = {
        "number": whole, "text": text, "relation": value in RELATIONS if text else False, "language": value in LANGUAGES if text else False,
        "texts": isinstance(value, list) and bool(value) and all(isinstance(v, str) and v.strip() for v in value),
        "object": isinstance(value, dict | str), "letter": text and len(value.strip()) == 1,
    }  # fmt: skip
    if not fine[wanted]:
        known = {"relation": RELATIONS, "language": LANGUAGES}.get(wanted)
        raise bad_row(
            f"{key} of {name} is {value!r:.80}; use {'one of ' + ', '.join(sorted(known)) if known else 'a ' + wanted}"
        )
    return (
        int(value)
        if wanted == "number"
        else value.strip()
        if wanted in ("text", "letter") and key != "regex"
        else value
    )


# checks: each is told a text that is not blank -----------------------------------------------------------------------------


def _words(text: str, words: str) -> int:
    """How often the words occur as whole words, ignoring case and white space."""
    loose = r"\s+".join(re.escape(word) for word in words.split())
    return len(re.findall(rf"(?<!\w){loose}(?!\w)", text, re.IGNORECASE))


def _existence(text: str, keywords: list[str]) -> bool:
    return all(_words(text, word) for word in keywords)


def _frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return RELATIONS[relation](_words(text, keyword), frequency)


def _forbidden(text: str, forbidden_words: list[str]) -> bool:
    return not any(_words(text, word) for word in forbidden_words)


def _letters(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return RELATIONS[let_relation](text.lower().count(letter.lower()), let_frequency)


def _language(text: str, language: str) -> bool:
    return language_of(text) == language


def _sentences(text: str, num_sentences: int, relation: str) -> bool:
    return RELATIONS[relation](count_sentences(text), num_sentences)


def count_sentences(text: str) -> int:
    """Sentences end with a mark before white space, not with an abbreviation, an initial or the number of a list; so do lines of a list and headings."""
    count = 0
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*•#]|\d{1,3}[.)]\s))", text):
        block = re.sub(r"^\s*(?:[-*•#>]+|\d{1,3}[.)])\s+", "", " ".join(block.split()))
        start = 0
        for end in _END.finditer(block):
            if not _ABBREVIATION.search(block[max(0, end.end() - 8) : end.end()]) or end.end() == len(block):
                count += bool(re.search(r"\w", block[start : end.end()]))
                start = end.end()
        count += bool(re.search(r"\w", block[start:]))
    return count


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = [part.strip() for part in re.split(r"\*\*\*", text)]
    inner = parts[bool(not parts[0]) : len(parts) - (not parts[-1])]
    return all(inner) and len(inner) == num_paragraphs


def _first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    if len(parts) != num_paragraphs or not 1 <= nth_paragraph <= len(parts):
        return False
    found = re.match(r"\W*([^\W_]+(?:['’-][^\W_]+)*)", parts[nth_paragraph - 1])
    return bool(found) and found[1].lower() == first_word.lower()


def _number_words(text: str, num_words: int, relation: str) -> bool:
    return RELATIONS[relation](len(re.findall(r"\w+", text)), num_words)


def _placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\[\]\n]{1,200}\]", text)) >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    loose = r"\s?".join(re.escape(sign) for sign in re.sub(r"\s", "", postscript_marker))
    return bool(re.search(rf"(?:^|\n)\W{{0,4}}{loose}.{{0,4}}\w", text, re.IGNORECASE | re.DOTALL))


def _bullets(text: str, num_bullets: int) -> bool:
    return len(re.findall(r"^[ \t]*(?:\*(?!\*)|-(?!-))\s*[^\s*-]", text, re.MULTILINE)) == num_bullets


def _constrained(text: str) -> bool:
    return sum(choice in text for choice in CHOICES) == 1


def _highlights(text: str, num_highlights: int) -> bool:
    return (
        len(re.findall(r"\*\*[^\n*]{0,500}\w[^\n*]{0,500}\*\*|(?<!\*)\*(?![\s*])[^\n*]{1,500}\*(?!\*)", text))
        >= num_highlights
    )


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"(?<!\w){re.escape(section_spliter)}\s?\d+", text)) >= num_sections


def _json(text: str) -> bool:
    body = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip()
    try:
        return isinstance(json.loads(body), dict | list)
    except (ValueError, RecursionError):
        return False


def _title(text: str) -> bool:
    return bool(re.search(r"<<[^\n<>]{0,300}\w[^\n<>]{0,300}>>", text))


def _two(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    inner = [part for place, part in enumerate(parts) if part or 0 < place < len(parts) - 1]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def _repeats(text: str, prompt_to_repeat: str) -> bool:
    return " ".join(text.lower().split()).startswith(" ".join(prompt_to_repeat.lower().split()))


def _ends(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.lower())


def _starts(text: str, start_phrase: str) -> bool:
    return text.strip().strip('"').lower().startswith(start_phrase.lower())


def _quotation(text: str) -> bool:
    body = text.strip()
    return len(body) > 2 and body[0] == body[-1] == '"'


def _capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    found = re.findall(r"[^\W_]+(?:['’.-][^\W_]+)*", text)
    return RELATIONS[capital_relation](sum(word.isupper() and len(word) > 1 for word in found), capital_frequency)


def _english(text: str) -> bool:
    """Nothing speaks against English: its own letters, and no other language's words."""
    return language_of(text) in ("en", None) and all(ord(c) < 0x250 for c in text if c.isalpha())


def _capital(text: str) -> bool:
    return text.isupper() and _english(text)


def _lowercase(text: str) -> bool:
    return text.islower() and _english(text)


def _no_comma(text: str) -> bool:
    return not any(comma in text for comma in ",，、")


def _regex(text: str, regex: str) -> bool:
    return sandbox.worker.ask("pattern", text, regex).value == 1


def _schema(text: str, json_schema: dict | str) -> bool:
    return sandbox.worker.ask("schema", text, json_schema).value == 1


KINDS: dict[str, Kind] = {
    "keywords:existence": Kind(_existence, {"keywords": "texts"}),
    "keywords:frequency": Kind(_frequency, {"keyword": "text", "frequency": "number", "relation": "relation"}),
    "keywords:forbidden_words": Kind(_forbidden, {"forbidden_words": "texts"}, restrains=True),
    "keywords:letter_frequency": Kind(
        _letters, {"letter": "letter", "let_frequency": "number", "let_relation": "relation"}
    ),
    "language:response_language": Kind(_language, {"language": "language"}),
    "length_constraints:number_sentences": Kind(_sentences, {"num_sentences": "number", "relation": "relation"}),
    "length_constraints:number_paragraphs": Kind(_paragraphs, {"num_paragraphs": "number"}),
    "length_constraints:number_words": Kind(_number_words, {"num_words": "number", "relation": "relation"}),
    "length_constraints:nth_paragraph_first_word": Kind(
        _first_word, {"num_paragraphs": "number", "nth_paragraph": "number", "first_word": "text"}
    ),
    "detectable_content:number_placeholders": Kind(_placeholders, {"num_placeholders": "number"}),
    "detectable_content:postscript": Kind(_postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Kind(_bullets, {"num_bullets": "number"}),
    "detectable_format:constrained_response": Kind(_constrained, {}),
    "detectable_format:number_highlighted_sections": Kind(_highlights, {"num_highlights": "number"}),
    "detectable_format:multiple_sections": Kind(_sections, {"section_spliter": "text", "num_sections": "number"}),
    "detectable_format:json_format": Kind(_json, {}),
    "detectable_format:title": Kind(_title, {}),
    "combination:two_responses": Kind(_two, {}),
    "combination:repeat_prompt": Kind(_repeats, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Kind(_ends, {"end_phrase": "text"}),
    "startend:quotation": Kind(_quotation, {}),
    "change_case:capital_word_frequency": Kind(
        _capital_words, {"capital_frequency": "number", "capital_relation": "relation"}
    ),
    "change_case:english_capital": Kind(_capital, {}),
    "change_case:english_lowercase": Kind(_lowercase, {}, restrains=True),
    "punctuation:no_comma": Kind(_no_comma, {}, restrains=True),
    # ours
    "detectable_format:regex": Kind(_regex, {"regex": "text"}),
    "detectable_format:json_schema": Kind(_schema, {"json_schema": "object"}),
    "startend:start_checker": Kind(_starts, {"start_phrase": "text"}),
}
"""IFEval's 25 kinds, and ours: a regular expression that the whole answer matches, a JSON Schema, how an answer starts."""
SLOW = frozenset({"detectable_format:regex", "detectable_format:json_schema"})
