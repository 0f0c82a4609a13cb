"""Human judges in Label Studio: they compare, rank, rate or correct answers, or judge their safety.

`fit` plans the questions into a ledger, sends them to the server and reads annotations back. It raises Waiting until all are there;
nothing keeps running meanwhile. The judgements come from a snapshot of the ledger."""

from annotators.people import snapshot
from annotators.people.ledger import Ledger
from annotators.people.plan import drafts, questions, select_drafts
from annotators.people.progress import follow_ups, progress
from annotators.people.settings import Settings, campaign_of
from schemas import prompts
from schemas.errors import Waiting
from schemas.operator import Context, Fitted, SampleRows
from schemas.records import SAMPLE_KINDS, Candidate, Judgement

READS = ("candidates",)
LEAVES = ("judgements", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


def reads(settings: Settings) -> tuple[str, ...]:
    routed = ("judgements",) if settings.route != "all" or settings.gold or settings.prelabels else ()
    return (*routed, "pairs") if settings.of == "pairs" else routed


def fit(seen, settings: Settings, context: Context) -> Fitted:
    """Plans, pushes and pulls the questions; the fitted value is a Snapshot of the annotations.

    Waiting while annotations are missing, with their number; ServerError or UserError if the server cannot be used."""
    ledger = Ledger(context.folder)
    try:
        with ledger.alone():
            campaign = campaign_of(context.recipe, context.step, settings)
            plan(ledger, seen, campaign, settings, context)
            if not progress(ledger, settings).done or follow_ups(ledger, campaign, settings):
                from annotators.label_studio import sync

                server = sync.connect_sync(
                    campaign, context.recipe, context.step, settings, ledger, context.media, context.shown
                )
                server.work(context.progress)
            found = progress(ledger, settings)
            if not found.done:
                raise Waiting(
                    f"{context.step}: {found.answered} of {found.asked} annotations are done; annotators work in Label Studio, "
                    "run the same command again when they have finished"
                )
            return Fitted(*snapshot.take_snapshot(ledger, context.folder / "snapshots", context.step, context.version))
    finally:
        ledger.close()


def plan(ledger: Ledger, seen, campaign: str, settings: Settings, context: Context) -> None:
    """Adds new questions to the ledger, and withdraws those about answers that no longer exist."""
    asked = {(q.sample, q.items): q.gold is not None for q in ledger.questions(withdrawn=True)}
    current = set()

    def recorded():
        for draft in drafts(seen, settings, _mimes(context)):
            current.add((draft.sample, draft.items))
            yield draft

    chosen = select_drafts(recorded(), settings, asked)
    ledger.plan(q for draft in chosen for q in questions(draft, campaign, settings))
    ledger.withdraw({q.uid for q in ledger.questions(withdrawn=True) if (q.sample, q.items) in current})


def _mimes(context: Context):
    """A look-up of MIME types by media ids; the table is read once."""
    known: dict[str, str] = {}
    if context.tables:
        for batch in context.tables.batches("media", ["id", "mime"]):
            known.update(zip(batch["id"].to_pylist(), batch["mime"].to_pylist(), strict=True))
    return lambda ids: {i: known[i] for i in ids}


def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement | Candidate]:
    """People's annotations of the sample's answers: see Reply for the axes and `snapshot.rows_of` for the rows; empty if none."""
    return context.fitted.of(rows.sample.id)


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.guidelines, __file__, ""),) if settings.guidelines else ()
