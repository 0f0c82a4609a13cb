"""The command line. It starts in a fraction of a second: heavy modules are imported by the process that needs them."""

import contextlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from typer.exceptions import TyperException

from flows.runs import stop
from schemas import redact
from schemas.disk import FAILS, error_line
from schemas.errors import PairwrightError, Waiting
from schemas.records import one_line

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False,
    help="""[bold]Pairwright[/bold] builds preference data for multimodal models, and trains on it.

Sources are read, a model answers, judges score the answers, pairs are written as a dataset, a model is trained on them, and an
evaluation shows whether it helped. A [bold]recipe[/bold] lists the steps; one command runs them.

[dim]Start with:[/dim]  pairwright build demo --out data/runs/demo
[dim]Then:[/dim]        pairwright show data/runs/demo
[dim]Your own:[/dim]    pairwright recipes, copy one, change its source and models""",
)  # fmt: skip
annotate = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="""Human annotation in Label Studio. The server is set by LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.

A build whose recipe has a [bold]judge.people[/bold] step uploads its questions there and exits while people work. Run again, it
continues once everyone is done. These commands are for the time in between.""",
)  # fmt: skip
app.add_typer(annotate, name="annotate")
STOPPED = 130  # typer's exit code for Ctrl-C
DEBUG = "PAIRWRIGHT_DEBUG"  # if set, the traceback of an unexpected error is printed
say = Console(stderr=True, highlight=False)

Out = Annotated[
    Path, typer.Option("--out", help="folder of the run; the same command run again continues where it stopped")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="folder of the cached answers and media, shared by all runs  [default: the one the run uses, else data/cache]",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Argument(help="STEP.setting=value or models.NAME.setting=value", metavar="[KEY=VALUE]...")
]


@app.command()
def build(recipe: Annotated[str, typer.Argument(help="a name listed by `pairwright recipes`, or the path of a .yaml file")],
          settings: Settings = None, out: Out = Path("data/runs/run"), cache: Cache = None) -> None:  # fmt: skip
    """Run a recipe: from sources to answers, judgements, pairs and a dataset, and whatever else it lists.

    If it is killed, run the same command again: it continues where it stopped. Finished parts are kept; cached answers are not
    requested again.

    Example: pairwright build demo sample.n=4 scenes.n=200 --out data/runs/small"""
    from flows.commands import outgoing
    from flows.reports.summary import finish
    from flows.reports.terminal import print_summary, progress_shown
    from flows.runs import executor

    run = executor.open_run(recipe, settings or [], out=out, cache=cache)
    for line in outgoing.summary_lines(outgoing.disclosures(run.recipe)):
        say.print(f"data leaves this machine for [bold]{escape(line)}", soft_wrap=True)
    with progress_shown(run, say):
        for _ in executor.run_all(run):
            pass
    print_summary(finish(run), run, say)


@app.command()
def estimate(recipe: Annotated[str, typer.Argument(help="a name listed by `pairwright recipes`, or the path of a .yaml file")],
             settings: Settings = None, cache: Cache = None,
             out: Annotated[Path | None, typer.Option("--out", help="folder of the run, if it was started; its trained models are then used")] = None,
             samples: Annotated[int, typer.Option(min=1, help="number of samples to try the steps on; the rest is extrapolated")] = 1000) -> None:  # fmt: skip
    """Estimate a recipe before it runs: requests, tokens, cache hits, time and cost.

    No model is loaded or asked. Sources are read to the end, as in a build, and their media are stored in the cache.

    Example: pairwright estimate demo sample.n=4 'models.policy.price={prompt: 2.5, answer: 10}'"""
    from flows.commands import estimate as estimates
    from flows.runs import executor

    with say.status("reading the sources") as status:
        found = estimates.estimate(
            recipe,
            settings or [],
            cache=executor.cache_of(out, cache),
            out=out,
            samples=samples,
            say=lambda text: status.update(escape(text)),
        )
    estimates.show(found, Console(highlight=False))


@app.command()
def check(recipe: Annotated[str, typer.Argument(help="a name listed by `pairwright recipes`, or the path of a .yaml file")],
          settings: Settings = None) -> None:  # fmt: skip
    """Check a recipe, and list which data leave this machine when it is built, and where to: texts and media, files, the names of keys.

    Nothing is run, loaded or asked. Trust a recipe like code: read one that is not yours before you build it.

    Example: pairwright check my.yaml models.judge.model=big"""
    from flows.commands import outgoing
    from flows.planning import load
    from flows.planning.model_folders import check_folders
    from flows.planning.trainable import check_trained

    found = load.checked(load.document(recipe, settings or []))
    check_folders(found)
    check_trained(found)
    console = Console(highlight=False)
    console.print(f"{escape(found.name)}: {len(found.steps)} steps, ready to run", soft_wrap=True)
    outgoing.show(outgoing.disclosures(found), console)


@app.command("import")
def import_set(form: Annotated[str, typer.Argument(help="a format of docs/import.md, or auto", metavar="FORMAT")],
               path: Annotated[str, typer.Argument(help="a file of rows, or a folder of such files", metavar="PATH")],
               settings: Annotated[list[str] | None, typer.Argument(help="pairs.setting=value", metavar="[KEY=VALUE]...")] = None,
               out: Out = Path("data/runs/import"), cache: Cache = None) -> None:  # fmt: skip
    """Import an existing preference set: TRL, LLaMA-Factory, ms-swift, OpenAI, NeMo RL, verl, distilabel, Argilla, RLAIF-V, RLHF-V, VLFeedback,
    MM-RLHF, MMPR, LLaVA, UltraFeedback, HelpSteer and others of docs/import.md, a Label Studio export, or a dataset of Pairwright.

    Example: pairwright import auto pairs.jsonl pairs.media_root=images --out data/runs/theirs"""
    from flows.commands.import_pairs import import_set

    import_set(form, path, settings or [], out, cache, say)


@app.command()
def ingest(recipe: Annotated[str, typer.Argument(help="a name listed by `pairwright recipes`, or the path of a .yaml file")],
           settings: Settings = None, out: Out = Path("data/runs/run"), cache: Cache = None) -> None:  # fmt: skip
    """Read a recipe's samples and media, and report what was accepted and rejected, before any model is loaded.

    Runs the sources and the prompt makers and filters that follow directly; `build` with the same folder continues from there.

    Example: pairwright ingest my.yaml --out data/runs/mine"""
    from flows.commands import ingest as incoming
    from flows.reports.terminal import progress_shown
    from flows.runs import executor

    run = executor.open_run(recipe, settings or [], out=out, cache=cache, ingest=True)
    with progress_shown(run, say):
        found = incoming.ingest(run)
    incoming.show(run, found, say)


@app.command()
def train(dataset: Annotated[Path, typer.Argument(help="folder of a finished run, or of an exported dataset", metavar="DIR")],
          settings: Annotated[list[str] | None, typer.Argument(help="train.setting=value", metavar="[KEY=VALUE]...")] = None,
          model: Annotated[str, typer.Option(help="model to train: a folder or the name of a Hub repository")] = "data/models/tiny",
          out: Out = Path("data/runs/train"), cache: Cache = None) -> None:  # fmt: skip
    """Train a model on the pairs of a dataset (DPO).

    Example: pairwright train data/runs/demo train.beta=1 train.lr=2e-4 --out data/runs/dpo"""
    from flows.reports.terminal import console_reporter
    from flows.runs import executor

    found = executor.train_dataset(dataset, out, settings or [], model=model, cache=cache, report=console_reporter(say))
    for name in ("pairs", "steps", "loss", "accuracy", "seconds"):
        say.print(f"  {name:10} {found[name]}")
    say.print(f"trained model: [bold]{escape(str(out / 'steps' / 'train' / 'model'))}[/bold]")


@app.command()
def evaluate(model: Annotated[str, typer.Argument(help="model to evaluate: a folder or the name of a Hub repository")],
             settings: Annotated[list[str] | None, typer.Argument(help="evaluate.setting=value", metavar="[KEY=VALUE]...")] = None,
             rows: Annotated[str | None, typer.Option(help="held-out rows of your own: a file that source.rows reads, a folder or a URL", metavar="FILE")] = None,
             out: Out = Path("data/runs/evaluate"), cache: Cache = None) -> None:  # fmt: skip
    """Measure how often a model answers held-out rows of your own right (--rows), or how much it hallucinates on held-out scenes.

    The answers to rows are judged by the rule that fits each row's answer, or as evaluate.rule or evaluate.judge says.

    Example: pairwright evaluate data/models/tiny evaluate.n=100 --out data/runs/tiny

    Example: pairwright evaluate data/models/tiny --rows test.jsonl evaluate.rule=normalised --out data/runs/mine"""
    from flows.reports.terminal import console_reporter, print_done_evaluation
    from flows.runs import executor

    executor.evaluate_model(model, out, settings or [], rows=rows, cache=cache, report=console_reporter(say))
    print_done_evaluation(executor.reopen(out), say)


@app.command("judge-bench")
def judge_bench(judge: Annotated[str, typer.Argument(help="a recipe with a judge step: a name or the path of a .yaml file", metavar="JUDGE")],
                file: Annotated[str, typer.Argument(help="labelled preference rows, in a format of docs/import.md", metavar="FILE")],
                settings: Settings = None,
                step: Annotated[str | None, typer.Option(help="name of the judge step in the recipe; required if several steps ask a model")] = None,
                out: Out = Path("data/runs/judge-bench"), cache: Cache = None) -> None:  # fmt: skip
    """Benchmark a judge on labelled preference data: VL-RewardBench, MM-RLHF-RewardBench, Multimodal RewardBench, MLLM-as-a-Judge, or pairs
    of your own (question, image, video or audio, chosen, rejected, category).

    Reports accuracy with intervals, by category and beside a baseline that only counts words; self-consistency; biases.

    Example: pairwright judge-bench demo pairs.jsonl --step claims --out data/runs/bench"""
    from flows.commands.judge_bench import judge_bench as bench

    bench(judge, file, settings or [], step, out, cache, say)


@app.command()
def export(folder: Annotated[Path, typer.Argument(help="folder of a finished run, or of an exported dataset", metavar="DIR")],
           hub: Annotated[str, typer.Option(help="the dataset's repository on the Hugging Face Hub, OWNER/NAME")],
           public: Annotated[bool, typer.Option("--public", help="make the repository public")] = False) -> None:  # fmt: skip
    """Push a run's dataset to the Hugging Face Hub. The token is read from HF_TOKEN.

    Example: pairwright export data/runs/demo --hub OWNER/NAME"""
    from flows.runs import executor
    from pipeline.dataset.hub import push

    dataset = executor.intact_dataset(folder)
    say.print(f"pushed to [bold]{escape(push(dataset, hub, not public, os.environ.get('HF_TOKEN')))}[/bold]")


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="folder of a run, finished or not", metavar="DIR")]) -> None:
    """Show what happened in a run, and why rows were dropped.

    Example: pairwright show data/runs/demo"""
    from flows.commands.show import show as shown

    shown(folder)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="folder of a run, or of an exported dataset", metavar="DIR")],
) -> None:
    """Check that stored files are intact: every shard, step and dataset file by its checksum, every media item that the run uses by its
    hash, every answer in the cache.

    Reads everything once; asks no model and no server. Each damaged file is named with its remedy. The exit code is 0 if everything is
    intact, 1 if something is damaged, 2 if DIR is neither a run nor a dataset. In most cases running the same `pairwright build` again
    repairs the damage from the sources and the cache.

    Example: pairwright verify data/runs/demo"""
    from flows.commands import verify as checks

    with say.status("reading") as status:
        found = checks.verify(folder, lambda text: status.update(f"reading {escape(text)}"))
    if not checks.show(folder, found, Console(highlight=False)):
        raise typer.Exit(1)


@app.command()
def rejudge(folder: Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]) -> None:
    """Re-parse stored judge replies with the current parsers. No model is loaded and no server is asked.

    Reports what changed; the same `pairwright build` continues from there.

    Example: pairwright rejudge data/runs/judged"""
    from flows.commands import rejudge as replies
    from flows.reports.terminal import progress_shown
    from flows.runs import executor

    run = executor.resume(folder)
    try:
        with progress_shown(run, say):
            found = replies.rejudge(run)
        replies.show(found, say)
    finally:
        run.close()


@app.command("read-replies")
def read_replies(file: Annotated[str, typer.Argument(help="replies of judges, a row each: .jsonl, .json, .csv, .parquet ...", metavar="FILE")]) -> None:  # fmt: skip
    """Show what the replies of a judge are read as, one JSON line each, to debug a judge or a prompt. No model is asked.

    A row has `form` (pairwise, strength, pointwise, listwise, segments, claims) and `text`; pointwise also `n` (answers), `low`, `high` and
    `axes`; listwise `n`; segments `answer`. `tie: false` (pairwise, strength) and `finish` are optional. The line is the row with `outcome` and
    `value`. A row that cannot be used is named on stderr with its remedy.

    Example: pairwright read-replies replies.jsonl"""
    from flows.commands import read_replies as replies

    for found in replies.read_replies(file):
        if isinstance(found, str):
            say.print(escape(found), soft_wrap=True)
        else:
            print(replies.line_of(found))


Folder = Annotated[Path, typer.Argument(help="folder of a run that asks people", metavar="DIR")]


@annotate.command()
def status(folder: Folder) -> None:
    """Show progress, agreement and annotator reliability. Asks no server: run `pull` first for the latest state.

    Example: pairwright annotate status data/runs/people"""
    from flows.runs import campaigns, executor

    campaigns.show(executor.reopen(folder), Console(highlight=False))


@annotate.command()
def push(folder: Folder) -> None:
    """Upload the questions that are not on the server yet. Safe to run again after a crash: no question is uploaded twice.

    Example: pairwright annotate push data/runs/people"""
    _synced(folder, "push")


@annotate.command()
def pull(folder: Folder) -> None:
    """Download the annotations made since the last pull.

    Example: pairwright annotate pull data/runs/people"""
    _synced(folder, "pull")


@annotate.command()
def reconcile(folder: Folder,
              accept_config: Annotated[bool, typer.Option("--accept-config", help="accept changed labeling configs")] = False) -> None:  # fmt: skip
    """Compare everything with the server, id by id: finds what was deleted there or missed by a pull, and repairs it.

    Example: pairwright annotate reconcile data/runs/people --accept-config"""
    _synced(folder, "reconcile", accept_config=accept_config)


@annotate.command()
def doctor(folder: Folder) -> None:
    """Check server, key, tasks and media.

    Example: pairwright annotate doctor data/runs/people"""
    if not _synced(folder, "doctor"):
        say.print("  no problems found")


@annotate.command()
def demo(recipe: Annotated[str, typer.Argument(help="a recipe with a judge.people step")] = "people", settings: Settings = None,
         out: Out = Path("data/runs/people"), cache: Cache = None,
         server: Annotated[Path, typer.Option(help="folder of the server's data")] = Path("data/label-studio"),
         port: Annotated[int, typer.Option(min=1, max=65535, help="port of the server")] = 8080) -> None:  # fmt: skip
    """Try human annotation: a Label Studio server on this machine with three annotators and the questions of a recipe.

    Needs `make label-studio`. Ctrl-C stops it; started again, it continues with the same people and their work.

    Example: pairwright annotate demo people scenes.n=100"""
    from flows.commands import annotate_demo

    annotate_demo.run(recipe, settings or [], out, cache, server, port, say)


def _synced(folder: Path, what: str, **how) -> bool:
    """Runs one sync action and prints its counts and notes. Returns whether there were notes."""
    from flows.runs import campaigns, executor

    reports = campaigns.sync(executor.reopen(folder), what, **how)
    for step, report in reports.items():
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in report.counts.items() if n)
        say.print(f"  {escape(step)}: {counts or 'nothing new'}")
        for note in report.notes:
            say.print(f"  [yellow]{escape(note)}[/yellow]", soft_wrap=True)
    return any(report.notes for report in reports.values())


@app.command()
def serve(folder: Folder,
          url: Annotated[str, typer.Option(help="address at which the labeling server and the annotators reach this process")] = "",
          host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
          port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8090,
          every: Annotated[float, typer.Option(min=1, help="seconds between pulls, independent of webhooks")] = 300) -> None:  # fmt: skip
    """Serve a run's media to its annotators, and pull their annotations as soon as Label Studio's webhooks announce them.

    Links and webhooks are signed with PAIRWRIGHT_SERVE_SECRET: 32 characters or more.

    Example: pairwright serve data/runs/people --url https://media.example.org"""
    from flows.commands import serve as server
    from flows.runs import executor

    server.serve(executor.reopen(folder), url or f"http://{host}:{port}", host, port, every)


@app.command()
def recipes() -> None:
    """List the recipes that come with Pairwright, and what each does.

    Example: pairwright recipes"""
    from flows.planning import load
    from schemas.recipe import parse

    for name, path in load.known().items():
        recipe = parse(load.document(str(path)))
        say.print(f"[bold]{name}[/bold]  {escape(recipe.about.strip())}")
        say.print(f"  [dim]{' · '.join(s.title for s in recipe.steps)}[/dim]\n")


@app.command()
def steps(title: Annotated[str | None, typer.Argument(help="one operator: shows its settings and why it may reject rows", metavar="[STEP]")] = None,
          reads: Annotated[str | None, typer.Option(help="only steps that read this table: samples, candidates, claims, judgements, pairs", metavar="TABLE")] = None,
          leaves: Annotated[str | None, typer.Option(help="only steps that add rows to this table", metavar="TABLE")] = None,
          media: Annotated[str | None, typer.Option(help="only steps that handle this kind: text, image, multi_image, video or audio", metavar="KIND")] = None) -> None:  # fmt: skip
    """List the available steps: what each does, which tables it reads and leaves, and which kinds of samples it handles.

    A step can follow any steps that leave the tables it reads. With STEP: its settings with types and defaults, and the reasons for
    which it may reject rows, each with its remedy.

    Example: pairwright steps --reads candidates --leaves judgements --media video

    Example: pairwright steps judge.claims"""
    from flows.commands import steps as operators

    console = Console(highlight=False)
    if title is None:
        operators.show_all(operators.listed(reads, leaves, media), console)
    else:
        operators.show(title, console)


def main() -> None:
    """Runs the command line. Every error is one line on stderr. Exit code 2: a mistake of the user, 1: a failed run, 130: stopped (143,
    129 by other signals)."""
    _open_closed_streams()
    stop.watch()
    try:
        ended = app(standalone_mode=False)
    except Waiting as waiting:
        _say("yellow", "waiting", waiting)
        sys.exit(0)
    except PairwrightError as error:
        _say("red", error.kind, error)
        sys.exit(error.exit_code)
    except TyperException as error:  # unknown command, option or argument
        if type(error).__name__ != "NoArgsIsHelpError":  # creating that one has already printed the help
            _say("red", "UserError", f"{error.format_message()} (see --help)")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        ended = STOPPED
    except Exception as error:  # noqa: BLE001 - unexpected errors
        if (
            isinstance(error, OSError) and error.errno in FAILS and error.filename is None
        ):  # printing failed; errors of files are translated where they are written
            _say("red", "StoreError", error_line(error, "standard output"))
            sys.exit(1)
        _say("red", "unexpected", _unexpected(error))
        sys.exit(1)
    if ended == STOPPED:
        stop.say()
        sys.exit(stop.code())
    sys.exit(ended if isinstance(ended, int) else 0)


def _open_closed_streams() -> None:
    """Reopens closed standard streams as /dev/null; otherwise the next opened file would take their descriptors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # child processes inherit them


def _say(colour: str, word: str, message: object) -> None:
    with contextlib.suppress(OSError):  # stderr is closed
        line = redact.clean(one_line(" ".join(str(message).splitlines())))
        say.print(f"[{colour}]{word}[/{colour}]: {escape(line)}", soft_wrap=True)


def _unexpected(error: Exception) -> str:
    """The line for an error that no boundary translated, which is a bug. The traceback is written to a file."""
    if os.environ.get(DEBUG):
        print(redact.clean(traceback.format_exc()), file=sys.stderr)
        where = "above"
    else:
        where = _save(redact.clean(traceback.format_exc()))
    return (
        f"{type(error).__name__}: {error}; this is a bug in Pairwright: please report it with the traceback ({where})"
    )


def _save(text: str) -> str:
    """Writes the text to a log file in the folder of the run, else in the temporary folder; returns its path."""
    used = getattr(sys.modules.get("flows.runs.folder"), "used", None)
    folders = [used / "logs"] if used else []
    for folder in [*folders, Path(tempfile.gettempdir())]:
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            path = folder / f"pairwright-error-{os.getpid()}.log"
            path.write_text(text)
            return str(path)
    return f"set {DEBUG}=1 to print it"


if __name__ == "__main__":
    main()
