"""`pytest --quick`: the tests that start no engine, no server and no browser and are not marked slow (`make quick`).

What a test starts is read from its source and from the source of its fixtures and of the helpers under tests/ that they call, so a new
test is sorted by itself. What the source does not show (a recipe that names a model) shows when it starts: then the test fails under
`--quick` until it is marked by hand: `pytestmark = pytest.mark.engine`.
"""

import functools
import inspect
import linecache
import re
import sys
from types import CodeType, ModuleType

import pytest

MARKS = {
    "engine": "starts vLLM, runs a torch model or trains one",
    "server": "starts Prefect, Label Studio, an S3 server or `pairwright serve`",
    "browser": "starts a Chromium",
    "slow": "needs none of them, but more time than `make quick` has",
}
# mark: how the source of what starts one reads
SOURCES = {
    "engine": r"\b(vllm|hf)\.connect\(|\bvllm_engine\b|\bvllm\.entrypoints\b|\bload\((str\()?(TINY|CHECKPOINT)|\.eval\(\)|\bnew_model\(|\btrain\("
    r"|Trainer\(|\b(open_run|pairwright)\(.*\"demo\"",
    "server": r"\blocal\w*\.start\(|\brunning\(\"|\bPREFECT\b|\"moto\.server\"|\"tests\.support\.serving\"",
    "browser": r"\bsync_playwright\(",
}
# mark: what stands in the command of a process that is one
PROCESSES = {
    "engine": r"\bvllm\b|\bflows\.runs\.worker\b",
    "server": r"\bprefect\b|/label_studio/.*\bguard\.py\b|\bmoto\.server\b|\btests\.support\.serving\b|\bflows\.cli (serve|annotate demo)\b",
    "browser": r"\bchrom|\bplaywright\b",
}


def pytest_addoption(parser):
    parser.addoption(
        "--quick",
        action="store_true",
        help="only tests that start no engine, server or browser: tests/support/quick.py",
    )


def pytest_configure(config):
    for mark, what in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {what}")
    if config.getoption("quick"):
        config.pluginmanager.register(Quick())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        for mark in starts(item):
            item.add_marker(mark)


def starts(item: pytest.Item) -> set[str]:
    """The marks of what a test starts, as far as source shows it."""
    fixtures = [found[-1].func for found in item._fixtureinfo.name2fixturedefs.values()]
    return set().union(*(_starts(function) for function in (item.function, *fixtures)))


def told(command: str) -> set[str]:
    """The marks of a process, by its command."""
    return {mark for mark, pattern in PROCESSES.items() if re.search(pattern, command)}


@functools.cache
def _starts(function) -> frozenset[str]:
    """The marks of what a function of the tests starts, itself or through others."""
    todo, seen, marks = [function], set(), set()
    while todo:
        function = inspect.unwrap(todo.pop())
        code = getattr(function, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        codes = _codes(code)
        last = max(line for c in codes for _, _, line in c.co_lines() if line)
        source = "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last])
        marks |= {mark for mark, pattern in SOURCES.items() if re.search(pattern, source)}
        names = {name for c in codes for name in c.co_names}
        for found in [function.__globals__.get(name) for name in names]:
            if isinstance(found, ModuleType) and found.__name__.startswith("tests."):
                todo += [vars(found)[name] for name in names & vars(found).keys()]
            elif str(getattr(found, "__module__", None)).startswith("tests."):
                todo += vars(found).values() if isinstance(found, type) else [found]
    return frozenset(marks)


def _codes(code: CodeType) -> list[CodeType]:
    """A function's code and that of the functions inside it."""
    return [code, *(inner for c in code.co_consts if isinstance(c, CodeType) for inner in _codes(c))]


class Quick:
    """The plugin that `--quick` registers: it leaves out what is marked, and fails what starts something without a mark."""

    def __init__(self):
        self.started: set[str] = set()

    def pytest_collection_modifyitems(self, config, items):
        out = [item for item in items if any(item.get_closest_marker(mark) for mark in MARKS)]
        config.hook.pytest_deselected(items=out)
        gone = set(out)
        items[:] = [item for item in items if item not in gone]

    def pytest_sessionstart(self):
        sys.addaudithook(self.heard)

    def pytest_collection_finish(self):
        if torch := sys.modules.get("torch"):
            torch.nn.modules.module.register_module_forward_pre_hook(self.ran)

    def heard(self, event: str, arguments: tuple):
        if event == "subprocess.Popen":
            self.started |= told(" ".join(map(str, arguments[1])))

    def ran(self, module, inputs):
        self.started.add("engine")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item):
        started, self.started = self.started, set()
        if started:
            pytest.fail(
                f"starts {' and '.join(sorted(started))}: mark it so, see tests/support/quick.py", pytrace=False
            )
