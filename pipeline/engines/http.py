"""HTTP/1.1 to one server over pyreqwest, Rust's reqwest: connections are kept; proxies of the environment and compression are its work.

What is ours: how large an answer may be, which redirects are followed, and errors in the words of the standard library."""

import functools
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import NamedTuple

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.response import BaseResponse
from yarl import URL

CONNECT = 30.0  # seconds until a server that takes no connection is unreachable
LONGEST_BODY = 32 << 20  # bytes: twice what 16 answers of 8,192 tokens with log-probabilities have
HOPS = 3  # redirects that are followed one after the other
HEADERS = ("retry-after", "location")  # that anybody asks for
MOVED = {301, 302, 307, 308}  # the same request belongs elsewhere


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # those of HEADERS that it has, of an answer that is not 200
    body: bytes


class Unreachable(OSError):
    """No connection to the server can be made."""


class Untrusted(Unreachable):
    """The server's TLS certificate is not trusted."""


class TooLarge(OSError):
    """The answer has more than LONGEST_BODY bytes; the rest was not read."""


class Http:
    """Connections to the server of `url`, opened when they are needed, any number of them at once.

    A request that is cancelled is given up here at once; the server may work on it for `timeout` seconds at most."""

    def __init__(self, url: URL, headers: dict[str, str], timeout: float):
        self._origin, self._headers, self._timeout = str(url.origin()), headers, timeout
        self._client: Client | None = None
        self._parsed = functools.lru_cache(8)(Url)  # by path

    def get(self, path: str) -> Awaitable[Response]:
        return self._ask("GET", path, b"")

    def post(self, path: str, body: Sequence[bytes]) -> Awaitable[Response]:
        """Sends a JSON body given in pieces. Unreachable, TimeoutError, TooLarge, or ConnectionError when the answer breaks off."""
        return self._ask("POST", path, b"".join(body))

    def close(self) -> None:
        """Forgets the connections that rest; a request that comes later opens others."""
        self._client = None

    async def _ask(self, method: str, path: str, body: bytes) -> Response:
        url = self._origin + path
        response = await self._once(method, url, body)
        for _ in range(HOPS):
            to = self._here(url, response) if response.status in MOVED else None
            if to is None:
                break
            response = await self._once(method, url := to, body)
        return response

    async def _once(self, method: str, url: str, body: bytes) -> Response:
        client = self._client = self._client or self._made()
        try:
            request = client.request(method, self._parsed(url))
            if body:
                request = request.body_bytes(body)
            async with request.build_streamed() as answer:
                read = await answer.body_reader.read(LONGEST_BODY + 1)
                said = read.to_bytes() if read else b""
                if len(said) > LONGEST_BODY:
                    raise TooLarge(f"more than {LONGEST_BODY >> 20} MB")
                status = answer.status
                return Response(status, {} if status == 200 else _headers(answer), said)
        except PyreqwestError as error:
            raise _translated(error) from error

    def _here(self, url: str, response: Response) -> str | None:
        """Where a redirect leads if that is the same server: a key goes to no other than the one that it was named for."""
        try:
            to = URL(url).join(URL(response.headers["location"]))
            return str(to) if str(to.origin()) == self._origin else None
        except (LookupError, ValueError):
            return None

    def _made(self) -> Client:
        return (
            ClientBuilder()
            .timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(self._timeout, CONNECT)))
            .default_headers(self._headers)
            .user_agent("pairwright")
            .follow_redirects(False)
            .build()
        )


def _headers(answer: BaseResponse) -> dict[str, str]:
    found = {}
    for name in HEADERS:
        try:
            value = answer.get_header(name)
        except ValueError:  # bytes that are no text
            continue
        if value is not None:
            found[name] = value
    return found


def _translated(error: PyreqwestError) -> OSError:
    causes = [error.message]
    if isinstance(error, DetailedPyreqwestError) and error.details["causes"]:
        causes = [cause["message"] for cause in error.details["causes"]]
    if "certificate" in causes[-1]:
        return Untrusted(causes[-1])
    if "client error (Connect)" in causes:
        return Unreachable(causes[-1])
    return TimeoutError(causes[-1]) if isinstance(error, RequestTimeoutError) else ConnectionError(causes[-1])
