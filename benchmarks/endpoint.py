"""A fake chat-completions server that answers at once, in its own process, so that only the client's cost is measured.

    python -m benchmarks.endpoint [--latency 0.1 --sigma 0.8]        prints its port, serves until it is stopped

One process, plain asyncio. A prompt with the marker (row 12) gets n answers (answer 12 INDEX qQUALITY) and filler; a prompt that
contains such answers gets their qualities as JSON ratings. With a latency, response times are drawn from a log-normal distribution with
that median in seconds, which has a long tail. GET /stats: {"requests": n, "first": time of the first request, "last": time of the last
answer, "busy": total seconds of all requests}; DELETE /stats?seed=1 resets them and reseeds the response times."""

import argparse
import asyncio
import hashlib
import json
import math
import random
import re
import time

import orjson
import uvloop

SEED = re.compile(rb"seed=(\d+)")
ROW = re.compile(rb"\(row (\d+)\)")
ANSWER = re.compile(rb"\(answer \d+ \d+ q(\d)\)")
FILLER = (
    "the image shows a wide view with several objects near its centre and a soft light from the left " * 12
).strip()


def quality(row: int, index: int) -> int:
    """The quality of an answer, 1..5, deterministic."""
    return 1 + hashlib.blake2b(b"%d:%d" % (row, index), digest_size=1).digest()[0] % 5


def answers(row: int, n: int) -> list[str]:
    """Texts of 300 to 900 characters."""
    return [f"(answer {row} {i} q{quality(row, i)}) {FILLER[: 300 + (row * 7 + i * 211) % 600]}" for i in range(n)]


class Server(asyncio.Protocol):
    """The part of HTTP/1.1 that is needed: keep-alive and content-length."""

    requests, first, last, busy = 0, 0.0, 0.0, 0.0
    latency, sigma = 0.0, 0.0
    random = random.Random(1)

    def __init__(self):
        self.buffer, self.need = bytearray(), 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        buffer = self.buffer
        buffer += data
        while buffer and len(buffer) >= self.need:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(buffer[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            self.need = end + 4 + length
            if len(buffer) < self.need:
                return
            body = bytes(buffer[end + 4 : self.need])
            del buffer[: self.need]
            self.need = 0
            reply = self.reply(head, body)
            if Server.latency and head.startswith(b"POST"):
                seconds = Server.random.lognormvariate(math.log(Server.latency), Server.sigma)
                asyncio.get_running_loop().call_later(seconds, self.answer, reply, time.time())
            else:
                self.answer(reply)

    def answer(self, reply: bytes, since: float | None = None) -> None:
        if since:
            Server.last = time.time()
            Server.busy += Server.last - since
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(reply), reply)
        )

    def reply(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"DELETE"):
            Server.requests, Server.first, Server.last, Server.busy = 0, 0.0, 0.0, 0.0
            Server.random.seed(int(SEED.search(head)[1]))
        if head.startswith((b"GET /stats", b"DELETE")):
            names = ("requests", "first", "last", "busy")
            return orjson.dumps({name: getattr(Server, name) for name in names})
        if head.startswith(b"GET"):
            return b'{"object":"list","data":[{"id":"stand-in","object":"model"}]}'
        Server.requests += 1
        Server.first = Server.first or time.time()
        ratings = [int(q) for q in ANSWER.findall(body)]
        if ratings:
            texts = [json.dumps({"ratings": ratings})]
        else:
            texts = answers(int(ROW.search(body)[1]), orjson.loads(body)["n"])
        choices = [
            {"index": i, "message": {"role": "assistant", "content": t}, "logprobs": None, "finish_reason": "stop"}
            for i, t in enumerate(texts)
        ]
        tokens = sum(len(t) for t in texts) // 4
        usage = {"prompt_tokens": 300, "completion_tokens": tokens, "total_tokens": 300 + tokens}
        return orjson.dumps(
            {"id": "x", "object": "chat.completion", "model": "stand-in", "choices": choices, "usage": usage}
        )


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--latency", type=float, default=0.0)
    arguments.add_argument("--sigma", type=float, default=0.8)
    chosen = arguments.parse_args()
    Server.latency, Server.sigma = chosen.latency, chosen.sigma
    uvloop.run(serve())
