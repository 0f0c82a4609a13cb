"""The HTTP client against servers that answer in every way HTTP/1.1 allows, and in some that it does not."""

import asyncio
import contextlib
import gzip
import random
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from yarl import URL

from pipeline.engines.remote import http
from pipeline.engines.remote.http import Http, TooLarge, Unreachable, Untrusted


def answers(
    *replies: bytes | Callable[[bytes, bytes], bytes], times: int = 1, tls: ssl.SSLContext | None = None, timeout: float = 5,
    closes: bool = False, rest: float = 0,
):  # fmt: skip
    """What the client makes of a server that gives each connection these bytes, a write each, after a request; and the connections.
    A reply may be made of a request's head and body. `rest`: seconds between two requests."""

    async def run():
        writers = []

        async def serve(reader, writer):
            writers.append(writer)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
                    body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                    for reply in replies:
                        writer.write(reply if isinstance(reply, bytes) else reply(head, body))
                        await writer.drain()
                        await asyncio.sleep(0.001)
                    if closes:
                        break
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
            port = server.sockets[0].getsockname()[1]
            client = Http(URL(f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"), {"X-Key": "k"}, timeout)
            found = []
            try:
                for _ in range(times):
                    found.append(await client.post("/v1/chat", [b'{"a":', b"1}"]))
                    await asyncio.sleep(rest)
            finally:
                client.close()
                for writer in writers:
                    writer.transport.abort()
                await asyncio.sleep(0.001)
        return found, len(writers)

    return asyncio.run(run())


def own_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS with a certificate for loopback that only its own file vouches for, and the file."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls, certificate


def test_a_connection_serves_one_request_after_another():
    found, connections = answers(b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nhi", times=3)
    assert [(r.status, r.body, r.headers["retry-after"]) for r in found] == [(429, b"hi", "7")] * 3
    assert connections == 1


def test_an_answer_may_come_in_chunks_and_in_any_pieces():
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    found, connections = answers(*(whole[i : i + 5] for i in range(0, len(whole), 5)), times=2)
    assert [r.body for r in found] == [b"abcdefg"] * 2
    assert connections == 1


def test_an_answer_without_a_length_ends_with_the_connection():
    (found,), _ = answers(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", closes=True)
    assert found.body == b"abcd"


def test_an_interim_answer_is_not_the_answer():
    (found,), _ = answers(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 429 Too Many\r\nContent-Length: 1\r\n\r\nx")
    assert (found.status, found.body) == (429, b"x")


def test_a_server_that_closes_gets_a_new_connection():
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    found, connections = answers(reply, times=3, closes=True)
    assert [r.body for r in found] == [b"hi"] * 3
    assert connections == 3


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", b"SSH-2.0-OpenSSH\r\n"])
def test_an_answer_that_breaks_off_is_a_connection_error(reply):
    with pytest.raises(ConnectionError):
        answers(reply, closes=True)


def test_an_answer_that_does_not_come_is_a_timeout():
    with pytest.raises(TimeoutError):
        answers(b"HTTP/1.1 200 OK\r\nContent-Le", timeout=0.1)


BIG = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 4


def test_an_answer_has_a_limit(monkeypatch):
    monkeypatch.setattr(http, "LONGEST_BODY", 3 << 20)
    with pytest.raises(TooLarge):
        answers(BIG, closes=True)


def test_a_bomb_is_cut_where_it_has_become_too_large(monkeypatch):
    monkeypatch.setattr(http, "LONGEST_BODY", 3 << 20)
    bomb = gzip.compress(bytes(200 << 20))
    with pytest.raises(TooLarge):
        answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb), bomb)


BROTLI = bytes([0x8B, 0x00, 0x80]) + b"hi" + bytes([0x03])  # one stored piece


@pytest.mark.parametrize(
    ("encoding", "packed"), [("gzip", gzip.compress(b"hi", mtime=0)), ("deflate", zlib.compress(b"hi")), ("br", BROTLI)]
)
def test_an_answer_may_be_compressed(encoding, packed):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    (found,), _ = answers(head + packed)
    assert found.body == b"hi"


def test_what_is_not_compressed_as_it_says_is_a_connection_error():
    with pytest.raises(ConnectionError):
        answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip")


@pytest.mark.parametrize("status", [201, 204, 206])
def test_any_status_is_told(status):
    body = b"" if status == 204 else b"hi"
    found, _ = answers(b"HTTP/1.1 %d Some\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body), times=2)
    assert [(r.status, r.body) for r in found] == [(status, body)] * 2


STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"


@pytest.mark.parametrize("more", [STRAY, b"bytes", b"\r\n\r\n" + STRAY])
@pytest.mark.parametrize("later", [False, True])
def test_what_nobody_asked_for_is_nobodys_answer(more, later):
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    found, connections = answers(*((reply, more) if later else (reply + more,)), times=3, rest=0.03)
    assert [r.body for r in found] == [b"hi"] * 3
    assert connections == 3


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_server_is_followed_with_the_body_and_the_key(status):
    seen = []

    def reply(head: bytes, body: bytes) -> bytes:
        seen.append((head.split(b" ")[1], b"X-Key: k" in head, body))
        if head.startswith(b"POST /v1/chat"):
            return b"HTTP/1.1 %d Moved\r\nLocation: /v2/chat?a=b\r\nContent-Length: 0\r\n\r\n" % status
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    (found,), _ = answers(reply)
    assert (found.status, found.body) == (200, b"hi")
    assert seen == [(b"/v1/chat", True, b'{"a":1}'), (b"/v2/chat?a=b", True, b'{"a":1}')]


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:9/v1/chat", "https://other.test/", "//h/v1", "http://[", "javascript:x", ""]
)
def test_a_redirect_elsewhere_is_told_and_not_followed(location):
    (found,), connections = answers(f"HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
    assert (found.status, found.headers["location"], connections) == (307, location, 1)


def test_a_redirect_in_circles_ends():
    (found,), _ = answers(b"HTTP/1.1 307 Moved\r\nLocation: /v1/chat\r\nContent-Length: 0\r\n\r\n")
    assert found.status == 307


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2_000_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    ],
    ids=["two lengths", "no status", "a header of 2 MB", "50,000 headers"],
)  # fmt: skip
def test_a_head_that_is_no_http_is_a_connection_error(head):
    with pytest.raises(ConnectionError):
        answers(head)


def test_a_header_of_strange_bytes_is_none():
    (found,), _ = answers(b"HTTP/1.1 429 Too Many\r\nRetry-After: \xff\xe9\r\nContent-Length: 0\r\n\r\n")
    assert (found.status, found.headers) == (429, {})


# proxies


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that answers for plain HTTP and lets TLS through; what it was asked."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    asked: list[bytes] = []

    async def pipe(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        if not head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")
            return
        there = await asyncio.open_connection("127.0.0.1", int(head.split(b" ")[1].split(b":")[1]))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def test_a_proxy_of_the_environment_is_used(proxy, monkeypatch):
    url, asked = proxy
    monkeypatch.setenv("HTTP_PROXY", url)
    (found,), connections = answers(HI)
    assert (found.body, connections) == (b"proxy", 0)
    assert b"Proxy-Authorization: Basic" in asked[0]


def test_what_no_proxy_names_is_asked_directly(proxy, monkeypatch):
    url, asked = proxy
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    (found,), _ = answers(HI)
    assert (found.body, asked) == (b"hi", [])


def test_tls_goes_through_a_proxy_unread(proxy, monkeypatch, tmp_path):
    url, asked = proxy
    monkeypatch.setenv("HTTPS_PROXY", url)
    tls, certificate = own_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (found,), _ = answers(HI, tls=tls)
    assert found.body == b"hi"
    assert [head.split(b" ")[0] for head in asked] == [b"CONNECT"]


def test_a_proxy_that_is_not_there_is_unreachable_and_its_password_is_not_told(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    with pytest.raises(Unreachable) as raised:
        answers(HI)
    assert "secret" not in str(raised.value)


def test_the_variable_that_names_the_proxy_is_known(proxy, monkeypatch):
    assert http.proxy(URL("http://there.example/v1")) == ("", "")
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert http.proxy(URL("http://there.example/v1")) == ("http://all:1", "ALL_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    assert http.proxy(URL("http://there.example/v1")) == ("http://plain:1", "HTTP_PROXY")
    assert http.proxy(URL("https://there.example/v1")) == ("http://all:1", "ALL_PROXY")
    monkeypatch.setenv("NO_PROXY", "there.example")
    assert http.proxy(URL("http://there.example/v1")) == ("", "")


# no connection


def test_no_server_is_unreachable():
    with pytest.raises(Unreachable):
        asyncio.run(Http(URL("http://127.0.0.1:9/v1"), {}, 5).get("/v1/models"))


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, monkeypatch):
    tls, certificate = own_certificate(tmp_path)
    with pytest.raises(Untrusted, match="certificate"):
        answers(HI, tls=tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (found,), _ = answers(HI, tls=tls)
    assert found.body == b"hi"


def test_connections_are_closed_when_nobody_holds_the_client():
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    answers(HI)
    before = files()
    for _ in range(20):
        answers(HI, times=2)
    patience = time.monotonic() + 5
    while files() > before and time.monotonic() < patience:  # they are closed on another thread
        time.sleep(0.01)
    assert files() <= before


def test_connections_that_are_used_at_once_again_are_not_taken_for_spoilt():
    """Many requests at a time over few connections: each is asked once, though libcurl uses a connection as soon as it has the answer."""

    async def run() -> tuple[int, int]:
        asked = connections = 0
        dice = random.Random(1)

        async def serve(reader, writer):
            nonlocal asked, connections
            connections += 1
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await reader.readuntil(b"\r\n\r\n"):
                    await reader.readexactly(7)
                    asked += 1
                    asyncio.get_running_loop().call_later(dice.random() / 100, writer.write, HI)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            client = Http(URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"), {}, 5)
            left = iter(range(3000))

            async def work():
                for _ in left:
                    assert (await client.post("/v1/chat", [b'{"a":1}'])).body == b"hi"

            await asyncio.gather(*(work() for _ in range(16)))
            client.close()
        return asked, connections

    asked, connections = asyncio.run(run())
    assert asked == 3000
    assert connections <= 16
