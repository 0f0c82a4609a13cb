"""The lower bound for overhead.py: the same job as a bare asyncio loop over raw keep-alive sockets.

    python -m benchmarks.bare_loop ROWS.parquet OUT.parquet PORT

Per row: read the image, request n=4 answers to it, request four ratings, pair best and worst, write a Parquet row with the image.
It checks nothing, caches nothing, and starts over after a kill."""

import asyncio
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import uvloop

IN_FLIGHT = 64
GROUP = 1000  # pairs per row group
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [("prompt", pa.string()), ("images", pa.list_(IMAGE)), ("chosen", pa.string()), ("rejected", pa.string())]
)
ASK = b'{"model":"stand-in","n":4,"temperature":1.0,"max_tokens":256,"messages":[{"role":"user","content":[{"type":"text","text":'
SHOW = b'},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,'
RATE = b'{"model":"stand-in","n":1,"temperature":0.0,"max_tokens":256,"messages":[{"role":"user","content":'


class Connection(asyncio.Protocol):
    """A keep-alive HTTP connection with one request in flight at a time."""

    def __init__(self):
        self.buffer, self.need = bytearray(), 0

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(1 << 22)

    def post(self, parts: list[bytes]) -> asyncio.Future:
        self.answer = asyncio.get_running_loop().create_future()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.writelines([head % sum(map(len, parts)), *parts])
        return self.answer

    def data_received(self, data):
        self.buffer += data
        if not self.need:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.index(b"content-length:") + 15
            self.start = end + 4
            self.need = self.start + int(head[at:].split(b"\r\n")[0])
        if len(self.buffer) >= self.need:
            body = bytes(self.buffer[self.start : self.need])
            self.buffer.clear()
            self.need = 0
            self.answer.set_result(body)


class Out:
    def __init__(self, path: str):
        plain = {**dict.fromkeys(("prompt", "chosen", "rejected"), "zstd"), "images.list.element.bytes": "none"}
        self.writer = pq.ParquetWriter(path, SCHEMA, compression=plain, use_dictionary=False, write_statistics=False)
        self.rows: list[tuple] = []

    def add(self, row: tuple) -> None:
        self.rows.append(row)
        if len(self.rows) == GROUP:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            prompts, images, chosen, rejected = zip(*self.rows)
            shown = [[{"bytes": image, "path": None}] for image in images]
            arrays = [pa.array(c, f.type) for c, f in zip((prompts, shown, chosen, rejected), SCHEMA)]
            self.writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
            self.rows = []

    def close(self) -> None:
        self.flush()
        self.writer.close()


async def main(rows: str, out: str, port: int) -> None:
    def each():
        for batch in pq.ParquetFile(rows).iter_batches(1000, columns=["prompt", "image"]):
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist())

    rows_left, made, loop = each(), Out(out), asyncio.get_running_loop()

    async def worker():
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        for prompt, path in rows_left:
            image = Path(path).read_bytes()
            asked = orjson.dumps(prompt)
            reply = await connection.post([ASK, asked, SHOW, pybase64.b64encode(image), b'"}}]}]}'])
            texts = [c["message"]["content"] for c in orjson.loads(reply)["choices"]]
            shown = "\n".join([f"Rate each answer from 1 to 5, as JSON.\n{prompt}", *texts])
            reply = await connection.post([RATE, orjson.dumps(shown), b"}]}"])
            ratings = orjson.loads(orjson.loads(reply)["choices"][0]["message"]["content"])["ratings"]
            high, low = max(ratings), min(ratings)
            if high > low:
                made.add((prompt, image, texts[ratings.index(high)], texts[ratings.index(low)]))
        connection.transport.close()

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    made.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
