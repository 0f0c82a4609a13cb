"""Rankings of answers: JSON, chains ("2 > 1 > 3"), lists of places, brackets in order."""

import re
from collections.abc import Iterator
from typing import Any

from annotators.judge import _objects
from annotators.judge._labels import NOUNS, NUMBER_WORDS
from annotators.judge._reply import (
    LONGEST,
    TAKES_BACK,
    ParsedReply,
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

_KEYS = {
    "ranking",
    "rank",
    "rankings",
    "order",
    "ranked",
    "final_ranking",
    "ranked_answers",
    "ranking_order",
    "overall_ranking",
    "rank_order",
    "sorted",
    "result",
    "best_to_worst",
}
_NOUN = rf"(?:{NOUNS}|回答|答案)"
# an item and a sign are atomic, and take all white space beside them: shared between both, a chain without end has 2 ** n readings
_ITEM = rf"(?>(?:(?:the )?{_NOUN}[ _#:(\[-]{{0,3}})?(?:\[\[|\[|\(|#)?\s?(?<![A-Za-z0-9])(?P<i>\d{{1,3}}|[A-J]\b|one\b|two\b|three\b|four\b|five\b|six\b)\s?(?:\]\]|\]|\))?)"
_ITEMS = re.compile(_ITEM, re.IGNORECASE)
_BARE = _ITEM.replace("?P<i>", "?:")
_SIGN = r"\s{0,3}(?:>{1,3}=?|<{1,3}|=|\bis better than\b|优于|好于)\s{0,3}+"
_CHAIN = re.compile(rf"{_BARE}(?:{_SIGN}{_BARE}){{1,40}}", re.IGNORECASE)
_COMMAS = re.compile(
    rf"{_BARE}(?:\s{{0,3}}(?:,|、|;|->|(?<=\s):(?=\s))\s{{0,3}}+(?:and |then |and then )?{_BARE}){{1,40}}",
    re.IGNORECASE,
)
_MARK = re.compile(
    r"(?:so|thus|therefore|overall|hence|in conclusion|finally)?[, ]{0,2}(?:(?:the|my|our|final|overall|correct|full|complete) ){0,4}(?:revised |updated |corrected |new |overall )?(?:ranking|order|rank|result|verdict|answer|ranked|judge?ment|final|overall|(?:我的|最终|最后的?|综合)?(?:排名|排序|排序结果|结果|答案))"
    r"(?: (?:of the answers|from best to worst|is as follows|\(best to worst\)|order|\(best first\)|best to worst))?\s{0,2}(?::|=|is|would be|为|是)+\s{0,3}"
    r"|(?:(?:the )?(?:final |overall )?(?:ranking|order|answers|ranked|sorted),? |in order,? |i rank (?:them|the answers) )?\(?(?:in order )?(?:from )?(?P<best>best to (?:the )?worst|worst to (?:the )?best|best first|worst first|从好到差|从差到好|由好到差)\)?\s{0,2}(?::|=|is|are)?\s{0,3}"
    r"|(?:overall,? |so,? |therefore,? )?i (?:would |'d )?rank(?: them| the answers)?(?: as(?: follows)?)?:?\s{0,3}",
    re.IGNORECASE,
)
_REVISED = re.compile(
    rf"^(?:(?:on second thoughts?|on reflection|correction|wait|actually|after (?:another|a closer|a second) look|so|thus)[,:;. ]+)+(?=(?:.{{0,30}}: ?)?{_BARE}{_SIGN})",
    re.IGNORECASE,
)
_LEAD = re.compile(r"^(?:after|based on|having|considering) [^,:><]{1,80}, (?=(?:my|the|i)\b)", re.IGNORECASE)
_SECOND = re.compile(r"[\s,;]*(?:or|and|/|in|for|but)\b|\s*/", re.IGNORECASE)
_FINAL = re.compile(r"\b(?:final|revised|updated|corrected|new)\b|最终|最后", re.IGNORECASE)
_REASON = re.compile(r"\s*\([^()]*[^\W\d]{2}[^()]*\)$|,? (?:because|since|as) .*$", re.IGNORECASE)
_MARKUP = re.compile(
    r"\*{1,3}|__|~~|\\boxed\{|</?(?:answer|ranking|result|b|strong|em)\s?/?>|\[RESULT\]|\$", re.IGNORECASE
)
_PLACED = re.compile(
    rf"(?:rank |place |no\. ?|#)?(?:\(?(?P<place>\d{{1,2}})(?:[.):]|st|nd|rd|th)|(?P<first>first|second|third|fourth|fifth|best))\s{{0,2}}(?:place)?[:.)-]{{0,2}}\s{{0,3}}(?:the )?{_NOUN}[ _#:(\[-]{{0,3}}(?P<i>\d{{1,3}}|[A-J]\b|one\b|two\b|three\b|four\b|five\b|six\b)(?=\s*(?:$|[(.,:;-]|is (?:the )?(?:best|worst|better|most|least|second|third|last|clearly)\b|because\b|since\b|as\b|for\b|with\b))(?P<rest>[^\n]{{0,300}})",
    re.IGNORECASE,
)
_RANKED = re.compile(
    rf"{_NOUN}[ _#]{{0,2}}(?P<i>\d{{1,2}}|[A-J]\b)\s?(?::|=|is|-|gets)?\s?(?:ranked |rank |place |#|no\. )(?P<place>\d{{1,2}})[.,]?",
    re.IGNORECASE,
)
_RANK_WORDS = re.compile(r"rank|\bbest\b|\bworst\b|\border\b|\bplace\b|排", re.IGNORECASE)
_LISTED_LETTER = re.compile(r"(\d{1,2})(?:[.)]\s{0,3}(?=[A-J])|(?:st|nd|rd|th):?\s)([A-J]|\d{1,2})")
_NUMBERED_RANK = re.compile(r"rank \d", re.IGNORECASE)
_PLACES = {"first": 1, "best": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
_FOLLOWED = re.compile(
    rf"(?:overall, |so |therefore, )?(?:the )?{_BARE}(?:(?<= )| )(?:is|was|ranks|comes) (?:clearly |the )?(?:best|first|the winner)(?: answer| one)?,? (?:and is )?(?:followed by|then|with)|(?:我认为)?最[好佳]的?是.{{1,12}}(?:其次|然后|接着)",
    re.IGNORECASE,
)


def ranking(text: str, count: int) -> ParsedReply[tuple[int, ...]]:
    """The indices (from 0) of `count` answers, best first, from JSON (`{"ranking": [2, 1, 3]}`), a chain `2 > 1 > 3`, brackets or names in
    their order, or a numbered list of answers (numbered from 1, or letters).

    Anything but one permutation, or several that differ, is unparsable."""
    reply = folded(text)
    if reply is None:
        return ParsedReply(Outcome.UNPARSABLE)
    own = _objects.own_words(reply)
    values = _objects.values_in(own)
    found = [order for value in values for order in _of_value(value.value)]
    prose = strip_quotes(_objects.without_objects(own, values, " "))
    found += _last(_in_words(prose, count))
    if not found:
        lists = [v for v in values if isinstance(v.value, list)]
        rest = own[: lists[0].start] + own[lists[0].end :] if len(lists) == 1 else "x"
        found = [_numbers(lists[0].value)] if not re.search(r"\w", rest.replace("json", "")) else []
    if not found:
        return ParsedReply(outcome_without_verdict(text))
    orders = {tuple(order) if order else None for order in found}
    order = orders.pop()
    if orders or order is None or sorted(order) != list(range(1, count + 1)):
        return ParsedReply(Outcome.UNPARSABLE)
    return ParsedReply(Outcome.VERDICT, tuple(n - 1 for n in order))


def _of_value(value: Any) -> Iterator[list[int] | None]:
    """The orders in a JSON object; None for an object without one."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if _objects.name_of(key) in _KEYS:
            if isinstance(inner, dict):
                yield from _of_value(inner)
            else:
                yield _numbers(inner)
        elif isinstance(inner, dict) and len(value) == 1:
            yield from _of_value(inner)


def _numbers(value: Any) -> list[int] | None:
    """The numbers of the answers in a list, or in a text "2 > 1 > 3"; None if an item is not an answer."""
    if isinstance(value, str):
        return _of_chain(value) if _CHAIN.fullmatch(value.strip(" .")) or _COMMAS.fullmatch(value.strip(" .")) else None
    if not isinstance(value, list):
        return None
    if value and all(isinstance(one, dict) for one in value):
        return _of_rows(value)
    items = [_item(one) for one in value]
    return None if None in items else [n for n in items if n is not None]


def _of_rows(rows: list[dict[str, Any]]) -> list[int] | None:
    """The answers of [{"rank": 1, "answer": 2}, ...] by their ranks."""
    named = [{_objects.name_of(key): value for key, value in row.items()} for row in rows]
    if not all("rank" in row and ("answer" in row or "response" in row) for row in named):
        return None
    ranks = [row["rank"] for row in named]
    if sorted(map(str, ranks)) != sorted(map(str, range(1, len(rows) + 1))):
        return None
    items = [_item(row.get("answer", row.get("response"))) for row in sorted(named, key=lambda row: int(row["rank"]))]
    return None if None in items else [n for n in items if n is not None]


def _item(value: Any) -> int | None:
    if isinstance(value, str):
        found = _ITEMS.fullmatch(value.strip(" .*\"'"))
        return _place(found["i"]) if found else None
    return _objects.whole(value, 1, 10_000)


def _place(word: str) -> int:
    return (
        int(word)
        if word.isdigit()
        else NUMBER_WORDS[word.lower()]
        if word.lower() in NUMBER_WORDS
        else ord(word.upper()) - 64
    )


def _of_chain(chain: str) -> list[int] | None:
    """The answers of a chain; None if two of them are equal."""
    if "=" in chain or (">" in chain and "<" in chain):
        return None
    items = [_place(m["i"]) for m in _ITEMS.finditer(chain)]
    return items[::-1] if "<" in chain else items


def _last(orders: Iterator[tuple[list[int] | None, bool]]) -> list[list[int] | None]:
    """The orders, without those before one that is final or revised."""
    found = list(orders)
    final = [place for place, (_, is_final) in enumerate(found) if is_final]
    return [order for order, _ in found[final[-1] if final else 0 :]]


def _in_words(text: str, count: int) -> Iterator[tuple[list[int] | None, bool]]:
    """(an order, whether it is called final or revised) of separate lines or sentences; an order may be None."""
    taken_back = commented = False
    ranked: list[tuple[int, int]] = []
    placed: list[tuple[int, int]] = []
    for line in _MARKUP.sub("", text).replace("]] [[", "]], [[").splitlines():
        line = line.strip(" \t#.-*|}")
        if (
            not line
            or len(line) > LONGEST
            or is_conditional(line)
            or is_hedged(line)
            or (is_order(line) and not _NUMBERED_RANK.match(line))
        ):
            continue
        pieces = re.split(
            r"[,;]\s+(?:and |then )?(?=(?:second|third|fourth|fifth|\d(?:nd|rd|th)|rank \d)\b)",
            line,
            flags=re.IGNORECASE,
        )
        places = [_PLACED.match(piece) for piece in pieces]
        if all(places):
            for place in filter(None, places):
                commented |= bool(place["rest"].strip(" .,;"))
                number = int(place["place"]) if place["place"] else _PLACES[place["first"].lower()]
                placed.append((number, _place(place["i"])))
            continue
        if rank := _RANKED.fullmatch(line):
            ranked.append((int(rank["place"]), _place(rank["i"])))
            continue
        if letter := _LISTED_LETTER.fullmatch(line):
            placed.append((int(letter[1]), _place(letter[2])))
            continue
        for sentence in sentences(line):
            taken_back |= bool(TAKES_BACK.match(sentence))
            bare = _LEAD.sub("", _REVISED.sub("", sentence))
            mark = _MARK.match(bare)
            is_final = taken_back or bool(_REVISED.match(sentence)) or bool(mark and _FINAL.search(mark[0]))
            sentence = bare
            rest = sentence[mark.end() :].strip(" .!\"'") if mark else sentence.strip(" .!\"'")
            rest = _REASON.sub("", rest)
            reverse = bool(mark and mark["best"] and re.match(r"worst|从差", mark["best"], re.IGNORECASE))
            if _CHAIN.fullmatch(rest) or (
                mark
                and (chain := _CHAIN.match(rest))
                and not _COMMAS.match(rest)
                and not _SECOND.match(rest, chain.end())
            ):
                found = _CHAIN.match(rest)
                order = _of_chain(found[0]) if found else None
                yield (None if reverse and ">" in rest else order), is_final
            elif _COMMAS.fullmatch(rest) and (mark or len(_ITEMS.findall(rest)) == count):
                order = _of_chain(rest)
                yield order[::-1] if reverse and order else order, is_final
            elif (_FOLLOWED.match(rest) and not is_denied(sentence)) or (mark and not reverse and len(rest) < 200):
                named = [
                    _place(m["i"])
                    for m in re.finditer(
                        rf"(?:\b|(?<=[\u4e00-\u9fff])){_NOUN}[ _#(]{{0,3}}(?P<i>\d{{1,3}}|[A-J]\b|one\b|two\b|three\b|four\b|five\b)",
                        rest,
                        re.IGNORECASE,
                    )
                ]
                if sorted(named) == list(range(1, count + 1)):
                    yield named, is_final
    items = [item for _, item in placed]
    if commented and items == sorted(items) and not _RANK_WORDS.search(text):
        placed = []  # comments on each answer in turn
    placed = placed or sorted(ranked)
    if placed and [place for place, _ in placed] == list(range(1, len(placed) + 1)) and len(placed) == count:
        yield [item for _, item in placed], False
