"""Settings of `judge.people`, and the campaign name that identifies its questions on the server."""

from typing import Literal

from pydantic import Field, model_validator

from annotators.people.question import Task
from schemas.axes import SCORE, TRUTH
from schemas.operator import OperatorSettings as Base
from schemas.records import digest


class Settings(Base):
    task: Task = Task.PAIRWISE
    """kind of question: pairwise, ranking, ratings, correct or safety"""
    of: Literal["candidates", "pairs"] = "candidates"
    """ask about answers drawn by the seed, or (pairwise only) about the pairs of an earlier step"""
    per_prompt: int = Field(1, ge=1, le=1_000)
    """questions per prompt with `of: candidates`; a ranking is always one question"""
    axes: tuple[str, ...] = Field(("helpfulness", "faithfulness", "safety"), min_length=1)
    """axes of ratings, each rated 1 to 5"""
    overlap: int = Field(1, ge=1, le=1_000)
    """annotators per question"""
    most: int = Field(0, ge=0, le=1_000)
    """maximum annotators per question: one more is asked while they disagree or too few gave a verdict; by default `overlap`"""
    desks: tuple[str, ...] = ()
    """annotator groups (or people) with separate projects and separately drawn sides; without any, all share the projects"""
    route: Literal["all", "unsure", "disagree"] = "all"
    """which questions go to people: all; unsure: smallest difference of judge scores first; disagree: only where judges contradict
    each other"""
    route_axis: str = SCORE
    """axis of the judgements that `unsure` and `disagree` compare"""
    budget: int | None = Field(None, ge=1)
    """maximum number of annotations, including repeats, gold and up to `most` people per question"""
    gold: float = Field(0.0, ge=0, le=1)
    """share of gold questions, whose answer is known; annotators cannot tell them apart (pairwise, ranking)"""
    gold_axis: str = TRUTH
    """axis of the judgements that provide the known answers"""
    repeat: float = Field(0.05, ge=0, le=1)
    """share of questions asked twice, the second time with the answers in reverse order (pairwise, ranking)"""
    min_seconds: float = Field(1.0, ge=0)
    """annotations made in less time go to quarantine"""
    prelabels: str | None = None
    """makes this a review that shows the judges' verdicts on this axis as pre-labels; these bias annotators, so their quality is not measured"""
    guidelines: str | None = None
    """HTML file with guidelines for annotators that replaces the built-in one"""
    media: str = Field("local", exclude=True)
    """how labeling pages load the media: `local` files, `s3://BUCKET/PREFIX`, or the address of `pairwright serve`"""
    seed: int = 0
    """random seed: which answers are asked about, and in which order they are shown"""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given):
        return {**given, "most": given.get("most") or given.get("overlap", 1)} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _possible(self):
        if self.of == "pairs" and self.task != Task.PAIRWISE:
            raise ValueError("`of: pairs` needs `task: pairwise`")
        if self.route != "all" and self.task not in (Task.PAIRWISE, Task.RANKING):
            raise ValueError("`route` compares the answers of a question, so it needs pairwise or ranking")
        if self.gold and self.task not in (Task.PAIRWISE, Task.RANKING):
            raise ValueError("`gold` needs `task: pairwise` or `ranking`: other tasks have no known answer")
        if self.most < self.overlap:
            raise ValueError("`most` must not be less than `overlap`")
        if self.desks and len(set(self.desks)) < self.most:
            raise ValueError(f"{self.most} annotators per question need at least {self.most} `desks`")
        if self.prelabels and (self.gold or self.most > 1):
            raise ValueError("`prelabels` need one annotator per question and no `gold`: pre-labels bias people")
        return self


def campaign_of(recipe: str, step: str, settings: Settings) -> str:
    """Digest that identifies a step's questions on the server: of the recipe, step, task, rating axes and seed, and nothing else."""
    return digest(recipe, step, settings.task, settings.axes if settings.task == Task.RATINGS else (), settings.seed)
