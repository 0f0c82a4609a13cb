"""The HTTP client against servers that answer in every way HTTP/1.1 allows."""

import asyncio
import ssl
import subprocess

import pytest
from yarl import URL

from pipeline.engines.http import Http, Unreachable


def answers(
    *replies: bytes, times: int = 1, tls: ssl.SSLContext | None = None, timeout: float = 5, closes: bool = False
):
    """What the client makes of a server that gives each connection these bytes, a write each, after a request; and the connections."""

    async def run():
        connections = 0

        async def serve(reader, writer):
            nonlocal connections
            connections += 1
            while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                for reply in replies:
                    writer.write(reply)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                if closes:
                    break
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
            port = server.sockets[0].getsockname()[1]
            http = Http(URL(f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"), {"X-Key": "k"}, timeout)
            try:
                found = [await http.post("/v1/chat", [b'{"a":', b"1}"]) for _ in range(times)]
            finally:
                http.close()
        return found, connections

    return asyncio.run(run())


def test_a_connection_serves_one_request_after_another():
    found, connections = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nhi", times=3)
    assert [(r.status, r.body, r.headers["retry-after"]) for r in found] == [(200, b"hi", "7")] * 3
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


def test_no_server_is_unreachable():
    with pytest.raises(Unreachable):
        asyncio.run(Http(URL("http://127.0.0.1:9/v1"), {}, 5).get("/v1/models"))


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with pytest.raises(Unreachable, match="certificate"):
        answers(reply, tls=tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (found,), _ = answers(reply, tls=tls)
    assert found.body == b"hi"
