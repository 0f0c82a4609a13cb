"""A plug-in that breaks its contract is one line: the file, what is missing or wrong, and what is expected."""

import importlib
import sys
import textwrap

import pytest

from flows.planning import registry
from schemas.errors import RecipeError

OPERATOR = '''
    """Judges nothing."""
    from schemas.operator import OperatorSettings as Base

    READS = ("candidates",)
    LEAVES = ("judgements",)
    MEDIA = ("text", "image")
    SCOPE = "sample"
    VERSION = 1

    class Settings(Base):
        n: int = 1

    def judge(rows, settings, context):
        return []
'''
ENGINE = '''
    """Answers nothing."""
    from schemas.operator import OperatorSettings as Base

    class Settings(Base):
        model: str
        slots: int = 1

    def identity_of(settings):
        return settings.model

    def capabilities(settings):
        return frozenset(), frozenset()

    async def connect(settings, media):
        return None
'''


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """Puts a file among the operators or engines of a folder, for this test."""

    def put(folder: str, text: str):
        package = importlib.import_module(folder)
        (tmp_path / "plugged.py").write_text(textwrap.dedent(text))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, f"{folder}.plugged", raising=False)
        registry.names.cache_clear()
        importlib.invalidate_caches()
        return tmp_path / "plugged.py"

    yield put
    for folder in ("annotators.judge", "annotators.split", "pipeline.engines"):
        sys.modules.pop(f"{folder}.plugged", None)
        vars(importlib.import_module(folder)).pop("plugged", None)
    registry.names.cache_clear()


def refused(load) -> str:
    with pytest.raises(RecipeError) as error:
        load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_keeps_the_contract_is_loaded(plug):
    plug("annotators.judge", OPERATOR)
    assert registry.operator("judge", "plugged").LEAVES == ("judgements",)
    plug("pipeline.engines", ENGINE)
    assert registry.engine("plugged").identity_of(registry.engine("plugged").Settings(model="m")) == "m"


TABLES = "available: candidates, claims, judgements, media, pairs, rejections, samples"
OPERATORS = [
    ('LEAVES = ("judgements",)', "", "LEAVES is missing; expected: a tuple of the tables it appends to, () for none"),
    ('LEAVES = ("judgements",)', 'LEAVES = ("judgments",)',
     f"LEAVES has the unknown value 'judgments'; expected: the tables it appends to, () for none; did you mean 'judgements'? {TABLES}"),
    ('LEAVES = ("judgements",)', 'LEAVES = "judgements"', "LEAVES is 'judgements'; expected: a tuple of the tables it appends to, () for none"),
    ('READS = ("candidates",)', 'READS = ("answers",)', f"READS has the unknown value 'answers'; expected: the tables it needs, () for none; {TABLES}"),
    ('SCOPE = "sample"', 'SCOPE = "row"', "SCOPE is 'row'; expected: \"sample\" (one sample's rows in, rows out) or \"table\" (all of them)"),
    ('SCOPE = "sample"', "", "SCOPE is missing; expected: \"sample\" (one sample's rows in, rows out) or \"table\" (all of them)"),
    ('MEDIA = ("text", "image")', 'MEDIA = ("text", "images")',
     "MEDIA has the unknown value 'images'; expected: the kinds of samples it handles; did you mean 'image'? available: audio, image, multi_image, text, video"),
    ("VERSION = 1", 'VERSION = "1"', "VERSION is '1'; expected: an integer, raised when its rows change for the same settings"),
    ("def judge(", "def judges(", "judge is missing; expected: the function that runs an operator of the family judge"),
    ("class Settings(Base)", "class Setting(Base)", "Settings is missing; expected: a class that inherits from schemas.operator.OperatorSettings"),
    ("class Settings(Base)", "class Settings", "Settings is <class 'annotators.judge.plugged.Settings'>; expected: a class that inherits from schemas.operator.OperatorSettings"),
    ("VERSION = 1", 'VERSION = 1\n    BUILDS = {"splitter": "split"}', "BUILDS has the unknown setting 'splitter'; expected: a field of Settings; available: n"),
    ("VERSION = 1", 'VERSION = 1\n    SEES = ("claim",)',
     f"SEES has the unknown value 'claim'; expected: the tables it looks at but does not need; did you mean 'claims'? {TABLES}"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), OPERATORS)
def test_an_operator_that_breaks_its_contract_is_refused_in_a_line(plug, old, new, said):
    assert OPERATOR.count(old) == 1
    file = plug("annotators.judge", OPERATOR.replace(old, new))
    assert refused(lambda: registry.operator("judge", "plugged")) == f"{file}: {said}"


ENGINES = [
    ("def identity_of", "def identity",
     "identity_of is missing; expected: a function of the settings: the model's name and revision, or a digest of its weights"),
    ("def connect", "def load", "connect is missing; expected: an async function of the settings and the media store that returns an Engine"),
    ("def capabilities", "def can", "capabilities is missing; expected: a function of the settings: (names of the requests it answers, kinds of media it accepts)"),
    ("slots: int = 1", "size: int = 1", "Settings has no field `slots`; expected: the number of requests it works on at a time"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), ENGINES)
def test_an_engine_that_breaks_its_contract_is_refused_in_a_line(plug, old, new, said):
    assert ENGINE.count(old) == 1
    file = plug("pipeline.engines", ENGINE.replace(old, new))
    assert refused(lambda: registry.engine("plugged")) == f"{file}: {said}"


def test_a_splitter_needs_no_tables(plug):
    plug(
        "annotators.split",
        "from schemas.operator import OperatorSettings as Settings\nVERSION = 1\ndef split(question, answer, settings, context):\n    return []\n",
    )
    assert registry.operator("split", "plugged").VERSION == 1


@pytest.mark.parametrize("family", registry.HOME)
def test_every_operator_there_is_keeps_its_contract(family):
    names = registry.names(f"{registry.HOME[family]}.{family}")
    assert [registry.operator(family, name).__name__.rpartition(".")[2] for name in names] == names


def test_every_engine_there_is_keeps_its_contract():
    names = registry.names("pipeline.engines")
    assert set(names) == {"hf", "openai", "vllm"}
    assert all(registry.engine(name).identity_of for name in names)
