"""Finds a model's files (local folder, Hub cache, Hub) and its identity for ids and cache keys.

The identity depends on the weights, not on their location. Only this module downloads models, so it is the only place where errors of the
Hub client are translated."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import EngineError

TEXT_PARTS = ("text_config", "thinker_config", "llm_config")  # keys of the language model in a configuration
SUFFIXES = {".safetensors", ".bin", ".pt", ".json", ".jinja", ".txt", ".model"}  # weights, configuration, tokenizer


def identity(model: str, revision: str | None = None) -> tuple[str, str | None]:
    """`(identity, revision to load)` of a local folder or a model on the Hub.

    A folder: `folder@` and 12 hex digits of a digest of its weights, configuration and tokenizer, which are read completely; no revision.
    A Hub model: `owner/name@` and the first 12 digits of its commit, which is the revision. EngineError if neither exists."""
    folder = Path(model)
    if folder.is_dir():
        return f"{folder.resolve().name}@{_digest(folder)}", None
    commit = _commit(model, revision)
    return f"{model}@{commit[:12]}", commit


def folder_of(model: str, revision: str | None = None) -> Path:
    """The folder with all files of a model: `model` itself if it is a folder, otherwise the Hub cache, after downloading it. EngineError
    when neither exists."""
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, revision=revision))
    except _hub_errors() as error:
        raise _nowhere(model, revision, error) from error


def folder_with(files: Iterable[str], model: str, revision: str | None = None) -> Path | None:
    """Like `folder_of`, but downloads only those of `files` that the model has, not its weights. None when none can be downloaded; a local
    folder is returned unchecked."""
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
    """The folder of a model on this machine, without network access. None if it was not downloaded or the name is invalid."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model).is_dir():
        return Path(model)
    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except _hub_errors():
        return None
    return Path(config).parent if isinstance(config, str) else None


def stored_dtype(folder: Path) -> str | None:
    """The data type of the weights that the configuration in a folder names, such as `bfloat16`; None if it names none."""
    try:
        config = json.loads((folder / "config.json").read_text())
        parts = [config, *(config.get(part) or {} for part in TEXT_PARTS)]
        return next((found for part in parts for name in ("dtype", "torch_dtype") if (found := part.get(name))), None)
    except (OSError, ValueError, AttributeError):
        return None


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    if not files:
        raise EngineError(
            f"{folder} contains no model; set a folder with config.json and weights, or a model on the Hub"
        )
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
    """Errors of the Hub client: refused, unreachable, malformed name, disk full."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    return HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError


def _nowhere(model: str, revision: str | None, error: Exception) -> EngineError:
    where = f"{model} at revision {revision}" if revision else model
    return EngineError(
        f"the folder {model} does not exist, and the Hub does not provide {where} ({type(error).__name__}); "
        "check the name, the network and HF_TOKEN"
    )
