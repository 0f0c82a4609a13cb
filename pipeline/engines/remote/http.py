"""HTTP/1.1 to one server over libcurl, which handles keep-alive, proxies from the environment, TLS and compression.

This module limits the size of replies, decides which redirects are followed, and raises the standard library's errors. Transfers run in
the caller's event loop, which tells libcurl when a socket is ready: no thread competes for Python's GIL."""

import asyncio
import math
import os
import select
import socket
import ssl
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import certifi
import pycurl
from yarl import URL

CONNECT = 30.0  # connection timeout in seconds
LONGEST_BODY = 32 << 20  # bytes: twice the size of 16 answers of 8,192 tokens with log-probabilities
KEPT = 4096  # maximum idle connections: as many as a model may have slots
PIECE = 256 << 10  # read buffer in bytes
HOPS = 3  # maximum redirects in a row
HEADERS = ("retry-after", "location")  # the headers that are kept
MOVED = {301, 302, 307, 308}  # redirects that repeat the same request
NO_CONNECTION = {
    pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT, pycurl.E_SSL_CONNECT_ERROR, 97,  # 97: proxy error
    pycurl.E_URL_MALFORMAT,
}  # fmt: skip
EVENTS = (
    0,
    select.EPOLLIN,
    select.EPOLLOUT,
    select.EPOLLIN | select.EPOLLOUT,
)  # indexed by libcurl's pycurl.POLL_NONE, _IN, _OUT, _INOUT
ACTIONS = {
    events: (0, pycurl.CSELECT_IN, pycurl.CSELECT_OUT, pycurl.CSELECT_IN | pycurl.CSELECT_OUT)[i]
    for i, events in enumerate(EVENTS)
}
NO_TRUST = {pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_ISSUER_ERROR}


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # those in HEADERS; empty for status 200
    body: bytes


class Unreachable(OSError):
    """Cannot connect to the server."""


class Untrusted(Unreachable):
    """The server's TLS certificate is not trusted."""


class TooLarge(OSError):
    """The reply has more than LONGEST_BODY bytes; the rest was not read."""


class Http:
    """Connections to the server of `url`, opened on demand; any number of requests at a time."""

    def __init__(self, url: URL, headers: dict[str, str], timeout: float):
        self._origin, self._url, self._timeout = str(url.origin()), url, timeout
        self._headers = [*(f"{name}: {value}" for name, value in headers.items()), "Expect:", "User-Agent: pairwright"]
        self._proxy, _ = proxy(url)
        self._transfers: _Transfers | None = None

    def get(self, path: str) -> Awaitable[Response]:
        return self._ask(path, None)

    def post(self, path: str, body: Sequence[bytes]) -> Awaitable[Response]:
        """Sends a JSON body given in pieces. Raises Unreachable, TimeoutError, TooLarge, or ConnectionError for a truncated reply."""
        return self._ask(path, b"".join(body))

    def close(self) -> None:
        """Closes the idle connections; a later request opens new ones."""
        if self._transfers is not None:
            self._transfers.close()
            self._transfers = None

    async def _ask(self, path: str, body: bytes | None) -> Response:
        url = self._origin + path
        response = await self._once(url, body)
        for _ in range(HOPS):
            to = self._redirect(url, response) if response.status in MOVED else None
            if to is None:
                break
            response = await self._once(url := to, body)
        return response

    async def _once(self, url: str, body: bytes | None) -> Response:
        transfers = self._transfers
        if transfers is None or transfers.loop is not asyncio.get_running_loop():
            self.close()
            transfers = self._transfers = _Transfers()
        transfer = transfers.free.pop() if transfers.free else self._transfer()
        return await transfers.run(transfer, url, body)

    def _redirect(self, url: str, response: Response) -> str | None:
        """The target of a redirect if it is on the same server, else None: a key is only sent to the server it was given for."""
        try:
            to = URL(url).join(URL(response.headers["location"]))
            return str(to) if str(to.origin()) == self._origin else None
        except (LookupError, ValueError):
            return None

    def _transfer(self) -> "_Transfer":
        transfer = _Transfer()
        curl = transfer.curl
        curl.setopt(pycurl.HTTPHEADER, self._headers)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(self._timeout * 1000)))
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(min(self._timeout, CONNECT) * 1000)))
        curl.setopt(pycurl.PROXY, self._proxy)  # libcurl itself reads HTTP_PROXY in lower case only
        if self._url.scheme == "https":
            curl.setopt(
                pycurl.CAINFO,
                os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where(),
            )
        return transfer


def proxy(url: URL) -> tuple[str, str]:
    """(proxy for this URL, name of the environment variable that sets it); two empty strings without a proxy."""
    known = {} if proxy_bypass(url.host or "") else getproxies()
    found = ((known[kind], f"{kind.upper()}_PROXY") for kind in (url.scheme, "all") if known.get(kind))
    return next(found, ("", ""))


class _Transfer:
    """One request at a time and its reply; reused."""

    def __init__(self):
        self.body: list[bytes] = []
        self.head: list[bytes] = []  # header lines of the reply
        self.size = 0
        self.url = ""  # the URL that curl is set to
        self.future: asyncio.Future[None] | None = None
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.ACCEPT_ENCODING, "")  # all that this libcurl can decompress
        curl.setopt(pycurl.BUFFERSIZE, PIECE)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)
        curl.setopt(pycurl.HEADERFUNCTION, self.head.append)

    def _take(self, piece: bytes) -> int | None:
        self.size += len(piece)
        if self.size > LONGEST_BODY:
            return 0  # aborts the transfer
        self.body.append(piece)
        return None

    def response(self) -> Response:
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        return Response(status, {} if status == 200 else _headers(self.head), b"".join(self.body))

    def error(self, code: int, message: str) -> OSError:
        message = message or f"libcurl error {code}"
        if self.size > LONGEST_BODY:
            return TooLarge(f"more than {LONGEST_BODY >> 20} MB")
        if code in NO_TRUST:
            return Untrusted(message)
        if code == pycurl.E_OPERATION_TIMEDOUT and self.curl.getinfo(pycurl.PRETRANSFER_TIME):
            return TimeoutError(message)
        if code in NO_CONNECTION or code == pycurl.E_OPERATION_TIMEDOUT:
            return Unreachable(message)
        return ConnectionError(message)

    def reset(self) -> None:
        self.body.clear()
        self.head.clear()
        self.size, self.future = 0, None


class _Transfers:
    """The transfers of one event loop: libcurl's multi interface, driven by the loop. Sockets are registered with our own epoll, which the
    loop watches: idle connections stay registered, and any number of ready ones costs the loop one call."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.free: list[_Transfer] = []
        self._running: dict[pycurl.Curl, _Transfer] = {}
        self._closing = False
        self._sockets = select.epoll()
        # descriptor -> events waited for; entries of closed sockets stay until the descriptor is reused
        self._watched: dict[int, int] = {}
        self._inodes: dict[int, int] = {}  # descriptor -> inode of its socket
        self._resting: set[int] = set()  # descriptors of idle connections, on which no data may arrive
        self._timer: asyncio.Handle | None = None
        self._due = math.inf  # the loop's time at which the timer fires
        self.loop.add_reader(self._sockets.fileno(), self._ready)
        multi = self._multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, KEPT)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._wake)

    async def run(self, transfer: _Transfer, url: str, body: bytes | None) -> Response:
        curl = transfer.curl
        if transfer.url != url:
            transfer.url = url
            curl.setopt(pycurl.URL, url)
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.FORBID_REUSE, body is None)  # after the list of models nothing is requested for a while
        future = transfer.future = self.loop.create_future()
        self._running[curl] = transfer
        self._multi.add_handle(curl)
        try:
            await future
            return transfer.response()
        finally:
            self._multi.remove_handle(curl)  # aborts an unfinished transfer and closes its connection
            transfer.reset()
            self.free.append(transfer)
            del self._running[curl]
            if self._closing and not self._running:
                self._end()

    def close(self) -> None:
        """Closes all connections once the running transfers have finished."""
        self._closing = True
        if not self._running:
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for transfer in self.free:
            transfer.curl.close()
        self.free.clear()
        self._multi.close()
        if not self.loop.is_closed():
            self.loop.remove_reader(self._sockets.fileno())
        self._sockets.close()

    # callbacks from libcurl, and events for libcurl

    def _watch(self, what: int, file: int, multi, data) -> None:
        # idle now, or closed next; marked here, not when the reply is read: by then it may have the next request
        if what == pycurl.POLL_REMOVE:
            self._resting.add(file)
            if self._watched.get(file) == select.EPOLLIN:
                return
            what = pycurl.POLL_IN
        else:
            self._resting.discard(file)
        events = self._watched[file] = EVENTS[what]
        try:
            self._sockets.modify(file, events)
        except FileNotFoundError:  # a new socket; its descriptor may be that of a closed one
            self._sockets.register(file, events)
            self._inodes[file] = os.fstat(file).st_ino

    def _wake(self, milliseconds: int) -> None:
        """Sets the timer. Firing too early is harmless: libcurl then asks for another one."""
        if milliseconds < 0:
            return
        due = self.loop.time() + milliseconds / 1000
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        if milliseconds == 0:  # not immediately: libcurl must not be re-entered
            self._timer = self.loop.call_soon(self._timed)
        else:
            self._timer = self.loop.call_later(milliseconds / 1000, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._ready()  # first: a spoilt connection must not be chosen for a new transfer
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _ready(self) -> None:
        for file, events in self._sockets.poll(0):
            if file in self._resting:
                self._spoilt(file)
            else:  # a broken connection is noticed by the read or write that is waited for
                how = events & (select.EPOLLIN | select.EPOLLOUT) or self._watched[file]
                self._multi.socket_action(file, ACTIONS[how])
        self._settle()

    def _settle(self) -> None:
        """Resolves the futures of finished transfers."""
        left = 1
        while left:
            left, ended, failed = self._multi.info_read()
            for curl in ended:
                _settle(self._running[curl].future, None)
            for curl, code, message in failed:
                transfer = self._running[curl]
                _settle(transfer.future, transfer.error(code, message))

    def _spoilt(self, file: int) -> None:
        """Ends an idle connection on which unsolicited data arrived: libcurl would take them for the next reply."""
        self._resting.discard(file)
        with suppress(OSError):
            self._sockets.unregister(file)
            if os.fstat(file).st_ino == self._inodes[file]:  # otherwise it is closed and the descriptor was reused
                _end(file)


def _end(file: int) -> None:
    """Drains a socket and shuts it down, so that libcurl discards it."""
    with socket.socket(fileno=os.dup(file)) as spoilt:
        with suppress(BlockingIOError):
            while spoilt.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        spoilt.shutdown(socket.SHUT_RDWR)


def _settle(future: asyncio.Future[None] | None, error: OSError | None) -> None:
    if future is None or future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """The headers in HEADERS, from the last header block: 100 Continue and proxies send their own before it."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found = {}
        name, _, value = line.partition(b":")
        if (known := name.strip().lower().decode("latin-1")) in HEADERS and value.strip().isascii():
            found[known] = value.strip().decode("ascii")
    return found
