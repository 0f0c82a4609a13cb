import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants as client
import pytest

from pipeline.dataset import hub as module
from pipeline.dataset.card import write_card
from pipeline.dataset.hub import push
from schemas.errors import InputError, StoreError
from tests.support import small_run
from tests.support.hub_standin import TOKEN, Hub, Repo

ROOT = Path(__file__).parents[3]
REPO = "tester/pairs"


@pytest.fixture
def hub(monkeypatch):
    """The stand-in, which the client in this process takes for the Hub."""
    running = Hub()
    for name, value in {"ENDPOINT": running.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(client, name, value)
    monkeypatch.setattr(module, "WAITS", (0.01, 0.01))
    yield running
    running.close()


@pytest.fixture(scope="module")
def dataset(exported, tmp_path_factory):
    folder = shutil.copytree(exported.folder, tmp_path_factory.mktemp("hub") / "dataset")
    write_card(folder, small_run.summarised(exported.tables), small_run.RECIPE)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_hub_holds_what_was_pushed_and_only_its_owner_sees_it(hub, dataset):
    assert push(dataset, REPO, True, TOKEN) == f"{hub.url}/datasets/{REPO}"
    assert hub.repos[REPO].files == files_of(dataset)
    assert hub.repos[REPO].private


@pytest.mark.slow
def test_a_pushed_dataset_loads_by_the_name_of_a_config(hub, dataset, exported, tmp_path):
    push(dataset, REPO, True, TOKEN)
    script = f"""
import json
from datasets import load_dataset
print(json.dumps({{k: load_dataset("{REPO}", k, split="train")["id"] [:] for k in ("image", "audio")}}))
"""
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kinds = {s.id: s.kind for s in exported.tables.rows["samples"]}
    pairs = exported.tables.rows["pairs"]
    assert json.loads(done.stdout) == {k: [p.id for p in pairs if kinds[p.sample] == k] for k in ("image", "audio")}


def test_a_commit_that_the_hub_is_too_busy_for_is_tried_again_and_no_file_is_sent_twice(hub, dataset):
    hub.failing["POST .*/commit/"] = [503, 429]
    push(dataset, REPO, True, TOKEN)
    assert sum("/commit/" in line for line in hub.log) == 3
    assert sum(line.startswith("PUT") for line in hub.log) == len(list(dataset.glob("*/*.parquet")))


def test_pairs_of_an_earlier_push_are_removed_in_the_same_commit(hub, dataset):
    hub.repos[REPO] = Repo(
        True, {"image/train-00000.parquet": b"old", "image/train-00001.parquet": b"old", "notes.md": b"mine"}
    )
    push(dataset, REPO, True, TOKEN)
    assert "image/train-00001.parquet" not in hub.repos[REPO].files
    assert hub.repos[REPO].files["image/train-00000.parquet"] == (dataset / "image/train-00000.parquet").read_bytes()
    assert hub.repos[REPO].files["notes.md"] == b"mine"
    assert sum("/commit/" in line for line in hub.log) == 1


def test_private_pairs_are_never_put_where_the_world_can_see_them(hub, dataset):
    hub.repos[REPO] = Repo(False)
    with pytest.raises(InputError, match="already exists and is public"):
        push(dataset, REPO, True, TOKEN)
    assert hub.repos[REPO].files == {}


@pytest.mark.parametrize("statuses", [[500] * 3, [400]])
def test_a_hub_that_does_not_take_it_is_one_line_without_the_token(hub, dataset, statuses):
    hub.failing["POST .*/commit/"] = statuses
    with pytest.raises(StoreError, match=f"cannot push to {REPO} on the Hub: status {statuses[0]}") as error:
        push(dataset, REPO, True, TOKEN)
    assert TOKEN not in str(error.value)


def test_a_token_that_may_not_write_is_refused_at_once_and_not_shown(hub, dataset):
    with pytest.raises(StoreError, match="no write permission") as error:
        push(dataset, REPO, True, "hf_wrong_token")
    assert "hf_wrong_token" not in str(error.value)
    assert hub.log.count("POST /api/repos/create") == 1


def test_a_hub_that_is_not_there_is_one_line(hub, dataset):
    hub.close()
    with pytest.raises(StoreError, match="cannot connect"):
        push(dataset, REPO, True, TOKEN)


@pytest.mark.parametrize(
    ("repo", "token", "line"), [("no such name", TOKEN, "use OWNER/NAME"), (REPO, None, "set HF_TOKEN")]
)
def test_a_users_mistake_is_one_line_that_says_how_to_mend_it(hub, dataset, repo, token, line):
    with pytest.raises(InputError, match=line):
        push(dataset, repo, True, token)


def test_a_folder_without_a_dataset_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match="contains no exported dataset"):
        push(tmp_path, REPO, True, TOKEN)
    assert hub.log == []


def test_a_card_that_the_hub_refuses_is_one_line_before_anything_is_created(hub, dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "dataset")
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: cc0-1.0", "license: cc by-nc 4.0"))
    with pytest.raises(
        StoreError, match=r'rejects the dataset card \("license" must be one of .*\); correct .*README.md'
    ) as error:
        push(folder, REPO, True, TOKEN)
    assert "\n" not in str(error.value)
    assert hub.repos == {}
    assert "POST /api/repos/create" not in hub.log


@pytest.mark.parametrize("body", [b"{}", b'{"errors": 3}', b"<html>no</html>"])
def test_a_refusal_without_reasons_is_one_line_too(hub, dataset, body):
    hub.failing["POST /api/validate-yaml"] = [(400, body, {})]
    with pytest.raises(StoreError, match="rejects the dataset card") as error:
        push(dataset, REPO, True, TOKEN)
    assert "\n" not in str(error.value)


def test_a_repository_that_the_push_created_does_not_stay_behind_empty(hub, dataset):
    hub.failing["POST .*/commit/"] = [400]
    with pytest.raises(StoreError, match="status 400"):
        push(dataset, REPO, True, TOKEN)
    assert hub.repos == {}


def test_if_it_cannot_be_deleted_the_message_says_so(hub, dataset):
    hub.failing |= {"POST .*/commit/": [400], "DELETE": [403]}
    with pytest.raises(StoreError, match=f"the repository {REPO} was created and is empty: delete it, or push again"):
        push(dataset, REPO, True, TOKEN)


def test_a_repository_that_was_there_before_is_never_deleted(hub, dataset):
    hub.repos[REPO] = Repo(True)
    hub.failing["POST .*/commit/"] = [400]
    with pytest.raises(StoreError, match="status 400"):
        push(dataset, REPO, True, TOKEN)
    assert REPO in hub.repos


def test_one_that_the_hub_is_too_busy_for_stays_for_the_next_push(hub, dataset):
    hub.failing["POST .*/commit/"] = [503] * 3
    with pytest.raises(StoreError, match="status 503"):
        push(dataset, REPO, True, TOKEN)
    assert REPO in hub.repos  # the files that were sent are not sent again


def test_a_token_that_may_write_but_not_create_pushes_to_what_is_there(hub, dataset):
    hub.repos[REPO] = Repo(True)
    hub.failing["POST /api/repos/create"] = [403]
    push(dataset, REPO, True, TOKEN)
    assert hub.repos[REPO].files == files_of(dataset)
