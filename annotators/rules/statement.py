"""The one answer that a text states, in a sentence or after steps: a number, a word, yes or no.

Both sides are read by the same parsers (`values`, `answers.normalise_text`). A text that states several answers, or none that can be read, has
no answer: a careful reader may see more than this, never something else."""

import re
from itertools import pairwise
from typing import NamedTuple

from annotators.rules import values
from annotators.rules.answers import RuleResult, bad_known_answer, final_answer, normalise_text
from annotators.rules.asserted import GONE, asserted, latest
from annotators.rules.choice import choice, chosen_letter, options_of
from schemas.errors import NoVerdict
from schemas.records import Outcome

YES, NO = frozenset(("yes", "true", "correct")), frozenset(("no", "false", "incorrect"))
LONGEST = 20_000  # characters of an answer that are read: the first and the last half
SHORT = 4  # words of an answer that is all answer
_SINGLE = values.Quantity | values.Clock | values.Ratio
_LITTLE = """
a an the this that these those it its it's he she they them we you i his her their my your of in on at to for from with by and or but so as
is are was were be been am do does did has have had can could will would should may might must not no yes there here then thus hence
therefore which who whom whose what when where why how than if into about also just only very indeed really certainly definitely clearly
much many total sum result altogether together answer per each left now all both
"""
_STOP = frozenset(_LITTLE.split())  # words that say little
_LESS = "less fewer smaller lighter shorter slower lower younger worse cheaper weaker narrower least fewest smallest"
_OPPOSITE = frozenset(_LESS.split())
_ASKS = frozenset(
    ("do", "does", "did", "is", "are", "was", "were", "has", "have", "can", "will", "would")
)  # the verb comes last
_COMPARED = re.compile(
    r"\b(?:who|which|what)\b.{0,300}?\b(more|most|fewer|fewest|less|least|(?:bigg|larg|small|heavi|light|old|young|tall|short|fast|slow|high|low|long|wid|warm|cold|hott"
    r"|great|near|clos|strong|weak|cheap)(?:er|est))\b", re.IGNORECASE,
)  # fmt: skip
_MARK = re.compile(
    r"(?:final answer is|answers?\s?(?:is|are|would be|:)\s?|####)[\s:*\u0000]*|\\boxed\{", re.IGNORECASE
)
_CONCLUDES = re.compile(
    r"(?:^|(?<=[\s,.;:!]))(?:so|therefore|thus|hence|in total|altogether|in conclusion|consequently)\b[\s,]*",
    re.IGNORECASE,
)
_IS = re.compile(r"\s(?:is|are|was|equals|gives|makes)\s", re.IGNORECASE)
_RANGE = re.compile(
    r"\b(?:between|from)\s\S{1,20}\s(?:and|to)\s\S{1,20}|(?<![\w.])\d{1,20}[-\u2013]\d{1,20}\b(?![-\u2013])",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"^\s*(?:[-*•]\s+)?(?:step\s)?\d{1,2}(?:[.):](?=\s)|\s*:)", re.IGNORECASE | re.MULTILINE)
_BOUND = re.compile(
    r"(?:at least|at most|over|up to|between|minimum of|maximum of|below|under|above|nearly|almost|about|around|approximately|roughly|some|≈|~)\s{0,2}$", re.IGNORECASE
)  # fmt: skip
_ABOUT = re.compile(r"(?:about|around|approximately|roughly|≈|~)\s{0,2}$", re.IGNORECASE)
_CUT = re.compile(r"[;\n]|(?<!\d)[.!?]|[.!?](?!\d)|\s(?:and|while|whereas|but|which)\s")
_SPLIT = re.compile(r"[,:;()\n]|(?<!\d)[.!?]|[.!?](?!\d)|\s(?:and|while|whereas|but|so)\s")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_LEADS = r"(?=\W*$|\s*[.,!;:\n\u2014-]|\s(?:it|there|he|she|they|this|that|the|i|we|\d+)\b)"
_POLAR = re.compile(rf"\W*(yes|no|true|false|correct|incorrect){_LEADS}", re.IGNORECASE)
_SAID = re.compile(
    r"(?:\b(?:say|so|but|therefore|hence|thus|is|be)|[:,])\s(?:a\s)?[\"']?(yes|no|true|false)\b", re.IGNORECASE
)
_DENIES = re.compile(r"\b(?:not|no|never|neither|nor|cannot|nothing|none)\b|n't\b", re.IGNORECASE)


class Question(NamedTuple):
    """What of a question helps to read its answer."""

    text: str
    asked: str  # its last sentence: what is asked
    options: dict[str, str]

    @classmethod
    def of(cls, text: str) -> "Question":
        sentences = [s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if s.strip()]
        asked = next((s for s in reversed(sentences) if "?" in s), sentences[-1] if sentences else "")
        return cls(text, asked, options_of(text))


def final(text: str, answer: str, question: str, tolerance: float = 0, labels: tuple[str, ...] = ()) -> RuleResult:
    """Whether the one answer that a text states is the known one; `labels`: all answers there are, if that is known.

    A text that states none, or several, is wrong where it does not mention the known one; else NoVerdict (unparsable), for only a reader can tell,
    as where neither yes nor no is read.
    RowError if the known answer has no letters or digits."""
    if not normalise_text(answer):
        raise bad_known_answer(answer, "has no letters or digits")
    if re.fullmatch(r"\(?[A-J][.)]?", answer.strip()):
        return chosen(text, answer, question)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    return _decided(_read(text, answer, Question.of(question), tolerance, labels), text, answer)


def chosen(text: str, answer: str, question: str) -> RuleResult:
    """Whether a text states the right option of a question, by its letter or its words, as in `final`.

    RowError if the known answer is neither a letter nor an option."""
    about = Question.of(question)
    read = choice(text, answer, about.options)
    letter = chosen_letter(answer)
    option = about.options.get(letter or "", answer)
    if read.read is None and option in about.options.values():
        read = _word(_body(text), option, about, tuple(about.options.values()))
    return _decided(read, text, letter or answer)


def _decided(found: RuleResult, text: str, answer: str) -> RuleResult:
    if found.read is None and _mentions(text, answer):
        raise NoVerdict(Outcome.UNPARSABLE, f"several answers or none, for {answer[:100]!r}")
    return found


def _mentions(text: str, answer: str) -> bool:
    if answer.strip().casefold() in YES | NO:
        return bool(text.strip())
    known = values.value_of(answer)
    if isinstance(known, _SINGLE):
        return any(values.equal(value, known) for value in values.values_in(text))
    return _has(text, normalise_text(answer))


def _read(text: str, answer: str, about: Question, tolerance: float, labels: tuple[str, ...]) -> RuleResult:
    whole = (final_answer(text)[0] or "").strip()
    known = values.value_of(answer)
    if answer.strip().casefold() in YES | NO:
        return _polar(whole, answer.strip().casefold() in YES, about)
    if isinstance(known, _SINGLE):
        return _number(whole, _body(text), known, about, tolerance)
    if whole and normalise_text(whole) == normalise_text(answer):
        return RuleResult(1.0, whole[:200])
    given = values.value_of(_marked(_body(text)) or whole)
    if isinstance(known, values.Group) or (
        isinstance(known, values.Expression) and given is not None
    ):  # only where it is marked or alone
        return RuleResult(
            float(given is not None and values.equal(given, known)), None if given is None else values.written(given)
        )
    return _word(_body(text), answer, about, labels)


def contains(text: str, answer: str) -> RuleResult:
    """Whether a text asserts the known answer somewhere, whatever else it says: a value equal to it, or its words in their order."""
    wanted = normalise_text(answer)
    if not wanted:
        raise bad_known_answer(answer, "has no letters or digits")
    rest = asserted(text[-LONGEST:]) or ""
    known = values.value_of(answer)
    if isinstance(known, _SINGLE):
        found = any(values.equal(value, known) for value in values.values_in(rest))
    else:
        found = _has(rest, wanted)
    return RuleResult(float(found), answer[:200] if found else None)


# numbers -----------------------------------------------------------------------------------------------------------------


def _number(whole: str, text: str, known: values.Value, about: Question, tolerance: float) -> RuleResult:
    found = values.value_of(whole)
    if not isinstance(found, _SINGLE):
        found = _one(_stated(_ORDINAL.sub(" ", asserted(text) or ""), known, about))
    return RuleResult(
        float(found is not None and values.equal(found, known, tolerance)), found and values.written(found)
    )


def _stated(rest: str, known: values.Value, about: Question) -> list[values.Value]:
    """The values that a text states as its answer, by the first way that finds any."""
    if (marked := _marked(rest)) is not None:
        return _values(marked, known, about)
    clauses = [(clause, read) for clause in _CUT.split(rest) if (read := _values(clause, known, about))]
    concluded = _concluded(rest) or ""
    found = _values(concluded, known, about)
    if found and _nearest([clause for clause, _ in clauses], about) <= _overlap(concluded, about):
        return found
    found = _values(rest, known, about)
    if _one(found) is not None or not found:
        return found
    if (
        _until(rest.strip()).strip() == rest.strip(" .\n")
        and len(_IS.findall(rest)) == 1
        and (said := _values(_until(_IS.split(rest)[1]), known, about))
    ):
        return said
    best = _closest([clause for clause, _ in clauses], about)
    return [value for clause, read in clauses if clause in best for value in read] if best else found


def _values(text: str, known: values.Value, about: Question) -> list[values.Value]:
    """The values in a text but asides, those before an equals sign, bounds, counts of something else, and statements about somebody else."""
    if (aside := re.sub(r"\([^()]{0,200}\)", GONE, text)) != text and (found := _values(aside, known, about)):
        return found
    ranked: list[tuple[values.Value, int]] = []
    counted = re.search(r"\bhow many\s+((?:[a-z]+\s)?)([a-z]+)", about.asked, re.IGNORECASE)
    nouns = {_stem(word) for word in counted[0].split()[2:]} if counted else set()
    for sentence in re.split(r"\n|(?<=[.!?])\s", text):
        if _of_another(sentence, about):
            continue
        sentence = _RANGE.sub(GONE, sentence.rpartition("=")[2])
        for value, before, after in values.places_in(sentence):
            near = _ABOUT.search(before)
            if _BOUND.search(before) and not (near and not _whole(known)):
                continue
            next_words = [_stem(w) for w in _WORD.findall(re.split(r"[.,;:()\n\u0000]", after, maxsplit=1)[0])[:3]]
            if not nouns or not next_words or next_words[0] in nouns | _STOP:
                ranked.append((value, 2))
            elif nouns & set(next_words):  # 4 pairs of legs
                ranked.append((value, 1))
    best = max((rank for _, rank in ranked), default=0)
    return _alike([value for value, rank in ranked if rank == best], known)


def _alike(found: list[values.Value], known: values.Value) -> list[values.Value]:
    """Of values of several kinds those of the known one's kind: times for a time, dollars for dollars, years for a year."""
    if not isinstance(known, values.Quantity):
        return [value for value in found if type(value) is type(known)]
    year = not known.kind and 1000 <= known.number <= 2999
    same: list[values.Value] = [
        v
        for v in found
        if isinstance(v, values.Quantity) and (1000 <= v.number <= 2999 if year else v.kind == known.kind)
    ]
    return same if same and (year or known.kind) else found


def _whole(known: values.Value) -> bool:
    return not isinstance(known, values.Quantity) or known.number.denominator == 1


def _of_another(sentence: str, about: Question) -> bool:
    """Whether a sentence speaks of somebody by name, and the question asked about somebody else; or of another thing ("chose coffee", not "chose
    tea")."""
    words, before = [_stem(w) for w in _WORD.findall(sentence)], [_stem(w) for w in _WORD.findall(about.asked)]
    verb, thing = before[-2:] if len(before) > 1 else ("", "")
    if _ASKS.isdisjoint(before) and {verb, thing}.isdisjoint(_STOP) and verb in words[:-1] and thing not in words:
        after = words[words.index(verb) + 1]
        if after.isalpha() and after not in {*before, *_STOP}:
            return True
    asked = {w for w in _WORD.findall(about.asked)[1:] if w[0].isupper()}
    subject = next(iter(_WORD.findall(sentence)), "")
    if not asked or not subject[:1].isupper() or subject.casefold() in _STOP or asked & set(_WORD.findall(sentence)):
        return False
    return subject.casefold() not in {w.casefold() for w in _WORD.findall(about.asked)} and not values.values_in(
        subject
    )


def _one(found: list[values.Value]) -> values.Value | None:
    """The value that all are equal to; None for none or several."""
    return found[-1] if found and all(values.equal(value, found[-1]) for value in found) else None


# words -------------------------------------------------------------------------------------------------------------------


def _word(text: str, answer: str, about: Question, labels: tuple[str, ...]) -> RuleResult:
    wanted, rest = normalise_text(answer), asserted(text) or ""
    offered = _rivals(wanted, about, labels)
    region = marked if (marked := _marked(rest)) is not None else rest
    if marked is None and (concluded := _concluded(rest)) and any(_has(concluded, word) for word in (wanted, *offered)):
        region = concluded
    clauses = [clause for clause in _SPLIT.split(region.replace("\u0000", " ")) if clause.strip(" *")]
    stated = [clause for clause in clauses if _states(clause, wanted, about, bool(offered))]
    rivals = {r: _nearest([c for c in clauses if _has(c, r) and not _has(c, f"{r} {wanted}")], about) for r in offered}
    rivals = {r: near for r, near in rivals.items() if near >= 0}
    if not stated:
        short = text.strip() if len(text.split()) <= SHORT and "?" not in text else None
        return RuleResult(0.0, next(iter(rivals)) if len(rivals) == 1 else short or None)
    beside = rf"\b(?:or|and|both|either)\s(?:the\s|an?\s)?{_loose(wanted)}\b|\b{_loose(wanted)}\s(?:or|and)\s(?!so\b)"
    alone = any(normalise_text(clause) == wanted for clause in stated)
    closest = _nearest(stated, about)
    others = _nearest([clause for clause in clauses if clause not in stated], about)
    if (
        re.search(beside, region, re.IGNORECASE)
        or max(rivals.values(), default=-1) >= closest
        or (others > closest and not alone)
    ):
        return RuleResult(0.0, None)
    return RuleResult(1.0, answer[:200])


def _states(clause: str, wanted: str, about: Question, offered: bool) -> bool:
    """Whether a clause says `wanted`: not as what qualifies something that was not asked for ("a red carpet"), nor with a word for the opposite,
    nor without the comparison that was asked for ("who sold more?")."""
    if not _has(clause, wanted):
        return False
    compared = _COMPARED.search(about.asked)
    if (
        compared
        and not _has(clause, compared[1].lower())
        and set(normalise_text(clause).split()) - _STOP - set(wanted.split())
    ):
        return False
    words, asked = set(normalise_text(clause).split()), set(normalise_text(about.text).split())
    if (words & _OPPOSITE) - asked:
        return False
    found = re.search(rf"\b(?:an?|the|some|his|her|its|their)\s+{_loose(wanted)}\s+([^\W\d_]+)", clause, re.IGNORECASE)
    return offered or not found or found[1].casefold() in _STOP or _stem(found[1]) in {_stem(w) for w in asked}


def _rivals(wanted: str, about: Question, labels: tuple[str, ...]) -> list[str]:
    """Other answers that the question offers: the other labels, what stands beside "or", other names, other things of the same noun."""
    found = [normalise_text(label) for label in labels]
    for match in re.finditer(r"((?:(?:the |an? )?\w+, ){0,8})(?:the |an? )?(\w+),? or (?:the |an? )?(\w+)", about.text):
        named = [normalise_text(w) for w in (*match[1].split(", "), match[2], match[3])]
        found += named if wanted in named or wanted.split()[-1] in named else []
    names = [
        normalise_text(w)
        for s in re.split(r"[.!?\n]\s*", about.text)
        for w in _WORD.findall(s)
        if w[0].isupper() and w.casefold() not in _STOP
    ]
    found += names if wanted in names else []
    head = wanted.split()
    if len(head) > 1:
        words = normalise_text(about.text).split()
        found += [f"{one} {other}" for one, other in pairwise(words) if other == head[-1] and one not in _STOP]
    return [f for f in dict.fromkeys(found) if f and f != wanted and f not in wanted.split()]


# yes and no --------------------------------------------------------------------------------------------------------------


def _polar(text: str, wanted: bool, about: Question) -> RuleResult:
    marked = _marked(latest(text).replace("**", ""))
    read = _polarity(marked if marked is not None else latest(text).replace("**", ""), about)
    return RuleResult(float(read == wanted), None if read is None else "yes" if read else "no")


def _polarity(text: str, about: Question) -> bool | None:
    """True for yes, False for no, None for neither: the first word, else where it says so, else the question put as a statement or its denial."""
    text = re.sub(r"\b(?:no|without(?: a)?) doubt\b,?", " ", text.replace("’", "'"), flags=re.IGNORECASE).strip()
    if re.search(r"\byes\s(?:and|or)\sno\b|\bno\s(?:and|or)\syes\b|\bnot (?:a )?(?:yes|no)\b", text, re.IGNORECASE):
        return None
    first, _, later = re.sub(r"\s+", " ", text).partition(". ")
    if lead := _POLAR.match(first):
        yes = lead[1].casefold() in YES
        if yes and _DENIES.search(first[lead.end() :]):
            return None
        other = next((m[1].casefold() in YES for s in later.split(". ") if (m := _POLAR.match(s))), yes)
        return yes if other == yes else None
    said = {
        m[1].casefold() in YES
        for m in _SAID.finditer(text)
        if not re.search(r"(?:\bnot|n't)\s$", text[: m.start()][-6:])
    }
    if said:
        return said.pop() if len(said) == 1 else None
    first, _, rest = first.partition(", ")
    if re.search(r"\b(?:false|wrong|untrue|incorrect)\b", rest):
        return None
    stated = [_stem(w) for w in _WORD.findall(first.casefold()) if w not in _STOP]
    asked = [_stem(w) for w in _WORD.findall(about.asked.casefold()) if w not in _STOP]
    if not stated or stated != asked:
        return None
    denials = len(_DENIES.findall(first))
    return None if denials > 1 else denials == 0


# parts of texts ----------------------------------------------------------------------------------------------------------


def _body(text: str) -> str:
    """The content of <answer> tags, else the whole text."""
    return (final_answer(text)[0] or "") if "<answer>" in text else text


def _marked(text: str) -> str | None:
    """What follows the last mark of an answer, to the end of its sentence; None without a mark."""
    if not (marks := list(_MARK.finditer(text))):
        return None
    rest = text[marks[-1].end() :]
    if marks[-1][0].startswith("\\boxed"):
        depth = 1
        for place, sign in enumerate(rest):
            depth += (sign == "{") - (sign == "}")
            if not depth:
                return rest[:place]
    return _until(rest.lstrip())


def _concluded(text: str) -> str | None:
    """What follows the last "so", "therefore" and the like, to the end of its sentence; None without one."""
    places = [m.end() for m in _CONCLUDES.finditer(text)]
    return _until(text[places[-1] :]) if places else None


def _until(text: str) -> str:
    """The text to the end of its first sentence."""
    return re.split(r"\n|(?<=[^\d\s])[.!?](?:\s|$)|(?<=\d)\.(?:\s|$)", text, maxsplit=1)[0]


def _has(text: str, words: str) -> bool:
    return f" {words} " in f" {normalise_text(text)} "


def _loose(words: str) -> str:
    return r"\W{1,3}".join(re.escape(word) for word in words.split())


def _stem(word: str) -> str:
    word = word.casefold().removesuffix("'s")
    return re.sub(r"(?:ies|es|s)$", "", word) if len(word) > 3 else word


def _overlap(clause: str, about: Question) -> int:
    """How many of the words that a question asks with a clause has."""
    asked = {_stem(w) for w in _WORD.findall(about.asked) if w.casefold() not in _STOP}
    return len(asked & {_stem(w) for w in _WORD.findall(clause)})


def _nearest(clauses: list[str], about: Question) -> int:
    """The largest overlap of a clause with the question; -1 without clauses."""
    return max((_overlap(clause, about) for clause in clauses), default=-1)


def _closest(clauses: list[str], about: Question) -> list[str]:
    """The clause that is closest to the question; none if two are equally close."""
    ranked = sorted(clauses, key=lambda clause: -_overlap(clause, about))
    return (
        ranked[:1] if len(ranked) == 1 or (ranked and _overlap(ranked[0], about) > _overlap(ranked[1], about)) else []
    )
