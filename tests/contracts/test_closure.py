"""Lists that must be complete are complete: a thing that is added in one place and forgotten in another fails here.

Each list is taken from the code itself, never kept here; what is left out on purpose is named with the reason, and the names must be exact."""

import ast
import importlib
import inspect
import io
import re
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest
import typer
from rich.console import Console

from flows import cli
from flows.commands import steps
from flows.planning import load, registry
from flows.reports import terminal
from flows.reports.html import write_report
from pipeline.corrupt import _apply, _files, kinds
from pipeline.corrupt._registry import KINDS
from pipeline.corrupt.kinds._kind import Kind
from pipeline.corrupt.kinds.images import Fade, RegionMask
from pipeline.corrupt.kinds.nothing import Nothing
from pipeline.dataset.card import write_card
from pipeline.dataset.columns import BLOBS, DATA_COLUMNS, columns
from pipeline.dataset.write import write
from pipeline.media.probe import probe_and_store
from pipeline.source import formats, pairs
from pipeline.source.formats.registry import FORMATS
from pipeline.storage.media_store import FolderStore
from pipeline.train import losses
from pipeline.train.losses._side import Side
from schemas import axes, messages, records
from schemas.figures import JUDGE
from schemas.operator import Context
from schemas.ports import Engine, EngineModule, LocalEngineModule
from schemas.records import Pair, Part, Reason, Sample, Span
from tests.contracts.test_readme import PAGES, ROOMS, ROOT, files, remarks
from tests.support import media_files, small_run
from tests.support.small_run import ListTables

FIGURES = tuple(figure.name for figure in JUDGE)
DOCS = "\n".join(page.read_text() for page in PAGES if page.name != "contributing.md")  # whose examples do not exist
OPERATORS = [(family, name) for family in registry.HOME for name in registry.names(f"{registry.HOME[family]}.{family}")]
ENGINES = registry.names("pipeline.engines")
TESTS = "\n".join(
    (ROOT / name).read_text()
    for name in files()
    if name.startswith("tests/") and name.endswith((".py", ".yaml")) and ROOT / name != Path(__file__)
)


# Operators


@pytest.mark.parametrize(("family", "name"), OPERATORS)
def test_an_operator_is_in_the_docs(family, name):
    title = family if family == name else f"{family}.{name}"
    assert re.search(rf"(?<![\w.]){re.escape(title)}(?![\w.]\w)", DOCS), "no page names it"


@pytest.mark.parametrize(("family", "name"), OPERATORS)
def test_an_operator_is_tested(family, name):
    folder = rf"{registry.HOME[family]}\.{family}"
    title = f'"{name}"' if family == name else rf"\b{family}\.{name}\b"
    named = rf"{folder} import [^\n]*\b{name}\b|{folder}\.{name}\b|{title}"
    assert re.search(named, TESTS), "no test imports it, and no recipe of the tests names it"


@pytest.mark.parametrize(("family", "name"), [of for of in OPERATORS if of[0] == "judge"])
def test_the_axis_that_a_judge_leaves_by_default_has_its_line_in_axes(family, name):
    axis = registry.operator(family, name).Settings.model_fields.get("axis")
    named = {value for key, value in vars(axes).items() if key.isupper()}
    assert axis is None or axis.default is None or axis.default in named


# Formats


def test_every_format_that_exists_is_registered():
    written = {file.stem for file in Path(formats.__path__[0]).glob("*.py") if "\ndef fits(" in file.read_text()}
    assert written == set(FORMATS) != set()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_tested(name):
    assert re.search(rf"formats import [^\n]*\b{name}\b|formats\.{name} import", TESTS), "no test imports it"


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_in_the_docs(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "import.md").read_text()


# Losses


def test_the_losses_a_recipe_may_name_are_those_that_exist():
    files = {file.stem for file in Path(losses.__file__).parent.glob("[!_]*.py")}
    assert files == set(losses.NAMES) != set()
    dpo, old = (registry.operator("train", name).Settings.model_fields["loss"].annotation for name in ("dpo", "train"))
    assert set(get_args(dpo)) == files
    assert set(get_args(old)) == files | {"grpo"}  # which learns from rewards, in a loop of its own


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_takes_what_the_training_loop_gives_it(name):
    given = ["chosen", "rejected", "beta", "label_smoothing"]
    assert list(inspect.signature(losses.loss_of(name)).parameters)[:4] == given


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_is_one_number_a_pair_and_label_smoothing_changes_it(name):
    import torch

    chosen, rejected = (
        Side(torch.full((2, 3), policy), torch.full((2, 3), -1.0), torch.ones(2, 3)) for policy in (-0.5, -2.0)
    )
    plain, smoothed = (losses.loss_of(name)(chosen, rejected, 0.5, share) for share in (0.0, 0.25))
    assert plain.shape == (2,)
    assert not torch.equal(plain, smoothed), "the setting `label_smoothing` has no effect"


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_is_in_the_docs(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "training.md").read_text()


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_loss_is_tested(name):
    assert f"losses.{name} import" in TESTS, "no test imports it"


# Fields of a Pair

CALLED = {"label": "desirable"}  # TRL refuses a column of that name
REMADE = {
    "id": "a digest of the sample, both answers and the step, which is the import's",
    "step": "the import's own",
    "chosen_id": "a digest of the answer and of how it was made, of which a dataset says only the model",
    "rejected_id": "as chosen_id",
    "judgements": "a dataset has only their ids: there is nothing to bring back",
    "recipe": "the import's own",
}  # what an import makes itself, and why
FILLED = {
    "pair_kind": "mixed", "margin": 1.5, "reward_chosen": 2.5, "reward_rejected": 1.0, "confidence": 0.25, "soft_label": 0.75, "label": True,
    "rank": 3, "hardness": 0.125, "needs_media": True, "media_op": '{"kind":"crop"}', "chosen_spans": (Span(0, 1, 0.5, "object", 2.0, "One"),),
    "rejected_spans": (Span(2, 3, 0.25, "count", 1.0, "Two"),), "critique_chosen": "well seen", "critique_rejected": "not there",
    "ref_logp_chosen": -4.5, "ref_logp_rejected": -5.5, "ref_stamp": "tiny@1 bfloat16", "judgements": ("j1", "j2"), "recipe": "r1", "seed": 11,
}  # fmt: skip


@pytest.fixture(scope="module")
def carried(tmp_path_factory) -> tuple[Pair, Sample, dict, Pair, Sample]:
    """A Pair with every field set and its Sample, the row of the dataset that it becomes, and what an import of the dataset makes of that."""
    home = tmp_path_factory.mktemp("carried")
    store = FolderStore(home / "media")
    shown, other, third = media = [
        probe_and_store(media_files.png(number), f"picture {number}", store) for number in range(3)
    ]
    known = {name: f"the {name}" for name in ("answer", "answer_type", "reference", "source", "licence", "split")}
    sample = records.sample(
        (messages.user(Part("image", media=shown.id), "What is there?"),), facts='{"dogs":2}', **known
    )
    better, worse = (
        records.candidate(sample.id, "sample", text, model=model, seed=7)
        for text, model in (("A dog.", "big"), ("A cat.", "small"))
    )
    before = records.pair(
        sample.id, "best_worst", better, worse, rejected_media=(other.id,), media_list=(shown.id, third.id), **FILLED
    )
    write(ListTables({"media": media, "samples": [sample], "pairs": [before]}), store, home / "dataset", {})
    (file,) = (home / "dataset").rglob("*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    context = Context("import", "", FolderStore(home / "imported"), recipe="r2")
    found = list(pairs.read(pairs.Settings(path=str(home / "dataset")), context))
    (after,), (again,) = ([r for r in found if isinstance(r, kind)] for kind in (Pair, Sample))
    return before, sample, row, after, again


def test_every_field_of_a_pair_is_set_in_this_test(carried):
    before, *_ = carried
    plain = Pair("", "", "", "", None)._asdict()
    assert [field for field, value in before._asdict().items() if value == plain[field]] == []
    values = [v for v in before if not isinstance(v, bool)]
    assert len(set(values)) == len(values)


def test_every_field_of_a_pair_is_a_column_of_the_dataset_and_holds_its_value(carried):
    before, _, row, _, _ = carried
    found = {}
    for field in Pair._fields:
        value = row[CALLED.get(field, field)]
        if field in ("chosen", "rejected"):
            value = value[0]["content"][0]["text"]
        elif field.endswith("spans"):
            value = [Span(**span) for span in value]
        found[field] = tuple(value) if isinstance(value, list) else value
    assert found == before._asdict()


def test_every_column_of_the_dataset_is_a_field_of_a_record_or_a_file():
    named = {
        *Pair._fields,
        *CALLED.values(),
        "prompt",
        *(column.name for column in DATA_COLUMNS if column.origin == "samples"),
    }
    assert {c.name for c in DATA_COLUMNS if c.origin == "samples"} <= set(Sample._fields)
    strangers = {c.name for kind in records.SAMPLE_KINDS for c in columns(kind) if c.type != BLOBS} - named
    assert strangers == set()


def test_an_import_brings_back_every_field_of_a_pair(carried):
    before, sample, _, after, again = carried
    assert again.id == sample.id
    lost = {field for field, value in before._asdict().items() if getattr(after, field) != value}
    assert lost == set(REMADE)


def test_an_import_brings_back_what_the_dataset_says_of_a_sample(carried):
    _, sample, _, _, again = carried
    of_sample = [column.name for column in DATA_COLUMNS if column.origin == "samples"]
    assert {name: getattr(again, name) for name in of_sample} == {name: getattr(sample, name) for name in of_sample}


UNSET = {
    "rank",
    "hardness",
    "chosen_spans",
}  # published columns, null in what Pairwright makes: only a dataset of others that fills them brings them
SETTERS = (
    "schemas/records.py",
    "pipeline/pair/*.py",
    "pipeline/corrupt/*.py",
    "pipeline/source/pairs.py",
    "pipeline/source/formats/*.py",
    "annotators/judge/*.py",
)


def test_every_field_of_a_pair_is_set_by_a_step():
    """By name: as an argument of a call, or as a key of the fields that a format knows."""
    named = set()
    for path in (path for pattern in SETTERS for path in ROOT.glob(pattern) if path.stem != "pairwright"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                named |= {keyword.arg for keyword in node.keywords}
            elif isinstance(node, ast.Dict):
                named |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    assert Pair._field_defaults.keys() - named == UNSET


# Corruption kinds


def written() -> dict[str, type[Kind]]:
    """All kinds that are written in a file of kinds/, by module and class; `_` files help them."""
    found = {}
    for path in sorted(Path(kinds.__path__[0]).glob("[!_]*.py")):
        module = importlib.import_module(f"{kinds.__name__}.{path.stem}")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and issubclass(of := getattr(module, node.name), Kind):
                found[f"{path.stem}.{node.name}"] = of
    return found


def test_every_corruption_kind_is_registered_under_its_own_name():
    inner = {"images.Fade"}  # one picture of a region_mask, which no recipe names
    assert {name for name, of in written().items() if of not in KINDS.values()} == inner
    assert len(written()) - len(inner) == len(KINDS)  # no two have one name


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_kind_says_what_media_it_is_for(name):
    of = KINDS[name]
    kind = {RegionMask: Fade, Nothing: Nothing}.get(of, of).model_construct(
        **{f: i.default for f, i in of.model_fields.items()}
    )
    assert _apply._takes(kind) or of is Nothing, f"no function is registered for {name} in its file"


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_kind_is_on_the_sheet(name):
    assert (
        f'"{name}"' in (ROOT / "docs" / "corruptions_sheet.py").read_text() or KINDS[name] is Nothing
    )  # it shows nothing


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_kind_is_in_the_page_with_its_settings(name):
    page = (ROOT / "docs" / "corruptions.md").read_text()
    assert f"| `{name}` |" in page
    missing = [f for f in KINDS[name].model_fields if f not in ("kind", "seed") and f not in page]
    assert missing == []


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_kind_has_a_docstring(name):
    assert (KINDS[name].__doc__ or "").strip()


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_kind_is_tested(name):
    assert re.search(rf"\b{KINDS[name].__name__}\(|kind[=:\"' ]+{name}\b", TESTS), "no test makes it"


def test_a_function_of_a_kind_is_that_of_a_registered_kind():
    of = {*_files.PICTURES, *_files.ORDERS, *_files.SOUNDS}
    assert of - {*KINDS.values(), Fade} == set()


# Figures of a judge

UNSEEN = {
    "terminal": set(),
    "report": set(),
    "card": set(),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> tuple[dict[str, float], dict[str, str]]:
    """The share that each figure of a judge has, and the text of each page about the run."""
    home = tmp_path_factory.mktemp("pages")
    store = FolderStore(home / "media")
    tables = small_run.make(store, n=12)
    summary = small_run.summarised(tables)
    shares = {figure: round(0.3137 + 0.0211 * place, 4) for place, figure in enumerate(FIGURES)}
    judge = next(iter(summary["judges"].values()))
    judge |= {
        figure: {"n": 400, "share": share, "low": share - 0.1, "high": share + 0.1} for figure, share in shares.items()
    }
    summary["judges"] = {"claims": judge}
    said = io.StringIO()
    terminal.print_judge_quality(summary["judges"], Console(file=said, width=200))
    write(tables, store, home / "dataset", {})
    report = write_report(home, summary, tables, store).read_text()
    return shares, {
        "terminal": said.getvalue(),
        "report": re.sub(r"<svg.*?</svg>|<style.*?</style>|base64,[^\"]*", "", report, flags=re.DOTALL),
        "card": write_card(home / "dataset", summary, small_run.RECIPE).read_text(),
    }


@pytest.mark.parametrize("page", UNSEEN)
def test_every_figure_of_a_judge_is_shown(pages, page):
    shares, texts = pages
    digits = {
        figure: {f"{share:.3f}", f"{share:.4f}", f"{100 * share:.1f} (", f"{100 * share:.1f} %"}
        for figure, share in shares.items()
    }
    assert {figure for figure, any_of in digits.items() if not any(d in texts[page] for d in any_of)} == UNSEEN[page]


def counted() -> set[str]:
    """The figures that the judges' quality counts, by the texts in its calls of `_count`."""
    source = inspect.getsource(importlib.import_module("annotators.measures.judge_quality"))
    return {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_count"
            for node in ast.walk(node) if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip


def test_every_figure_of_a_judge_is_counted_somewhere():
    """A figure that nothing counts would be None for ever."""
    assert set(FIGURES) - counted() == set()


def test_every_figure_that_is_counted_is_shown():
    assert counted() - set(FIGURES) == {"truth "}  # by kind of media, which `agreement_with_truth` shows


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_a_judge_is_in_the_docs(name):
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "judge_quality.md").read_text(), re.MULTILINE)
    assert any(f"`{name}`" in row for row in rows), "the table of docs/judge_quality.md has no row of it"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_a_judge_is_tested(name):
    tests = [path.read_text() for path in (ROOT / "tests" / "annotators" / "measures").glob("*.py")]
    assert any(f'"{name}"' in text for text in tests), "no test of annotators/measures names it"


# Benchmarks

PROGRAMS = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[!_]*.py")}
PARTS = {"bare_loop", "endpoint"}  # programs that other benchmarks start


def test_a_program_that_no_target_runs_is_started_by_another():
    started = {name for name in PARTS for text in PROGRAMS.values() if re.search(rf"benchmarks\.{name}\"", text)}
    assert started == PARTS


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - PARTS))
def test_a_benchmark_is_run_by_make(name):
    makefile = (ROOT / "Makefile").read_text()
    (bench,) = re.findall(r"for name in (.*?); do .*-m benchmarks\.", makefile)
    assert name in bench.split() or f"-m benchmarks.{name}" in makefile, "no target of the Makefile runs it"
    assert 'if __name__ == "__main__":' in PROGRAMS[name], "`python -m` would do nothing"


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - PARTS))
def test_a_benchmark_is_in_the_docs(name):
    assert f"python -m benchmarks.{name}" in (ROOT / "docs" / "benchmarks.md").read_text()


UNTESTED = {"overhead", "generate", "ingest", "label_studio", "near_duplicates"}  # only measured: new ones have a test


def test_a_benchmark_is_tested():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "benchmarks").glob("test_*.py")}
    assert PROGRAMS.keys() - PARTS - tested == UNTESTED


# Engines


def used_of_engines() -> set[str]:
    """What `flows` calls of an engine's module with its settings: `module.identity_of(settings)` in a file that asks for engines."""
    texts = [path.read_text() for path in (ROOT / "flows").rglob("*.py")]
    asking = [text for text in texts if re.search(r"\bengine_of\b|registry\.engine\(", text)]
    return {name for text in asking for name in re.findall(r"\bmodule\.([a-z_]+)\(settings\b", text)}


def of_local_engines() -> set[str]:
    """Of these, what only engines in this process have."""
    return set(vars(LocalEngineModule)) - set(vars(EngineModule))


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_what_flows_uses(name):
    module = registry.engine(name)
    wanted = {"Settings", *used_of_engines()} - (set() if isinstance(module, LocalEngineModule) else of_local_engines())
    assert {"identity_of", "connect", "capabilities"} <= wanted
    assert isinstance(module, LocalEngineModule) == (name in ("hf", "vllm"))
    assert {what for what in wanted if not callable(getattr(module, what, None))} == set()


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_engine_connects_to_is_an_engine(name):
    module = registry.engine(name)
    kind = getattr(module, inspect.signature(module.connect).return_annotation.strip('"'))
    sets = {node.attr for node in ast.walk(ast.parse(inspect.getsource(kind))) if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store) and getattr(node.value, "id", "") == "self"}  # fmt: skip
    wanted = {*Engine.__annotations__, "ask", "close"}
    assert {what for what in wanted if not hasattr(kind, what)} - sets == set()


# Reasons


@pytest.fixture(scope="module")
def code() -> tuple[str, str]:
    """The text of the rooms, and that of the tests but this file."""
    names = [name for name in files() if name.endswith(".py") and ROOT / name != Path(__file__)]
    return tuple("\n".join((ROOT / n).read_text() for n in names if n.startswith(where)) for where in (ROOMS, "tests/"))


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_given_somewhere_and_tested(code, reason):
    rooms, tests = code
    assert re.search(rf"Reason\.{reason.name}\b", rooms), "nothing gives it"
    assert re.search(rf"Reason\.{reason.name}\b|[\"']{reason.value}[\"']", tests), "no test names it"


# Recipes, settings, commands


@pytest.mark.parametrize("name", sorted(load.known()))
def test_a_bundled_recipe_is_in_the_docs(name):
    assert re.search(rf"`{name}`|pairwright \w+ {name}\b|recipes/{name}\.yaml", DOCS)


@pytest.mark.parametrize(
    "where",
    [*(".".join(of) for of in OPERATORS), *(f"engine {name}" for name in ENGINES), *(f"kind {name}" for name in KINDS)],
)
def test_every_setting_has_a_sentence(where):
    first, _, name = where.replace("engine ", "engine.").replace("kind ", "kind.").partition(".")
    settings = (
        KINDS[name]
        if first == "kind"
        else (registry.engine(name) if first == "engine" else registry.operator(first, name)).Settings
    )
    said = steps.sentences(settings)
    assert [
        field
        for field in settings.model_fields
        if not said.get(field, "").strip() and not (first == "kind" and field == "kind")
    ] == []


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command of `pairwright`, by its words."""
    found, left = {}, [("", typer.main.get_command(cli.app))]
    while left:
        words, of = left.pop()
        if hasattr(of, "commands"):
            left += [(f"{words} {name}".strip(), command) for name, command in of.commands.items()]
        else:
            found[words] = of
    return dict(sorted(found.items()))


@pytest.mark.parametrize("words", commands())
def test_a_command_has_help_with_an_example_and_is_in_the_docs(words):
    help = commands()[words].help or ""
    assert f"Example: pairwright {words}" in help
    assert help.partition("\n")[0].strip()
    assert re.search(rf"pairwright {words}\b", DOCS)


# Folders


def test_every_folder_of_a_room_has_a_remark_in_the_readme():
    holding = {
        "/".join(name.split("/")[:2]) + "/"
        for name in files()
        if name.startswith(ROOMS) and name.endswith(".py") and name.count("/") > 1
    }
    assert len(holding) > 20
    assert [folder for folder in sorted({*holding, *ROOMS}) if not remarks().get(folder)] == []
