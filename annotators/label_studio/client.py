"""A thin client for a Label Studio server: projects, tasks, annotations, webhooks and storages as plain JSON.

Authentication and connections come from label-studio-sdk; its types are not used because they change with the state of a task. Reads
are retried after server errors, writes never: a request that timed out may still be carried out, and a repeated import would duplicate
tasks. Errors are one line: UserError for a wrong address or key, else ServerError."""

import json
import os
import re
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import ijson

from schemas.errors import PairwrightError, ServerError, UserError

OLDEST = (1, 23)  # the version that the tests run against
QUICK, SLOW = 60.0, 900.0  # timeouts in seconds; SLOW for imports and exports, which run within the request
PROJECTS = 100  # projects per page, the server's maximum
PAGE = 500  # tasks per page; larger pages cost the server more per task
UIDS = 150  # uids per request, so that its URL stays below the 8 KB that proxies allow
FIELDS = ("id", "result", "completed_by", "updated_by", "was_cancelled", "lead_time", "created_at", "updated_at")
"""fields of an annotation that are kept"""
MEDIUM = re.compile(r"/data/local-files/|/tasks/\d+/resolve/")
"""links that the server resolves when a task is viewed"""
EVENTS = sorted(["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED", "PROJECT_UPDATED"])

REFUSALS = {
    "blacklisted": "it was revoked; create a new one under Account & Settings",
    "expired": "it has expired; create a new one under Account & Settings",
    "legacy token authentication has been disabled": "it is a legacy token, which this organization has disabled; "
    "use a personal access token, or allow legacy tokens under Organization > Access Token Settings",
}
"""part of the server's error message -> cause and remedy for a rejected key"""


def connect(url: str | None = None, key: str | None = None) -> "Client":
    """A client for the server at `url` (default LABEL_STUDIO_URL), authenticated with `key` (default LABEL_STUDIO_API_KEY), a legacy
    token or a personal access token.

    UserError for a missing or wrong address or key; ServerError if the server is unreachable or too old. Importing the SDK takes
    seconds, so call this once."""
    url, key = url or os.environ.get("LABEL_STUDIO_URL"), key or os.environ.get("LABEL_STUDIO_API_KEY")
    if not url:
        raise UserError(
            "no Label Studio server is configured; set LABEL_STUDIO_URL to its address, such as http://localhost:8080"
        )
    if not re.match(r"https?://[^/]", url):
        raise UserError(f"LABEL_STUDIO_URL is not an address: {url!r}; it must look like http://localhost:8080")
    if not key:
        raise UserError(
            f"no API key for {url}; set LABEL_STUDIO_API_KEY to one from Account & Settings in Label Studio"
        )
    client = Client(url, key)
    release = client.version()
    if tuple(int(part) for part in re.findall(r"\d+", release)[:2]) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ServerError(
            f"Label Studio at {url} is release {release}, which is too old; upgrade it to {wanted} or newer"
        )
    client.whoami()
    return client


class NotFound(ServerError):
    """A project or task that no longer exists."""


class Client:
    """A connection to one server, made by `connect`. Every method raises ServerError (NotFound for a deleted project or task) or UserError."""

    def __init__(self, url: str, key: str):
        from label_studio_sdk import LabelStudio

        self.url = url.rstrip("/")
        with self._translated("connect", QUICK):
            self._http = LabelStudio(base_url=f"{self.url}/", api_key=key)._client_wrapper.httpx_client

    def version(self) -> str:
        """The server's release, such as 1.23.2."""
        reply = self._ask("GET", "api/version", "return its version")
        if not isinstance(reply, dict) or "release" not in reply:
            raise ServerError(f"the server at {self.url} is not Label Studio; check LABEL_STUDIO_URL")
        return reply["release"]

    def now(self) -> datetime:
        """The server's current time, in whole seconds."""
        doing = "return its time"
        with self._translated(doing, QUICK):
            reply = self._http.request("api/version", method="GET", request_options={"timeout": QUICK})
            self._check(reply, doing)
            return parsedate_to_datetime(reply.headers["date"])

    def whoami(self) -> dict:
        """The user of the API key: `id`, `email` and more."""
        return self._ask("GET", "api/current-user/whoami", "return the user of the API key")

    def users(self) -> dict[int, str]:
        """{user id: e-mail address}."""
        return {user["id"]: user["email"] for user in self._ask("GET", "api/users", "list its users")}

    def project(self, marker: str) -> dict | None:
        """The oldest project whose description contains the word `marker`; None if there is none."""
        ours = (project for project in self._projects() if marker in (project["description"] or "").split())
        return min(ours, key=lambda project: project["id"], default=None)

    def create_project(
        self, title: str, marker: str, config: str, overlap: int, instruction: str, show_predictions: bool = False
    ) -> dict:
        """Creates a project whose tasks go to `overlap` (at least 1) people each; `title` has 3 to 50 characters.

        ServerError if the server rejects the config; nothing is created then. The server accepts some configs that fail in a browser."""
        return self._ask(
            "POST", "api/projects", f"create the project {title!r}",
            json={
                "title": title, "description": marker, "label_config": config, "maximum_annotations": overlap,
                "expert_instruction": instruction, "show_instruction": bool(instruction),
                "show_collab_predictions": show_predictions, "enable_empty_annotation": False,
                "sampling": "Sequential sampling", "skip_queue": "REQUEUE_FOR_OTHERS",
            },
        )  # fmt: skip

    def config(self, project_id: int) -> str:
        """The current labeling config, which anyone may have edited."""
        return self._ask("GET", f"api/projects/{project_id}", f"show project {project_id}")["label_config"]

    def count(self, project_id: int) -> int:
        """The number of tasks in a project."""
        return self._page(project_id, "id", "task_only", [], "tasks:id")[1]

    def set_overlap(self, task_id: int, people: int) -> None:
        """Puts a task back into the queue until `people` have annotated it; must be more than before.

        This changes the task's `updated_at`. Changing the overlap of the whole project later would undo it."""
        self._ask(
            "PATCH", f"api/tasks/{task_id}", f"ask more people about task {task_id}",
            json={"overlap": people, "is_labeled": False},  # the queue depends on is_labeled, which overlap alone does not reset
        )  # fmt: skip

    def answered(self, task_id: int) -> bool:
        """Whether anyone has annotated or skipped a task."""
        return bool(self._ask("GET", f"api/tasks/{task_id}", f"show task {task_id}")["annotations"])

    def remove_task(self, task_id: int) -> None:
        self._ask("DELETE", f"api/tasks/{task_id}", f"remove task {task_id}")

    def find(self, project_id: int, uids: Iterable[str]) -> dict[str, list[int]]:
        """{uid: task ids, oldest first} of those uids that have a task; more than one only after a repeated import."""
        wanted, found = list(dict.fromkeys(uids)), {}
        for start in range(0, len(wanted), UIDS):
            filters = [_where("data.uid", "in_list", "String", wanted[start : start + UIDS])]
            for task in self._tasks(project_id, "id,data", "task_only", filters):
                found.setdefault(task["data"]["uid"], []).append(task["id"])
        return found

    def add(self, project_id: int, tasks: list[dict]) -> list[int]:
        """Imports `tasks`, each {"data": {...}}, all or none of them; returns their ids in the same order.

        After a ServerError they may exist nevertheless: look them up with `find` by the `uid` in their data."""
        if not tasks:
            return []
        reply = self._ask(
            "POST", f"api/projects/{project_id}/import", f"import {len(tasks)} tasks into project {project_id}",
            json=tasks, params={"return_task_ids": "true"}, timeout=SLOW,
        )  # fmt: skip
        if len(reply["task_ids"]) != len(tasks):
            raise ServerError(
                f"Label Studio at {self.url} created {len(reply['task_ids'])} of {len(tasks)} tasks in project {project_id}: "
                "look them up by their uid before sending any again"
            )
        return reply["task_ids"]

    def everything(self, project_id: int) -> Iterator[dict]:
        """All tasks as {id, data, updated_at, annotations}, unordered, from one snapshot; the fastest way to read a whole project.

        Annotations have FIELDS and include skipped ones; people are user ids."""
        exports = f"api/projects/{project_id}/exports/"
        only_ids = {"drafts": {"only_id": True}, "predictions": {"only_id": True}}
        doing = f"export project {project_id}"
        made = self._ask(
            "POST", exports, doing, json={"title": "pairwright", "serialization_options": only_ids}, timeout=SLOW
        )
        export = f"{exports}{made['id']}"
        try:
            end = time.monotonic() + SLOW
            while made["status"] != "completed":  # a server with a queue exports in the background
                if made["status"] == "failed" or time.monotonic() > end:
                    raise ServerError(f"Label Studio at {self.url} did not {doing} ({made['status']}); see its log")
                time.sleep(0.5)
                made = self._ask("GET", export, doing)
            whole = self._http.stream(
                f"{export}/download", method="GET", params={"exportType": "JSON"}, request_options={"timeout": SLOW}
            )
            with self._translated(doing, SLOW), whole as reply:
                self._check(reply, doing)
                yield from map(_task, ijson.items(ijson.from_iter(reply.iter_bytes()), "item", use_float=True))
        finally:
            with suppress(
                ServerError
            ):  # a leftover export costs the server some disk space; an earlier error matters more
                self._ask("DELETE", export, f"remove the export of project {project_id}")

    def changed(self, project_id: int, since: str | None) -> Iterator[dict]:
        """The tasks whose `updated_at` is later than `since` (all for None), oldest change first, in the form of `everything`.

        Creating, editing, skipping or deleting an annotation updates its task; a deleted task is not reported. A change may become
        visible slightly after later ones, so start a few seconds before the last one seen."""
        fields = ",".join(("data", "annotations", *FIELDS))
        while True:
            later = [_where("updated_at", "greater", "Datetime", _exact(since))] if since else []
            page, total = self._page(project_id, fields, "all", later, "tasks:updated_at")
            if len(page) == total:
                yield from map(_task, page)
                return
            since = page[-1]["updated_at"]  # bulk actions give equal times: the next page may have more of them
            yield from (_task(task) for task in page if task["updated_at"] != since)
            same_time = _where("updated_at", "equal", "Datetime", _exact(since))
            yield from map(_task, self._tasks(project_id, fields, "all", [same_time]))

    def ids(self, project_id: int) -> dict[int, str | None]:
        """{task id: uid} of all tasks in a project; None for a task that we did not create."""
        return {task["id"]: task["data"].get("uid") for task in self._tasks(project_id, "id,data", "task_only")}

    def annotation_ids(self, project_id: int) -> set[int]:
        """The ids of all annotations in a project, including skipped ones."""
        tasks = self._tasks(project_id, "id,annotations", "all")
        return {annotation["id"] for task in tasks for annotation in task["annotations"]}

    def opens(self, task_id: int) -> int:
        """The number of a task's media, each opened as its page opens it, by the first byte. ServerError if one cannot be loaded."""
        doing = f"show the media of task {task_id}"
        data = self._ask("GET", f"api/tasks/{task_id}", doing)["data"]
        found = [link for link in data.values() if isinstance(link, str) and MEDIUM.match(link)]
        for link in found:
            with self._translated(doing, QUICK):
                stream = self._http.stream(
                    link, method="GET", headers={"Range": "bytes=0-0"}, request_options={"timeout": QUICK}
                )
                with stream as reply:
                    self._check(reply, doing)
        return len(found)

    def webhooks(self, project_id: int) -> list[dict]:
        """The project's webhooks: `id`, `url`, `headers`, `is_active`, `actions`."""
        params = {"project": project_id}
        hooks = self._ask("GET", "api/webhooks", f"list the webhooks of project {project_id}", params=params)
        return [{**hook, "actions": sorted(hook["actions"])} for hook in hooks]

    def webhook(self, project_id: int, url: str, headers: dict[str, str]) -> dict:
        """Registers `url` for EVENTS. The project's webhook with the same header names is ours; it is updated if it differs."""
        wanted = {
            "project": project_id, "url": url, "headers": headers, "actions": EVENTS, "is_active": True,
            "send_payload": True, "send_for_all_actions": False,
        }  # fmt: skip
        ours = (hook for hook in self.webhooks(project_id) if hook["headers"].keys() == headers.keys())
        return self._keep("api/webhooks", next(ours, None), wanted, f"send events of project {project_id}")

    def local_storage(self, project_id: int, path: str) -> dict:
        """Makes the files under `path`, a folder on the server below its document root, available to the project."""
        return self._storage("localfiles", project_id, {"path": path}, {})

    def s3_storage(
        self, project_id: int, bucket: str, prefix: str, endpoint: str, key: str, secret: str, presign_ttl: int
    ) -> dict:
        """Makes the objects under `prefix` in `bucket` available to the project, by links that are signed when a task is opened and
        valid for `presign_ttl` minutes. The server stores `key` and `secret` and never shows them."""
        settings = {
            "s3_endpoint": endpoint, "aws_access_key_id": key, "aws_secret_access_key": secret,
            "presign": True, "presign_ttl": presign_ttl,
        }  # fmt: skip
        return self._storage("s3", project_id, {"bucket": bucket, "prefix": prefix}, settings)

    def _projects(self) -> list[dict]:
        """All projects; read again if their number changed meanwhile, because pages have then shifted."""
        fields = "id,title,description,maximum_annotations"
        found, counts, page = [], [1], 0
        while page * PROJECTS < counts[-1]:
            page += 1
            params = {"page": page, "page_size": PROJECTS, "include": fields}
            reply = self._ask("GET", "api/projects", "list its projects", params=params)
            found += reply["results"]
            counts.append(reply["count"])
        return found if len(set(counts[1:])) == 1 else self._projects()

    def _storage(self, kind: str, project_id: int, place: dict, settings: dict) -> dict:
        path, doing = f"api/storages/{kind}", f"connect the storage {'/'.join(place.values())} to project {project_id}"
        existing = self._ask("GET", path, doing, params={"project": project_id})
        ours = next((storage for storage in existing if place.items() <= storage.items()), None)
        wanted = {"project": project_id, "title": "pairwright", "use_blob_urls": True, **place, **settings}
        return self._keep(path, ours, wanted, doing)

    def _keep(self, path: str, existing: dict | None, wanted: dict, doing: str) -> dict:
        """Creates it, or updates the existing one if it differs; the server never shows secrets, so those are always sent."""
        if existing is None:
            return self._ask("POST", path, doing, json=wanted)
        if all(existing.get(name) == value for name, value in wanted.items()):
            return existing
        return self._ask("PATCH", f"{path}/{existing['id']}", doing, json=wanted)

    def _tasks(self, project_id: int, fields: str, kind: str, filters: Iterable[dict] = ()) -> Iterator[dict]:
        """The tasks by ascending id; numbered pages would shift when tasks are deleted meanwhile."""
        last, more = 0, True
        while more:
            after = _where("id", "greater", "Number", last)
            page, total = self._page(project_id, fields, kind, [after, *filters], "tasks:id")
            yield from page
            last, more = page[-1]["id"] if page else last, len(page) < total

    def _page(self, project_id: int, fields: str, kind: str, filters: list[dict], order: str) -> tuple[list[dict], int]:
        """(the first PAGE tasks, the total number)."""
        wanted = {"filters": {"conjunction": "and", "items": filters}, "ordering": [order]}
        query = json.dumps(wanted, separators=(",", ":"))
        params = {"project": project_id, "fields": kind, "include": fields, "query": query, "page_size": PAGE}
        reply = self._ask("GET", "api/tasks", f"list tasks of project {project_id}", params=params)
        return reply["tasks"], reply["total"]

    def _ask(self, method: str, path: str, doing: str, timeout: float | None = None, **content: Any) -> Any:
        wait = timeout or QUICK
        options: Any = {"max_retries": 2 if method == "GET" else 0, "timeout": wait}
        with self._translated(doing, wait):
            reply = self._http.request(path, method=method, request_options=options, **content)
            self._check(reply, doing)
            return reply.json() if reply.content else None

    def _check(self, reply: httpx.Response, doing: str) -> None:
        if reply.is_success:
            return
        try:
            why = _detail(json.loads(reply.read()))
        except ValueError:
            why = reply.reason_phrase
        raise self._error(reply.status_code, why, doing)

    def _error(self, status: int | None, why: str, doing: str) -> PairwrightError:
        if status == httpx.codes.UNAUTHORIZED:
            remedy = next(
                (known for part, known in REFUSALS.items() if part in why), f"{why.rstrip('.')}; copy it again"
            )
            return UserError(f"Label Studio at {self.url} rejects the key in LABEL_STUDIO_API_KEY: {remedy}")
        if "reserved network address" in why:
            why += "; start Label Studio with LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false, or use a public address"
        if status == httpx.codes.NOT_FOUND:
            return NotFound(f"Label Studio at {self.url} cannot {doing}: it no longer exists")
        if status and status < 500:
            return ServerError(f"Label Studio at {self.url} refuses to {doing} (status {status}): {why}")
        return ServerError(f"Label Studio at {self.url} failed to {doing} (status {status}): {why}; see its log")

    @contextmanager
    def _translated(self, doing: str, wait: float) -> Generator[None]:
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except ApiError as error:  # raised for the key only; its own text would show headers and cookies
            raise self._error(error.status_code, _detail(error.body), doing) from None
        except httpx.TimeoutException as error:
            raise ServerError(
                f"Label Studio at {self.url} did not {doing} within {wait:.0f} s, but may still do it; check before trying again"
            ) from error
        except httpx.TransportError as error:
            raise ServerError(
                f"Label Studio at {self.url} cannot be reached to {doing} ({error}); check that it is running and that LABEL_STUDIO_URL is right"
            ) from error
        except (ValueError, httpx.InvalidURL, ijson.JSONError) as error:
            raise ServerError(
                f"the server at {self.url} does not reply with JSON when asked to {doing}; check LABEL_STUDIO_URL"
            ) from error


def _task(task: dict) -> dict:
    return {
        "id": task["id"], "data": task["data"], "updated_at": task["updated_at"],
        "annotations": [{name: annotation[name] for name in FIELDS} for annotation in task["annotations"]],
    }  # fmt: skip


def _where(column: str, operator: str, kind: str, value: Any) -> dict:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _exact(moment: str | None) -> str | None:
    """A time with its fraction of a second: the server omits a zero fraction, but fails on input without one."""
    return moment if moment is None or "." in moment else f"{moment.removesuffix('Z')}.000000Z"


def _detail(body: Any) -> str:
    """The server's error message in one line, without the task that it may quote."""
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    while isinstance(body, dict):
        body = next(iter(body.values()), "")
    if isinstance(body, list):
        body = next((item for item in body if item), "")
    return " ".join(str(body).split(" :: ")[0].split())[:300]
