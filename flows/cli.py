"""The command line. It starts in a fraction of a second: whatever is heavy is imported by the process that needs it."""

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
    help="""[bold]Pairwright[/bold] makes preference data for models that see and hear, and trains on it.

Sources are read, a model answers, judges score, pairs come out as a dataset, a model learns from them, and an evaluation
says whether it helped: a [bold]recipe[/bold] lists the steps, one command runs them.

[dim]Start with:[/dim]  pairwright build demo --out data/runs/demo
[dim]Then:[/dim]        pairwright show data/runs/demo
[dim]Your own:[/dim]    pairwright recipes, copy one, change its source and models""",
)  # fmt: skip
annotate = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="""What people judge in Label Studio. LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY name the server.

A build whose recipe has a [bold]judge.people[/bold] step puts its questions there and ends, waiting; it goes on when it is
called again and everybody is done. These commands look after the time between.""",
)  # fmt: skip
app.add_typer(annotate, name="annotate")
STOPPED = 130  # what typer makes of Ctrl-C
DEBUG = "PAIRWRIGHT_DEBUG"  # where it is set, the traceback of an error that nobody expected is printed
say = Console(stderr=True, highlight=False)

Out = Annotated[Path, typer.Option("--out", help="folder of the run; the same command again goes on where it stopped")]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="folder of the model answers and media that all runs share  [default: that of the run, else data/cache]",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Argument(help="STEP.setting=value or models.NAME.setting=value", metavar="[KEY=VALUE]...")
]


@app.command()
def build(recipe: Annotated[str, typer.Argument(help="a name that `pairwright recipes` lists, or the path of a .yaml file")],
          settings: Settings = None, out: Out = Path("data/runs/run"), cache: Cache = None) -> None:  # fmt: skip
    """Run a recipe: sources to answers to judgements to pairs to a dataset, and what else it lists.

    Killed at any moment and started again, it goes on where it was: every finished part is kept, no answer is asked twice.

    Example: pairwright build demo sample.n=4 scenes.n=200 --out data/runs/small"""
    from flows.commands import outgoing
    from flows.reports.summary import finish
    from flows.reports.terminal import bars, ending
    from flows.runs import executor

    run = executor.open_run(recipe, settings or [], out=out, cache=cache)
    for line in outgoing.summary_lines(outgoing.disclosures(run.recipe)):
        say.print(f"leaves for [bold]{escape(line)}", soft_wrap=True)
    with bars(run, say):
        for _ in executor.run_all(run):
            pass
    ending(finish(run), run, say)


@app.command()
def estimate(recipe: Annotated[str, typer.Argument(help="a name that `pairwright recipes` lists, or the path of a .yaml file")],
             settings: Settings = None, cache: Cache = None,
             out: Annotated[Path | None, typer.Option("--out", help="folder of the run where it was begun: models that it trained are known then")] = None,
             samples: Annotated[int, typer.Option(min=1, help="try the steps on so many samples, and extrapolate")] = 1000) -> None:  # fmt: skip
    """Say what a recipe will ask of its models before it asks: requests, tokens, what the cache holds already, time and money.

    No model is asked or loaded. Sources are read to their end, as a build reads them, and their media are kept in the cache.

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
def check(recipe: Annotated[str, typer.Argument(help="a name that `pairwright recipes` lists, or the path of a .yaml file")],
          settings: Settings = None) -> None:  # fmt: skip
    """Check a recipe and say what of this machine leaves when it is built, and where to: texts and media, files, keys by their names.

    Nothing is run, loaded or asked. A recipe is trusted like code: look at one that is not yours before you build it.

    Example: pairwright check my.yaml models.judge.model=big"""
    from flows.commands import outgoing
    from flows.planning import load

    found = load.checked(load.document(recipe, settings or []))
    console = Console(highlight=False)
    console.print(f"{escape(found.name)}: {len(found.steps)} steps, which can run", soft_wrap=True)
    outgoing.show(outgoing.disclosures(found), console)


@app.command("import")
def import_set(form: Annotated[str, typer.Argument(help="a format of docs/import.md, or auto", metavar="FORMAT")],
               path: Annotated[str, typer.Argument(help="a file of rows, or a folder of them", metavar="PATH")],
               settings: Annotated[list[str] | None, typer.Argument(help="pairs.setting=value", metavar="[KEY=VALUE]...")] = None,
               out: Out = Path("data/runs/import"), cache: Cache = None) -> None:  # fmt: skip
    """Read an existing preference set: TRL, LLaMA-Factory, ms-swift, RLAIF-V, VLFeedback, MM-RLHF, MMPR, LLaVA, UltraFeedback,
    distilabel, a Label Studio export, or a dataset of Pairwright.

    Example: pairwright import auto pairs.jsonl pairs.media_root=pictures --out data/runs/theirs"""
    from flows.commands.import_pairs import import_set

    import_set(form, path, settings or [], out, cache, say)


@app.command()
def ingest(recipe: Annotated[str, typer.Argument(help="a name that `pairwright recipes` lists, or the path of a .yaml file")],
           settings: Settings = None, out: Out = Path("data/runs/run"), cache: Cache = None) -> None:  # fmt: skip
    """Bring in a recipe's samples and media, and say what came in and what did not, before any model is loaded.

    Runs its sources and the prompt makers and filters right behind them; `build` with the same folder goes on from there.

    Example: pairwright ingest my.yaml --out data/runs/mine"""
    from flows.commands import ingest as incoming
    from flows.reports.terminal import bars
    from flows.runs import executor

    run = executor.open_run(recipe, settings or [], out=out, cache=cache, ingest=True)
    with bars(run, say):
        found = incoming.ingest(run)
    incoming.show(run, found, say)


@app.command()
def train(dataset: Annotated[Path, typer.Argument(help="folder of a finished run, or of an exported dataset", metavar="DIR")],
          settings: Annotated[list[str] | None, typer.Argument(help="train.setting=value", metavar="[KEY=VALUE]...")] = None,
          model: Annotated[str, typer.Option(help="the model to train: a folder or a name on the Hub")] = "data/models/tiny",
          out: Out = Path("data/runs/train"), cache: Cache = None) -> None:  # fmt: skip
    """Train a model on a dataset's pairs (DPO).

    Example: pairwright train data/runs/demo train.beta=1 train.lr=2e-4 --out data/runs/dpo"""
    from flows.reports.terminal import summary_lines
    from flows.runs import executor

    found = executor.train_dataset(dataset, out, settings or [], model=model, cache=cache, report=summary_lines(say))
    for name in ("pairs", "steps", "loss", "accuracy", "seconds"):
        say.print(f"  {name:10} {found[name]}")
    say.print(f"the trained model: [bold]{escape(str(out / 'steps' / 'train' / 'model'))}[/bold]")


@app.command()
def evaluate(model: Annotated[str, typer.Argument(help="folder of a model, or its name on the Hub")],
             settings: Annotated[list[str] | None, typer.Argument(help="evaluate.setting=value", metavar="[KEY=VALUE]...")] = None,
             out: Out = Path("data/runs/evaluate"), cache: Cache = None) -> None:  # fmt: skip
    """Measure how much a model hallucinates on held-out scenes whose truth is known.

    Example: pairwright evaluate data/models/tiny evaluate.n=100 --out data/runs/tiny"""
    from flows.reports.terminal import figures, summary_lines
    from flows.runs import executor

    figures(
        {"evaluate": executor.evaluate_model(model, out, settings or [], cache=cache, report=summary_lines(say))}, say
    )


@app.command("judge-bench")
def judge_bench(judge: Annotated[str, typer.Argument(help="a recipe with a step that judges: a name or the path of a .yaml file", metavar="JUDGE")],
                file: Annotated[str, typer.Argument(help="rows whose better answers are known, in a format of docs/import.md", metavar="FILE")],
                settings: Settings = None,
                step: Annotated[str | None, typer.Option(help="which of the recipe's steps; needed where several ask a model")] = None,
                out: Out = Path("data/runs/judge-bench"), cache: Cache = None) -> None:  # fmt: skip
    """Measure a judge on a set whose better answers are known: VL-RewardBench, MM-RLHF-RewardBench, Multimodal RewardBench, MLLM-as-a-Judge, or pairs
    of your own (question, image, video or audio, chosen, rejected, category).

    Accuracy with intervals, by category, beside that of a judge that only counts words; agreement with itself; biases.

    Example: pairwright judge-bench demo pairs.jsonl --step claims --out data/runs/bench"""
    from flows.commands.judge_bench import judge_bench as bench

    bench(judge, file, settings or [], step, out, cache, say)


@app.command()
def export(folder: Annotated[Path, typer.Argument(help="folder of a finished run, or of an exported dataset", metavar="DIR")],
           hub: Annotated[str, typer.Option(help="the dataset's repository on the Hugging Face Hub, OWNER/NAME")],
           public: Annotated[bool, typer.Option("--public", help="let everybody see it")] = False) -> None:  # fmt: skip
    """Push a run's dataset to the Hugging Face Hub. The token comes from HF_TOKEN.

    Example: pairwright export data/runs/demo --hub OWNER/NAME"""
    from flows.runs import executor
    from pipeline.dataset.hub import push

    dataset = executor.sound_dataset(folder)
    say.print(f"pushed to [bold]{escape(push(dataset, hub, not public, os.environ.get('HF_TOKEN')))}[/bold]")


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="folder of a run, finished or not", metavar="DIR")]) -> None:
    """What happened in a run, and where rows went.

    Example: pairwright show data/runs/demo"""
    from flows.commands.show import show as shown

    shown(folder)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="folder of a run, or of an exported dataset", metavar="DIR")],
) -> None:
    """Check that what is stored is what was written: every shard, step and dataset file by its checksum, every medium that the run
    uses by its hash, every answer in the cache.

    Reads everything once, asks no model and no server. Names each damage with what to do about it. The exit code is 0 when all is
    well, 1 when something is damaged, 2 when DIR is neither a run nor a dataset. Mostly the same `pairwright build` again is all it
    takes: what is damaged is made again from the sources and the cache.

    Example: pairwright verify data/runs/demo"""
    from flows.commands import verify as checks

    with say.status("reading") as status:
        found = checks.verify(folder, lambda text: status.update(f"reading {escape(text)}"))
    if not checks.show(folder, found, Console(highlight=False)):
        raise typer.Exit(1)


@app.command()
def rejudge(folder: Annotated[Path, typer.Argument(help="folder of a run", metavar="DIR")]) -> None:
    """Read what a run's judges said again, as they are read now: no model is loaded and no server asked.

    Says what changed; the same `pairwright build` goes on from there.

    Example: pairwright rejudge data/runs/judged"""
    from flows.commands import rejudge as replies
    from flows.reports.terminal import bars
    from flows.runs import executor

    run = executor.resume(folder)
    try:
        with bars(run, say):
            found = replies.rejudge(run)
        replies.show(found, say)
    finally:
        run.close()


Folder = Annotated[Path, typer.Argument(help="folder of a run that asks people", metavar="DIR")]


@annotate.command()
def status(folder: Folder) -> None:
    """How far people are, how much they agree, and what each is worth. Asks no server: `pull` first for the newest.

    Example: pairwright annotate status data/runs/people"""
    from flows.runs import campaigns, executor

    campaigns.show(executor.reopen(folder), Console(highlight=False))


@annotate.command()
def push(folder: Folder) -> None:
    """Put the questions on the server that are not there yet. Said again after a crash, it leaves no question twice.

    Example: pairwright annotate push data/runs/people"""
    _synced(folder, "push")


@annotate.command()
def pull(folder: Folder) -> None:
    """Read back what people did since the last pull.

    Example: pairwright annotate pull data/runs/people"""
    _synced(folder, "pull")


@annotate.command()
def reconcile(folder: Folder,
              accept_config: Annotated[bool, typer.Option("--accept-config", help="take labeling configs as they were changed on the server")] = False) -> None:  # fmt: skip
    """Compare everything with the server, id by id: finds what was deleted there, or missed by a pull, and mends it.

    Example: pairwright annotate reconcile data/runs/people --accept-config"""
    _synced(folder, "reconcile", accept_config=accept_config)


@annotate.command()
def doctor(folder: Folder) -> None:
    """Is the server there, does the key work, are its tasks and their media in place, is anything in the way?

    Example: pairwright annotate doctor data/runs/people"""
    if not _synced(folder, "doctor"):
        say.print("  nothing is in the way")


@annotate.command()
def demo(recipe: Annotated[str, typer.Argument(help="a recipe with a judge.people step")] = "people", settings: Settings = None,
         out: Out = Path("data/runs/people"), cache: Cache = None,
         server: Annotated[Path, typer.Option(help="folder of the server's data")] = Path("data/label-studio"),
         port: Annotated[int, typer.Option(min=1, max=65535, help="port of the server")] = 8080) -> None:  # fmt: skip
    """Try it here: a Label Studio server on this machine with three annotators and the questions of a recipe.

    Needs `make label-studio`. Ctrl-C ends it; started again it goes on with the same people and what they did.

    Example: pairwright annotate demo people scenes.n=100"""
    from flows.commands import annotate_demo

    annotate_demo.run(recipe, settings or [], out, cache, server, port, say)


def _synced(folder: Path, what: str, **how) -> bool:
    """Does it and says what was done; whether there was anything for a person to note."""
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
          url: Annotated[str, typer.Option(help="the address under which the labeling server and the annotators reach this one")] = "",
          host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
          port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8090,
          every: Annotated[float, typer.Option(min=1, help="seconds between pulls, whatever webhooks say")] = 300) -> None:  # fmt: skip
    """Serve a run's media to its annotators, and pull what they did as soon as Label Studio's webhooks hint at it.

    PAIRWRIGHT_SERVE_SECRET is what links and webhooks are signed with: 32 characters or more.

    Example: pairwright serve data/runs/people --url https://media.example.org"""
    from flows.commands import serve as server
    from flows.runs import executor

    server.serve(executor.reopen(folder), url or f"http://{host}:{port}", host, port, every)


@app.command()
def recipes() -> None:
    """The recipes that come with Pairwright, and what each does.

    Example: pairwright recipes"""
    from flows.planning import load
    from schemas.recipe import parse

    for name, path in load.known().items():
        recipe = parse(load.document(str(path)))
        say.print(f"[bold]{name}[/bold]  {escape(recipe.about.strip())}")
        say.print(f"  [dim]{' · '.join(s.title for s in recipe.steps)}[/dim]\n")


@app.command()
def steps(title: Annotated[str | None, typer.Argument(help="one operator, to see its settings and why it may reject rows", metavar="[STEP]")] = None,
          reads: Annotated[str | None, typer.Option(help="only what needs this table: samples, candidates, claims, judgements or pairs", metavar="TABLE")] = None,
          leaves: Annotated[str | None, typer.Option(help="only what adds rows to this table", metavar="TABLE")] = None,
          media: Annotated[str | None, typer.Option(help="only what handles this kind: text, image, multi_image, video or audio", metavar="KIND")] = None) -> None:  # fmt: skip
    """List the steps that a recipe can have: what each is for, the tables it reads and leaves, the kinds of samples it handles.

    A step can follow any that leave the tables it reads. With a STEP: its settings with their types and defaults, and the reasons for which
    it may reject rows, with what helps against each.

    Example: pairwright steps --reads candidates --leaves judgements --media video

    Example: pairwright steps judge.claims"""
    from flows.commands import steps as operators

    console = Console(highlight=False)
    if title is None:
        operators.show_all(operators.listed(reads, leaves, media), console)
    else:
        operators.show(title, console)


def main() -> None:
    """Runs the command line: one line and exit code 2 for a user's mistake, 1 for a failed run, 130 when stopped (143, 129 by other
    signals)."""
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
    except TyperException as error:  # the words of the command line are wrong
        if type(error).__name__ != "NoArgsIsHelpError":  # making that one has printed the help
            _say("red", "UserError", f"{error.format_message()} (--help says more)")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        ended = STOPPED
    except Exception as error:  # noqa: BLE001 - whatever nobody expected
        if (
            isinstance(error, OSError) and error.errno in FAILS and error.filename is None
        ):  # of what was printed: files are told of by who writes them
            _say("red", "StoreError", error_line(error, "standard output"))
            sys.exit(1)
        _say("red", "unexpected", _unexpected(error))
        sys.exit(1)
    if ended == STOPPED:
        stop.say()
        sys.exit(stop.code())
    sys.exit(ended if isinstance(ended, int) else 0)


def _open_closed_streams() -> None:
    """Standard streams that were closed become /dev/null: the next file that is opened would take their places."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # child processes have them too


def _say(colour: str, word: str, what: object) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        said = redact.clean(one_line(" ".join(str(what).splitlines())))
        say.print(f"[{colour}]{word}[/{colour}]: {escape(said)}", soft_wrap=True)


def _unexpected(error: Exception) -> str:
    """The line for an error that no boundary translated, which is a bug. Its traceback goes into a file."""
    if os.environ.get(DEBUG):
        print(redact.clean(traceback.format_exc()), file=sys.stderr)
        where = "above"
    else:
        where = _kept(redact.clean(traceback.format_exc()))
    return (
        f"{type(error).__name__}: {error}; this is a bug of Pairwright: please report it with the traceback ({where})"
    )


def _kept(text: str) -> str:
    """Where the text is now: in the folder of the run, or of temporary files where there is none."""
    used = getattr(sys.modules.get("flows.runs.folder"), "used", None)
    folders = [used / "logs"] if used else []
    for folder in [*folders, Path(tempfile.gettempdir())]:
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            path = folder / f"pairwright-error-{os.getpid()}.log"
            path.write_text(text)
            return str(path)
    return f"{DEBUG}=1 prints it"


if __name__ == "__main__":
    main()
