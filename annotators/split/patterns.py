"""Splits answers that follow known patterns (data/scenes/patterns.yaml explains the format). No model is asked."""

import re
from functools import lru_cache
from pathlib import Path

import yaml

from schemas import claim_patterns
from schemas.disk import read_text, short_path
from schemas.errors import RecipeError
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base

VERSION = 1


class Settings(Base):
    path: str = "data/scenes/patterns.yaml"
    """the patterns file"""


@lru_cache
def compiled(path: str) -> claim_patterns.Patterns:
    text = read_text(Path(path), "patterns file")
    try:
        return claim_patterns.compile_patterns(yaml.safe_load(text))
    except RecursionError:
        why = "it is nested too deeply"
    except KeyError as error:
        why = f"{error} is missing"
    except (TypeError, AttributeError):
        why = "it has another structure than data/scenes/patterns.yaml, which explains the format"
    except (yaml.YAMLError, re.error, ValueError) as error:
        why = " ".join(str(error).split())
    raise RecipeError(f"cannot read the patterns file {short_path(path)}: {why}; correct it")


def split(question: str, answer: str, settings: Settings, context: Context) -> list[tuple[str, bool]] | None:
    """(yes/no question, wanted answer) for each claim; None when the answer has no known form.

    A question that no pattern knows gives None too: its answers state nothing that can be checked."""
    found = _claims(settings.path, question, answer)
    return None if found is None else list(found)


@lru_cache(4096)  # each judge that reads an answer splits it
def _claims(path: str, question: str, answer: str) -> tuple[tuple[str, bool], ...] | None:
    try:
        found = claim_patterns.split(compiled(path), question, answer)
    except LookupError:
        return None
    return None if found is None else tuple(found)
