"""The text of a reply as lines: tags and boxes as marked values, headings joined with what is below them, rows of tables, no markup."""

import re

from annotators.judge._labels import EDGE, MARKER, WHOLE, bare, preference_value, side_of
from annotators.judge._reply import LONGEST, strip_quotes

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
_MARK_ONLY = re.compile(rf"#{{0,6}}\s{{0,4}}(?:\d[.)] )?{MARKER}\s{{0,3}}[:=]?", re.IGNORECASE)
_LISTED = re.compile(r"\s*(?:\(?\d{1,2}[.)]|[-*+•])(?:\s|$)")
QUOTED_LABEL = re.compile(
    r"(?<=[:=])(\s{0,3})[\"'`“]{1,2}(?P<value>[\w \[\]]{1,16}[.]?)[\"'`”]{1,2}(?=\s*[.!]?\s*$)", re.MULTILINE
)


def prepared(reply: str) -> str:
    """The reply's own prose: tags and boxes as marked lines, tables as lines, without markup, JSON objects and quotes."""
    text = strip_quotes(reply)
    text = _ARROW.sub(": ", _EMOJI.sub("", text))
    text = _BOXED.sub(lambda m: f"\nverdict: {m['value']}\n", text)
    text = _TAGS.sub(lambda m: f"\nverdict: {m['value']}\n", text)
    text = _RESULT.sub("\nverdict: ", text)
    return _MARKUP.sub("", text)


def unquoted(match: re.Match) -> str:
    """A quoted label after a marker at the beginning of its line is the judge's own; any other stays quoted."""
    line = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
    bare = _MARKUP.sub("", line).strip(" #:=")
    return f"{match[1]}{match['value']}" if len(bare) < 60 and re.fullmatch(MARKER, bare, re.IGNORECASE) else match[0]


def lines_of(text: str) -> list[str]:
    """The lines, stripped, without blank ones; a heading that is only a marker is joined with the line after it, a table's row is
    "first cell: second cell" if it has no others."""
    found: list[str] = []
    waiting = ""
    columns: list[float | None] = []
    raws = text.splitlines()
    heads = {preference_value(raw) for raw in raws if len(raw) < 60 and is_label(raw)}  # both: headings
    last = max((place for place, raw in enumerate(raws) if raw.strip()), default=0)
    for place, raw in enumerate(raws):
        line = raw.strip()
        if not line or not line.strip("-=*_|: "):
            continue
        cells = _cells(line)
        columns = [] if not cells else columns or _columns(cells)
        line = _winner(cells, columns) or _row(line)
        is_head = (len(heads) > 1 or _SECTION.search(waiting)) and is_label(line) and place < last
        if waiting and not _LISTED.match(line) and not is_head:
            line = f"{waiting.strip('# ').rstrip(':= ')}: {line}"
        elif waiting and is_head and len(heads) == 1:
            line = f"{line}:"
        waiting = ""
        if len(line) < 60 and _MARK_ONLY.fullmatch(line) and not is_label(line):
            waiting = line
            continue
        found.append(line)
    return found


def is_label(line: str) -> bool:
    return bool(WHOLE.fullmatch(line.strip(EDGE)))


def _cells(line: str) -> list[str]:
    """The cells of a table's row; [] for another line."""
    if len(line) > LONGEST or line.count("|") < 2:
        return []
    return [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def _columns(cells: list[str]) -> list[float | None]:
    """The answer that each column of a table is about, from its first row; [] unless both answers have one column each."""
    found = [side_of(whole) if (whole := WHOLE.fullmatch(bare(cell))) else None for cell in cells]
    return found if sorted(side for side in found if side) == [-1.0, 1.0] else []


def _winner(cells: list[str], columns: list[float | None]) -> str:
    """A table's row that tells the winner by a mark or by totals in the columns of both answers, as a marked value; "" for any other."""
    if not columns or len(cells) != len(columns) or not _DECIDES.fullmatch(bare(cells[0])):
        return ""
    given = {side: bare(cell) for side, cell in zip(columns, cells, strict=True) if side}
    numbers = [_TOTAL.fullmatch(given[side]) for side in (1.0, -1.0)]
    first, second = numbers
    if first and second and first["of"] == second["of"] and not _MARK_ROW.fullmatch(bare(cells[0])):
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
