import base64
import socket
import time

import pytest

from pipeline.media import fetch
from pipeline.media.fetch import Fetcher, Limits, reachable
from schemas.errors import RowError
from schemas.records import Reason
from tests.support import web

DATA = bytes(range(256)) * 100


@pytest.fixture
def server():
    with web.serving({"/a": web.page(DATA)}) as running:
        yield running


def fetcher(*allowed: str, **limits) -> Fetcher:
    return Fetcher(Limits(allow_private=allowed, **limits))


def get(url: str, *allowed: str, known: str | None = None, **limits):
    one = fetcher(*allowed, **limits)
    try:
        return one.get(url, known)
    finally:
        one.close()


def refused(url: str, *allowed: str, **limits) -> RowError:
    with pytest.raises(RowError) as raised:
        get(url, *allowed, **limits)
    assert "\n" not in raised.value.detail
    return raised.value


def test_bytes_come_as_they_are_with_what_tells_them_from_others(server):
    server.pages["/tagged"] = web.tagged(DATA, '"v1"')
    assert get(f"{server.url}/a", "127.0.0.1") == (DATA, None)
    assert get(f"{server.url}/tagged", "127.0.0.1") == (DATA, '"v1"')
    assert get(f"{server.url}/tagged", "127.0.0.1", known='"v1"') == (None, '"v1"')
    assert get(f"{server.url}/tagged", "127.0.0.1", known='"v0"') == (DATA, '"v1"')


PRIVATE = [
    "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "168.63.129.16", "192.0.0.192", "2130706433", "0177.0.0.1", "0x7f.1", "127.1",
    "017700000001", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
    "[fe80::1]", "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_addresses_that_are_not_public_are_refused_in_every_spelling(server, host):
    """Also where the server there would answer, and when another server redirects to them."""
    port = server.port if host in ("127.0.0.1", "127.1", "2130706433", "localhost") else 80
    error = refused(f"http://{host}:{port}/a")
    assert error.reason == Reason.UNSAFE
    assert not server.log
    server.pages["/away"] = web.redirect(f"http://{host}:80/a")
    if host != "127.0.0.1":
        assert refused(f"{server.url}/away", "127.0.0.1").reason == Reason.UNSAFE


def test_a_name_that_resolves_to_a_private_address_is_refused_and_no_name_is_resolved_twice(server, monkeypatch):
    """The second answer of a rebinding name server never counts: it is not asked again."""
    answers = [["93.184.215.14", "10.0.0.7"], ["127.0.0.1"]]

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert refused("http://pictures.example:8080/a").reason == Reason.UNSAFE  # one of its two addresses is private
    assert len(answers) == 1
    connected = []
    monkeypatch.setattr(
        fetch.httpcore.SyncBackend, "connect_tcp",
        lambda self, host, *_: connected.append(host) or (_ for _ in ()).throw(fetch.httpcore.ConnectError("no")),
    )  # fmt: skip
    answers[:] = [["93.184.215.14"], ["127.0.0.1"]]
    monkeypatch.setattr(fetch, "TRIES", 1)
    assert refused("http://pictures.example/a").reason == Reason.UNREACHABLE
    assert connected == ["93.184.215.14"]  # the address that was checked, not the name


def test_ones_own_servers_are_reached_but_never_a_metadata_service(server):
    assert refused(f"{server.url}/a", "10.0.0.1").reason == Reason.UNSAFE
    assert get(f"http://localhost:{server.port}/a", "LOCALHOST")[0] == DATA
    assert refused("http://169.254.169.254/latest/meta-data", "169.254.169.254").reason == Reason.UNSAFE
    assert [reachable(address, True) for address in ("10.0.0.1", "::1", "fd12::1", "fe80::1%eth0", "::ffff:10.0.0.1")] == [
        True, True, True, False, True,
    ]  # fmt: skip
    assert [reachable(address, False) for address in ("93.184.215.14", "2606:2800::1", "::ffff:8.8.8.8")] == [True] * 3


@pytest.mark.parametrize("url", ["http://93.184.215.14:22/a", "http://93.184.215.14:6379/"])
def test_ports_that_are_no_web_servers_are_refused(url):
    error = refused(url)
    assert error.reason == Reason.UNSAFE
    assert "port" in error.detail


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "//", "http://", "http://[x"]
)
def test_a_redirect_to_another_scheme_or_to_nowhere_is_refused(server, to):
    server.pages["/away"] = web.redirect(to)
    assert refused(f"{server.url}/away", "127.0.0.1").reason == Reason.UNSAFE


def test_five_redirects_are_followed_and_no_sixth(server):
    server.pages |= {f"/r{n}": web.redirect(f"/r{n - 1}", 307) for n in range(1, 7)} | {"/r0": web.page(DATA)}
    assert get(f"{server.url}/r5", "127.0.0.1")[0] == DATA
    assert refused(f"{server.url}/r6", "127.0.0.1").reason == Reason.UNSAFE


def test_a_body_is_never_read_beyond_the_largest_size(server):
    server.pages |= {"/endless": web.endless, "/claims": web.short(b"", 10**15)}
    assert get(f"{server.url}/a", "127.0.0.1", max_bytes=len(DATA))[0] == DATA
    for path in ("/a", "/endless", "/claims"):
        error = refused(f"{server.url}{path}", "127.0.0.1", max_bytes=len(DATA) - 1)
        assert error.reason == Reason.TOO_LARGE
        assert "25,599 bytes" in error.detail


@pytest.mark.parametrize("page", [web.trickling, web.slow_headers, web.silent])
def test_a_server_that_dawdles_costs_no_more_than_the_seconds_it_is_given(server, page):
    server.pages["/slow"] = page
    began = time.monotonic()
    error = refused(f"{server.url}/slow", "127.0.0.1", seconds=0.6)
    assert error.reason == Reason.UNREACHABLE
    assert "too slow" in error.detail
    assert time.monotonic() - began < 1.5


def test_a_body_that_ends_early_is_not_taken_for_whole(server, monkeypatch):
    server.pages["/short"] = web.in_turn(web.short(DATA[:100], len(DATA)), web.page(DATA))
    assert (
        get(f"{server.url}/short", "127.0.0.1")[0] == DATA
    )  # from its start again, not behind the first hundred bytes
    server.pages["/short"] = web.short(DATA[:100], len(DATA))
    monkeypatch.setattr(fetch, "TRIES", 1)
    assert refused(f"{server.url}/short", "127.0.0.1").reason == Reason.UNREACHABLE


def test_a_busy_server_is_asked_again_when_it_says(server):
    server.pages |= {
        "/busy": web.in_turn(web.status(503), web.page(DATA)),
        "/wait": web.in_turn(web.status(429, retry_after=1), web.page(DATA)),
        "/later": web.status(429, retry_after=3600),
        "/gone": web.status(410),
        "/no": web.status(403),
    }
    assert get(f"{server.url}/busy", "127.0.0.1")[0] == DATA
    began = time.monotonic()
    assert get(f"{server.url}/wait", "127.0.0.1")[0] == DATA
    assert time.monotonic() - began >= 1
    began = time.monotonic()
    assert refused(f"{server.url}/later", "127.0.0.1").detail.endswith(
        "answered with status 429; try again later or correct the URL"
    )
    assert time.monotonic() - began < 1  # an hour is more than the file may take
    assert refused(f"{server.url}/gone", "127.0.0.1").reason == Reason.MISSING_FILE
    assert refused(f"{server.url}/no", "127.0.0.1").reason == Reason.UNREACHABLE
    assert (server.asked("/later"), server.asked("/gone"), server.asked("/no")) == (1, 1, 1)


def test_credentials_go_to_their_host_only_and_into_no_message(server):
    with web.serving({"/b": web.page(DATA)}) as other:
        server.pages |= {"/in": web.page(DATA), "/away": web.redirect(f"http://localhost:{other.port}/b")}
        secret = f"http://user:hunter2@{server.host}"
        assert get(f"{secret}/in?X-Amz-Signature=hunter2", "127.0.0.1")[0] == DATA
        assert get(f"{secret}/away", "127.0.0.1", "localhost")[0] == DATA
        sent = [
            {k.lower(): v for k, v in headers.items()}.get("authorization") for _, headers in server.log + other.log
        ]
        assert sent == [f"Basic {base64.b64encode(b'user:hunter2').decode()}"] * 2 + [None]
    assert "hunter2" in server.log[0][0]  # the query is part of the question
    for url in (
        f"{secret}/none?token=hunter2",
        "http://user:hunter2@10.0.0.1/?sig=hunter2",
        f"http://u:hunter2@{server.host}x/",
    ):
        error = refused(url, "127.0.0.1", seconds=1)
        assert "hunter2" not in error.detail
        assert error.__cause__ is None


HEADERS = {
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000, "negative": b"HTTP/1.1 200 OK\r\ncontent-length: -1",
    "retry": b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: \xb2", "date": b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: Mon, 01 Jan 99999999 00:00:00 GMT",
    "status": b"HTTP/1.1 999999 OK\r\ncontent-length: 0", "location": b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://\xff\x80:99999/\xb2",
    "long": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, "none": b"SSH-2.0-OpenSSH_9.6", "zero": b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://a%00b/",
    "inflated": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff",
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_whatever_a_server_says_is_one_named_error(server, name, monkeypatch):
    def answer(request):
        request.wfile.write(HEADERS[name] + b"\r\n\r\n")
        request.close_connection = True

    monkeypatch.setattr(fetch, "TRIES", 1)
    server.pages["/odd"] = answer
    assert refused(f"{server.url}/odd", "127.0.0.1", seconds=2).reason in (
        Reason.UNREACHABLE,
        Reason.UNSAFE,
        Reason.TOO_LARGE,
    )


def test_an_etag_that_cannot_be_sent_back_is_not_remembered(server):
    server.pages["/tagged"] = web.tagged(DATA, '"\xe9"')
    assert get(f"{server.url}/tagged", "127.0.0.1") == (DATA, None)
