"""Pushes a dataset to the Hugging Face Hub in flat memory: files are streamed, then committed."""

import re
import time
from pathlib import Path

from schemas.errors import InputError, StoreError
from schemas.published import OURS, public

WAITS = (1, 2, 4)  # seconds; the client retries uploads, but not the commit
BUSY = (429, 500, 502, 503, 504)


def push(dataset: Path, repo: str, private: bool, token: str | None) -> str:
    """Makes the dataset repository `repo` (OWNER/NAME) show exactly this dataset; returns its address.

    A repository that is not there is created; one that the world can see is refused when `private` is asked for. Pairs of an
    earlier push are removed in the same commit. The token, which comes from the environment, enters no message.
    InputError when there is no dataset, token or such name; StoreError when the Hub does not take it."""
    from huggingface_hub import HfApi

    if not any(dataset.glob("*/*.parquet")):
        raise InputError(f"{dataset} holds no exported dataset: name the --out of a finished `pairwright build`")
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
    except HFValidationError:
        raise InputError(f"'{repo}' is no name of a repository: say OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            return status, f"this token may not write there (status {status})"
        return status, f"it answered with status {status}, try again later"
    except (HTTPError, ConnectionError) as error:
        return 503, f"it cannot be reached ({type(error).__name__}), check the network"
    return 200, str(url)
