"""How the labeling server's pages get the media: never inside the tasks, and never by a link that was signed when the task was made.

`local`       files in a folder that the server serves to whoever is logged in (one host)
`s3://...`    objects in a bucket; the server signs a link when a task is viewed
`http(s)://`  `pairwright serve`, which answers the same signed links from the media store"""

import mimetypes
import os
import secrets
import time
from pathlib import Path
from typing import Protocol

import fsspec
from botocore.exceptions import BotoCoreError

from annotators.label_studio.client import Client
from annotators.label_studio.service import signing
from annotators.label_studio.service.s3 import BUCKET
from schemas.errors import ServerError, StoreError, UserError
from schemas.ports import MediaStore

ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"  # the server's own name for it
FOLDER = "pairwright"  # under ROOT
S3_KEY, S3_SECRET, SERVE_SECRET = "PAIRWRIGHT_S3_KEY", "PAIRWRIGHT_S3_SECRET", "PAIRWRIGHT_SERVE_SECRET"
MINUTES = 60  # how long a link works after a task was opened
OLD = 600  # seconds after which a file that is half written is nobody's


def secrets_of(where: str) -> set[str]:
    """The environment variables with the secrets that a `media` setting needs, but for those of fsspec."""
    if where.startswith("s3://"):
        return {S3_KEY, S3_SECRET}
    return {SERVE_SECRET} if where.startswith(("http://", "https://")) else set()


class Links(Protocol):
    def link(self, sha: str, mime: str) -> str:
        """What a task says of a medium; puts it there when it is not."""
        ...

    def attach(self, client: Client, project: int) -> None:
        """Tells a project of the server where its media are, one of which must be there; told again nothing changes."""
        ...


def name_of(sha: str, mime: str) -> str:
    """A medium's file name: browsers and servers go by the ending."""
    return sha + (mimetypes.guess_extension(mime) or "")


def open_links(where: str, media: MediaStore) -> Links:
    """The links of a `media` setting. UserError says what is missing in the environment."""
    scheme, _, _ = where.partition("://")
    if where == "local":
        return LocalFiles(Path(_needed(ROOT, "the folder the server was started with")), media)
    if scheme == "s3":
        return Bucket(where, media)
    if scheme in ("http", "https"):
        return Served(where)
    raise UserError(f"media: '{where}' is none of local, s3://BUCKET/PREFIX, or the http address of `pairwright serve`")


class LocalFiles:
    def __init__(self, root: Path, media: MediaStore):
        self.folder, self.media, self.cleared = root / FOLDER, media, False

    def link(self, sha: str, mime: str) -> str:
        path = self.folder / name_of(sha, mime)
        if not path.exists():
            try:
                self.folder.mkdir(exist_ok=True)
                self._clear()
                beside = path.with_name(f".{secrets.token_hex(8)}")
                beside.write_bytes(_read(self.media, sha))
                beside.rename(path)
            except OSError as error:
                raise StoreError(f"{self.folder} cannot be written ({error.strerror}); check {ROOT}") from error
        return f"/data/local-files/?d={FOLDER}/{path.name}"

    def _clear(self) -> None:
        """Removes, once, what killed processes left half written; it takes an instant to write, so what is old is theirs."""
        if not self.cleared:
            for left in self.folder.glob(".*"):
                if time.time() - left.stat().st_mtime > OLD:
                    left.unlink(missing_ok=True)
            self.cleared = True

    def attach(self, client: Client, project: int) -> None:
        client.local_storage(project, str(self.folder))


class Bucket:
    """The server gets a key of its own, PAIRWRIGHT_S3_KEY and PAIRWRIGHT_S3_SECRET, which need not do more than read; our own is
    where fsspec looks for it."""

    def __init__(self, where: str, media: MediaStore):
        self.where, self.media = where.rstrip("/"), media
        self.bucket, _, self.prefix = self.where.removeprefix("s3://").partition("/")
        self.key, self.secret = (_needed(name, "a key that may read the bucket") for name in (S3_KEY, S3_SECRET))
        self._system, self._root = fsspec.core.url_to_fs(self.where)

    def link(self, sha: str, mime: str) -> str:
        name = name_of(sha, mime)
        try:
            if not self._system.exists(f"{self._root}/{name}"):
                self._system.pipe_file(f"{self._root}/{name}", _read(self.media, sha), ContentType=mime)
        except (OSError, BotoCoreError) as error:
            raise StoreError(
                f"{self.where} cannot be written ({type(error).__name__}); check its key and rights"
            ) from error
        return f"{self.where}/{name}"

    def attach(self, client: Client, project: int) -> None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com")
        try:
            client.s3_storage(project, self.bucket, self.prefix, endpoint, self.key, self.secret, MINUTES)
        except ServerError as error:
            raise ServerError(
                f"Label Studio cannot read {self.where} at {endpoint}: check that it reaches that address, and what {S3_KEY} "
                f"may do ({error})"
            ) from error


class Served:
    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.key, self.hidden = signing.keys(secret())

    def link(self, sha: str, mime: str) -> str:
        return f"s3://{BUCKET}/{name_of(sha, mime)}"

    def attach(self, client: Client, project: int) -> None:
        try:
            client.s3_storage(project, BUCKET, "", self.address, self.key, self.hidden, MINUTES)
        except ServerError as error:
            raise ServerError(
                f"Label Studio finds no media at {self.address}: start `pairwright serve` there, on the folder of this run and with "
                f"the same {SERVE_SECRET}; it sends the questions itself ({error})"
            ) from error


def secret() -> str:
    """What `pairwright serve` signs with, from the environment. UserError where it is not set."""
    return _needed(SERVE_SECRET, "make one with `openssl rand -hex 32` and keep it")


def _read(media: MediaStore, sha: str) -> bytes:
    try:
        return media.read(sha)
    except KeyError:
        raise StoreError(
            f"the media store has lost {sha}, which a question shows: build again with the cache of before"
        ) from None


def _needed(variable: str, what: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise UserError(f"{variable} is not set: {what}")
