"""What tests of flows share: a Prefect server with a worker, and the scripted endpoint."""

import os
import socket

import httpx
import pytest

from tests.support.endpoint import Endpoint, served
from tests.support.prefect_server import ROOT, SERVER, Patient, documented, healthy, running, shell, wait_for


@pytest.fixture(scope="session")
def prefect_environment(tmp_path_factory):
    """What every Prefect process of these tests sees: a server on a free port, its database in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **os.environ,
        "PWD": str(ROOT),  # prefect.yaml's working directory
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),  # the server makes a folder of its own there
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


@pytest.fixture(scope="session")
def prefect_api(prefect_environment):
    """A client of the server's API."""
    with (
        running("server", SERVER, prefect_environment | {"HOME": prefect_environment["PREFECT_HOME"]}),
        httpx.Client(base_url=prefect_environment["PREFECT_API_URL"], transport=Patient()) as api,
    ):
        wait_for(lambda: healthy(api), 180)
        yield api


@pytest.fixture(scope="session")
def prefect_worker(prefect_api, prefect_environment):
    shell(documented("work-pool create", prefect_environment), prefect_environment)
    with running("worker", documented("worker start", prefect_environment), prefect_environment):
        yield


@pytest.fixture(scope="session")
def endpoint():
    with served(Endpoint()) as url:
        yield url
