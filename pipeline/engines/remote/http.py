"""HTTP/1.1 to one server over libcurl: connections are kept; proxies of the environment, TLS and compression are its work.

What is ours: how large an answer may be, which redirects are followed, and errors in the words of the standard library. Transfers run
in the caller's loop, which tells libcurl when a socket is ready: no thread competes with Python for its lock."""

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

CONNECT = 30.0  # seconds until a server that takes no connection is unreachable
LONGEST_BODY = 32 << 20  # bytes: twice what 16 answers of 8,192 tokens with log-probabilities have
KEPT = 4096  # connections that rest: as many as a model may have slots
PIECE = 256 << 10  # bytes of an answer that are read at a time
HOPS = 3  # redirects that are followed one after the other
HEADERS = ("retry-after", "location")  # that anybody asks for
MOVED = {301, 302, 307, 308}  # the same request belongs elsewhere
NO_CONNECTION = {
    pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT, pycurl.E_SSL_CONNECT_ERROR, 97,  # 97: of a proxy
    pycurl.E_URL_MALFORMAT,
}  # fmt: skip
EVENTS = (
    0,
    select.EPOLLIN,
    select.EPOLLOUT,
    select.EPOLLIN | select.EPOLLOUT,
)  # by what libcurl waits for: pycurl.POLL_NONE, _IN, _OUT, _INOUT
ACTIONS = {
    events: (0, pycurl.CSELECT_IN, pycurl.CSELECT_OUT, pycurl.CSELECT_IN | pycurl.CSELECT_OUT)[i]
    for i, events in enumerate(EVENTS)
}
NO_TRUST = {pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_ISSUER_ERROR}


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
    """Connections to the server of `url`, opened when they are needed, any number of them at once."""

    def __init__(self, url: URL, headers: dict[str, str], timeout: float):
        self._origin, self._url, self._timeout = str(url.origin()), url, timeout
        self._headers = [*(f"{name}: {value}" for name, value in headers.items()), "Expect:", "User-Agent: pairwright"]
        self._proxy, _ = proxy(url)
        self._transfers: _Transfers | None = None

    def get(self, path: str) -> Awaitable[Response]:
        return self._ask(path, None)

    def post(self, path: str, body: Sequence[bytes]) -> Awaitable[Response]:
        """Sends a JSON body given in pieces. Unreachable, TimeoutError, TooLarge, or ConnectionError when the answer breaks off."""
        return self._ask(path, b"".join(body))

    def close(self) -> None:
        """Closes the connections that rest; a request that comes later opens others."""
        if self._transfers is not None:
            self._transfers.close()
            self._transfers = None

    async def _ask(self, path: str, body: bytes | None) -> Response:
        url = self._origin + path
        response = await self._once(url, body)
        for _ in range(HOPS):
            to = self._here(url, response) if response.status in MOVED else None
            if to is None:
                break
            response = await self._once(url := to, body)
        return response

    async def _once(self, url: str, body: bytes | None) -> Response:
        transfers = self._transfers
        if transfers is None or transfers.loop is not asyncio.get_running_loop():
            self.close()
            transfers = self._transfers = _Transfers()
        one = transfers.free.pop() if transfers.free else self._transfer()
        return await transfers.run(one, url, body)

    def _here(self, url: str, response: Response) -> str | None:
        """Where a redirect leads if that is the same server: a key goes to no other than the one that it was named for."""
        try:
            to = URL(url).join(URL(response.headers["location"]))
            return str(to) if str(to.origin()) == self._origin else None
        except (LookupError, ValueError):
            return None

    def _transfer(self) -> "_Transfer":
        one = _Transfer()
        curl = one.curl
        curl.setopt(pycurl.HTTPHEADER, self._headers)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(self._timeout * 1000)))
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(min(self._timeout, CONNECT) * 1000)))
        curl.setopt(pycurl.PROXY, self._proxy)  # libcurl by itself would take HTTP_PROXY in lower case only
        if self._url.scheme == "https":
            curl.setopt(
                pycurl.CAINFO,
                os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where(),
            )
        return one


def proxy(url: URL) -> tuple[str, str]:
    """The proxy of the environment for such an address, and the variable that names it; two empty texts: none."""
    known = {} if proxy_bypass(url.host or "") else getproxies()
    return next(((known[of], f"{of.upper()}_PROXY") for of in (url.scheme, "all") if known.get(of)), ("", ""))


class _Transfer:
    """One request at a time and its answer; used again and again."""

    def __init__(self):
        self.body: list[bytes] = []
        self.head: list[bytes] = []  # the lines of the answer's heads
        self.size = 0
        self.url = ""  # that it is set to
        self.future: asyncio.Future[None] | None = None
        curl = self.curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.ACCEPT_ENCODING, "")  # all that this libcurl can unpack
        curl.setopt(pycurl.BUFFERSIZE, PIECE)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)
        curl.setopt(pycurl.HEADERFUNCTION, self.head.append)

    def _take(self, piece: bytes) -> int | None:
        self.size += len(piece)
        if self.size > LONGEST_BODY:
            return 0  # which ends the transfer
        self.body.append(piece)
        return None

    def response(self) -> Response:
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        return Response(status, {} if status == 200 else _headers(self.head), b"".join(self.body))

    def error(self, code: int, said: str) -> OSError:
        said = said or f"libcurl's error {code}"
        if self.size > LONGEST_BODY:
            return TooLarge(f"more than {LONGEST_BODY >> 20} MB")
        if code in NO_TRUST:
            return Untrusted(said)
        if code == pycurl.E_OPERATION_TIMEDOUT and self.curl.getinfo(pycurl.PRETRANSFER_TIME):
            return TimeoutError(said)
        if code in NO_CONNECTION or code == pycurl.E_OPERATION_TIMEDOUT:
            return Unreachable(said)
        return ConnectionError(said)

    def reset(self) -> None:
        self.body.clear()
        self.head.clear()
        self.size, self.future = 0, None


class _Transfers:
    """Those of one loop: libcurl's multi interface, driven by it. Sockets are watched by an epoll of our own, which the loop watches: a
    connection stays in it while it rests, and many that are ready cost the loop one call."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.free: list[_Transfer] = []
        self._running: dict[pycurl.Curl, _Transfer] = {}
        self._closing = False
        self._sockets = select.epoll()
        self._watched: dict[
            int, int
        ] = {}  # descriptor -> the events that are waited for; those of closed sockets stay until the number is used again
        self._inodes: dict[int, int] = {}  # descriptor -> its socket's
        self._resting: set[int] = set()  # descriptors of connections on which nothing may come
        self._timer: asyncio.Handle | None = None
        self._due = math.inf  # the loop's time at which it comes
        self.loop.add_reader(self._sockets.fileno(), self._ready)
        multi = self._multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, KEPT)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._wake)

    async def run(self, one: _Transfer, url: str, body: bytes | None) -> Response:
        curl = one.curl
        if one.url != url:
            one.url = url
            curl.setopt(pycurl.URL, url)
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.FORBID_REUSE, body is None)  # nothing follows the list of models for a while
        future = one.future = self.loop.create_future()
        self._running[curl] = one
        self._multi.add_handle(curl)
        try:
            await future
            return one.response()
        finally:
            self._multi.remove_handle(curl)  # what is not finished is given up, and its connection closed
            one.reset()
            self.free.append(one)
            del self._running[curl]
            if self._closing and not self._running:
                self._end()

    def close(self) -> None:
        """Closes all connections once the transfers that run are at their end."""
        self._closing = True
        if not self._running:
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for one in self.free:
            one.curl.close()
        self.free.clear()
        self._multi.close()
        if not self.loop.is_closed():
            self.loop.remove_reader(self._sockets.fileno())
        self._sockets.close()

    # what libcurl asks of the loop, and the loop tells libcurl

    def _watch(self, what: int, file: int, multi, data) -> None:
        if (
            what == pycurl.POLL_REMOVE
        ):  # it rests, or is closed next; not where its answer is taken: by then it may have the next request
            self._resting.add(file)
            if self._watched.get(file) == select.EPOLLIN:
                return
            what = pycurl.POLL_IN
        else:
            self._resting.discard(file)
        events = self._watched[file] = EVENTS[what]
        try:
            self._sockets.modify(file, events)
        except FileNotFoundError:  # a new one; its number may have been another's, which is closed
            self._sockets.register(file, events)
            self._inodes[file] = os.fstat(file).st_ino

    def _wake(self, milliseconds: int) -> None:
        """A timer that comes too early costs nothing: libcurl says again when it wants to be woken."""
        if milliseconds < 0:
            return
        due = self.loop.time() + milliseconds / 1000
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        if milliseconds == 0:  # not at once: libcurl is in the middle of something
            self._timer = self.loop.call_soon(self._timed)
        else:
            self._timer = self.loop.call_later(milliseconds / 1000, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._ready()  # first: a connection that is spoilt must not be chosen for what was added
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _ready(self) -> None:
        for file, events in self._sockets.poll(0):
            if file in self._resting:
                self._spoilt(file)
            else:  # a broken connection is found by reading or writing, whichever is waited for
                how = events & (select.EPOLLIN | select.EPOLLOUT) or self._watched[file]
                self._multi.socket_action(file, ACTIONS[how])
        self._settle()

    def _settle(self) -> None:
        """Hands out what has ended."""
        left = 1
        while left:
            left, ended, failed = self._multi.info_read()
            for curl in ended:
                _settle(self._running[curl].future, None)
            for curl, code, said in failed:
                one = self._running[curl]
                _settle(one.future, one.error(code, said))

    def _spoilt(self, file: int) -> None:
        """Ends a resting connection on which something came that nobody asked for: libcurl would take it for the next answer."""
        self._resting.discard(file)
        with suppress(OSError):
            self._sockets.unregister(file)
            if os.fstat(file).st_ino == self._inodes[file]:  # else it is closed, and the number is somebody else's
                _end(file)


def _end(file: int) -> None:
    """Empties a socket and ends it, so that libcurl finds it dead."""
    with socket.socket(fileno=os.dup(file)) as spoilt:
        with suppress(BlockingIOError):
            while spoilt.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        spoilt.shutdown(socket.SHUT_RDWR)


def _settle(future: asyncio.Future[None] | None, error: OSError | None) -> None:
    if future is None or future.done():  # given up meanwhile
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """The headers that anybody asks for, of the last of several heads: 100 Continue and a proxy's have their own."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found = {}
        name, _, value = line.partition(b":")
        if (known := name.strip().lower().decode("latin-1")) in HEADERS and value.strip().isascii():
            found[known] = value.strip().decode("ascii")
    return found
