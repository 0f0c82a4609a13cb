"""The client against a real Label Studio server: what it reads and writes, and one error per cause."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import httpx
import jwt
import pytest

from annotators.label_studio import client as module
from annotators.label_studio.client import NotFound, connect
from annotators.label_studio.local import local_server
from schemas.errors import ServerError, UserError
from tests.support.s3_server import s3_server

CONFIG = (
    '<View><Text name="prompt" value="$prompt"/><Choices name="preference" toName="prompt" required="true">'
    '<Choice value="L"/><Choice value="R"/></Choices></View>'
)
LEFT = [{"from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": ["L"]}}]


@pytest.fixture(scope="module")
def client(label_studio):
    return connect(label_studio.url, label_studio.key)


@pytest.fixture
def project(client, request):
    """The id of a project of the test's own, whose marker is the test's name."""
    return client.create_project("A test", request.node.name, CONFIG, 1, "Look well.")["id"]


def tasks(count: int, first: int = 0) -> list[dict]:
    return [{"data": {"uid": f"{number:032x}", "prompt": "Which?"}} for number in range(first, first + count)]


def uids(made: list[dict]) -> list[str]:
    return [task["data"]["uid"] for task in made]


def annotate(person: httpx.Client, task_id: int, **fields) -> int:
    reply = person.post(f"/api/tasks/{task_id}/annotations/", json={"result": LEFT, "lead_time": 4.5, **fields})
    return reply.raise_for_status().json()["id"]


def by_id(found) -> dict[int, dict]:
    return {task["id"]: task for task in found}


class Standin(ThreadingHTTPServer):
    """Answers what a Label Studio server does not: `answers` are (status, text), the last one again and again."""

    def __init__(self, *answers: tuple[int, str]):
        self.answers, self.asked = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.server.asked.append(self.command)
                status, text = self.server.answers[0]
                if len(self.server.answers) > 1:
                    del self.server.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = answer

            def log_message(self, *args) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def standin():
    made = []

    def standin(*answers: tuple[int, str]) -> Standin:
        made.append(Standin(*answers))
        return made[-1]

    yield standin
    for server in made:
        server.shutdown()
        server.server_close()


# the address and the key


def test_address_and_key_come_from_the_environment(monkeypatch, label_studio):
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url + "/")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.key)
    client = connect()
    assert client.whoami()["email"] == local_server.ADMIN
    assert client.version() == "1.23.2"


def test_an_absent_address_and_an_absent_key_are_said(monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(UserError, match="set LABEL_STUDIO_URL"):
        connect()
    with pytest.raises(UserError, match="set LABEL_STUDIO_API_KEY"):
        connect("http://127.0.0.1:9")
    with pytest.raises(UserError, match="is not an address"):
        connect("localhost:8080", "key")


def test_a_key_that_the_server_does_not_know_is_said_and_not_shown(label_studio):
    with pytest.raises(UserError, match=r"LABEL_STUDIO_API_KEY: Invalid token; copy it again$") as caught:
        connect(label_studio.url, "f00d" * 10)
    assert "f00d" not in str(caught.value)


def test_a_personal_access_token_works_until_it_is_revoked(label_studio, sign_in):
    person = sign_in("pat")
    token = person.post("/api/token/").raise_for_status().json()["token"]
    assert connect(label_studio.url, token).whoami()["email"] == "pat@example.org"
    person.post("/api/token/blacklist/", json={"refresh": token}).raise_for_status()
    with pytest.raises(UserError, match="it was revoked; create a new one") as caught:
        connect(label_studio.url, token)
    assert token not in str(caught.value)


def test_a_token_that_has_expired_is_said(label_studio):
    old = jwt.encode({"exp": 1_000_000_000, "token_type": "refresh"}, "k" * 32)
    with pytest.raises(UserError, match="it has expired; create a new one"):
        connect(label_studio.url, old)


def test_what_is_no_label_studio_or_an_old_one_is_said(standin):
    with pytest.raises(
        ServerError, match="does not reply with JSON when asked to return its version; check LABEL_STUDIO_URL"
    ):
        connect(standin((200, "<html>")).url, "key")
    with pytest.raises(ServerError, match="is not Label Studio; check LABEL_STUDIO_URL"):
        connect(standin((200, "{}")).url, "key")
    with pytest.raises(ServerError, match=r"is release 1\.9\.2, which is too old; upgrade it to 1\.23 or newer"):
        connect(standin((200, '{"release": "1.9.2"}')).url, "key")


def test_reading_is_tried_again_and_writing_never(client, standin, label_studio):
    stumbling = standin((500, ""), (200, '{"release": "1.23.2"}'))
    assert connect(stumbling.url, "key").version() == "1.23.2"
    assert stumbling.asked[:2] == ["GET", "GET"]
    broken = standin((200, '{"release": "1.23.2"}'), (200, "{}"), (500, '{"detail": "out of disk"}'))
    with pytest.raises(
        ServerError, match=r"failed to import 1 tasks into project 1 \(status 500\): out of disk; see its log"
    ):
        connect(broken.url, "key").add(1, tasks(1))
    assert broken.asked == ["GET", "GET", "POST"]


def test_legacy_keys_switched_off_and_a_server_that_is_down_are_said(tmp_path):
    """One server of its own for both: neither can be tried on the one that the other tests use."""
    with local_server.start(tmp_path) as server:
        client = connect(server.url, server.key)
        headers = {"Authorization": f"Token {server.key}"}
        off = {"legacy_api_tokens_enabled": False, "api_tokens_enabled": True}
        httpx.post(f"{server.url}/api/jwt/settings", headers=headers, json=off).raise_for_status()
        with pytest.raises(UserError, match="is a legacy token, which this organization has disabled; use a personal"):
            client.whoami()
    with pytest.raises(
        ServerError, match=r"cannot be reached to return the user of the API key .* check that it is running"
    ):
        client.whoami()


# projects and tasks


def test_a_project_is_found_by_its_marker_whatever_its_title(client, monkeypatch):
    monkeypatch.setattr(module, "PROJECTS", 2)  # so that five are three pages
    made = [client.create_project(f"Pets {n}", f"find-{n}", CONFIG, 2, "") for n in range(1, 6)]
    again = client.create_project("Pets 3", "find-3", CONFIG, 2, "")
    assert [client.project(f"find-{n}")["id"] for n in range(1, 6)] == [project["id"] for project in made]
    assert again["id"] > made[2]["id"]  # of two the older one
    assert client.project("find") is None
    assert client.project("find-33") is None


def test_a_project_is_as_asked(client, label_studio):
    made = client.create_project("Pets", "as-asked", CONFIG, 3, "Look <b>well</b>.", show_predictions=True)
    headers = {"Authorization": f"Token {label_studio.key}"}
    there = httpx.get(f"{label_studio.url}/api/projects/{made['id']}", headers=headers).json()
    assert there["maximum_annotations"] == 3
    assert (there["expert_instruction"], there["show_instruction"]) == ("Look <b>well</b>.", True)
    assert there["show_collab_predictions"]
    assert not there["enable_empty_annotation"]
    assert client.config(made["id"]) == CONFIG


def test_a_config_that_is_wrong_makes_no_project(client):
    wrong = CONFIG.replace('toName="prompt"', 'toName="nothing"')
    with pytest.raises(
        ServerError, match=r"refuses to create the project 'Pets' \(status 400\): toName=\"nothing\" not found"
    ):
        client.create_project("Pets", "wrong-config", wrong, 1, "")
    assert client.project("wrong-config") is None


def test_a_project_that_is_gone_is_said(client):
    with pytest.raises(NotFound, match="cannot list tasks of project 999999: it no longer exists"):
        client.ids(999999)
    with pytest.raises(NotFound, match="cannot import 1 tasks into project 999999: it no longer exists"):
        client.add(999999, tasks(1))


def test_tasks_are_imported_in_order_and_found_by_uid(client, project):
    sent = tasks(130)  # two requests of uids
    made = client.add(project, sent)
    assert client.find(project, uids(sent)) == {uid: [task_id] for uid, task_id in zip(uids(sent), made, strict=True)}
    assert client.ids(project) == dict(zip(made, uids(sent), strict=True))
    assert client.find(project, uids(tasks(2, first=129))) == {f"{129:032x}": [made[129]]}
    twice = client.add(project, sent[:1])
    assert client.find(project, uids(sent[:1])) == {f"{0:032x}": [made[0], *twice]}
    assert client.add(project, []) == []
    assert client.find(project, []) == {}


def test_a_batch_with_one_bad_task_leaves_nothing(client, project):
    bad = {"data": {"uid": "0" * 32, "image": "s3://secret-place"}}
    with pytest.raises(ServerError, match=r'\(status 400\): Error at item 2: "prompt" key is expected') as caught:
        client.add(project, [*tasks(2, first=1), bad])
    assert "secret-place" not in str(caught.value)
    assert client.ids(project) == {}


def test_a_prediction_comes_with_its_task(client, project, sign_in):
    prediction = {"result": LEFT, "score": 0.75, "model_version": "a judge"}
    (task_id,) = client.add(project, [{**tasks(1)[0], "predictions": [prediction]}])
    (there,) = sign_in("ann").get(f"/api/tasks/{task_id}").json()["predictions"]
    assert (there["score"], there["result"][0]["value"]) == (0.75, {"choices": ["L"]})


def test_an_import_that_timed_out_is_there_once(client, project, monkeypatch):
    """The server goes on when nobody waits any more; an import that was tried again would be there twice."""
    monkeypatch.setattr(module, "SLOW", 0.1)
    sent = tasks(2000)  # takes it about half a second
    with pytest.raises(
        ServerError, match=r"did not import 2000 tasks into project \d+ within 0 s, but may still do it; check before"
    ):
        client.add(project, sent)
    end = time.monotonic() + 20
    while len(client.find(project, uids(sent))) < 2000 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(client.ids(project)) == 2000


def test_a_server_killed_in_the_middle_of_an_import_has_none_of_it(tmp_path):
    server = local_server.start(tmp_path)
    client = connect(server.url, server.key)
    project = client.create_project("Pets", "killed", CONFIG, 1, "")["id"]
    kept = client.add(project, tasks(1))
    killer = threading.Timer(0.4, server.kill)
    killer.start()
    with pytest.raises(ServerError, match="cannot be reached to import 10000 tasks"):
        client.add(project, tasks(10_000, first=1))  # takes it more than two seconds
    killer.join()  # the connection breaks before the last of its processes is gone
    with local_server.start(tmp_path, port=int(server.url.rpartition(":")[2])):
        assert client.ids(project) == {kept[0]: f"{0:032x}"}


# annotations


def test_everything_and_changed_tell_the_same(client, project, sign_in):
    ann, bob = sign_in("ann"), sign_in("bob")
    one, two, three = client.add(project, tasks(3))
    first = annotate(ann, one)
    second = annotate(bob, one, result=[])
    skipped = annotate(bob, two, result=[], was_cancelled=True)

    everything = by_id(client.everything(project))
    assert everything == by_id(client.changed(project, None))
    assert set(everything) == {one, two, three}
    assert [a["id"] for a in sorted(everything[one]["annotations"], key=lambda a: a["id"])] == [first, second]
    assert everything[one]["data"] == tasks(1)[0]["data"]
    (skip,) = everything[two]["annotations"]
    assert (skip["id"], skip["was_cancelled"]) == (skipped, True)
    assert everything[three]["annotations"] == []
    (kept,) = (a for a in everything[one]["annotations"] if a["id"] == first)
    assert set(kept) == set(module.FIELDS)
    emails = client.users()
    assert emails[kept["completed_by"]] == emails[kept["updated_by"]] == "ann@example.org"
    assert kept["lead_time"] == 4.5
    assert kept["result"][0]["value"] == {"choices": ["L"]}
    assert client.annotation_ids(project) == {first, second, skipped}


def test_an_export_is_not_left_on_the_server(client, project, sign_in):
    client.add(project, tasks(3))
    list(client.everything(project))
    next(client.everything(project))  # a reader that gives up
    assert sign_in("ann").get(f"/api/projects/{project}/exports/").json() == []


def test_changed_tells_what_was_made_edited_deleted_and_skipped_since(client, project, sign_in):
    ann, bob = sign_in("ann"), sign_in("bob")
    made = client.add(project, tasks(5))
    edited, deleted = annotate(ann, made[1]), annotate(ann, made[2])
    since = max(task["updated_at"] for task in client.changed(project, None))
    assert list(client.changed(project, since)) == []

    annotate(bob, made[0])
    bob.patch(f"/api/annotations/{edited}/", json={"result": []}).raise_for_status()
    bob.delete(f"/api/annotations/{deleted}/").raise_for_status()
    annotate(bob, made[3], result=[], was_cancelled=True)
    changed = list(client.changed(project, since))
    assert [task["id"] for task in changed] == made[:4]
    (annotation,) = changed[1]["annotations"]
    emails = client.users()
    assert emails[annotation["completed_by"]] == "ann@example.org"
    assert emails[annotation["updated_by"]] == "bob@example.org"
    assert changed[2]["annotations"] == []
    assert client.annotation_ids(project) == {a["id"] for task in changed for a in task["annotations"]}


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_no_task_is_lost_or_doubled_between_pages(client, project, monkeypatch, sign_in, page):
    """Some have one and the same moment, which a bulk action gave them: more than a page of them, in the middle."""
    made = client.add(project, tasks(7))
    before, together, after = made[:1], made[1:5], made[5:]
    for task_id in together:
        annotate(sign_in("ann"), task_id)
    bulk = {"selectedItems": {"all": False, "included": together}}
    query = {"id": "delete_tasks_annotations", "project": project}
    sign_in("ann").post("/api/dm/actions", params=query, json=bulk).raise_for_status()
    for task_id in after:
        annotate(sign_in("ann"), task_id)

    monkeypatch.setattr(module, "PAGE", page)
    found = [task["id"] for task in client.changed(project, None)]
    assert sorted(found) == made
    assert (found[0], set(found[1:5]), found[5:]) == (before[0], set(together), after)
    assert len({task["updated_at"] for task in client.changed(project, None) if task["id"] in together}) == 1
    assert list(client.ids(project)) == made


def test_a_moment_without_a_fraction_is_understood(client, project):
    client.add(project, tasks(1))
    assert len(list(client.changed(project, "2020-01-01T00:00:00Z"))) == 1
    assert list(client.changed(project, "2100-01-01T00:00:00Z")) == []


def test_one_more_person_is_asked_about_one_task(client, project, sign_in):
    ann, bob, eve = sign_in("ann"), sign_in("bob"), sign_in("eve")
    made = client.add(project, tasks(2))
    for task_id in made:
        annotate(ann, task_id)
    queue = f"/api/projects/{project}/next"
    assert bob.get(queue).status_code == httpx.codes.NOT_FOUND
    client.set_overlap(made[1], 2)
    assert ann.get(queue).status_code == httpx.codes.NOT_FOUND  # she has answered it
    assert bob.get(queue).json()["id"] == made[1]
    annotate(bob, made[1])
    assert eve.get(queue).status_code == httpx.codes.NOT_FOUND
    assert client.ids(project) == dict(zip(made, uids(tasks(2)), strict=True))


# webhooks and storages


def test_a_webhook_is_kept_and_its_events_arrive(client, project, sign_in):
    arrived = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            arrived.append((self.headers["X-Ours"], body["action"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{receiver.server_address[1]}/label-studio"
    made = client.webhook(project, "http://127.0.0.1:9/", {"X-Ours": "old"})
    assert client.webhook(project, address, {"X-Ours": "s3cret"})["id"] == made["id"]
    assert client.webhook(project, address, {"X-Ours": "s3cret"})["id"] == made["id"]
    (there,) = client.webhooks(project)
    assert (there["url"], there["headers"], there["actions"]) == (address, {"X-Ours": "s3cret"}, module.EVENTS)

    (task_id,) = client.add(project, tasks(1))
    annotation = annotate(sign_in("ann"), task_id)
    sign_in("ann").patch(f"/api/annotations/{annotation}/", json={"result": []}).raise_for_status()
    sign_in("ann").delete(f"/api/annotations/{annotation}/").raise_for_status()
    receiver.shutdown()
    receiver.server_close()
    actions = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]
    assert arrived == [("s3cret", action) for action in actions]


def test_local_files_are_seen_once_their_folder_is_opened(client, project, label_studio, sign_in):
    folder = label_studio.files / "opened"
    folder.mkdir()
    (folder / "a.txt").write_text("seen")
    link = "/data/local-files/?d=opened/a.txt"
    assert sign_in("ann").get(link).status_code == httpx.codes.NOT_FOUND
    made = client.local_storage(project, str(folder))
    assert client.local_storage(project, str(folder))["id"] == made["id"]
    assert sign_in("ann").get(link).text == "seen"
    assert httpx.get(label_studio.url + link).status_code != httpx.codes.OK  # not without logging in
    with pytest.raises(
        ServerError,
        match=r"refuses to connect the storage /etc to project \d+ \(status 400\): .*LOCAL_FILES_DOCUMENT_ROOT",
    ):
        client.local_storage(project, "/etc")


def test_links_to_s3_are_signed_when_a_task_is_opened(client, project, sign_in):
    with s3_server() as address:
        access = {"endpoint_url": address, "aws_access_key_id": "ours", "aws_secret_access_key": "s3cret"}
        bucket = boto3.resource("s3", region_name="us-east-1", **access).create_bucket(Bucket="pets")
        bucket.put_object(Key="media/cat.txt", Body=b"a cat")
        place = (project, "pets", "media", access["endpoint_url"], "ours", "s3cret")
        made = client.s3_storage(*place, presign_ttl=30)
        again = client.s3_storage(*place, presign_ttl=10)
        assert again["id"] == made["id"]
        assert "s3cret" not in json.dumps(again)
        task = {"data": {"uid": "0" * 32, "prompt": "Which?", "image": "s3://pets/media/cat.txt"}}
        (task_id,) = client.add(project, [task])
        shown = sign_in("ann").get(f"/api/tasks/{task_id}").json()["data"]["image"]
        signed = sign_in("ann").get(shown).headers["Location"]
        assert httpx.URL(signed).params["X-Amz-Expires"] == "600"  # ten minutes
        assert httpx.get(signed).text == "a cat"
        with pytest.raises(ServerError, match="to connect the storage dogs/media to project"):
            client.s3_storage(project, "dogs", "media", access["endpoint_url"], "ours", "s3cret", 10)
