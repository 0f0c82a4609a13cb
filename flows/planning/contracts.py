"""Checks, when an operator or engine is loaded, that its file declares what schemas/operator.py and schemas/ports.py require.

Each violation is one RecipeError: the file, what is missing or wrong, and what is expected."""

from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, NoReturn

from schemas.errors import RecipeError
from schemas.operator import PARTS, SCOPES, VERBS, OperatorSettings
from schemas.records import SAMPLE_KINDS
from schemas.text import did_you_mean

ENGINE = {
    "identity_of": "a function of the settings: the model's name and revision, or a digest of its weights",
    "capabilities": "a function of the settings: (names of the requests it answers, kinds of media it accepts)",
    "connect": "an async function of the settings and the media store that returns an Engine",
}


@cache
def check_operator(module: ModuleType, family: str) -> None:
    """RecipeError if the module violates the contract of operators of its family; each module is checked once."""
    _settings(module)
    _typed(module, "VERSION", int, "an integer, raised when its rows change for the same settings")
    if hasattr(module, "EDITION"):
        _typed(module, "EDITION", int, "an integer, raised when it only leaves more or fewer of the same rows")
    _called(module, VERBS[family], f"the function that runs an operator of the family {family}")
    if family not in PARTS:
        from schemas.arrow import TABLES  # imports pyarrow, which is slow

        _words(module, "READS", TABLES, "the tables it needs, () for none")
        _words(module, "LEAVES", TABLES, "the tables it appends to, () for none")
        _words(module, "MEDIA", SAMPLE_KINDS, "the kinds of samples it handles")
        if hasattr(module, "SEES"):
            _words(module, "SEES", TABLES, "the tables it looks at but does not need")
        scope = _declared(
            module, "SCOPE", expected := '"sample" (one sample\'s rows in, rows out) or "table" (all of them)'
        )
        if scope not in SCOPES:
            _refuse(module, f"SCOPE is {scope!r}", expected)
    fields = module.Settings.model_fields
    for setting in (
        _typed(module, "BUILDS", Mapping, "setting -> the function of the operator named there")
        if hasattr(module, "BUILDS")
        else ()
    ):
        if setting not in fields:
            _refuse(
                module,
                f"BUILDS has the unknown setting {setting!r}",
                f"a field of Settings; {did_you_mean(str(setting), fields)}",
            )


@cache
def check_engine(module: ModuleType) -> None:
    """RecipeError if the module violates the contract of engines; each module is checked once."""
    _settings(module)
    if "slots" not in module.Settings.model_fields:
        _refuse(module, "Settings has no field `slots`", "the number of requests it works on at a time")
    for name, expected in ENGINE.items():
        _called(module, name, expected)


def _refuse(module: ModuleType, wrong: str, expected: str) -> NoReturn:
    raise RecipeError(f"{getattr(module, '__file__', None) or module.__name__}: {wrong}; expected: {expected}")


def _declared(module: ModuleType, name: str, expected: str) -> Any:
    if not hasattr(module, name):
        _refuse(module, f"{name} is missing", expected)
    return getattr(module, name)


def _typed(module: ModuleType, name: str, kind: type, expected: str) -> Any:
    if not isinstance(value := _declared(module, name, expected), kind):
        _refuse(module, f"{name} is {value!r}", expected)
    return value


def _settings(module: ModuleType) -> None:
    expected = "a class that inherits from schemas.operator.OperatorSettings"
    found = _declared(module, "Settings", expected)
    if not (isinstance(found, type) and issubclass(found, OperatorSettings)):
        _refuse(module, f"Settings is {found!r}", expected)


def _called(module: ModuleType, name: str, expected: str) -> None:
    found: Callable | object = _declared(module, name, expected)
    if not callable(found):
        _refuse(module, f"{name} is {found!r}", expected)


def _words(module: ModuleType, name: str, known: Any, expected: str) -> None:
    for word in _typed(module, name, tuple, f"a tuple of {expected}"):
        if word not in known:
            _refuse(module, f"{name} has the unknown value {word!r}", f"{expected}; {did_you_mean(str(word), known)}")
