"""Pushes a dataset to the Hugging Face Hub with constant memory: files are streamed, then committed."""

import re
import time
from pathlib import Path

from pipeline.dataset import manifest
from schemas.disk import error_line
from schemas.errors import InputError, StoreError
from schemas.published import OURS, public_text

WAITS = (1, 2, 4)  # seconds between attempts; the client retries uploads, but not the commit
BUSY = (408, 429, 500, 502, 503, 504)
LONGEST = 200  # maximum characters quoted from the Hub's own message
REMEDIES = {  # HTTP status -> cause and remedy
    401: "the token has no write permission (status 401); set HF_TOKEN to a token with write access",
    403: "the token has no write permission (status 403); set HF_TOKEN to a token with write access",
    404: "not found (status 404); check OWNER/NAME, that you own OWNER, and HF_ENDPOINT",
    413: "the dataset or one of its files is too large (status 413); reduce the dataset, or ask the Hub for more storage",
}


def push(dataset: Path, repo: str, private: bool, token: str | None) -> str:
    """Makes the dataset repository `repo` (OWNER/NAME) contain exactly this dataset, and returns its URL.

    The Hub checks the card first; then the repository is created if it does not exist. Files of an earlier push are removed in the same commit. The token appears in no message.
    InputError for no dataset, no token, an invalid name, or an existing public repository although `private` is set. DamageError if the dataset
    differs from what was exported. StoreError if the Hub cannot be reached or refuses card or upload; a repository that this call created
    and that is still empty is deleted again."""
    from huggingface_hub import HfApi

    if not any(dataset.glob("*/*.parquet")):
        raise InputError(
            f"{dataset} contains no exported dataset: pass the --out folder of a finished `pairwright build`"
        )
    manifest.check(dataset)
    if not token:
        raise InputError("no token for the Hub; set HF_TOKEN to a token with write access")
    _clean_card(dataset / "README.md")
    api, created = HfApi(token=token, library_name="pairwright"), False
    for wait in (*WAITS, None):
        status, why, ours = _try(api, dataset, repo, private)
        created |= ours
        if status == 200:
            return why
        if wait is None or status not in BUSY:
            left = _removed(api, repo) if created and status not in BUSY else ""
            raise StoreError(f"cannot push to {repo} on the Hub: {why}{left}")
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _clean_card(card: Path) -> None:
    """Removes private details from a card that was written by an older version or edited by hand."""
    if card.exists():
        text = card.read_text()
        cleaned = public_text(re.sub(rf"(?m)^ *(?:{'|'.join(OURS)}):.*\n", "", text))
        if cleaned != text:
            card.write_text(cleaned)


def _try(api, dataset: Path, repo: str, private: bool) -> tuple[int, str, bool]:
    """One attempt: (200, URL) or a status and the error, and whether it created the repository. Files already there are not sent again."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    created = False
    try:
        if words := _card_errors(api, dataset / "README.md"):
            return 400, f"the Hub rejects the dataset card ({words}); correct {dataset / 'README.md'}", False
        url, created = _create(api, repo, private)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise InputError(f"{repo} already exists and is public; make it private first, or push with --public")
        api.upload_folder(
            repo_id=repo, repo_type="dataset", folder_path=dataset, commit_message="Dataset made by Pairwright",
            delete_patterns=["*.parquet"],
        )  # fmt: skip
    except (InputError, StoreError):
        raise
    except HFValidationError:
        raise InputError(f"'{repo}' is not a valid repository name; use OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        return status, _reason(status, error.server_message or "", api.token), created
    except (HTTPError, ConnectionError, TimeoutError) as error:
        return 503, f"cannot connect ({type(error).__name__}); check the network", created
    except OSError as error:
        raise StoreError(error_line(error, dataset)) from error
    except Exception as error:  # noqa: BLE001 - the client raises ValueError, KeyError ... on a response that is not the Hub's
        kind = type(error).__name__
        return 0, f"the response is not from a Hub server ({kind}): check HF_ENDPOINT and any proxy in between", created
    return 200, url, created


def _card_errors(api, card: Path) -> str:
    """What the Hub finds wrong with the card, asked before anything is created; empty if nothing. Only status 400 is about the card."""
    from huggingface_hub.utils import build_hf_headers, get_session

    body = {"content": card.read_text() if card.exists() else "", "repoType": "dataset"}
    found = get_session().post(
        f"{api.endpoint}/api/validate-yaml", json=body, headers=build_hf_headers(token=api.token)
    )
    if found.status_code != 400:
        return ""
    try:
        errors = [str(error["message"]) for error in found.json()["errors"]]
    except (ValueError, KeyError, TypeError):
        errors = []
    return _clean("; ".join(errors) or found.text, api.token) or "it does not say why"


def _create(api, repo: str, private: bool) -> tuple[str, bool]:
    """(URL, whether it is new) of the repository."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(api.create_repo(repo, repo_type="dataset", private=private)), True
    except HfHubHTTPError as error:
        if error.response.status_code not in (
            403,
            409,
        ):  # 403: a token that may write to this repository, but create none
            raise
    return str(api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)), False


def _removed(api, repo: str) -> str:
    """Deletes the repository that this push created if nothing was committed to it; the end of the message if it is left behind."""
    try:
        if not {file.rfilename for file in api.repo_info(repo, repo_type="dataset").siblings or ()} - {
            ".gitattributes"
        }:
            api.delete_repo(repo, repo_type="dataset")
    except Exception:  # noqa: BLE001 - the push has failed already, and for another reason
        return f"; the repository {repo} was created and is empty: delete it, or push again"
    return ""


def _reason(status: int, words: str, token: str) -> str:
    if status in REMEDIES:
        return REMEDIES[status]
    if status in BUSY:
        return f"status {status}; try again later"
    words = f" ({_clean(words, token)})" if words and "<" not in words else ""
    if 300 <= status < 400:
        return f"status {status}, a redirect; set HF_ENDPOINT to the new address"
    return f"status {status}{words}; correct what the message names, or try again later"


def _clean(words: str, token: str) -> str:
    """The Hub's message as one short line, with the token masked."""
    return " ".join(words.replace(token, "***").split())[:LONGEST].strip("- ")
