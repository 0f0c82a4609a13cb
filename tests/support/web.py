"""A web server on loopback that behaves as its paths say. `log` lists the requests as (path, headers)."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """`pages`: path -> what answers it, called with the request's handler."""

    def __init__(self, pages: dict[str, Callable]):
        self.pages, self.log = pages, []
        handler = type("Handler", (_Handler,), {"web": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def asked(self, path: str) -> int:
        return sum(found == path for found, _ in self.log)


@contextmanager
def serving(pages: dict[str, Callable]):
    web = Web(pages)
    yield web
    web.server.shutdown()
    web.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.web.log.append((self.path, dict(self.headers)))
        with suppress(OSError):  # the other side may have had enough
            self.web.pages.get(path, status(404))(self)

    def log_message(self, *_):
        pass

    def start(self, code: int = 200, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def page(data: bytes, **headers):
    return lambda request: (request.start(content_length=len(data), **headers), request.wfile.write(data))


def tagged(data: bytes, etag: str):
    def answer(request):
        if request.headers.get("if-none-match") == etag:
            return request.start(304, etag=etag)
        request.start(content_length=len(data), etag=etag)
        return request.wfile.write(data)

    return answer


def status(code: int, **headers):
    return lambda request: request.start(code, content_length=0, **headers)


def redirect(to: str, code: int = 302):
    return status(code, location=to)


def in_turn(*answers):
    """Another answer each time, the last of them from then on."""
    left = list(answers)
    return lambda request: (left.pop(0) if len(left) > 1 else left[0])(request)


def short(data: bytes, claimed: int):
    """Says that it is longer than it is."""

    def answer(request):
        request.start(content_length=claimed, connection="close")
        request.wfile.write(data)
        request.close_connection = True

    return answer


def endless(request):
    request.start(connection="close")
    while True:
        request.wfile.write(b"x" * 65536)


def trickling(request):
    request.start(content_length=10_000)
    for _ in range(10_000):
        request.wfile.write(b"x")
        time.sleep(0.05)


def slow_headers(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        request.wfile.write(b"x-%d: y\r\n" % number)
        time.sleep(0.05)


def silent(request):
    time.sleep(30)
