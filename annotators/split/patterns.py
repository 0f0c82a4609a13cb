"""Splits answers that follow known patterns into claims, without a model. data/scenes/patterns.yaml explains the format."""

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
    """The patterns of a file, cached. RecipeError if it cannot be read."""
    text = read_text(Path(path), "patterns file")
    try:
        return claim_patterns.compile_patterns(yaml.safe_load(text))
    except RecursionError:
        why = "it is nested too deeply"
    except KeyError as error:
        why = f"{error} is missing"
    except (TypeError, AttributeError):
        why = "its structure differs from data/scenes/patterns.yaml, which explains the format"
    except (yaml.YAMLError, re.error, ValueError) as error:
        why = " ".join(str(error).split())
    raise RecipeError(f"cannot read the patterns file {short_path(path)}: {why}; correct it")


def split(
    question: str, answer: str, settings: Settings, context: Context, before: str = ""
) -> list[tuple[str, bool]] | None:
    """(yes/no question, wanted answer) for each claim; None if the question or the answer matches no pattern, whatever was said
    `before`. RecipeError for a bad patterns file."""
    found = _claims(settings.path, question, answer)
    return None if found is None else list(found)


@lru_cache(4096)  # several judges split the same answer
def _claims(path: str, question: str, answer: str) -> tuple[tuple[str, bool], ...] | None:
    try:
        found = claim_patterns.split(compiled(path), question, answer)
    except LookupError:
        return None
    return None if found is None else tuple(found)
