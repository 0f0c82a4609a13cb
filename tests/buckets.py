"""A real S3 server (moto) on loopback, found by the environment, as in production."""

import os
import urllib.request
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from pipeline import urls


@contextmanager
def serving(*buckets: str):
    """fsspec's filesystem of a server that has these buckets, empty."""
    moto = ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*moto.get_host_and_port()))
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
            urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset", b"").close()  # what another left
            fsspec.get_filesystem_class(
                "s3"
            ).clear_instance_cache()  # instances outlive the environment they were made in
            system, _ = urls.filesystem("s3://")
            for bucket in buckets:
                system.mkdir(bucket)
            yield system
            type(system).clear_instance_cache()
    finally:
        moto.stop()
