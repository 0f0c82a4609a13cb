"""A file from a web server that nobody here vouches for.

Rows name URLs, and a row may come from anyone: one that points into the private network, or redirects there, would make this
machine fetch what only it may see. So every address is checked after its name was resolved, at each redirect, and the
connection goes to the address that was checked, not to the name, which could resolve to another one a moment later.
Time and size are bounded whatever the server says; of credentials nothing is repeated."""

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
REDIRECTS, TRIES, IDLE = 5, 3, 15.0  # IDLE: seconds in which something must come
_AGAIN = (429, 500, 502, 503, 504)
_NEVER = [  # link-local, clouds' own, and what older Pythons take for public
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
_EMBEDDED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind a translator
_deadline: ContextVar[float] = ContextVar("deadline")


class Limits(Base):
    """What is fetched from URLs, and how."""

    allow_private: tuple[str, ...] = ()
    """Hosts that may have private addresses and any port: your own servers. Metadata services stay out of reach."""
    max_bytes: int = Field(256 << 20, ge=1, le=4 << 30)
    """The largest file that is taken."""
    seconds: float = Field(60, gt=0, le=3600)
    """How long a file may take, redirects and retries included."""
    at_once: int = Field(8, ge=1, le=64)
    """How many files are fetched at a time."""
    schemes: tuple[ObjectStore, ...] = ()
    """Object stores whose objects rows may name, as s3 or gs: they are read with your own rights. Those of the recipe's paths are allowed anyway."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump):
        """Where none is listed, what it was before there was such a list: runs are named by it."""
        return {name: value for name, value in dump(self).items() if name != "schemes" or value}


class Fetched(NamedTuple):
    size: int | None  # None: not modified
    validator: str | None  # ETag or Last-Modified, as the server gave it


class Fetcher:
    """Fetches over HTTP(S), from any number of threads at once."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), max_connections=limits.at_once, keepalive_expiry=5,
            network_backend=_Guard({host.lower().strip("[]") for host in limits.allow_private}),
        )  # fmt: skip

    def get(self, url: str, known: str | None = None) -> tuple[bytes | None, str | None]:
        """(bytes, validator) of a file; (None, validator) when it is still the one whose validator was `known`.

        RowError: UNSAFE (an address, port or scheme that is refused), TOO_LARGE, MISSING_FILE (404, 410), UNREACHABLE
        (anything else that the server does or does not do)."""
        data = bytearray()
        found = self.download(url, data.extend, self._limits.max_bytes, self._limits.seconds, known, data.clear)
        return (None if found.size is None else bytes(data)), found.validator

    def download(
        self, url: str, write: Callable[[bytes], object], max_bytes: int, seconds: float,
        known: str | None = None, rewind: Callable[[], object] = lambda: None,
    ) -> Fetched:  # fmt: skip
        """Hands the bytes to `write` as they come; `rewind` is called before each new try. Raises as `get` does."""
        end = time.monotonic() + seconds
        token = _deadline.set(end)
        try:
            for attempt in range(TRIES):
                rewind()
                wait, trouble = 0.5 * 2**attempt, ""
                try:
                    found = self._follow(url, write, max_bytes, known)
                except _Refused as refused:
                    raise _unsafe(clean(url), str(refused)) from None
                except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, ValueError) as error:
                    trouble = _TROUBLE.get(type(error), "broke the connection or sent what is no HTTP")
                else:
                    if isinstance(found, Fetched):
                        return found
                    status, after = found
                    trouble, wait = f"answered {status}", max(wait, after)
                if attempt == TRIES - 1 or time.monotonic() + wait >= end:
                    break
                time.sleep(wait)
            raise RowError(
                Reason.UNREACHABLE, f"{clean(url)}: the server {trouble}; try again later or mend the address"
            )
        finally:
            _deadline.reset(token)

    def close(self) -> None:
        self._pool.close()

    def _follow(self, url: str, write, max_bytes: int, known: str | None) -> Fetched | tuple[int, float]:
        """What came of one try, through its redirects: the file, or the status and the seconds to wait after it."""
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
                    headers.pop("authorization", None)  # it was for the first host
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
                        f"{clean(url)} is not there ({status}); mend the address or drop the row",
                    )
                if status != 200:
                    raise RowError(
                        Reason.UNREACHABLE,
                        f"{clean(url)}: the server answered {status}; see whether it needs credentials",
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
        raise RowError(
            Reason.UNSAFE, f"{clean(url)} redirects more than {REDIRECTS} times; give the address where it ends"
        )

    def _ask(self, target: URL, headers: dict[str, str]):
        address = httpcore.URL(
            scheme=target.scheme, host=target.raw_host or "", port=target.port, target=target.raw_path_qs or "/"
        )
        sent: dict[bytes | str, bytes | str] = {"host": target.host_port_subcomponent or "", **headers}
        patience = {"connect": IDLE, "read": IDLE, "write": IDLE, "pool": None}
        return self._pool.stream("GET", address, headers=sent, extensions={"timeout": patience})


class _Refused(Exception):
    """An address or port that must not be connected to."""


class _Guard(httpcore.NetworkBackend):
    """Resolves a name once, checks every address it has, and connects to those."""

    def __init__(self, private: set[str]):
        self._private, self._inner = private, httpcore.SyncBackend()

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        own = host.lower() in self._private
        if port not in PORTS and not own:
            raise _Refused(f"port {port} is none of {', '.join(map(str, PORTS))}; list the host in fetch.allow_private")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            raise httpcore.ConnectError(_NO_NAME) from None
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for address in addresses:
            if not reachable(address, own):
                raise _Refused(
                    "its server, or one it redirects to, has a private or special address; "
                    "list your own servers in fetch.allow_private"
                )
        trouble: Exception = httpcore.ConnectError(_NO_NAME)
        for address in addresses:
            try:
                return _Timed(self._inner.connect_tcp(address, port, _left(timeout), local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
        raise trouble


class _Timed(httpcore.NetworkStream):
    """A stream on which nothing lasts beyond the deadline of the fetch that uses it, however slowly bytes trickle."""

    def __init__(self, inner: httpcore.NetworkStream):
        self._inner = inner

    def read(self, max_bytes, timeout=None):
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer, timeout=None):
        self._inner.write(buffer, _left(timeout))

    def close(self):
        self._inner.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info):
        return self._inner.get_extra_info(info)


def reachable(address: str, private: bool) -> bool:
    """Whether an IP address may be connected to; `private`: those of one's own network too. Link-local addresses and
    metadata services never, nor what is no address of one machine."""
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
        raise _unsafe(name, "it, or what it redirects to, is no address") from None
    if url.scheme not in WEB or not url.raw_host or port is None:
        raise _unsafe(name, "it, or what it redirects to, is no http or https address")
    return url


def _basic(url: URL) -> str:
    return "Basic " + base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()


def _retry_after(text: str) -> float:
    """Seconds that a server asks to be left alone: a number, or a date; 0 when it does not say."""
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _unsafe(name: str, why: str) -> RowError:
    return RowError(Reason.UNSAFE, f"{name} is not fetched: {why}")


def _too_large(url: str, max_bytes: int) -> RowError:
    return RowError(
        Reason.TOO_LARGE,
        f"{clean(url)} is larger than {max_bytes:,} bytes; raise fetch.max_bytes or drop the row",
    )


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


_NO_NAME = "no such host"
_TROUBLE = {
    httpcore.ConnectError: "cannot be reached", httpcore.ConnectTimeout: "cannot be reached",
    httpcore.ReadTimeout: "is too slow", httpcore.WriteTimeout: "is too slow", httpcore.PoolTimeout: "is too slow",
}  # fmt: skip
