"""What a step that asks people may set (`judge.people`), and the name of its questions on the server."""

from typing import Literal

from pydantic import Field, model_validator

from annotators.people.question import Task
from schemas.axes import SCORE, TRUTH
from schemas.operator import OperatorSettings as Base
from schemas.records import digest


class Settings(Base):
    task: Task = Task.PAIRWISE
    """pairwise, ranking, ratings, correct or safety"""
    of: Literal["candidates", "pairs"] = "candidates"
    """ask about answers drawn by the seed, or (pairwise) about the pairs that a step before made"""
    per_prompt: int = Field(1, ge=1, le=1_000)
    """questions about each prompt, where `of` is candidates; a ranking is always one"""
    axes: tuple[str, ...] = Field(("helpfulness", "faithfulness", "safety"), min_length=1)
    """what ratings are asked for, each 1 to 5"""
    overlap: int = Field(1, ge=1, le=1_000)
    """people who judge each question"""
    most: int = Field(0, ge=0, le=1_000)
    """where they disagree, or too few decided, one more is asked until so many were; `overlap` by default"""
    desks: tuple[str, ...] = ()
    """names of people or groups who get a project each, with sides of their own; one project for all without any"""
    route: Literal["all", "unsure", "disagree"] = "all"
    """which questions go to people: all, those with the smallest difference of the judges' scores first, or only those where judges
    contradict each other"""
    route_axis: str = SCORE
    """the judgements that `unsure` and `disagree` look at"""
    budget: int | None = Field(None, ge=1)
    """annotations asked for at most, repeats, gold and the `most` people of every question among them"""
    gold: float = Field(0.0, ge=0, le=1)
    """share of the questions whose answer is known, mixed in unseen (pairwise, ranking)"""
    gold_axis: str = TRUTH
    """the judgements that know"""
    repeat: float = Field(0.05, ge=0, le=1)
    """share of the questions asked twice, the second time with the answers in reversed order (pairwise, ranking)"""
    min_seconds: float = Field(1.0, ge=0)
    """an annotation that took less is kept in quarantine"""
    prelabels: str | None = None
    """makes this a review: the verdicts of this axis are shown as pre-labels, which anchor, so it may measure nothing"""
    guidelines: str | None = None
    """file shown to the annotators instead of the one beside the labeling config"""
    media: str = Field("local", exclude=True)
    """how the server gets the media: `local` files, `s3://BUCKET/PREFIX`, or the address of `pairwright serve`"""
    seed: int = 0
    """another seed shows the answers in another order and draws others"""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given):
        return {**given, "most": given.get("most") or given.get("overlap", 1)} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _possible(self):
        if self.of == "pairs" and self.task != Task.PAIRWISE:
            raise ValueError("`of: pairs` is for pairwise")
        if self.gold and self.task not in (Task.PAIRWISE, Task.RANKING):
            raise ValueError("`gold` works for pairwise and ranking: of other tasks no answer is known")
        if self.most < self.overlap:
            raise ValueError("`most` must not be less than `overlap`")
        if self.desks and len(set(self.desks)) < self.most:
            raise ValueError(f"{self.most} people a question need as many `desks`")
        if self.prelabels and (self.gold or self.most > 1):
            raise ValueError("a review with `prelabels` has one annotator a question and no `gold`: pre-labels anchor")
        return self


def campaign_of(recipe: str, step: str, settings: Settings) -> str:
    """Names the questions on the server: the same recipe and step find theirs again, whatever else was set."""
    return digest(recipe, step, settings.task, settings.axes if settings.task == Task.RATINGS else (), settings.seed)
