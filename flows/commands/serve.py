"""`pairwright serve`: serves a run's media to annotators and receives webhooks."""

import time
from urllib.parse import urlsplit

from flows.runs import campaigns
from pipeline.media.portable import known_id, portable_file
from pipeline.storage.media_store import open_store
from schemas.ports import MediaStore

LOOK = 2.0  # least seconds between two reads of the ledgers for new questions


class QuestionMedia:
    """The media of a run's questions. Called with a hash, it returns the media type, or None if no question shows that medium,
    as it is or in its portable form."""

    def __init__(self, run, media: MediaStore):
        self._run, self._media, self._types, self._looked = run, media, {}, 0.0
        self._look()

    def __call__(self, sha: str) -> str | None:
        if sha not in self._types and time.monotonic() > self._looked + LOOK:
            self._look()
        return self._types.get(sha)

    def _look(self) -> None:
        for asking in campaigns.required_steps(self._run):
            with campaigns.open_ledger(asking) as ledger:
                for media in (media for question in ledger.questions() for media in question.media):
                    self._types.update([media, portable_file(self._media, *media, find=known_id)])
        self._looked = time.monotonic()


def serve(run, url: str, host: str, port: int, every: float) -> None:
    """Serves the media of the run's questions, and syncs at the start, after each webhook and every `every` seconds, until stopped.
    `url` is the address at which the labeling server and the annotators reach this process.

    UserError before it listens: a run that asks no people, or a missing or wrong secret, key or address."""
    from annotators.label_studio import links
    from annotators.label_studio.client import connect
    from annotators.label_studio.service import app as server
    from annotators.label_studio.service import signing

    secret = links.secret()
    media = open_store(run.cache / "media")
    shown = QuestionMedia(run, media)
    client = connect()
    hooked: set[int] = set()

    def pull(project: str | None) -> None:
        campaigns.sync(run, "work")
        for asking in campaigns.required_steps(run):
            with campaigns.open_ledger(asking) as ledger:
                for made in (p.id for p in ledger.projects() if p.id not in hooked):
                    hook = f"{url.rstrip('/')}/webhook/{made}"
                    client.webhook(made, hook, signing.webhook_headers(secret, str(made)))
                    hooked.add(made)

    labels = urlsplit(client.url)
    origin = f"{labels.scheme}://{labels.netloc}"
    server.serve(server.app(media, shown, pull, secret, origin, every), host, port)
