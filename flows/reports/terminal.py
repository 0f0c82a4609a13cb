"""Console output of a run: progress while it runs, and the summary at its end."""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from annotators.measures.rule_use import PREFIX
from flows.reports import judge_notes
from flows.reports.evaluations import figures, overall, tables, verdicts, warnings
from flows.runs import costs, rejections
from schemas.figures import JUDGE, READABLE, with_values
from schemas.operator import Tables
from schemas.records import COUNTED, SAMPLE_KINDS, Reason
from schemas.redact import clean

NAMED = 20  # dropped rows printed one by one
WINDOW = 10.0  # seconds over which the request rate is measured


class Meter:
    """Usage of each model so far over all units of a run, and its current request rate."""

    def __init__(self):
        self._units: dict[str, dict[str, dict]] = {}
        self._ended: list[dict[str, dict]] = []  # usage of processes that died
        self._ticks: deque[tuple[float, dict[str, int]]] = deque()

    def note(self, unit: str, used: dict[str, dict]) -> None:
        """Notes the usage of a unit so far, by model, in the form of `costs.priced`."""
        if _requests(used) < _requests(self._units.get(unit, {})):  # its process was restarted and counts from zero
            self._ended.append(self._units[unit])
        self._units[unit] = used
        now = time.monotonic()
        while self._ticks and now - self._ticks[0][0] > WINDOW:
            self._ticks.popleft()
        self._ticks.append((now, {model: usage["asked"] for model, usage in self.models().items()}))

    def models(self) -> dict[str, dict]:
        """Usage by model, summed over all units."""
        return costs.add_priced([*self._ended, *self._units.values()])

    def rate(self, model: str) -> float:
        """Requests per second over the last WINDOW seconds; 0 in the first second."""
        (since, then), (until, now) = self._ticks[0], self._ticks[-1]
        return (now[model] - then.get(model, 0)) / (until - since) if until - since >= 1 else 0.0

    def lines(self) -> Iterator[tuple[str, str]]:
        """(model, its usage as text)"""
        for model, usage in self.models().items():
            if usage["asked"] + usage["cached"]:
                rate = self.rate(model)
                yield model, (f"{rate:,.{0 if rate >= 10 else 1}f}/s, " if rate else "") + progress_line(usage)


def _requests(used: dict[str, dict]) -> int:
    return sum(usage["asked"] + usage["cached"] for usage in used.values())


def progress_line(usage: dict) -> str:
    """A model's usage in one line."""
    failed = f", {usage['failed']:,} failed" if usage["failed"] else ""
    money = f", {costs.amount(usage['spent'])} {usage['currency']}" if "currency" in usage else ""
    tokens = (
        f"tokens {costs.compact_amount(usage['prompt_tokens'])} in, {costs.compact_amount(usage['answer_tokens'])} out"
    )
    return f"{usage['asked']:,} asked, {usage['cached']:,} cached{failed}, {tokens}{money}"


class Bars(Progress):
    """A progress bar for each unit, and below them a line for each model."""

    def __init__(self, meter: Meter, console: Console):
        self.meter = meter
        super().__init__(
            TextColumn("{task.description:<24}"), BarColumn(bar_width=24), TextColumn("{task.fields[count]}"), TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=console,
        )  # fmt: skip

    def all_done(self) -> None:
        """Marks all units so far as finished, also those whose total was unknown or was reduced by a filter."""
        for task in self.tasks:
            self.update(task.id, total=task.completed or 1, completed=task.completed or 1, text="")
            self.stop_task(task.id)

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        models = Table.grid(padding=(0, 1))
        for model, text in self.meter.lines():
            models.add_row(escape(model), f"[dim]{text}")
        yield models


@contextlib.contextmanager
def progress_shown(run, console: Console) -> Generator[None]:
    """Shows progress: on a terminal a bar per unit and a line per model, elsewhere plain lines."""
    if not console.is_terminal:
        run.report = console_reporter(console)
        yield
        return
    meter = Meter()
    with Bars(meter, console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(unit: str, done: int, total: int | None, text: str, used: dict) -> None:
            if unit not in tasks:
                progress.all_done()
                tasks[unit] = progress.add_task(escape(unit), total=total, count="", text="")
            meter.note(unit, used)
            count = f"{done:,}{f' of {total:,}' if total else ''}" if done or total else ""
            progress.update(tasks[unit], completed=done, total=total, count=count, text=escape(text))

        run.report = report
        yield
        progress.all_done()


def console_reporter(console: Console):
    """A reporter that prints progress lines on a console."""
    return reporter(lambda text: console.print(escape(f"  {text}"), soft_wrap=True))


def reporter(write: Callable[[str], object], every: float = 10.0):
    """A reporter that writes a line when a unit starts, every `every` seconds, and when its total is reached."""
    last: dict[str, float] = {}

    def report(unit: str, done: int, total: int | None, text: str, used: dict) -> None:
        now = time.monotonic()
        if now - last.get(unit, -every) >= every or (total and done == total):
            last[unit] = now
            asked = "".join(f"; {model}: {progress_line(usage)}" for model, usage in used.items())
            count = f"{done}{f' of {total}' if total else ''}" if done else "started"
            write(clean(f"{unit}: {count} {text}".rstrip() + asked))

    return report


def print_summary(summary: dict, run, console: Console) -> None:
    """Prints counts and figures of a finished run, dropped rows with their reasons, and the paths of dataset and report."""
    table = Table(title=f"{summary['name']}: rows by media type", title_justify="left")
    kinds = list(summary["samples"])
    for name in ("", *kinds, "all"):
        table.add_column(name, justify="right" if name else "left")
    for name in COUNTED:
        table.add_row(name, *(str(summary[name].get(k, 0)) for k in kinds), str(sum(summary[name].values())))
    console.print(table)
    for line in rejections.lines(summary["rejections"]):
        console.print(f"  {escape(line)}", soft_wrap=True)
    print_dropped_rows(run.tables(), console)
    for line in (*dropped_lines(summary), *rule_lines(summary), *cut_lines(summary)):
        console.print(f"  [yellow]{escape(line)}[/yellow]", soft_wrap=True)
    print_unread(summary.get("unread", {}), console)
    for line in open_lines(summary):
        console.print(f"  [yellow]{escape(line)}[/yellow]", soft_wrap=True)
    for line in summary.get("repaired", ()):
        console.print(f"  [yellow]repaired[/yellow]: {escape(line)}", soft_wrap=True)
    if summary["models"]:
        console.print(usage_table(summary["models"], "model usage"))
    print_judge_quality(summary["judges"], console)
    print_right_answers(summary, console)
    if probed := summary["survive_without_media"].get("all"):
        console.print(f"  {share(probed)} of {probed['n']:,} preferences survive without the media")
    if summary["evaluate"]:
        print_evaluations(summary, console)
    if summary["dataset"]:
        console.print(f"dataset  [bold]{escape(str(run.folder / summary['dataset']))}[/bold]")
    if (run.folder / "report.html").exists():
        console.print(f"report   [bold]{escape(str(run.folder / 'report.html'))}[/bold]")


def open_lines(summary: dict) -> list[str]:
    """Lines about what is still open in a finished run, and why; empty if nothing is. Summaries of older versions lack the details."""
    left = summary.get("open") or {"rejections": {}, "judgements": {}, "said": {}}
    parts = [
        f"{sum(steps.values()):,} {table if sum(steps.values()) > 1 else table[:-1]} ({', '.join(f'{step} {n:,}' for step, n in steps.items())})"
        for table in ("rejections", "judgements")
        if (steps := left[table])
    ]
    if not parts and not summary.get("questions_open"):
        return []
    what = " and ".join(parts) or f"{summary['questions_open']:,} unanswered requests"
    return [
        f"open: {what}. A server or source failed temporarily; run the same command again: only these are requested again.",
        *(f"  {n:,} x {detail}" for detail, n in left["said"].items()),
    ]


def rule_lines(summary: dict) -> list[str]:
    """Lines about rules that do not suit the answers, and which one to take; empty if all do. Summaries of older versions do not know."""
    return [
        f"{step}: the rule {found['rule']} takes {found['wrong']:,} of {found['contain']:,} answers that contain the known answer for wrong; "
        f"set `kind: {found['take']}`"
        + (
            f", by which {found['final']:,} of them are right"
            if found["take"] == "final"
            else ": they say more than one answer"
        )
        for step, found in summary.get("rules", {}).items()
    ]


def dropped_lines(summary: dict) -> list[str]:
    """Lines about samples that judges dropped, with the first reason; empty if none. Summaries of older versions do not know."""
    return [
        f"{step}: the judge dropped {_many(found['n'], 'sample')} as {reason}, with all answers; the first: {found['first']}"
        for step, reasons in summary.get("dropped_by_judges", {}).items()
        for reason, found in reasons.items()
    ]


def cut_lines(summary: dict) -> list[str]:
    """Lines about what max_tokens cut off, and the remedy; empty if nothing was. Summaries of older versions lack the last two."""
    cut = summary.get("cut_off", {})
    kinds = (
        (
            "answer",
            {step: n for step, reasons in summary["rejections"].items() if (n := reasons.get(Reason.TRUNCATED))},
            "dropped",
        ),
        ("answer", cut.get("answers", {}), "kept: a model learns from it to stop in the middle of a sentence"),
        ("judgement", cut.get("replies", {}), "unparsable"),
    )
    return [
        f"{step}: {_many(n, what)} cut off and {became}; raise its max_tokens"
        for what, steps, became in kinds
        for step, n in steps.items()
    ]


def unread_lines(unread: dict[str, dict[str, dict[str, int]]]) -> list[str]:
    """Lines such as `rows.jsonl, not read: tags (3 rows), score (2 rows)`; files with the same columns share one."""
    alike: dict[frozenset[str], tuple[list[str], Counter[str]]] = {}
    for files in unread.values():
        for file, columns in files.items():
            names, rows = alike.setdefault(frozenset(columns), ([], Counter()))
            names.append(file)
            rows.update(columns)
    return [
        " and ".join([first, *([_many(len(others), "more file")] if others else [])])
        + ", not read: "
        + ", ".join(f"{name} ({_many(n, 'row')})" for name, n in rows.items())
        for (first, *others), rows in alike.values()
    ]


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def print_unread(unread: dict[str, dict[str, dict[str, int]]], console: Console) -> None:
    """Prints the columns and keys that sources did not read."""
    for line in unread_lines(unread):
        console.print(f"  {escape(clean(line))}", soft_wrap=True)


def usage_table(models: dict[str, dict], title: str) -> Table:
    """A table of each model's usage, with the cost if it has a price."""
    table = Table(title=title, title_justify="left")
    priced = any("currency" in usage for usage in models.values())
    failed = ("failed",) if any(usage["failed"] for usage in models.values()) else ()
    for name in ("", "asked", "cached", *failed, "tokens in", "out", *(("spent", "saved") if priced else ())):
        table.add_column(name, justify="right" if name else "left")
    for model, usage in models.items():
        counts = [f"{usage[key]:,}" for key in ("asked", "cached", *failed, "prompt_tokens", "answer_tokens")]
        money = (
            [f"{costs.amount(usage[key])} {usage['currency']}" for key in ("spent", "saved")]
            if "currency" in usage
            else []
        )
        table.add_row(escape(model), *counts, *money)
    return table


def print_dropped_rows(tables: Tables, console: Console, table: str = "samples") -> None:
    """Prints the first dropped rows of a table, one per line: which row, why, and the remedy."""
    count = 0
    for batch in tables.batches("rejections", ["table", "reason", "detail", "sample"]):
        # not by pyarrow.compute: a value that it is given makes it load pandas
        where = zip(batch["table"].to_pylist(), batch["reason"].to_pylist(), strict=True)
        gone = [place for place, found in enumerate(where) if found[0] == table and found[1] != Reason.SUPERSEDED]
        for place in gone[: max(0, NAMED - count)]:
            sample, detail = batch["sample"][place].as_py(), batch["detail"][place].as_py()
            # a row that never became a sample is named in the detail
            text = detail if sample is None else f"sample {sample}: {detail}"
            console.print(f"    {escape(text)}", soft_wrap=True)
        count += len(gone)
    if count > NAMED:
        console.print(f"    and {count - NAMED:,} more")


def print_judge_quality(found: dict[str, dict], console: Console) -> None:
    """Prints judge quality, and what must be known of the judges before their scores are used."""
    for table in _quality_tables(found, console):
        console.print(table)
    for line in (*judge_notes.same_replies(found), *judge_notes.unsure(found)):
        console.print(f"  [yellow]{escape(line)}[/yellow]", soft_wrap=True)
    for step, judge in found.items():
        for bias in judge_notes.biases(judge):
            console.print(f"  [yellow]judge {escape(step)} {escape(bias)}[/yellow]", soft_wrap=True)
        if (rate := judge.get("parse_rate")) is not None and rate < READABLE:
            whose, remedy = (
                f"judge {escape(step)}",
                ": see what they are read as with `pairwright read-replies` (docs/judge_quality.md)",
            )
            if (judge.get("annotator") or "").startswith(PREFIX):
                whose, remedy = (
                    f"the rule in {escape(step)}",
                    ": the others state several answers, or none (docs/rules.md)",
                )
            elif judge.get("annotator") == "people":
                whose, remedy = f"people in {escape(step)}", ""
            console.print(
                f"  [yellow]only {rate:.0%} of the replies of {whose} could be parsed[/yellow]{remedy}", soft_wrap=True
            )


def _quality_tables(found: dict[str, dict], console: Console) -> Iterator[Table]:
    """Judge quality, as many judges beside each other as the console is wide."""
    judges = list(found)
    while judges:
        table = _quality_table({step: found[step] for step in judges[:1]})
        taken = 1
        while taken < len(judges):
            wider = _quality_table({step: found[step] for step in judges[: taken + 1]})
            if Measurement.get(console, console.options.update(max_width=10_000), wider).maximum > console.width:
                break
            table, taken = wider, taken + 1
        yield table
        judges = judges[taken:]


def _quality_table(judges: dict[str, dict]) -> Table:
    table = Table(title="judge quality, % (95 % interval)", title_justify="left")
    for name in ("", *map(escape, judges)):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    rows: dict[str, list[str]] = {
        "judgements": [f"{judge['judgements']:,}" for judge in judges.values()],
        "parsed": [_percentage(judge["parse_rate"]) for judge in judges.values()],
        "ties": [_percentage(judge["tie_rate"] or None) for judge in judges.values()],
        "first token (median)": [_percentage((judge.get("mass") or {}).get("median")) for judge in judges.values()],
        "agreement with truth": [_interval(judge["agreement_with_truth"].get("all")) for judge in judges.values()],
        **{
            figure.title: [_interval(judge.get(figure.name)) for judge in judges.values()]
            for figure in with_values(JUDGE, list(judges.values()))
        },
        "calibration error": [
            _percentage(c["error"] if (c := judge["calibration"]) else None) for judge in judges.values()
        ],
    }
    for title, cells in rows.items():
        if any(cells):
            table.add_row(title, *cells)
    return table


def _percentage(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _interval(figure: dict | None) -> str:
    return (
        f"{100 * figure['share']:.1f} [dim]({100 * figure['low']:.0f}-{100 * figure['high']:.0f})[/dim]"
        if figure
        else ""
    )


def print_right_answers(summary: dict, console: Console) -> None:
    """Prints the share of right answers by rule, step, model and media kind; nothing without a rule. Summaries of older versions lack them."""
    if not (groups := summary.get("right")):
        return
    table = Table(title="right answers (95 % interval)", title_justify="left")
    kinds = [kind for kind in SAMPLE_KINDS if any(kind in group["shares"] for group in groups)]
    for name in ("rule", "answers of", "n", "all", *(kinds if len(kinds) > 1 else ())):
        table.add_column(name, justify="left" if name in ("rule", "answers of") else "right")
    for group in groups:
        shares = [share(group["shares"].get(name)) for name in ("all", *(kinds if len(kinds) > 1 else ()))]
        who = " · ".join(short(text) for text in (group["step"], group["model"]) if text)
        table.add_row(escape(rule_of(group)), escape(who), f"{group['shares']['all']['n']:,}", *shares)
    console.print(table)


def rule_of(group: dict) -> str:
    """The rule of a group of answers and the step that applied it, such as `truth (rule.number)`."""
    return f"{group['judge']} ({short(group['rule'])})"


def short(text: str) -> str:
    """At most 28 characters of a text, such as the identity of a model."""
    return text if len(text) <= 28 else text[:27] + "\u2026"


def share(figure: dict | None) -> str:
    """A share with its 95 % interval; empty for None."""
    return f"{figure['share']:.3f} [dim]({figure['low']:.3f}-{figure['high']:.3f})[/dim]" if figure else ""


def print_done_evaluation(run, console: Console) -> None:
    """Prints the evaluation of a run that is one: rows that are not in it, its metrics and notes, and the file of answers."""
    (unit,) = run.units
    done = run.done(unit)
    for line in rejections.lines(done["rejections"]):
        console.print(f"  {escape(line)}", soft_wrap=True)
    print_dropped_rows(run.tables(), console)
    print_unread(done.get("unread", {}), console)
    print_evaluations({"evaluate": {unit.name: done["result"]}}, console)
    if (answers := run.unit_folder(unit) / "answers.jsonl").exists():
        console.print(f"answers  [bold]{escape(str(answers))}[/bold]")


def evaluation_lines(evaluations: dict[str, dict]) -> list[str]:
    """What to know about evaluations on rows: answers that were cut off, rows that are prompts of the run."""
    lines = []
    for name, found in evaluations.items():
        cut, seen = (found.get("all", {}).get(key, 0) for key in ("cut_off", "seen"))
        if cut:
            lines.append(f"{name}: {_many(cut, 'answer')} cut off, and judged as they are; raise its max_tokens")
        if seen:
            lines.append(
                f"{name}: {_many(seen, 'row')} not held out: prompts of this run too; leave them out of one of the two"
            )
    return lines


def print_evaluations(summary: dict, console: Console) -> None:
    """Prints the metrics of all evaluations side by side, with 95 % intervals, the first of them by media type, and what they say together."""
    for part in tables(summary["evaluate"]):
        scenes = "mean" in next(iter(part.values()))
        title = (
            "on held-out scenes (mean over media types, 95 % interval)"
            if scenes
            else "on held-out rows (95 % interval)"
        )
        table = Table(title=title, title_justify="left")
        for name in ("", *part):
            table.add_column(name, justify="right" if name else "left")
        shown = figures(part)
        for figure in shown:
            table.add_row(figure.title, *(_value(overall(found).get(figure.name)) for found in part.values()))
        for kind in (kind for kind in SAMPLE_KINDS if any(kind in found for found in part.values())):
            values = (_value(found.get(kind, {}).get(shown[0].name)) for found in part.values())
            table.add_row(f"[dim]{shown[0].title}, {kind}[/dim]", *values)
        if not scenes:
            table.add_row("[dim]rows[/dim]", *(f"{found['all']['rows']:,}" for found in part.values()))
        console.print(table)
    for line in verdicts(summary):
        console.print(escape(line), soft_wrap=True)
    for line in (*warnings(summary), *evaluation_lines(summary["evaluate"])):
        console.print(f"[yellow]{escape(line)}[/yellow]", soft_wrap=True)


def _value(figure: dict | None) -> str:
    return f"{figure['value']:.3f} [dim]({figure['low']:.3f}-{figure['high']:.3f})[/dim]" if figure else ""
