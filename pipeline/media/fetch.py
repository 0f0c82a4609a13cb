"""Fetches files from untrusted web servers.

Rows contain URLs and may come from anyone: a URL that points or redirects to a private network would make this machine fetch what only
it can reach. So each name is resolved once, all its addresses are checked, at each redirect again, and the connection goes to a checked
address rather than to the name, which could resolve differently a moment later (DNS rebinding).
Time and size are limited whatever the server sends; credentials appear in no message."""

import base64
import contextlib
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

import httpcore
from pydantic import Field, model_serializer
from yarl import URL

from pipeline.storage.urls import WEB, ObjectStore, clean
from schemas.errors import RowError
from schemas.operator import OperatorSettings as Base
from schemas.records import Reason

PORTS = (80, 443, 8080, 8443)
REDIRECTS, TRIES, IDLE = 5, 3, 15.0  # IDLE: maximum seconds without data
_AGAIN = (429, 500, 502, 503, 504)
_NEVER = [  # link-local, cloud metadata services, and ranges that older Pythons treat as public
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "64:ff9b:1::/48",
    )
]
_EMBEDDED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind a NAT64 translator
_deadline: ContextVar[float] = ContextVar("deadline")


class Limits(Base):
    """Limits on fetching from URLs."""

    allow_private: tuple[str, ...] = ()
    """hosts that may have private addresses and any port: your own servers; metadata services remain blocked"""
    max_bytes: int = Field(256 << 20, ge=1, le=4 << 30)
    """maximum size of a file in bytes"""
    seconds: float = Field(60, gt=0, le=3600)
    """maximum seconds per file, including redirects and retries"""
    at_once: int = Field(8, ge=1, le=64)
    """number of files fetched in parallel"""
    schemes: tuple[ObjectStore, ...] = ()
    """object stores that rows may name, such as s3 or gs; they are read with your credentials; those of the recipe's own paths are always allowed"""

    @model_serializer(mode="wrap")
    def _without_empty(self, dump):
        """Leaves out empty `schemes`, so that the keys of runs from before this setting do not change."""
        return {name: value for name, value in dump(self).items() if name != "schemes" or value}


class Fetched(NamedTuple):
    size: int | None  # None: not modified
    validator: str | None  # ETag or Last-Modified, as sent by the server


class Fetcher:
    """Fetches over HTTP(S); thread-safe."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), max_connections=limits.at_once, keepalive_expiry=5,
            network_backend=_CheckedBackend({host.lower().strip("[]") for host in limits.allow_private}),
        )  # fmt: skip

    def get(self, url: str, known: str | None = None) -> tuple[bytes | None, str | None]:
        """(bytes, validator) of a file; (None, validator) if it still has the validator `known`.

        RowError: UNSAFE (refused address, port or scheme), TOO_LARGE, MISSING_FILE (404, 410), UNREACHABLE (any other failure of the server)."""
        data = bytearray()
        found = self.download(url, data.extend, self._limits.max_bytes, self._limits.seconds, known, data.clear)
        return (None if found.size is None else bytes(data)), found.validator

    def download(
        self, url: str, write: Callable[[bytes], object], max_bytes: int, seconds: float,
        known: str | None = None, rewind: Callable[[], object] = lambda: None,
    ) -> Fetched:  # fmt: skip
        """Passes the bytes to `write` as they arrive; `rewind` is called before each try. Raises RowError like `get`."""
        end = time.monotonic() + seconds
        token = _deadline.set(end)
        try:
            for attempt in range(TRIES):
                rewind()
                wait, problem = 0.5 * 2**attempt, ""
                try:
                    found = self._follow(url, write, max_bytes, known)
                except _Refused as refused:
                    raise _unsafe(clean(url), str(refused)) from None
                except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, ValueError) as error:
                    problem = _PROBLEMS.get(type(error), "closed the connection or sent invalid HTTP")
                else:
                    if isinstance(found, Fetched):
                        return found
                    status, after = found
                    problem, wait = f"answered with status {status}", max(wait, after)
                if attempt == TRIES - 1 or time.monotonic() + wait >= end:
                    break
                time.sleep(wait)
            raise RowError(
                Reason.UNREACHABLE, f"{clean(url)}: the server {problem}; try again later or correct the URL"
            )
        finally:
            _deadline.reset(token)

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()

    def _follow(self, url: str, write, max_bytes: int, known: str | None) -> Fetched | tuple[int, float]:
        """One try, following redirects: the file, or (status, seconds to wait before the next try)."""
        target = _parsed(url, clean(url))
        headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "pairwright"}
        if target.user is not None:
            headers["authorization"] = _basic(target)
        if known:
            headers["if-none-match" if known.startswith(('"', "W/")) else "if-modified-since"] = known
        for _ in range(REDIRECTS + 1):
            with self._ask(target, headers) as response:
                status = response.status
                said = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
                if status in (301, 302, 303, 307, 308) and "location" in said:
                    headers.pop("authorization", None)  # only for the first host
                    target = _parsed(said["location"], clean(url), target)
                    continue
                validator = next((v for k in ("etag", "last-modified") if (v := said.get(k)) and v.isascii()), None)
                if status == 304 and known:
                    return Fetched(None, validator or known)
                if status in _AGAIN:
                    return status, _retry_after(said.get("retry-after", ""))
                if status in (404, 410):
                    raise RowError(
                        Reason.MISSING_FILE,
                        f"{clean(url)} does not exist (status {status}); correct the URL or remove the row",
                    )
                if status != 200:
                    raise RowError(
                        Reason.UNREACHABLE,
                        f"{clean(url)}: the server answered with status {status}; check whether it needs credentials",
                    )
                length = said.get("content-length", "")
                if length.isdecimal() and float(length) > max_bytes:
                    raise _too_large(url, max_bytes)
                size = 0
                for chunk in response.iter_stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(url, max_bytes)
                    write(chunk)
                return Fetched(size, validator)
        raise RowError(Reason.UNSAFE, f"{clean(url)} redirects more than {REDIRECTS} times; use the final URL")

    def _ask(self, target: URL, headers: dict[str, str]):
        address = httpcore.URL(
            scheme=target.scheme, host=target.raw_host or "", port=target.port, target=target.raw_path_qs or "/"
        )
        sent: dict[bytes | str, bytes | str] = {"host": target.host_port_subcomponent or "", **headers}
        patience = {"connect": IDLE, "read": IDLE, "write": IDLE, "pool": None}
        return self._pool.stream("GET", address, headers=sent, extensions={"timeout": patience})


class _Refused(Exception):
    """An address or port that must not be connected to."""


class _CheckedBackend(httpcore.NetworkBackend):
    """Resolves a name once, checks all its addresses, and connects only to those."""

    def __init__(self, private: set[str]):
        self._private, self._inner = private, httpcore.SyncBackend()

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        own = host.lower() in self._private
        if port not in PORTS and not own:
            raise _Refused(
                f"port {port} is not one of {', '.join(map(str, PORTS))}; list the host in fetch.allow_private"
            )
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            raise httpcore.ConnectError(_NO_NAME) from None
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for address in addresses:
            if not reachable(address, own):
                raise _Refused(
                    "its server, or one that it redirects to, has a private or special address; "
                    "list your own servers in fetch.allow_private"
                )
        problem: Exception = httpcore.ConnectError(_NO_NAME)
        for address in addresses:
            try:
                return _DeadlineStream(
                    self._inner.connect_tcp(address, port, _left(timeout), local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose operations end at the fetch's deadline, however slowly bytes arrive."""

    def __init__(self, inner: httpcore.NetworkStream):
        self._inner = inner

    def read(self, max_bytes, timeout=None):
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer, timeout=None):
        self._inner.write(buffer, _left(timeout))

    def close(self):
        self._inner.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info):
        return self._inner.get_extra_info(info)


def reachable(address: str, private: bool) -> bool:
    """Whether an IP address may be connected to; `private`: also private ones. Link-local, multicast and metadata-service addresses are
    always refused. ValueError if it is not an IP address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if found in _EMBEDDED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner and not reachable(str(inner), private):
            return False
        if found.ipv4_mapped or found in _EMBEDDED:
            return True
    if found.is_multicast or found.is_unspecified or any(found in network for network in _NEVER):
        return False
    return private or found.is_global


def _left(timeout: float | None) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(left, timeout)


def _parsed(text: str, name: str, base: URL | None = None) -> URL:
    try:
        url = URL(text) if base is None else base.join(URL(text))
        port = url.port
    except ValueError:
        raise _unsafe(name, "it, or its redirect target, is not a valid URL") from None
    if url.scheme not in WEB or not url.raw_host or port is None:
        raise _unsafe(name, "it, or its redirect target, is not an http or https URL")
    return url


def _basic(url: URL) -> str:
    return "Basic " + base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()


def _retry_after(text: str) -> float:
    """Seconds to wait by a Retry-After header: a number or a date; 0 if missing or invalid."""
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _unsafe(name: str, why: str) -> RowError:
    return RowError(Reason.UNSAFE, f"{name} was not fetched: {why}")


def _too_large(url: str, max_bytes: int) -> RowError:
    return RowError(
        Reason.TOO_LARGE,
        f"{clean(url)} is larger than {max_bytes:,} bytes; raise fetch.max_bytes or remove the row",
    )


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


_NO_NAME = "unknown host"
_PROBLEMS = {
    httpcore.ConnectError: "cannot be reached", httpcore.ConnectTimeout: "cannot be reached",
    httpcore.ReadTimeout: "is too slow", httpcore.WriteTimeout: "is too slow", httpcore.PoolTimeout: "is too slow",
}  # fmt: skip
