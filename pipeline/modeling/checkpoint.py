"""Where a model lies (a local folder, the Hub's cache, the Hub), and the name of it that ids and cache keys carry.

The name is decided by the weights, not by where they lie. Only this module asks the Hub for models, so only here an error of the Hub becomes
one of ours."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import EngineError

SUFFIXES = {".safetensors", ".bin", ".pt", ".json", ".jinja", ".txt", ".model"}  # weights, configuration, tokenizer


def identity(model: str, revision: str | None = None) -> tuple[str, str | None]:
    """`(name, revision)` of a local folder or of a model on the Hub.

    A folder is `folder@` and 12 hex characters of a digest of its weights, configuration and tokenizer; it has no
    revision. A Hub model is `owner/name@` and 12 characters of its commit, which is the revision to load. Reads every
    byte of a folder once. EngineError when there is neither such a folder nor such a model."""
    folder = Path(model)
    if folder.is_dir():
        return f"{folder.resolve().name}@{_digest(folder)}", None
    commit = _commit(model, revision)
    return f"{model}@{commit[:12]}", commit


def folder_of(model: str, revision: str | None = None) -> Path:
    """The folder that holds the whole of a model: `model` itself where it is a folder, else the Hub's cache, into which it is
    downloaded. EngineError when there is neither such a folder nor such a model."""
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, revision=revision))
    except _hub_errors() as error:
        raise _nowhere(model, revision, error) from error


def folder_with(files: Iterable[str], model: str, revision: str | None = None) -> Path | None:
    """The folder with those of `files` that a model has, as `folder_of` but without its weights: only `files` are downloaded. None when the Hub
    gives none of them; a local folder is taken as it is, whatever it holds."""
    from huggingface_hub import hf_hub_download

    if Path(model).is_dir():
        return Path(model)
    found = None
    for name in files:
        try:
            found = Path(hf_hub_download(model, name, revision=revision)).parent
        except _hub_errors():
            continue
    return found


def cached_folder(model: str, revision: str | None = None) -> Path | None:
    """The folder that holds a model on this machine: the network is not asked. None when it was not downloaded, and of what is not a model's name."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model).is_dir():
        return Path(model)
    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except _hub_errors():
        return None
    return Path(config).parent if isinstance(config, str) else None


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    if not files:
        raise EngineError(f"{folder} holds no model: name a folder with config.json and weights, or a model on the Hub")
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def _commit(model: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name  # .../snapshots/COMMIT/
    except _hub_errors() as error:
        raise _nowhere(model, revision, error) from error


def _hub_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises when it gives no file: the Hub refuses or is unreachable, the name is malformed, the disk is full."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    return HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError


def _nowhere(model: str, revision: str | None, error: Exception) -> EngineError:
    where = f"{model} at revision {revision}" if revision else model
    return EngineError(
        f"there is no folder {model}, and the Hub gives no {where} ({type(error).__name__}): "
        "check the name, the network and HF_TOKEN"
    )
