"""Pushes a dataset to the Hugging Face Hub in flat memory: files are streamed, then committed."""

import re
import time
from pathlib import Path

from pipeline.dataset import manifest
from schemas.disk import error_line
from schemas.errors import InputError, StoreError
from schemas.published import OURS, public

WAITS = (1, 2, 4)  # seconds; the client retries uploads, but not the commit
BUSY = (408, 429, 500, 502, 503, 504)
CARD = "Invalid metadata in README.md."  # so begins what the client says of a card that the Hub refuses
LONGEST = 200  # characters of the Hub's own words in a message
SAYS = {  # status -> what is wrong, and its remedy
    401: "this token may not write there (status 401): set HF_TOKEN to one that may",
    403: "this token may not write there (status 403): set HF_TOKEN to one that may",
    404: "there is nothing at this address (status 404): check OWNER/NAME, that OWNER is yours, and HF_ENDPOINT",
    413: "the dataset, or a file of it, is too large for it (status 413): make the dataset smaller, or ask the Hub for more room",
}


def push(dataset: Path, repo: str, private: bool, token: str | None) -> str:
    """Makes the dataset repository `repo` (OWNER/NAME) show exactly this dataset; returns its address.

    A repository that is not there is created; one that the world can see is refused when `private` is asked for. Pairs of an
    earlier push are removed in the same commit. The token, which comes from the environment, enters no message.
    InputError when there is no dataset, token or such name; DamageError when the dataset is not as it was written; StoreError when
    the Hub does not take it."""
    from huggingface_hub import HfApi

    if not any(dataset.glob("*/*.parquet")):
        raise InputError(f"{dataset} holds no exported dataset: name the --out of a finished `pairwright build`")
    manifest.check(dataset)
    if not token:
        raise InputError("no token for the Hub: set HF_TOKEN to one that may write")
    _cleaned(dataset / "README.md")
    api = HfApi(token=token, library_name="pairwright")
    for wait in (*WAITS, None):
        status, why = _try(api, dataset, repo, private)
        if status == 200:
            return why
        if wait is None or status not in BUSY:
            raise StoreError(f"the Hub did not take {repo}: {why}")
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _cleaned(card: Path) -> None:
    """A card that an older version wrote, or somebody changed, is published like one of now."""
    if card.exists():
        text = card.read_text()
        told = public(re.sub(rf"(?m)^ *(?:{'|'.join(OURS)}):.*\n", "", text))
        if told != text:
            card.write_text(told)


def _try(api, dataset: Path, repo: str, private: bool) -> tuple[int, str]:
    """200 and the address, or a status and what is wrong. Files that are already there are not sent again."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    try:
        url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise InputError(f"{repo} is there already and public: make it private first, or push with --public")
        api.upload_folder(
            repo_id=repo, repo_type="dataset", folder_path=dataset, commit_message="Dataset made by Pairwright",
            delete_patterns=["*.parquet"],
        )  # fmt: skip
    except (InputError, StoreError):
        raise
    except HFValidationError:
        raise InputError(f"'{repo}' is no name of a repository: say OWNER/NAME") from None
    except HfHubHTTPError as error:
        return error.response.status_code, _said(error.response.status_code, error.server_message or "", api.token)
    except (HTTPError, ConnectionError, TimeoutError) as error:
        return 503, f"it cannot be reached ({type(error).__name__}), check the network"
    except OSError as error:
        raise StoreError(error_line(error, dataset)) from error
    except Exception as error:  # noqa: BLE001 - what its client makes of an answer that is none of the Hub's: ValueError, KeyError, ...
        if str(error).startswith(CARD):
            words = _clean(str(error).removeprefix(CARD), api.token)
            return 400, f"it refuses the dataset card ({words}): correct {dataset / 'README.md'}"
        kind = type(error).__name__
        return (
            0,
            f"its answer is not one of the Hub's ({kind}): check HF_ENDPOINT, and what stands between here and there",
        )
    return 200, str(url)


def _said(status: int, words: str, token: str) -> str:
    if status in SAYS:
        return SAYS[status]
    if status in BUSY:
        return f"it answered with status {status}, try again later"
    words = f" ({_clean(words, token)})" if words and "<" not in words else ""
    if 300 <= status < 400:
        return f"it answered with status {status}, a redirect: set HF_ENDPOINT to the address where it is now"
    return f"it answered with status {status}{words}: correct what it names, or try again later"


def _clean(words: str, token: str) -> str:
    """The Hub's words as one short line without the token."""
    return " ".join(words.replace(token, "***").split())[:LONGEST].strip("- ")
