"""What all tests share: quiet, offline libraries, and the fixtures that are dear to make."""

import os
from pathlib import Path

# before anything imports them: one thread (two engines on two cores fight), no compiler, no network, no telemetry
QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)

import pytest  # noqa: E402

from tests.support import chromium  # noqa: E402
from tests.support.quick import pytest_addoption, pytest_collection_modifyitems, pytest_configure  # noqa: E402, F401 - its hooks


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Not for the whole session: as long as it runs, this thread has an event loop and takes no other."""
    from playwright.sync_api import sync_playwright

    path = chromium.find()
    if path is None:
        pytest.fail("no Chromium: install the package `chromium`, or run `.venv/bin/playwright install chromium`")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def runner():
    """One event loop for the engines that outlive a test: `runner.run(coroutine)`."""
    import asyncio

    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def media_store(tmp_path_factory):
    """A media store that all tests may add to."""
    from pipeline.storage.media_store import FolderStore

    return FolderStore(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def vllm_engine(runner, media_store):
    """The tiny model in vLLM: two images, a video and a sound at most, 4096 tokens, media from `media_store`."""
    from pipeline.engines import vllm

    settings = vllm.Settings(
        model=str(Path(__file__).parents[1] / "data" / "models" / "tiny"), max_model_len=4096,
        limit_mm_per_prompt={"image": 2, "video": 1, "audio": 1},
    )  # fmt: skip
    engine = runner.run(vllm.connect(settings, media_store))
    yield engine
    runner.run(engine.close())


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    """A Label Studio server, shared: a test makes projects of its own there and counts on nothing else."""
    from annotators.label_studio.local import local_server

    with local_server.start(tmp_path_factory.mktemp("label-studio")) as server:
        yield server


@pytest.fixture(scope="session")
def sign_in(label_studio):
    """`sign_in("ann")`: an httpx client that speaks to Label Studio as this annotator, who is made when new."""
    import httpx

    from annotators.label_studio.local import local_server

    clients = {}

    def sign_in(name: str) -> httpx.Client:
        if name not in clients:
            key = local_server.people(label_studio, [name])[name].key
            headers = {"Authorization": f"Token {key}"}
            clients[name] = httpx.Client(base_url=label_studio.url, headers=headers, timeout=60)
        return clients[name]

    yield sign_in
    for client in clients.values():
        client.close()
