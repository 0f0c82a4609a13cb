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
BAD_CARD = "Invalid metadata in README.md."  # prefix of the client's error if the Hub rejects the card
LONGEST = 200  # maximum characters quoted from the Hub's own message
REMEDIES = {  # HTTP status -> cause and remedy
    401: "the token has no write permission (status 401): set HF_TOKEN to a token with write access",
    403: "the token has no write permission (status 403): set HF_TOKEN to a token with write access",
    404: "not found (status 404): check OWNER/NAME, that you own OWNER, and HF_ENDPOINT",
    413: "the dataset or one of its files is too large (status 413): reduce the dataset, or ask the Hub for more storage",
}


def push(dataset: Path, repo: str, private: bool, token: str | None) -> str:
    """Makes the dataset repository `repo` (OWNER/NAME) contain exactly this dataset, and returns its URL.

    Creates the repository if it does not exist. Files of an earlier push are removed in the same commit. The token appears in no message.
    InputError: no dataset, no token, an invalid name, or an existing public repository although `private` is set. DamageError: the dataset
    differs from what was exported. StoreError: the Hub cannot be reached or refuses the upload."""
    from huggingface_hub import HfApi

    if not any(dataset.glob("*/*.parquet")):
        raise InputError(
            f"{dataset} contains no exported dataset: pass the --out folder of a finished `pairwright build`"
        )
    manifest.check(dataset)
    if not token:
        raise InputError("no token for the Hub: set HF_TOKEN to a token with write access")
    _clean_card(dataset / "README.md")
    api = HfApi(token=token, library_name="pairwright")
    for wait in (*WAITS, None):
        status, why = _try(api, dataset, repo, private)
        if status == 200:
            return why
        if wait is None or status not in BUSY:
            raise StoreError(f"cannot push to {repo} on the Hub: {why}")
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _clean_card(card: Path) -> None:
    """Removes private details from a card that was written by an older version or edited by hand."""
    if card.exists():
        text = card.read_text()
        cleaned = public_text(re.sub(rf"(?m)^ *(?:{'|'.join(OURS)}):.*\n", "", text))
        if cleaned != text:
            card.write_text(cleaned)


def _try(api, dataset: Path, repo: str, private: bool) -> tuple[int, str]:
    """One attempt: (200, URL), or a status and the error. Files already in the repository are not sent again."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    try:
        url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise InputError(f"{repo} already exists and is public: make it private first, or push with --public")
        api.upload_folder(
            repo_id=repo, repo_type="dataset", folder_path=dataset, commit_message="Dataset made by Pairwright",
            delete_patterns=["*.parquet"],
        )  # fmt: skip
    except (InputError, StoreError):
        raise
    except HFValidationError:
        raise InputError(f"'{repo}' is not a valid repository name: use OWNER/NAME") from None
    except HfHubHTTPError as error:
        return error.response.status_code, _reason(error.response.status_code, error.server_message or "", api.token)
    except (HTTPError, ConnectionError, TimeoutError) as error:
        return 503, f"cannot connect ({type(error).__name__}): check the network"
    except OSError as error:
        raise StoreError(error_line(error, dataset)) from error
    except Exception as error:  # noqa: BLE001 - the client raises ValueError, KeyError ... on a response that is not the Hub's
        if str(error).startswith(BAD_CARD):
            words = _clean(str(error).removeprefix(BAD_CARD), api.token)
            return 400, f"the Hub rejects the dataset card ({words}): correct {dataset / 'README.md'}"
        kind = type(error).__name__
        return (
            0,
            f"the response is not from a Hub server ({kind}): check HF_ENDPOINT and any proxy in between",
        )
    return 200, str(url)


def _reason(status: int, words: str, token: str) -> str:
    if status in REMEDIES:
        return REMEDIES[status]
    if status in BUSY:
        return f"status {status}: try again later"
    words = f" ({_clean(words, token)})" if words and "<" not in words else ""
    if 300 <= status < 400:
        return f"status {status}, a redirect: set HF_ENDPOINT to the new address"
    return f"status {status}{words}: correct what the message names, or try again later"


def _clean(words: str, token: str) -> str:
    """The Hub's message as one short line, with the token masked."""
    return " ".join(words.replace(token, "***").split())[:LONGEST].strip("- ")
