"""A real S3 server (moto) found by the environment, as in production."""

from contextlib import contextmanager

import fsspec
import pytest

from pipeline.storage import urls
from tests.support.s3_server import s3_server


@contextmanager
def serving(*buckets: str):
    """fsspec's filesystem of a server that has these buckets, empty."""
    with s3_server() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # instances outlive the environment they were made in
        system, _ = urls.filesystem("s3://")
        for bucket in buckets:
            system.mkdir(bucket)
        yield system
        type(system).clear_instance_cache()
