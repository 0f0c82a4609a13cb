"""Values as they are written: numbers with units, percentages, times, ratios, sets, intervals, expressions. Pure, in linear time.

Both sides of a comparison, an answer and the known one, are read by this one parser. `equal` is symmetric. A unit that is written on one side
only is taken to be the same (a question may imply it), but 50 is not 50 %, 3 is not 3:45, and 5 kg is not 5 g."""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3}(?![\w.]))?"
LARGEST = 10**300  # numbers from here on are none
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
POWERS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
WORDS = {word: n for n, word in enumerate(ONES)} | {word: 20 + 10 * n for n, word in enumerate(TENS)}
_SIMPLE = "|".join((*WORDS, *POWERS))
_SPELLED = rf"(?:{_SIMPLE})(?:(?:\s|-|\sand\s)(?:{_SIMPLE}))*"

# unit -> (what it measures, how many of the first unit of that kind)
UNITS: dict[str, tuple[str, Fraction]] = {}
_TABLE = {
    "mass": "g gram grams gramme grammes=1|kg kgs kilo kilos kilogram kilograms=1000|mg milligram milligrams=1/1000|t tonne tonnes ton tons=1000000|lb lbs pound pounds=453.59237"
    "|oz ounce ounces=28.349523125|公斤 千克=1000|克=1|吨=1000000",
    "length": "m meter meters metre metres=1|cm centimeter centimeters centimetre centimetres=1/100|mm millimeter millimeters millimetre millimetres=1/1000|km kilometer kilometers kilometre"
    " kilometres=1000|ft foot feet=0.3048|in inch inches=0.0254|yd yard yards=0.9144|mi mile miles=1609.344|nm nanometer nanometers=1/1000000000|厘米=1/100|毫米=1/1000|千米 公里=1000|米=1",
    "time": "s sec secs second seconds=1|ms millisecond milliseconds=1/1000|min mins minute minutes=60|h hr hrs hour hours=3600|day days=86400|week weeks=604800|秒=1|分钟=60|小时=3600|天=86400",
    "volume": "l liter liters litre litres=1|ml milliliter milliliters millilitre millilitres=1/1000|cl=1/100|cm^3 cm³ cc=1/1000|m^3 m³=1000|升=1|毫升=1/1000",
    "area": "m^2 m² sqm=1|cm^2 cm²=1/10000|mm^2 mm²=1/1000000|km^2 km²=1000000|ha hectare hectares=10000|acre acres=4046.8564224",
    "speed": "m/s mps=1|km/h kmh kph=5/18|mph=0.44704",
    "share": "% percent pct per-cent=1/100|‰=1/1000",
    "angle": "° degree degrees deg=1|rad radian radians=180/3.14159265358979323846",
    "dollar": "$ usd dollar dollars=1|cent cents ¢=1/100", "euro": "€ eur euro euros=1", "sterling": "£ gbp=1", "yuan": "¥ cny rmb yuan 元=1", "yen": "jpy yen=1",
    "celsius": "°c ℃ celsius=1", "fahrenheit": "°f ℉ fahrenheit=1", "kelvin": "k kelvin kelvins=1",
    "data": "b byte bytes=1|kb=1000|mb=1000000|gb=1000000000", "frequency": "hz hertz=1|khz=1000|mhz=1000000|ghz=1000000000",
    "energy": "j joule joules=1|kj=1000|kwh=3600000|cal=4.184|kcal=4184", "power": "w watt watts=1|kw=1000", "force": "n newton newtons=1", "voltage": "v volt volts=1",
}  # fmt: skip
for _kind, _rows in _TABLE.items():
    for _row in _rows.split("|"):
        _names, _, _scale = _row.rpartition("=")
        _above, _, _below = _scale.partition("/")
        UNITS |= dict.fromkeys(_names.split(), (_kind, Fraction(_above) / Fraction(_below or "1")))
_UNIT = "|".join(sorted((re.escape(u) for u in UNITS if u not in ("$", "£", "¥", "€")), key=len, reverse=True))
_CURRENCY = r"[$€£¥]"
_SIGN = r"(?:[-+]\s?|(?:minus|negative)\s)"
_AMOUNT = (
    rf"(?P<sign>{_SIGN})?(?P<cur>{_CURRENCY})?\s?(?:(?P<whole>\d{{1,9}})\s(?P<up>\d{{1,9}})/(?P<low>\d{{1,9}})|(?P<above>{NUMBER})(?:\s?/\s?(?P<below>\d{{1,20}}(?:\.\d{{1,20}})?))?|(?P<words>\b{_SPELLED}\b))"
    rf"(?:\s?(?P<power>hundred|thousand|million|billion|trillion|万|亿)\b)?(?:\s?(?P<unit>{_UNIT}|[€£¥$])(?![\w^]))?"
)
_CLOCK = r"(?P<hour>\d{1,3}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?:\s?(?P<half>[ap])\.?m\b\.?)?"
_RATIO = rf"(?P<first>{NUMBER})\s?:\s?(?P<rest>{NUMBER}(?:\s?:\s?{NUMBER}){{0,8}})"
_WHOLE = re.compile(rf"(?:{_AMOUNT}|{_CLOCK}|{_RATIO})", re.IGNORECASE)
_OCLOCK = re.compile(r"(?P<hour>\d{1,2})\s?(?:o'?clock|(?P<half>[ap])\.?m\b\.?)", re.IGNORECASE)
_IN_TEXT = re.compile(
    rf"(?<![\w.:/]){_CLOCK}(?![\w:])|(?<![\w.:/]){_RATIO}(?![\w:])|(?<![\w.]){_AMOUNT}(?!\w)", re.IGNORECASE
)
_LATEX = re.compile(r"\\(?:left|right|displaystyle|mathrm|text|textbf|mathbf|operatorname)\b\s?|\\[,;!: ]|\\boxed\b|~")
_FRAC = re.compile(r"\\[dt]?frac\s?\{([^{}]{1,40})\}\s?\{([^{}]{1,40})\}")
_DASHES = str.maketrans({"−": "-", "–": "-", "—": "-", "’": "'", "∶": ":"})
_OPEN, _CLOSE = "([{", ")]}"


class Quantity(NamedTuple):
    """A number with what it measures ('' without a unit) and in which unit."""

    number: Fraction
    kind: str = ""
    unit: Fraction = Fraction(1)


class Clock(NamedTuple):
    """A time of day or a duration, h:mm(:ss); `half` is a, p or None."""

    seconds: int
    half: str | None = None


class Ratio(NamedTuple):
    """Numbers between colons."""

    parts: tuple[Fraction, ...]


class Group(NamedTuple):
    """Values in brackets: a set (no brackets or {}), an ordered tuple (), or an interval such as [1, 2)."""

    brackets: str
    parts: "tuple[Value, ...]"


class Expression(NamedTuple):
    """Anything else with a digit, an operator or an equals sign, without white space."""

    text: str


Value = Quantity | Clock | Ratio | Group | Expression


def value_of(text: str) -> Value | None:
    """The value that the whole of a text writes; None for words that are no value."""
    return _value(_plain(text), 0)


def values_in(text: str) -> list[Quantity | Clock | Ratio]:
    """The numbers, times and ratios in a text, in order."""
    return [value for value, _, _ in places_in(text)]


def places_in(text: str) -> list[tuple[Quantity | Clock | Ratio, str, str]]:
    """The numbers, times and ratios in a text, in order, each with up to 40 characters before and after it."""
    plain = unicodedata.normalize("NFKC", text.replace("°", "\u0001")).replace("\u0001", "°").translate(_DASHES)
    plain = _FRAC.sub(r"\1/\2", plain).replace("\\%", "%").replace("\\$", "$")
    found = []
    for match in _IN_TEXT.finditer(plain):
        value = _matched(match, plain)
        if value is not None:
            found.append(
                (value, plain[max(0, match.start() - 40) : match.start()], plain[match.end() : match.end() + 40])
            )
    return found


def written(value: Value) -> str:
    """A value as it is kept: at most 200 characters."""
    match value:
        case Quantity():
            return f"{float(value.number):g}"
        case Clock():
            return f"{value.seconds // 3600}:{value.seconds // 60 % 60:02}" + (f" {value.half}m" if value.half else "")
        case Ratio():
            return ":".join(f"{float(part):g}" for part in value.parts)
        case Group():
            return ", ".join(map(written, value.parts))[:200]
    return value.text[:200]


def equal(one: Value, other: Value, tolerance: float = 0) -> bool:
    """Whether two values are the same; `tolerance` is the largest error of a number relative to `other`'s. Symmetric with a tolerance of 0.

    Expressions are equal if they are written alike; a symbolic comparison is for sandbox.mathematics."""
    match one, other:
        case Quantity(), Quantity():
            return _same_quantity(one, other, tolerance)
        case Clock(), Clock():
            return _same_time(one, other)
        case Ratio(), Ratio():
            return len(one.parts) == len(other.parts) and _reduced(one) == _reduced(other)
        case Group(), Group():
            return _same_group(one, other, tolerance)
        case (Expression(), _) | (_, Expression()):
            return one == other
    return False


def _same_quantity(one: Quantity, other: Quantity, tolerance: float) -> bool:
    if {one.kind, other.kind} == {"", "share"}:
        return _near(one.number * one.unit, other.number * other.unit, tolerance)
    if one.kind == other.kind and one.unit != other.unit:
        return _near(one.number * one.unit, other.number * other.unit, tolerance)
    if one.kind and other.kind and one.kind != other.kind:
        temperatures = _kelvin(one), _kelvin(other)
        return None not in temperatures and _near(temperatures[0] or Fraction(0), temperatures[1] or Fraction(0), 0)
    return _near(one.number, other.number, tolerance)


def _kelvin(value: Quantity) -> Fraction | None:
    match value.kind:
        case "celsius":
            return value.number + Fraction("273.15")
        case "fahrenheit":
            return (value.number - 32) * Fraction(5, 9) + Fraction("273.15")
        case "kelvin":
            return value.number
    return None


def _near(one: Fraction, other: Fraction, tolerance: float) -> bool:
    return abs(one - other) <= Fraction(tolerance) * abs(other)


def _same_time(one: Clock, other: Clock) -> bool:
    if (one.half and other.half) or not (one.half or other.half):
        return _of_day(one) == _of_day(other)
    given, bare = (one, other) if one.half else (other, one)  # 3:45 may be either half of the day, 15:45 is the second
    return bare.seconds in (given.seconds, _of_day(given))


def _of_day(time: Clock) -> int:
    return time.seconds if time.half is None else time.seconds % 43200 + (43200 if time.half == "p" else 0)


def _reduced(ratio: Ratio) -> tuple[Fraction, ...]:
    scale = next((part for part in ratio.parts if part), Fraction(1))
    return tuple(part / scale for part in ratio.parts)


def _same_group(one: Group, other: Group, tolerance: float) -> bool:
    if len(one.parts) != len(other.parts) or one.brackets != other.brackets:
        return False
    if one.brackets != "{}":
        return all(equal(a, b, tolerance) for a, b in zip(one.parts, other.parts, strict=True))
    left = list(other.parts)
    for part in one.parts:
        place = next((i for i, p in enumerate(left) if equal(part, p, tolerance)), None)
        if place is None:
            return False
        del left[place]
    return True


# parsing -----------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """`text` without LaTeX that does not change a value, emphasis and a point at its end."""
    text = unicodedata.normalize("NFKC", text.replace("°", "\u0001").replace("²", "^2").replace("³", "^3")).replace(
        "\u0001", "°"
    )
    text = (
        _LATEX.sub("", text.translate(_DASHES))
        .replace("\\{", "{")
        .replace("\\}", "}")
        .replace("\\%", "%")
        .replace("^\\circ", "°")
        .replace("^{\\circ}", "°")
    )
    text = text.replace("\\$", "\u0002").strip().strip("`").strip()
    text = text[2:-2].strip() if text.startswith("**") and text.endswith("**") else text
    if len(text) > 1 and text.startswith("$") and text.endswith("$"):
        text = text.strip("$")
    text = _FRAC.sub(r"\1/\2", text.replace("\u0002", "$")).strip().rstrip(".,;!").strip()
    text = re.sub(r"^\{([^{},]*)\}(?=\s?[^\s,]|$)", r"\1", text) if "," not in text else text
    return re.sub(r"^=\s*", "", text)


def _value(text: str, depth: int) -> Value | None:
    if not text or len(text) > 2000 or depth > 4:
        return None
    if (named := re.match(r"[a-z]\s?=\s?(?=[-+.\d])", text, re.IGNORECASE)) and _WHOLE.fullmatch(text, named.end()):
        text = text[named.end() :]  # x = 3
    if (clock := _OCLOCK.fullmatch(text)) and int(clock["hour"]) <= 24:
        return Clock(3600 * int(clock["hour"]), clock["half"] and clock["half"].lower())
    if whole := _WHOLE.fullmatch(text):
        return _matched(whole, text)
    if (clock := re.fullmatch(_CLOCK, text, re.IGNORECASE)) or (clock := re.fullmatch(_RATIO, text)):
        return _matched(clock, text)
    if group := _group(text, depth):
        return group
    if re.fullmatch(r"[\d.,\s]*\d(?:\s?to\s?\d+)", text) and (
        ratio := re.fullmatch(rf"({NUMBER})\s?to\s?({NUMBER})", text)
    ):
        return Ratio(tuple(_number(part) for part in ratio.groups()))
    squeezed = re.sub(r"\s+", "", text)
    is_formula = re.search(r"[=<>+*/^\\|≤≥≠√π∞]|-(?=\d)|\d[a-zA-Z]\b|[a-z]\(", squeezed) and not re.search(
        r"(?<!\\)\b[^\W\d_]{2,}\s+[^\W\d_]{2,}", text
    )
    return (
        Expression(
            squeezed.replace("\\cdot", "*")
            .replace("\\times", "*")
            .replace("**", "^")
            .replace("≤", "<=")
            .replace("≥", ">=")
        )
        if is_formula
        else None
    )


def _matched(match: re.Match, text: str) -> Quantity | Clock | Ratio | None:
    groups = match.groupdict()
    if groups.get("hour") is not None:
        if not groups["half"] and not groups["second"] and len(groups["minute"]) == 2 and int(groups["hour"]) > 47:
            return Ratio((_number(groups["hour"]), _number(groups["minute"])))
        seconds = 3600 * int(groups["hour"]) + 60 * int(groups["minute"]) + int(groups["second"] or 0)
        return Clock(seconds, groups["half"] and groups["half"].lower())
    if groups.get("first") is not None:
        return Ratio((_number(groups["first"]), *(_number(part) for part in groups["rest"].split(":"))))
    return _quantity(groups, text, match)


def _quantity(groups: dict[str, str | None], text: str, match: re.Match) -> Quantity | None:
    if groups["up"]:
        low = int(groups["low"] or 0)
        number = int(groups["whole"] or 0) + Fraction(int(groups["up"]), low) if low else None
    elif groups["words"]:
        number = _spelled(groups["words"])
    else:
        below = _number(groups["below"]) if groups["below"] else Fraction(1)
        number = _number(groups["above"] or "0") / below if below else None
    if number is None:
        return None
    if groups["power"]:
        number *= {"万": 10**4, "亿": 10**8}.get(groups["power"]) or POWERS[groups["power"].lower()]
    if groups["sign"] and groups["sign"].strip().lower() != "+":
        number = -number
    unit = (groups["unit"] or "").lower()
    if unit in ("in", "a", "t") and text[match.end() :].lstrip()[:1].isalpha():  # "3 in the bowl"
        unit = ""
    unit = {"$": "$", "€": "€", "£": "gbp", "¥": "¥"}.get(groups["cur"] or "", unit)
    kind, scale = UNITS.get(unit, ("", Fraction(1)))
    return Quantity(number, kind, scale) if abs(number) < LARGEST else None


def _number(written: str) -> Fraction:
    return Fraction(written.replace(",", "").strip())


def _spelled(words: str) -> Fraction | None:
    """twenty-one, two hundred and five thousand; None for words that are no number ("one two")."""
    total, part, last = 0, 0, 1000
    for word in re.split(r"[\s-]+", words.lower()):
        if word == "and":
            continue
        if word in POWERS:
            part = (part or 1) * POWERS[word]
            if POWERS[word] > 100:
                total, part = total + part, 0
            last = POWERS[word]
            continue
        n = WORDS[word]
        if last < 20 or (last < 100 and n >= 10):
            return None
        part += n
        last = n if n else 1
    return Fraction(total + part)


def _group(text: str, depth: int) -> Group | None:
    """Parts between top-level commas, in brackets or not."""
    opened, closed = text[0], text[-1]
    enclosed = opened in _OPEN and closed in _CLOSE and len(text) > 1 and _closes_at_end(text)
    inner = text[1:-1] if enclosed else text
    pieces = _split(inner)
    if len(pieces) < 2 or any(not piece.strip() for piece in pieces):
        return None
    parts = [
        _value(piece.strip(), depth + 1)
        or (Expression(piece.strip()) if re.fullmatch(r"\s*\w{1,2}\s*|-?\\infty|-?∞|-?inf", piece) else None)
        for piece in pieces
    ]
    brackets = opened + closed if enclosed and opened + closed != "{}" else "{}"
    return None if None in parts else Group(brackets, tuple(part for part in parts if part is not None))


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0:
            return place == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    """The pieces between commas (or semicolons, or `and`) outside brackets."""
    pieces, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if sign in ",;" and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    last = re.split(r"\sand\s", text[start:])
    return [*pieces, *last]
