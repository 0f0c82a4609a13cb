"""Access control of `pairwright serve`: everything is derived from one secret and compared in constant time.

The labeling server gets only two things: a key pair that can read the media of tasks, and per project a header that can trigger a pull.
The secret cannot be derived from either. The labeling server presigns links to media as for S3 (AWS Signature Version 4) when a task
is viewed."""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from schemas.errors import UserError

HEADER = "X-Pairwright-Signature"
SKEW = 15 * 60  # tolerated difference of the clocks in seconds, as for S3
LONGEST = 7 * 24 * 3600  # maximum validity of a link in seconds, as for S3
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=(\w+)")
_CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/s3/aws4_request")


class Denied(Exception):
    """A request for media without a valid signature. `code` is S3's error code."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def keys(secret: str) -> tuple[str, str]:
    """(access key, secret key) for the labeling server's S3 storage. UserError for a secret of fewer than 32 characters."""
    return "PW" + _derived(secret, "access key")[:18].upper(), _derived(secret, "secret key")


def webhook_headers(secret: str, project: str) -> dict[str, str]:
    """The static signature header of a project's webhook. UserError for a secret of fewer than 32 characters."""
    return {HEADER: _derived(secret, f"webhook/{project}")}


def check_webhook(secret: str, project: str, headers: Mapping[str, str]) -> bool:
    """Whether a request to a project's webhook has the right signature header."""
    expected = webhook_headers(secret, project)[HEADER]
    return hmac.compare_digest(expected.encode(), headers.get(HEADER, "").encode())


def check_media(method: str, path: str, query: str, headers: Mapping[str, str], pair: tuple[str, str]) -> int:
    """The seconds for which the request remains valid.

    Denied unless it is signed with the key pair, in its query (a presigned link) or headers, and has not expired. `path` and `query`
    must be as received, undecoded; header names in lower case."""
    if not path.startswith("/") or "#" in path + query:
        raise Denied("AccessDenied", "this is not an S3 path")
    claimed = _from_query(query) if "X-Amz-" in query else _from_headers(headers)
    access, day, region = claimed.credential
    left = _seconds_left(claimed, day)
    if not hmac.compare_digest(access.encode(), pair[0].encode()):
        raise Denied("InvalidAccessKeyId", "unknown access key")
    if "host" not in claimed.names:
        raise Denied("AccessDenied", "the header Host must be signed")
    signer = claimed.signer(Credentials(*pair), "s3", region)
    unsigned = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
    request = AWSRequest(
        method, f"http://media{path}?{unsigned}", {name: headers.get(name, "") for name in claimed.names}
    )
    request.context["timestamp"] = claimed.date
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected.encode(), claimed.signature.encode()):
        raise Denied("SignatureDoesNotMatch", "the signature does not match the request and the keys")
    return left


class _Claimed(NamedTuple):
    """The signature as the request states it."""

    signer: type[S3SigV4Auth] | type[S3SigV4QueryAuth]
    credential: tuple[str, str, str]  # access key, day, region
    date: str
    seconds: int  # validity
    names: list[str]  # of the signed headers
    signature: str


def _from_query(query: str) -> _Claimed:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
        values = dict(pairs)
        if len(values) < len(pairs) or values["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
            raise ValueError
        seconds = int(values["X-Amz-Expires"]) if re.fullmatch(r"[0-9]{1,6}", values["X-Amz-Expires"]) else 0
        if not 1 <= seconds <= LONGEST:
            raise ValueError
        return _Claimed(
            S3SigV4QueryAuth, _credential(values["X-Amz-Credential"]), values["X-Amz-Date"], seconds,
            values["X-Amz-SignedHeaders"].split(";"), values["X-Amz-Signature"],
        )  # fmt: skip
    except (KeyError, ValueError):
        raise Denied("AuthorizationQueryParametersError", "this is not a presigned link of this server") from None


def _from_headers(headers: Mapping[str, str]) -> _Claimed:
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not found:
        raise Denied("AccessDenied", "requests must be signed")
    try:
        credential = _credential(found[1])
    except ValueError:
        raise Denied("AuthorizationHeaderMalformed", "the header Authorization cannot be read") from None
    return _Claimed(S3SigV4Auth, credential, headers.get("x-amz-date", ""), SKEW, found[2].split(";"), found[3])


def _credential(text: str) -> tuple[str, str, str]:
    found = _CREDENTIAL.fullmatch(text)
    if not found:
        raise ValueError
    return found[1], found[2], found[3]


def _seconds_left(claimed: _Claimed, day: str) -> int:
    try:
        start = datetime.strptime(claimed.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Denied("AccessDenied", "the signature's date cannot be read") from None
    if not claimed.date.startswith(day):
        raise Denied("AccessDenied", "the signature has two different dates")
    age = time.time() - start
    if age < -SKEW:
        raise Denied("AccessDenied", "the signature is from the future; synchronise both servers' clocks")
    if age > claimed.seconds:
        raise Denied("AccessDenied", "Request has expired")
    return int(claimed.seconds - age)


def _derived(secret: str, label: str) -> str:
    if len(secret) < 32:
        raise UserError(
            "PAIRWRIGHT_SERVE_SECRET must have 32 characters or more; create one with `openssl rand -hex 32` and keep it"
        )
    return hmac.new(secret.encode(), f"pairwright serve: {label}".encode(), hashlib.sha256).hexdigest()
