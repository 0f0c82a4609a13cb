"""People judge, in Label Studio: they compare, rank, rate, correct, or say what is unsafe.

The first look at all samples plans the questions into a ledger, puts them on the server, reads back what was said, and raises
Waiting until everybody is done; nothing stays running meanwhile. The rows are those of a snapshot of the ledger."""

from typing import Literal

from pydantic import Field, model_validator

from annotators.people import snapshot
from annotators.people.ledger import Ledger
from annotators.people.plan import drafts, questions, select
from annotators.people.question import Task
from annotators.people.standing import again, progress
from schemas import prompts
from schemas.errors import Waiting
from schemas.operator import Context, Fitted, Rows
from schemas.operator import Settings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, digest

READS = ("candidates",)
LEAVES = ("judgements", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


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
    route_axis: str = "score"
    """the judgements that `unsure` and `disagree` look at"""
    budget: int | None = Field(None, ge=1)
    """annotations asked for at most, repeats, gold and the `most` people of every question among them"""
    gold: float = Field(0.0, ge=0, le=1)
    """share of the questions whose answer is known, mixed in unseen (pairwise, ranking)"""
    gold_axis: str = "truth"
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


def reads(settings: Settings) -> tuple[str, ...]:
    routed = ("judgements",) if settings.route != "all" or settings.gold or settings.prelabels else ()
    return (*routed, "pairs") if settings.of == "pairs" else routed


def campaign_of(recipe: str, step: str, settings: Settings) -> str:
    """Names the questions on the server: the same recipe and step find theirs again, whatever else was set."""
    return digest(recipe, step, settings.task, settings.axes if settings.task == Task.RATINGS else (), settings.seed)


def fit(seen, settings: Settings, context: Context) -> Fitted:
    """Plans, asks, reads back. Waiting says how many annotations of how many are there."""
    ledger = Ledger(context.folder)
    try:
        with ledger.alone():
            campaign = campaign_of(context.recipe, context.step, settings)
            plan(ledger, seen, campaign, settings, context)
            if not progress(ledger, settings).done or again(ledger, campaign, settings):
                from annotators.label_studio import sync

                server = sync.connected(campaign, context.recipe, context.step, settings, ledger, context.media)
                server.work(context.progress)
            found = progress(ledger, settings)
            if not found.done:
                raise Waiting(
                    f"{context.step}: {found.answered} of {found.asked} annotations are there; people label in Label Studio, "
                    "the same command goes on when they are done"
                )
            return Fitted(*snapshot.take(ledger, context.folder / "snapshots", context.step, context.version))
    finally:
        ledger.close()


def plan(ledger: Ledger, seen, campaign: str, settings: Settings, context: Context) -> None:
    """Adds what is to be asked to the ledger, and withdraws what asks about answers that are no longer there."""
    asked = {(q.sample, q.items): q.gold is not None for q in ledger.questions(withdrawn=True)}
    still = set()

    def noted():
        for draft in drafts(seen, settings, _mimes(context)):
            still.add((draft.sample, draft.items))
            yield draft

    chosen = select(noted(), settings, asked)
    ledger.plan(q for draft in chosen for q in questions(draft, campaign, settings))
    ledger.withdraw({q.uid for q in ledger.questions(withdrawn=True) if (q.sample, q.items) in still})


def _mimes(context: Context):
    """Looks up MIME types of media by their ids; the table is read once."""
    known: dict[str, str] = {}
    if context.tables:
        for batch in context.tables.batches("media", ["id", "mime"]):
            known.update(zip(batch["id"].to_pylist(), batch["mime"].to_pylist(), strict=True))
    return lambda ids: {i: known[i] for i in ids}


def judge(rows: Rows, settings: Settings, context: Context) -> list[Judgement | Candidate]:
    """What people said of the sample's answers: see Reply for the axes, and `snapshot.rows_of` for the records."""
    return context.fitted.of(rows.sample.id)


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.guidelines, __file__, ""),) if settings.guidelines else ()
