"""A stand-in of the Hugging Face Hub: the routes by which huggingface_hub pushes a dataset and `datasets` loads it, nothing else.

Plain LFS, no Xet. Repositories live in memory; each has one branch. An unknown route answers 501."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

from pipeline.dataset.licences import HUB

TOKEN = "hf_standin_secret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATE = "2026-01-01T00:00:00.000Z"


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)  # paths that went through LFS


class Hub:
    """The running stand-in. `log` lists requests as "METHOD path"; `failing` maps such a line's pattern to what is answered instead: a
    status, or (status, body, headers)."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.log: list[str] = []
        self.failing: dict[str, list[int | tuple[int, bytes, dict]]] = {}
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.body = self._body()
        path = unquote(urlsplit(self.path).path)
        line = f"{self.command} {path}"
        self.hub.log.append(line)
        for pattern, statuses in self.hub.failing.items():
            if statuses and re.search(pattern, line):
                if isinstance(answer := statuses.pop(0), int):
                    return self._error(answer, "injected")
                status, body, headers = answer
                return self._reply(None, status, body, **headers)
        if not path.startswith("/lfs/") and self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._error(401, "Invalid credentials in Authorization header")
        for pattern, route in ROUTES:
            if found := re.fullmatch(pattern, line):
                return route(self, *found.groups())
        return self._error(501, f"the stand-in has no route {line}")

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

    def log_message(self, *_):
        pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        out = b""
        while size := int(self.rfile.readline(), 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return out

    def _reply(self, value=None, status=200, data=None, **headers):
        data = json.dumps(value).encode() if data is None else data
        self.send_response(status)
        for name, text in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status, message, code=""):
        self._reply({"error": message}, status, x_error_code=code, x_error_message=message)

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        url = f"{self.hub.url}/datasets/{name}"
        if name in self.hub.repos:
            return self._reply({"error": "You already created this dataset repo", "url": url}, 409)
        self.hub.repos[name] = Repo(asked.get("private") or asked.get("visibility") == "private")
        return self._reply({"url": url, "name": name, "id": "1"})

    def who(self):
        self._reply({"type": "user", "id": "1", "name": "tester", "orgs": [], "auth": {"type": "access_token"}})

    def card(self):
        """The Hub's answer to a card: of its fields, only `license` is checked."""
        card = re.match(r"---\n(.*?)\n---", json.loads(self.body)["content"], re.DOTALL)
        licence = yaml.safe_load(card[1]).get("license") if card else None
        errors = (
            [] if licence is None or licence in HUB else [{"message": '"license" must be one of [apache-2.0, mit]'}]
        )
        self._reply({"errors": errors, "warnings": []}, 400 if errors else 200)

    def delete(self):
        asked = json.loads(self.body)
        del self.hub.repos[f"{asked['organization']}/{asked['name']}"]
        self._reply({})

    def info(self, name):
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._error(404, "Repository not found", "RepoNotFound")
        card = re.match(r"---\n(.*?)\n---", repo.files.get("README.md", b"").decode(), re.DOTALL)
        return self._reply({
            "cardData": yaml.safe_load(card[1]) if card else None, "_id": "1", "id": name, "author": name.split("/")[0], "sha": COMMIT, "private": repo.private, "gated": False,
            "disabled": False, "downloads": 0, "likes": 0, "tags": [], "lastModified": DATE, "createdAt": DATE,
            "siblings": [{"rfilename": path} for path in sorted(repo.files)],
        })  # fmt: skip

    def preupload(self, name):
        files = json.loads(self.body)["files"]
        mode = lambda path: "lfs" if path.endswith(".parquet") else "regular"
        self._reply(
            {"files": [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in files]}
        )

    def batch(self, name):
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
            if wanted["oid"] not in self.hub.blobs:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}}
            objects.append(entry)
        self._reply({"transfer": "basic", "objects": objects})

    def put(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._error(400, "sha mismatch")
        self.hub.blobs[oid] = self.body
        return self._reply({}, etag=oid)

    def commit(self, name):
        repo = self.hub.repos[name]
        for change in map(json.loads, self.body.splitlines()):
            value = change["value"]
            if change["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                repo.files[value["path"]] = self.hub.blobs[value["oid"]]
                repo.large.add(value["path"])
            elif change["key"] == "deletedFile":
                del repo.files[value["path"]]
        url = f"{self.hub.url}/datasets/{name}/commit/{COMMIT}"
        self._reply({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def tree(self, name, folder):
        repo = self.hub.repos[name]
        prefix = f"{folder}/" if folder else ""
        below = [path for path in repo.files if path.startswith(prefix)]
        recursive = "recursive=true" in self.path.lower()
        files = [path for path in below if recursive or "/" not in path[len(prefix) :]]
        folders = {prefix + path[len(prefix) :].split("/")[0] for path in below} - set(below)
        if folder and not below:
            return self._error(404, f"{folder} does not exist", "EntryNotFound")
        return self._reply([self._entry(repo, path) for path in sorted({*files, *folders})])

    def paths(self, name):
        repo = self.hub.repos[name]
        asked = re.findall(r"paths=([^&]*)", self.body.decode()) or json.loads(self.body)["paths"]
        known = [p for p in map(unquote, asked) if p in repo.files or any(f.startswith(f"{p}/") for f in repo.files)]
        self._reply([self._entry(repo, path) for path in known])

    def _entry(self, repo, path):
        if path not in repo.files:
            return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
        data = repo.files[path]
        entry = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if path in repo.large:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def resolve(self, name, path):
        data = self.hub.repos[name].files.get(path)
        if data is None:
            return self._error(404, "Entry not found", "EntryNotFound")
        headers = {"x_repo_commit": COMMIT, "etag": f'"{hashlib.sha256(data).hexdigest()}"', "accept_ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", "")):
            start, end = int(asked[1]), int(asked[2] or len(data) - 1)
            headers["content_range"] = f"bytes {start}-{end}/{len(data)}"
            return self._reply(None, 206, data[start : end + 1], **headers)
        return self._reply(None, 200, data, **headers)


_NAME = r"([^/]+/[^/]+)"
_REVISION = f"(?:main|{COMMIT})"
ROUTES = [
    ("POST /api/repos/create", _Handler.create),
    ("DELETE /api/repos/delete", _Handler.delete),
    ("GET /api/whoami-v2", _Handler.who),
    ("POST /api/validate-yaml", _Handler.card),
    (f"GET /api/datasets/{_NAME}(?:/revision/{_REVISION})?", _Handler.info),
    (f"POST /api/datasets/{_NAME}/preupload/main", _Handler.preupload),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT /lfs/([0-9a-f]{64})", _Handler.put),
    (f"POST /api/datasets/{_NAME}/commit/main", _Handler.commit),
    (f"GET /api/datasets/{_NAME}/tree/{_REVISION}(?:/(.*))?", _Handler.tree),
    (f"POST /api/datasets/{_NAME}/paths-info/{_REVISION}", _Handler.paths),
    (f"(?:GET|HEAD) /datasets/{_NAME}/resolve/{_REVISION}/(.+)", _Handler.resolve),
]
