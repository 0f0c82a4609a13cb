"""Media as everybody else is shown them: one form that servers, people's browsers and readers of the dataset show like the engines in this
process. Most files are in it already."""

from collections.abc import Callable

from pipeline.media.decode import portable
from pipeline.media.sniff import sniff
from schemas.errors import RowError
from schemas.ports import MediaStore

EDITION = 1
"""Increased when a file gets another form than before."""


def portable_id(store: MediaStore, sha: str, kind: str) -> str:
    """The id of the item `sha`, shown as `kind` (image, video, audio; input_audio in requests), in its portable form (docs/media.md), which is made and stored once;
    `sha` itself if the item is in that form.

    RowError if it cannot be decoded. KeyError or StoreError as of the store."""
    name = f"{kind} {EDITION}"
    known = store.form(sha, name)
    if known is None:
        made = portable(store.read(sha), kind, f"{kind} {sha}")
        known = sha if made is None else store.add(made)
        store.keep_form(sha, name, known)
        store.keep_form(known, name, known)
    return known


def known_id(store: MediaStore, sha: str, kind: str) -> str:
    """As `portable_id`, but nothing is made: `sha` also if the form is unknown."""
    return store.form(sha, f"{kind} {EDITION}") or sha


def portable_file(
    store: MediaStore, sha: str, mime: str, find: Callable[[MediaStore, str, str], str] = portable_id
) -> tuple[str, str]:
    """(id, MIME type) of the portable form of an item; the item's own if it cannot be converted."""
    kind = mime.partition("/")[0]
    try:
        made = find(store, sha, kind)
    except RowError:
        made = sha
    if made == sha:
        return sha, mime
    form = sniff(store.read(made), made)
    return made, form.mime if "/" in form.mime else f"{kind}/{form.mime}"


def sent_id(store: MediaStore, sha: str, kind: str) -> str:
    """`portable_id` of an item as a part of a request to an API."""
    return portable_id(store, sha, "input_audio" if kind == "audio" else kind)
