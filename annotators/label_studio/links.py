"""How labeling pages load media. Tasks never contain media, nor links that were signed when the task was created.

`local`       files in a folder that the server serves to logged-in users (same host)
`s3://...`    objects in a bucket; the server signs a link when a task is viewed
`http(s)://`  `pairwright serve`, which serves the same kind of signed links from the media store"""

import mimetypes
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import fsspec
from botocore.exceptions import BotoCoreError

from annotators.label_studio.client import Client
from annotators.label_studio.service import signing
from annotators.label_studio.service.s3 import BUCKET
from schemas.errors import ServerError, StoreError, UserError
from schemas.ports import MediaStore

ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"  # a variable of the server
FOLDER = "pairwright"  # under ROOT
S3_KEY, S3_SECRET, SERVE_SECRET = "PAIRWRIGHT_S3_KEY", "PAIRWRIGHT_S3_SECRET", "PAIRWRIGHT_SERVE_SECRET"
MINUTES = 60  # validity of a link after a task was opened
Shown = Callable[[str, str], tuple[str, str]]  # (media id, MIME type) -> the same of the form that people see
OLD = 600  # seconds after which a temporary file is abandoned


def secrets_of(where: str) -> set[str]:
    """The environment variables with the secrets that a `media` setting needs, except those of fsspec; empty for `local`."""
    if where.startswith("s3://"):
        return {S3_KEY, S3_SECRET}
    return {SERVE_SECRET} if where.startswith(("http://", "https://")) else set()


class Links(Protocol):
    """Makes media available to labeling pages."""

    def link(self, sha: str, mime: str) -> str:
        """The link to a media item for task data; stores the item there if it is missing. StoreError if it cannot be written."""
        ...

    def attach(self, client: Client, project: int) -> None:
        """Connects a project to the storage, in which at least one media item must exist; idempotent. ServerError if it is unreachable."""
        ...


def name_of(sha: str, mime: str) -> str:
    """The file name of a media item, with the extension of its MIME type, which browsers and servers rely on."""
    return sha + (mimetypes.guess_extension(mime) or "")


def open_links(where: str, media: MediaStore, shown: Shown) -> Links:
    """The Links of a `media` setting; `shown`: the (id, MIME type) of the form in which people see an item. UserError for an unknown setting or a missing environment variable."""
    scheme, _, _ = where.partition("://")
    if where == "local":
        return LocalFiles(Path(_needed(ROOT, "set it to the folder the server was started with")), media, shown)
    if scheme == "s3":
        return Bucket(where, media, shown)
    if scheme in ("http", "https"):
        return Served(where, shown)
    raise UserError(f"media: '{where}' must be local, s3://BUCKET/PREFIX, or the http address of `pairwright serve`")


class LocalFiles:
    """Media as files in a folder that the server serves."""

    def __init__(self, root: Path, media: MediaStore, shown: Shown):
        self.folder, self.media, self.shown, self.cleared = root / FOLDER, media, shown, False

    def link(self, sha: str, mime: str) -> str:
        sha, mime = _shown(self.shown, sha, mime)
        path = self.folder / name_of(sha, mime)
        if not path.exists():
            try:
                self.folder.mkdir(exist_ok=True)
                self._clear()
                temporary = path.with_name(f".{secrets.token_hex(8)}")
                temporary.write_bytes(_read(self.media, sha))
                temporary.rename(path)
            except OSError as error:
                raise StoreError(f"{self.folder} cannot be written ({error.strerror}); check {ROOT}") from error
        return f"/data/local-files/?d={FOLDER}/{path.name}"

    def _clear(self) -> None:
        """Removes, once, the temporary files of killed processes: those older than OLD."""
        if not self.cleared:
            for leftover in self.folder.glob(".*"):
                if time.time() - leftover.stat().st_mtime > OLD:
                    leftover.unlink(missing_ok=True)
            self.cleared = True

    def attach(self, client: Client, project: int) -> None:
        client.local_storage(project, str(self.folder))


class Bucket:
    """Media as objects in a bucket. The server gets a separate, read-only key (PAIRWRIGHT_S3_KEY, PAIRWRIGHT_S3_SECRET); our own key is
    where fsspec looks for it."""

    def __init__(self, where: str, media: MediaStore, shown: Shown):
        self.where, self.media, self.shown = where.rstrip("/"), media, shown
        self.bucket, _, self.prefix = self.where.removeprefix("s3://").partition("/")
        self.key, self.secret = (
            _needed(name, "set it to a key that may read the bucket") for name in (S3_KEY, S3_SECRET)
        )
        self._system, self._root = fsspec.core.url_to_fs(self.where)

    def link(self, sha: str, mime: str) -> str:
        sha, mime = _shown(self.shown, sha, mime)
        name = name_of(sha, mime)
        try:
            if not self._system.exists(f"{self._root}/{name}"):
                self._system.pipe_file(f"{self._root}/{name}", _read(self.media, sha), ContentType=mime)
        except (OSError, BotoCoreError) as error:
            raise StoreError(
                f"{self.where} cannot be written ({type(error).__name__}); check its key and permissions"
            ) from error
        return f"{self.where}/{name}"

    def attach(self, client: Client, project: int) -> None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com")
        try:
            client.s3_storage(project, self.bucket, self.prefix, endpoint, self.key, self.secret, MINUTES)
        except ServerError as error:
            raise ServerError(
                f"Label Studio cannot read {self.where} at {endpoint}; check that it can reach that address, and the permissions of "
                f"{S3_KEY} ({error})"
            ) from error


class Served:
    """Media served by `pairwright serve` at `address`."""

    def __init__(self, address: str, shown: Shown):
        self.address, self.shown = address.rstrip("/"), shown
        self.key, self.hidden = signing.keys(secret())

    def link(self, sha: str, mime: str) -> str:
        return f"s3://{BUCKET}/{name_of(*_shown(self.shown, sha, mime))}"

    def attach(self, client: Client, project: int) -> None:
        try:
            client.s3_storage(project, BUCKET, "", self.address, self.key, self.hidden, MINUTES)
        except ServerError as error:
            raise ServerError(
                f"Label Studio cannot load media from {self.address}; start `pairwright serve` there, with this run's folder and "
                f"the same {SERVE_SECRET}; it then sends the questions itself ({error})"
            ) from error


def secret() -> str:
    """The secret of `pairwright serve`, from the environment. UserError if it is not set."""
    return _needed(SERVE_SECRET, "create one with `openssl rand -hex 32` and keep it")


def _shown(shown: Shown, sha: str, mime: str) -> tuple[str, str]:
    try:
        return shown(sha, mime)
    except KeyError:
        raise _missing(sha) from None


def _read(media: MediaStore, sha: str) -> bytes:
    try:
        return media.read(sha)
    except KeyError:
        raise _missing(sha) from None


def _missing(sha: str) -> StoreError:
    return StoreError(
        f"the media item {sha} of a question is missing from the media store; build again with the original cache"
    )


def _needed(variable: str, what: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise UserError(f"{variable} is not set: {what}")
