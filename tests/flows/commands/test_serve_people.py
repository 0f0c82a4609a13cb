"""`pairwright serve` as its user runs it: a process beside a real Label Studio, which signs links to its media and sends it webhooks."""

import http.server
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import httpx
import pytest

from annotators.label_studio.local import local_server
from annotators.label_studio.service import signing
from annotators.people.ledger import Ledger
from flows.commands.serve import QuestionMedia
from flows.runs import campaigns, executor, shards
from pipeline.storage.media_store import open_store
from tests.support.asked import environment_of, label, pairwright, preference, write_recipe
from tests.support.endpoint import Endpoint, served
from tests.support.serving import SECRET, wait_for

ALWAYS_FIRST = lambda question, who: 1


class Serve:
    """The command over a run's folder, on a port of its own."""

    def __init__(self, folder, label_studio):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.out, self.log = folder / "run", folder / "serve.log"
        self.environment = environment_of(label_studio, PAIRWRIGHT_SERVE_SECRET=SECRET)
        # --every: no clock helps in these tests, only hints and starts
        self.words = ["serve", self.out, "--url", self.url, "--port", str(port), "--every", "100000"]
        self.process = None

    def start(self) -> None:
        with self.log.open("ab") as sink:
            command = [sys.executable, "-m", "flows.cli", *self.words]
            self.process = subprocess.Popen(command, stdout=sink, stderr=sink, env=self.environment)
        wait_for(self.pulled, 60)

    def pulled(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.health()["pulls"]["done"] > 0
        except httpx.TransportError:
            return False

    def health(self) -> dict:
        return httpx.get(f"{self.url}/health").json()

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)

    def ledger(self) -> Ledger:
        return Ledger(self.out / "people" / "people")

    def answered(self) -> int:
        with closing(self.ledger()) as ledger:
            return sum(ledger.answered().values())

    def hint(self, project: int, body: bytes, headers: dict | None = None) -> httpx.Response:
        headers = signing.webhook_headers(SECRET, str(project)) if headers is None else headers
        return httpx.post(f"{self.url}/webhook/{project}", content=body, headers=headers)


@pytest.fixture(scope="module")
def serve(tmp_path_factory, label_studio):
    """A run of twelve questions with pictures, which Label Studio's pages get from this very server."""
    folder = tmp_path_factory.mktemp("served")
    serve = Serve(folder, label_studio)
    with served(Endpoint()) as url:
        recipe = write_recipe(folder, url, 12, media=serve.url)
        serve.build = ("build", recipe, "--out", serve.out, "--cache", folder / "cache")
        said = pairwright(serve.environment, *serve.build, code=1)
        assert "pairwright serve" in said  # the media server must be there first
        serve.start()
        yield serve
        if serve.process.poll() is None:
            serve.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def ann(sign_in):
    return sign_in("ann")


def project_of(serve) -> int:
    with closing(serve.ledger()) as ledger:
        (project,) = ledger.projects()
    return project.id


def labeled(serve, ann, most: int) -> int:
    with closing(serve.ledger()) as ledger:
        return label(ledger, [ann], ALWAYS_FIRST, most)


def test_an_annotation_is_in_the_ledger_within_seconds_and_without_a_pull(serve, ann):
    assert labeled(serve, ann, 1) == 1
    wait_for(lambda: serve.answered() == 1, 10)
    assert serve.health()["webhooks"] == {"received": 1, "replayed": 0, "malformed": 0, "forged": 0}


def test_what_is_labeled_while_it_is_dead_is_there_when_it_is_started_again(serve, ann):
    before = serve.answered()
    assert serve.end(signal.SIGKILL) == -signal.SIGKILL
    assert labeled(serve, ann, 3) == 3  # their webhooks find nobody
    assert serve.answered() == before
    serve.start()
    assert serve.answered() == before + 3
    assert len(hooks(serve)) == 1  # it takes the webhook that it made before


def hooks(serve) -> list[dict]:
    admin = {"Authorization": f"Token {serve.environment['LABEL_STUDIO_API_KEY']}"}
    where = f"{serve.environment['LABEL_STUDIO_URL']}/api/webhooks/"
    found = httpx.get(where, params={"project": project_of(serve)}, headers=admin).raise_for_status().json()
    return [hook for hook in found if signing.HEADER in hook["headers"]]


@pytest.fixture
def heard(serve, label_studio):
    """The bodies that Label Studio sends to a webhook of the same project, as they come."""
    bodies: list[bytes] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    recorder = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    hook = {
        "project": project_of(serve), "url": f"http://127.0.0.1:{recorder.server_port}/",
        "headers": {"X-Recorder": "tests"}, "send_for_all_actions": True,
    }  # fmt: skip
    admin = {"Authorization": f"Token {label_studio.key}"}
    httpx.post(f"{label_studio.url}/api/webhooks/", json=hook, headers=admin).raise_for_status()
    yield bodies
    recorder.shutdown()
    recorder.server_close()


def test_webhooks_doubled_reordered_forged_or_garbled_change_nothing(serve, ann, heard):
    project = project_of(serve)
    before = serve.answered()
    assert labeled(serve, ann, 2) == 2
    wait_for(lambda: serve.answered() == before + 2, 10)
    with closing(serve.ledger()) as ledger:
        answers = [(a.annotation, a.reply) for a in ledger.answers()]
        newest = max(id for id, _ in answers)
    ann.patch(f"/api/annotations/{newest}/", json={"lead_time": 9.0}).raise_for_status()
    ann.delete(f"/api/annotations/{newest}/").raise_for_status()
    wait_for(lambda: serve.answered() == before + 1, 10)
    assert [json.loads(body)["action"] for body in heard] == [
        "ANNOTATION_CREATED", "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED",
    ]  # fmt: skip
    wait_for(lambda: serve.health()["webhooks"]["received"] == 4, 10)
    pulls = serve.health()["pulls"]["done"]
    for body in [*reversed(heard), *heard]:  # the deleted one is made last
        assert serve.hint(project, body).status_code == 200
    assert serve.health()["webhooks"]["replayed"] == 8
    forged = {
        signing.HEADER: signing.webhook_headers("another secret of thirty-two characters", str(project))[signing.HEADER]
    }
    assert serve.hint(project, heard[0], forged).status_code == 401
    assert serve.hint(project, b"{" * 1000).status_code == 400
    time.sleep(2.5)  # a pull would begin within one
    assert serve.health()["webhooks"] == {"received": 12, "replayed": 8, "malformed": 1, "forged": 1}
    assert serve.health()["pulls"]["done"] == pulls
    with closing(serve.ledger()) as ledger:
        assert [(a.annotation, a.reply) for a in ledger.answers()] == [a for a in answers if a[0] != newest]


def test_media_are_seen_in_a_page_of_label_studio_through_a_link_signed_for_the_view(serve, label_studio, browser):
    with closing(serve.ledger()) as ledger:
        question = next(ledger.questions())
        task, project = ledger.task_of(question.uid), ledger.projects()[0].id
    person = local_server.people(label_studio, ["looker"])["looker"]
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    got = []  # the context's: Label Studio's pages fetch by a service worker, whose answers are not the page's
    page.context.on("response", lambda answer: got.append(answer) if answer.url.startswith(serve.url) else None)
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", person.email)
    page.fill("input[name=password]", person.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "login" not in url)
    page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
    ((sha, _),) = question.media
    in_editor = "[...document.images].some(i => i.src.startsWith('blob:') && i.naturalWidth == 64)"  # the scene's width
    page.wait_for_function(in_editor, timeout=30_000)
    links = [answer.url for answer in got if f"/{sha}.png?" in answer.url and answer.status == 200]
    assert links
    assert all("X-Amz-Signature=" in link for link in links)
    assert httpx.get(links[0].partition("?")[0]).status_code == 403  # without the signature
    page.close()


def test_media_of_what_a_build_asks_meanwhile_are_shown(serve, tmp_path):
    shutil.copytree(serve.out, tmp_path / "run")
    run = executor.reopen(tmp_path / "run")
    shown = QuestionMedia(run, open_store(run.cache / "media"))
    with closing(Ledger(tmp_path / "run" / "people" / "people")) as ledger:
        question = next(ledger.questions())
        assert shown(question.media[0][0]) == "image/png"
        assert shown("f" * 64) is None
        ledger.plan([question._replace(uid="more", media=(("f" * 64, "image/webp"),))])
    wait_for(lambda: shown("f" * 64) == "image/webp", 5)


def test_a_build_and_serve_at_the_same_time_wait_for_each_other(serve, ann):
    building = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, serve.build)], env=serve.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    failed = serve.health()["pulls"]["failed"]
    while labeled(serve, ann, 1):  # hints all the while
        time.sleep(0.1)
    said, _ = building.communicate(timeout=120)
    assert building.returncode == 0, said
    wait_for(lambda: serve.answered() == 12, 10)
    assert serve.health()["pulls"]["failed"] == failed
    assert "waiting" not in pairwright(serve.environment, *serve.build)  # everybody is done
    assert executor.reopen(serve.out).dataset(1).exists()


def test_whether_a_build_has_taken_what_people_say_is_known_when_they_change_their_mind(serve, ann):
    run = executor.reopen(serve.out)
    assert campaigns.is_built(run)
    with closing(serve.ledger()) as ledger:
        said = next(ledger.answers())
    other = preference(said.question, -said.reply.said[0].value)
    ann.patch(f"/api/annotations/{said.annotation}/", json={"result": other}).raise_for_status()
    wait_for(lambda: not campaigns.is_built(run), 10)
    pairwright(serve.environment, *serve.build)
    assert campaigns.is_built(run)
    (asked,) = campaigns.asking_steps(run)
    done = run.unit_folder(asked.unit) / "done.json"
    shards.write_json(
        done, shards.read_json(done) | {"seconds": 7.0}
    )  # as a build leaves it that died before its summary
    assert not campaigns.is_built(run)


def test_sigterm_ends_it_and_nothing_secret_was_said(serve):
    assert serve.end(signal.SIGTERM) == 0
    said = serve.log.read_text()
    assert "Traceback" not in said
    kept = [SECRET, *signing.keys(SECRET), serve.environment["LABEL_STUDIO_API_KEY"], "X-Amz-Signature"]
    kept += signing.webhook_headers(SECRET, str(project_of(serve))).values()
    assert [secret for secret in kept if secret in said] == []
