"""Whole builds against servers that fail: nothing is lost, nothing doubled, and the dataset is that of a quiet day."""

import contextlib
import hashlib
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.runs import executor
from schemas.errors import EngineError
from tests.support.endpoint import MIXED, NO_FAULTS, Endpoint, served

ROWS = 300


def document(**model) -> dict:
    return {
        "name": "faults",
        "models": {"policy": {"engine": "openai", "model": "scripted", "slots": 16, **model}},
        "steps": [
            {"source.scenes": {"n": ROWS, "seed": 5, "shares": {"image": 3, "audio": 1}}},
            {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
        ],
    }


def build(out: Path, cache: Path, **model) -> dict:
    """The rows of the dataset, and the digest of every shard's."""
    run = executor.open_document(document(**model), out=out, cache=cache)
    with contextlib.closing(run):
        for unit in run.units:
            run.complete(unit)
    shards, sets = sorted((out / "passes").rglob("*.arrow")), sorted((out / "dataset").rglob("*.parquet"))
    assert shards
    assert sets
    left = {f.relative_to(out): hashlib.sha256(f.read_bytes()).hexdigest() for f in shards}
    return left | {f.relative_to(out): pq.read_table(f).to_pylist() for f in sets}  # the file itself names the recipe


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> tuple[dict, int]:
    """What is left where nothing fails, and how many questions that takes."""
    folder, endpoint = tmp_path_factory.mktemp("quiet"), Endpoint()
    with served(endpoint) as url:
        left = build(folder / "out", folder / "cache", base_url=url)
    assert set(endpoint.questions.values()) == {1}
    return left, endpoint.answered


def test_another_family_asks_nothing_that_was_answered(tmp_path, quiet):
    expected, questions = quiet
    endpoint = Endpoint()
    with served(endpoint) as url:
        for family in ("auto", "none", "mistral"):
            assert build(tmp_path / family, tmp_path / "cache", base_url=url, family=family) == expected
    assert endpoint.answered == questions


def test_five_in_a_hundred_faults_of_every_kind_lose_and_double_nothing(tmp_path, quiet):
    expected, questions = quiet
    assert questions == 2 * ROWS
    endpoint = Endpoint(share=0.05, kind="mixed")
    with served(endpoint) as url:
        assert build(tmp_path / "out", tmp_path / "cache", base_url=url, timeout=1) == expected
    assert set(endpoint.mixed) == set(MIXED)  # each kind came
    assert endpoint.mixed.total() >= 20
    assert endpoint.answered == len(endpoint.questions) == questions  # each question once
    assert endpoint.questions.total() == questions + endpoint.mixed.total()


def test_an_endpoint_that_dies_in_the_midst_and_comes_back_changes_nothing(tmp_path, quiet):
    expected, questions = quiet
    lasting, dying = Endpoint(delay=0.05), Endpoint(delay=0.01)  # slow enough that the other is missed for a second
    seen = {}

    def die_and_come_back(doors: contextlib.ExitStack, port: int) -> None:
        wait_for(lambda: dying.answered >= 60)
        doors.close()
        seen["dead"] = dying.answered
        before = lasting.answered
        wait_for(lambda: lasting.answered >= before + 60)
        seen["still"] = dying.answered
        doors.enter_context(served(dying, port))

    with served(lasting) as steady, contextlib.ExitStack() as doors:
        url = doors.enter_context(served(dying))
        thread = threading.Thread(target=die_and_come_back, args=(doors, int(url.split(":")[2].removesuffix("/v1"))))
        thread.start()
        several = [{"base_url": steady}, {"base_url": url, "weight": 2}]
        left = build(tmp_path / "out", tmp_path / "cache", endpoints=several)
        thread.join()
    assert left == expected
    assert seen["dead"] == seen["still"]
    assert dying.answered > seen["still"] + 20  # it was asked again
    assert lasting.answered + dying.answered == questions


def wait_for(there) -> None:
    for _ in range(20_000):
        if there():
            return
        time.sleep(0.001)
    raise TimeoutError


def test_a_run_whose_servers_all_died_goes_on_where_it_was(tmp_path, quiet):
    expected, questions = quiet
    endpoint = Endpoint()
    endpoint.faults["delay"] = 0.005
    with served(endpoint) as url:
        stopped = threading.Thread(target=lambda: (wait_for(lambda: endpoint.answered > 200), broken(endpoint)))
        stopped.start()
        with pytest.raises(EngineError, match="keeps answering 502"):
            build(tmp_path / "out", tmp_path / "cache", base_url=url, retries=1)
        stopped.join()
        before = endpoint.answered
        assert 200 < before < questions
        endpoint.faults = NO_FAULTS
        assert build(tmp_path / "out", tmp_path / "cache", base_url=url, retries=1) == expected
    assert endpoint.answered == questions


def broken(endpoint: Endpoint) -> None:
    endpoint.faults = NO_FAULTS | {"share": 1, "times": 10**6, "status": 502}


def test_no_key_of_any_endpoint_is_in_what_a_run_leaves(tmp_path, monkeypatch, caplog):
    keys = {"PAIRWRIGHT_TEST_KEY": "sk-of-the-first", "PAIRWRIGHT_TEST_OTHER_KEY": "sk-of-the-second"}
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    said = " and ".join(keys.values())
    first, second = (Endpoint(key, share=0.2, times=99, status=400, message=f"wrong: {said}") for key in keys.values())
    with served(first) as url, served(second) as other:
        several = [{"base_url": u, "api_key_env": name} for u, name in zip((url, other), keys, strict=True)]
        build(tmp_path / "out", tmp_path / "cache", endpoints=several)
    assert first.answered > 0
    assert second.answered > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"wrong: *** and ***" in path.read_bytes() for path in files)  # what was repeated is kept without them
    leaks = [path for path in files for key in keys.values() if key.encode() in path.read_bytes()]
    assert leaks == []
    assert not any(key in caplog.text for key in keys.values())
