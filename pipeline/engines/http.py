"""Keep-alive HTTP/1.1 to one server: a request is a few writes and one parsed answer.

A general client costs as much as everything else that is done around a request (docs/benchmarks.md), and here is one server,
one kind of request and no cookies, redirects or compression. The parsing is httptools', TLS is the standard library's."""

import asyncio
import ssl
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

import httptools
from yarl import URL

CONNECT = 30.0  # seconds until a server that takes no connection is unreachable


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Unreachable(OSError):
    """No connection to the server can be made."""


class Http:
    """Connections to the server of `url`, opened when they are needed, any number of them at once."""

    def __init__(self, url: URL, headers: dict[str, str], timeout: float):
        self._host, self._port, self._timeout = url.host or "", url.port, timeout
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        host = f"[{url.host}]" if ":" in self._host else self._host
        lines = {"Host": host if url.is_default_port() else f"{host}:{url.port}", "User-Agent": "pairwright", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._idle: list[_Connection] = []

    def get(self, path: str) -> Awaitable[Response]:
        return self._ask(b"GET", path, ())

    def post(self, path: str, body: Sequence[bytes]) -> Awaitable[Response]:
        """Sends a JSON body given in pieces. Unreachable, TimeoutError, or ConnectionError when the answer breaks off."""
        return self._ask(b"POST", path, body)

    def close(self) -> None:
        """Closes the connections that rest; a request that comes later opens others."""
        while self._idle:
            self._idle.pop().transport.close()

    async def _ask(self, method: bytes, path: str, body: Sequence[bytes]) -> Response:
        head = b"%b %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (
            method, path.encode(), self._headers, sum(map(len, body)),
        )  # fmt: skip
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():  # the server may have ended it while it rested
                return await self._answer(connection, [head, *body])
        return await self._answer(await self._connect(), [head, *body])

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(self._timeout, CONNECT)):
                _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise Unreachable(str(error)) from error
        return connection

    async def _answer(self, connection: "_Connection", pieces: list[bytes]) -> Response:
        try:
            response = await connection.exchange(pieces, self._timeout)
        except BaseException:
            connection.transport.abort()
            raise
        if connection.lasts:
            self._idle.append(connection)
        else:
            connection.transport.close()
        return response


class _Connection(asyncio.Protocol):
    """One request at a time; `lasts`: another may follow."""

    def connection_made(self, transport):
        self.transport = transport
        self.future: asyncio.Future | None = None
        self.lasts = False

    def exchange(self, pieces: list[bytes], timeout: float) -> asyncio.Future:
        loop = asyncio.get_running_loop()
        self.future = loop.create_future()
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._timer = loop.call_later(timeout, self._end, TimeoutError())
        self.transport.writelines(pieces)
        return self.future

    def data_received(self, data):
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(ConnectionError(f"no HTTP: {error}"))

    def connection_lost(self, exc):
        if self.future and self._body and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self.on_message_complete()  # an answer without a length ends with the connection
        self._end(exc if isinstance(exc, ConnectionError) else ConnectionResetError(str(exc or "closed by the server")))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue: the answer is still to come
            self._headers = {}
            return
        self.lasts = self._parser.should_keep_alive() and not self.transport.is_closing()
        self._end(Response(status, self._headers, b"".join(self._body)))

    def _end(self, result: Response | Exception) -> None:
        if self.future is None or self.future.done():
            return
        self._timer.cancel()
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)
