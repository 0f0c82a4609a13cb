"""The cost of pushing to and pulling from Label Studio, compared with bare API calls that move the same tasks.

    python -m benchmarks.label_studio [--tasks 10000] [--rounds 3]

Starts a real Label Studio server (`make label-studio`). Push: the planned questions of an empty ledger, compared with bare import
requests of the same tasks in the same batches into another project. First pull: a snapshot export, parsed, checked and recorded,
compared with a bare export of the same project downloaded as bytes. Then new annotations are made and pulled. Wall seconds, in turn."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import httpx

from annotators.label_studio.client import Client, connect
from annotators.label_studio.forms import labeling_config, tasks
from annotators.label_studio.links import LocalFiles
from annotators.label_studio.local import local_server
from annotators.label_studio.sync import BATCH, Sync
from annotators.people import plan
from annotators.people.ledger import Ledger
from annotators.people.question import Question
from annotators.people.settings import Settings
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.operator import SampleRows
from schemas.records import candidate, digest, sample

SETTINGS = Settings(repeat=0)
ANSWER = "the picture shows a red cross left of a blue star, and " * 12  # 660 characters: an answer in two sentences


def questions(count: int, campaign: str) -> list[Question]:
    found = []
    for draft in plan.drafts(_rows(count), SETTINGS, lambda media: {}):
        found += plan.questions(draft, campaign, SETTINGS)
    return found


def _rows(count: int):
    for number in range(count):
        rows = SampleRows(sample((messages.user(f"what is in picture {number} ?"),)))
        rows.candidates = [candidate(rows.sample.id, "sample", f"{number} {i} {ANSWER}", index=i) for i in range(2)]
        yield rows


def opened(server: local_server.LocalServer, client: Client, folder: Path, campaign: str) -> Sync:
    media = FolderStore(folder / "media")
    return Sync(
        client,
        Ledger(folder / campaign),
        campaign,
        "benchmark",
        SETTINGS,
        LocalFiles(server.files, media, lambda sha, mime: (sha, mime)),
    )


def pushed(server, client: Client, folder: Path, count: int, round: int) -> tuple[float, float]:
    """(bare, ours): seconds to import `count` tasks into a new project."""
    asked = questions(count, digest("bare", round))
    project = client.create_project(
        "bare", f"bare{round}", labeling_config.build(labeling_config.spec_of(asked[0])), 1, ""
    )["id"]
    made = [{"data": tasks.data(q, ())} for q in asked]
    with bare(server) as http:
        bare_seconds = timed(lambda: [_import(http, project, made[at : at + BATCH]) for at in range(0, count, BATCH)])
    sync = opened(server, client, folder, digest("ours", round))
    sync.ledger.plan(questions(count, sync.campaign))
    return bare_seconds, timed(sync.push)


def _import(http: httpx.Client, project: int, batch: list[dict]) -> None:
    http.post(f"/api/projects/{project}/import", json=batch, params={"return_task_ids": "true"}).raise_for_status()


def labeled(server, client: Client, folder: Path, count: int) -> Sync:
    """A campaign with one annotation per task, imported together with the tasks, which takes a second per thousand."""
    sync = opened(server, client, folder, digest("labeled"))
    asked = questions(count, sync.campaign)
    sync.ledger.plan(asked[:1])
    sync.push()
    (project,) = sync.ledger.projects()
    person = client.whoami()["id"]
    result = [
        {"id": "x", "from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": ["L1"]}}
    ]
    annotation = {"result": result, "completed_by": person, "lead_time": 9.0, "ground_truth": False}
    stream = iter(asked[1:])
    while batch := list(islice(stream, BATCH)):
        client.add(project.id, [{"data": tasks.data(q, ()), "annotations": [annotation]} for q in batch])
    sync.ledger.plan(asked)
    assert sync.push().counts["already_there"] == count - 1
    return sync


def exported(http: httpx.Client, project: int) -> int:
    """Size in bytes of a bare snapshot export."""
    place = f"/api/projects/{project}/exports/"
    made = http.post(place, json={"title": "bare"}).raise_for_status().json()
    return len(http.get(f"{place}{made['id']}/download", params={"exportType": "JSON"}).raise_for_status().content)


def first_pull(sync: Sync) -> float:
    """Seconds of a first pull; afterwards the ledger is reset to its state before."""
    seconds = timed(sync.pull)
    with sync.ledger.together():
        sync.ledger.db.execute("delete from annotation")
        sync.ledger.db.execute("update project set cursor = null")
    return seconds


def answer(server, sync: Sync, count: int) -> None:
    (project,) = sync.ledger.projects()
    with bare(server) as http:
        for task in list(sync.ledger.tasks(project.name))[:count]:
            result = [
                {
                    "id": "x",
                    "from_name": "preference",
                    "to_name": "prompt",
                    "type": "choices",
                    "value": {"choices": ["R1"]},
                }
            ]
            http.post(f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 9.0}).raise_for_status()


def bare(server: local_server.LocalServer) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.key}"}, timeout=900)


def timed(work: Callable) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(name: str, pairs: list[tuple[float, float]]) -> None:
    for floor, ours in pairs:
        print(f"  {name}: bare {floor:6.2f} s, ours {ours:6.2f} s, {ours / floor:.3f} x")
    print(f"{name}: median {statistics.median(o / f for f, o in pairs):.3f} x the bare calls\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, local_server.start(Path(temporary) / "server") as server:
        folder, client = Path(temporary), connect(server.url, server.key)
        ratio("push", [pushed(server, client, folder, given.tasks, n) for n in range(given.rounds)])
        sync = labeled(server, client, folder, given.tasks)
        (project,) = sync.ledger.projects()
        with bare(server) as http:
            exported(http, project.id)  # warms the server's caches
            pulls = [(timed(lambda: exported(http, project.id)), first_pull(sync)) for _ in range(given.rounds)]
        ratio("first pull", pulls)
        first = timed(sync.pull)
        for count in (0, 10, 100):
            answer(server, sync, count)
            time.sleep(6)  # longer than the overlap of two pulls
            print(f"pull after {count} new annotations: {timed(sync.pull):.2f} s (first pull: {first:.2f} s)")


if __name__ == "__main__":
    main()
