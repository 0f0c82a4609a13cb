"""The name of a model that ids and cache keys carry: its weights decide it, not where they lie."""

import hashlib
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
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name  # .../snapshots/COMMIT/
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        where = f"{model} at revision {revision}" if revision else model
        raise EngineError(
            f"there is no folder {model}, and the Hub gives no {where} ({type(error).__name__}): "
            "check the name, the network and HF_TOKEN"
        ) from error
