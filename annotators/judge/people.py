"""People judge, in Label Studio: they compare, rank, rate, correct, or say what is unsafe.

The first look at all samples plans the questions into a ledger, puts them on the server, reads back what was said, and raises
Waiting until everybody is done; nothing stays running meanwhile. The rows are those of a snapshot of the ledger."""

from annotators.people import snapshot
from annotators.people.ledger import Ledger
from annotators.people.plan import drafts, questions, select
from annotators.people.progress import ask_again, progress
from annotators.people.settings import Settings, campaign_of
from schemas import prompts
from schemas.errors import Waiting
from schemas.operator import Context, Fitted, SampleRows
from schemas.records import SAMPLE_KINDS, Candidate, Judgement

READS = ("candidates",)
LEAVES = ("judgements", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


def reads(settings: Settings) -> tuple[str, ...]:
    routed = ("judgements",) if settings.route != "all" or settings.gold or settings.prelabels else ()
    return (*routed, "pairs") if settings.of == "pairs" else routed


def fit(seen, settings: Settings, context: Context) -> Fitted:
    """Plans, asks, reads back. Waiting says how many annotations of how many are there."""
    ledger = Ledger(context.folder)
    try:
        with ledger.alone():
            campaign = campaign_of(context.recipe, context.step, settings)
            plan(ledger, seen, campaign, settings, context)
            if not progress(ledger, settings).done or ask_again(ledger, campaign, settings):
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


def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement | Candidate]:
    """What people said of the sample's answers: see Reply for the axes, and `snapshot.rows_of` for the records."""
    return context.fitted.of(rows.sample.id)


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.guidelines, __file__, ""),) if settings.guidelines else ()
