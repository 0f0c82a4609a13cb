"""Media for annotators in a bucket: a run uploads them, Label Studio signs a link when somebody looks."""

import hashlib
from contextlib import closing

import boto3
import httpx
import pytest

from annotators.people.ledger import Ledger
from tests.support.asked import environment_of, pairwright, write_recipe
from tests.support.s3_server import s3_server

OURS = {"AWS_ACCESS_KEY_ID": "our-key-may-write", "AWS_SECRET_ACCESS_KEY": "our-secret"}
THEIRS = {"PAIRWRIGHT_S3_KEY": "a-key-that-reads", "PAIRWRIGHT_S3_SECRET": "a-secret-that-reads"}
SHARES = {"image": 1, "multi_image": 1, "video": 1, "audio": 1}
TYPES = {"image/png", "video/mp4", "audio/flac"}


@pytest.fixture(scope="module")
def bucket():
    """An S3 server with the empty bucket `campaign`."""
    with s3_server() as address:
        client = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"
        )
        client.create_bucket(Bucket="campaign")
        yield client


@pytest.fixture
def environment(label_studio, bucket):
    return environment_of(label_studio, AWS_ENDPOINT_URL=bucket.meta.endpoint_url, **OURS, **THEIRS)


def objects(bucket) -> dict[str, tuple[bytes, str]]:
    """{key: (bytes, media type)}"""
    found = {}
    for each in bucket.list_objects_v2(Bucket="campaign").get("Contents", ()):
        answer = bucket.get_object(Bucket="campaign", Key=each["Key"])
        found[each["Key"]] = answer["Body"].read(), answer["ContentType"]
    return found


def test_media_are_uploaded_once_and_seen_through_a_link_signed_for_the_view(
    tmp_path, environment, label_studio, sign_in, bucket, endpoint
):
    recipe = write_recipe(tmp_path, endpoint, 8, SHARES, media="s3://campaign/some/where")
    out = tmp_path / "run"
    said = pairwright(environment, "build", recipe, "--out", out, "--cache", tmp_path / "cache")
    assert "waiting" in said
    with closing(Ledger(out / "people" / "people")) as ledger:
        asked = {ledger.task_of(question.uid): question for question in ledger.questions()}
    held = objects(bucket)
    shown = {sha for question in asked.values() for sha, _ in question.media}
    assert {hashlib.sha256(data).hexdigest() for data, _ in held.values()} == shown
    assert {mime for _, mime in held.values()} == TYPES
    ann = sign_in("ann")
    for task, question in asked.items():
        links = [value for value in ann.get(f"/api/tasks/{task}").json()["data"].values() if "/resolve/" in str(value)]
        assert len(links) == len(question.media)
        for link, (sha, mime) in zip(links, question.media, strict=True):
            signed = ann.get(link.replace(label_studio.url, ""), follow_redirects=False).headers["location"]
            assert signed.startswith(f"{bucket.meta.endpoint_url}/campaign/some/where/{sha}.")
            assert "Signature" in signed
            medium = httpx.get(signed)
            assert hashlib.sha256(medium.content).hexdigest() == sha
            assert medium.headers["content-type"] == mime
    stamps = [each["LastModified"] for each in bucket.list_objects_v2(Bucket="campaign")["Contents"]]
    for task in asked:  # somebody deletes all of it: it is asked anew, with the media that are there
        ann.delete(f"/api/tasks/{task}").raise_for_status()
    assert "8 lost" in pairwright(environment, "annotate", "reconcile", out)
    assert "8 sent" in pairwright(environment, "annotate", "push", out)
    assert [each["LastModified"] for each in bucket.list_objects_v2(Bucket="campaign")["Contents"]] == stamps
    left = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert [secret for secret in (*OURS.values(), *THEIRS.values()) if secret.encode() in left] == []


def test_a_bucket_that_is_not_there_or_keys_that_are_missing_are_said_in_a_line(tmp_path, environment, endpoint):
    recipe = write_recipe(tmp_path, endpoint, 2, media="s3://elsewhere")
    build = ("build", recipe, "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    keyless = {name: value for name, value in environment.items() if name != "PAIRWRIGHT_S3_KEY"}
    assert "PAIRWRIGHT_S3_KEY is not set" in pairwright(keyless, *build, code=2)
    said = pairwright(environment, *build, code=1)
    assert "elsewhere" in said
    assert "check" in said
    assert [secret for secret in (*OURS.values(), *THEIRS.values()) if secret in said] == []
    unsigned = {name: value for name, value in environment.items() if name not in OURS}
    said = pairwright(unsigned, *build, code=1)
    assert "s3://elsewhere cannot be written" in said
