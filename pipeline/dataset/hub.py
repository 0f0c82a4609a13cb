"""Pushes a dataset to the Hugging Face Hub in flat memory: files are streamed, committed together."""

import time
from pathlib import Path

from schemas.errors import InputError, StoreError

TRIES = 4  # the client retries uploads, but not the commit


def push(dataset: Path, repo: str, private: bool, token: str | None) -> str:
    """Creates the repository if need be, uploads the folder, returns its address. The token never enters a message.

    InputError when there is no dataset, no token or no such name; StoreError when the Hub does not take it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not any(dataset.glob("*/*.parquet")):
        raise InputError(f"{dataset} holds no exported dataset: name the --out of a finished `pairwright build`")
    if not token:
        raise InputError("no token for the Hub: set HF_TOKEN to one that may write")
    api = HfApi(token=token)
    for attempt in range(1, TRIES + 1):
        try:
            url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type="dataset",
                folder_path=dataset,
                commit_message="Dataset made by Pairwright",
                delete_patterns="*/*.parquet",
            )
        except HFValidationError:
            raise InputError(f"'{repo}' is no name of a repository: say OWNER/NAME") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise StoreError(f"the Hub does not let this token write to {repo} (status {status})") from None
            if attempt == TRIES or status < 500:
                raise StoreError(
                    f"the Hub did not take the dataset {repo} (status {status}): try again later"
                ) from None
        except OSError as error:
            if attempt == TRIES:
                raise StoreError(f"the Hub cannot be reached ({type(error).__name__}): check the network") from None
        else:
            return str(url)
        time.sleep(2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")
