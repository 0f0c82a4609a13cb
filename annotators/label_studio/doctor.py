"""Is everything there that people need to judge? One line for each thing looked at, with the mend where something is wrong."""

from collections.abc import Iterator
from datetime import UTC, datetime

from annotators.label_studio import config
from annotators.label_studio.client import Client, Gone
from annotators.people.ledger import Ledger, Project
from schemas.errors import ServerError

SKEW = 120  # seconds that the clocks may differ before signed links suffer


def check(client: Client, ledger: Ledger) -> Iterator[tuple[bool, str]]:
    """(is it well?, sentence). The server was reached and took the key, or there would be no client."""
    yield True, f"Label Studio {client.version()} at {client.url} takes the key of {client.whoami()['email']}"
    apart = abs((datetime.now(UTC) - client.now()).total_seconds())
    yield apart < SKEW, f"its clock and this one are {apart:.0f} s apart" + ("" if apart < SKEW else ": set both, or signed links fail")
    projects = ledger.projects()
    if not projects:
        yield False, "it has none of our projects yet: `pairwright annotate push` makes them"
    for project in projects:
        try:
            yield from _project(client, ledger, project)
        except Gone:
            yield False, f"project {project.id} was deleted: `pairwright annotate reconcile`, then `push`, make it anew"
    unsent = sum(1 for _ in ledger.unsent())
    yield not unsent, f"{unsent} questions are not on the server" + (": `pairwright annotate push`" if unsent else "")
    problems = ledger.problems()
    yield not problems, f"{len(problems)} annotations are in quarantine" + (
        f", the first ({problems[0][0]}) because of {problems[0][3]}: `pairwright annotate status` lists them" if problems else ""
    )
    yield True, "whether it keeps its data in SQLite cannot be seen: give it PostgreSQL before two people label at once"


def _project(client: Client, ledger: Ledger, project: Project) -> Iterator[tuple[bool, str]]:
    if config.fingerprint(client.config(project.id)) != project.fingerprint:
        yield False, f"project {project.id}: its labeling config was changed; put it back, or `reconcile --accept-config`"
    there, known = client.count(project.id), len(ledger.tasks(project.name))
    yield there == known, f"project {project.id} has {there} tasks" + ("" if there == known else f", {known} are known: `reconcile`")
    task = next(iter(ledger.tasks(project.name)), None)
    links = client.links(task) if task else []
    for link in links[:1]:
        try:
            yield True, f"project {project.id} shows its media ({client.fetch(link):,} bytes)"
        except ServerError as error:
            yield False, f"project {project.id} cannot show its media: {error}"
