"""Secrets in every field where a user, a row or a server may put one: none is in anything that leaves.

A later place is one line: of ROWS (what a row says), RECIPE (what a recipe says), VARIABLES (what a server repeats), COMMANDS (what
somebody types) or SPELLINGS (how an address is written). What is searched for is searched for in all ENCODINGS."""

import base64
import contextlib
import gzip
import html
import io
import json
import os
import random
import sqlite3
import string
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flows.runs import shards
from pipeline.dataset import hub as pushing
from schemas import redact
from schemas.published import public_text
from tests.faults.fault import Fault
from tests.support.endpoint import Endpoint, served
from tests.support.hub_standin import TOKEN, Hub
from tests.support.media_files import png

PLAIN = 12  # rows without a secret, so that there are pairs

# what a row says: name -> columns, with {s} for the secret; {web} is a server that is there
ROWS: dict[str, dict] = {
    "an id that is a signed address": {"id": "https://a.example.org/1?X-Amz-Signature={s}"},
    "an id with a password": {"id": "https://u:{s}@a.example.org/1"},
    "an id that is a key": {"id": "hf_{s}"},
    "an id with an unknown parameter": {"id": "https://a.example.org/1?ticket={s}"},
    "a licence that is a signed address": {"licence": "see https://a.example.org/licence?sig={s}"},
    "a licence with a password": {"licence": "https://u:{s}@a.example.org/licence"},
    "a source that is a signed address": {"source": "https://a.example.org/1?token={s}"},
    "a source with one slash": {"source": "http:/u:{s}@a.example.org/1"},
    "a source behind a space": {"source": " http://u:{s}@a.example.org/1"},
    "a source without a scheme": {"source": "//u:{s}@a.example.org/1"},
    "a source that is a DSN": {"source": "postgresql://u:{s}@a.example.org:5432/db"},
    "a split with a fragment": {"split": "https://a.example.org/1#access_token={s}"},
    "a type of answer": {"answer": "red", "answer_type": "redis://:{s}@a.example.org:6379/0"},
    "a picture at a signed address": {"image": "{web}/1.png?sig={s}"},
    "a picture with a password": {"image": "http://u:{s}@127.0.0.1:9/1.png"},
    "a picture with upper case": {"image": "HTTP://u:{s}@127.0.0.1:9/1.png"},
    "a picture with backslashes": {"image": "http:\\\\u:{s}@127.0.0.1:9\\1.png"},
    "a picture at an IPv6 address": {"image": "http://u:{s}@[::1]:9/1.png"},
    "a picture with an encoded @": {"image": "http://u:{s}%40127.0.0.1:9/1.png"},
    "a picture of git": {"image": "ssh://git:{s}@a.example.org/1.png"},
    "a picture in a bucket": {"image": "s3a://key:{s}@bucket/1.png?versionId={s}"},
    "a picture that is not there": {"image": "{web}/nowhere?token={s}"},
    "a path that looks like a parameter": {"image": "pictures/password={s}.png"},
    "a part of an unknown type": {"prompt": [{"role": "user", "content": [{"type": "https://u:{s}@h", "text": "?"}]}]},
    "facts that are not JSON": {"facts": "https://u:{s}@a.example.org"},
}
# what a row of a preference set (RLAIF-V's) says
PAIRS: dict[str, dict] = {
    "a pair's id": {"ds_question_id": "https://a.example.org/1?sig={s}"},
    "a pair's source": {"origin_dataset": "postgresql://u:{s}@a.example.org/db"},
    "the model of a pair's answers": {"origin_split": '{"model": "https://u:{s}@a.example.org/model"}'},
    "the judge of a pair": {
        "org_infos": {
            "scores": {
                "chosen": {"judge": "judge?token={s}", "score": -1},
                "rejected": {"judge": "hf_{s}", "score": -3},
            }
        }
    },
    "a pair's picture": {"image": "https://u:{s}@127.0.0.1:9/1.png"},
}
# what lies beside a picture of a folder, or how it is called
BESIDE: dict[str, tuple[str, dict]] = {
    "a file's name": ("password={s}", {}),
    "a broken file's name": ("token={s}.broken", {}),
    "a licence beside a picture": ("a", {"licence": "//u:{s}@a.example.org/licence"}),
    "a source beside a picture": ("b", {"source": "https://a.example.org/1?X-Goog-Signature={s}"}),
    "an id beside a picture": ("c", {"id": "ghp_{s}"}),
}
# what a recipe says
RECIPE: dict[str, Callable[[dict, str], None]] = {
    "the signature of the rows": lambda raw, s: _add(raw, "path", f"&X-Amz-Signature={s}"),
    "the token of the rows": lambda raw, s: _add(raw, "path", f"&token={s}"),
    "an unknown parameter of the rows": lambda raw, s: _add(raw, "path", f"&ticket={s}"),
    "the folder of the media": lambda raw, s: _of(raw).update(media_root=f"https://a.example.org/media?sig={s}"),
    "what it is about": lambda raw, s: raw.update(about=f"rows of https://u:{s}@a.example.org, see ?token={s}"),
    "its name": lambda raw, s: raw.update(name=f"secrets of https://u:{s}@a.example.org"),
    "the version of a model": lambda raw, s: raw["models"]["policy"].update(
        revision=f"https://a.example.org/m?sig={s}"
    ),
}
VARIABLES = (
    "JUDGE_KEY",
    "LABEL_STUDIO_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "PAIRWRIGHT_SERVE_SECRET",
    "PREFECT_API_KEY",
    "AWS_SESSION_TOKEN",
    "OTHER_API_TOKEN",
)
# what somebody types: words of the command line, with {s} for the secret and {recipe} for a recipe's file
COMMANDS = {
    "a key in place of a variable's name": ["build", "{recipe}", "models.policy.api_key_env=sk-{s}"],
    "a key like a name in place of one": ["build", "{recipe}", "models.policy.api_key_env={s}"],
    "a password in base_url": ["build", "{recipe}", "models.policy.base_url=http://u:{s}@127.0.0.1:9/v1"],
    "a query in base_url": ["build", "{recipe}", "models.policy.base_url=http://127.0.0.1:9/v1?key={s}"],
    "a password in a path": ["build", "{recipe}", "rows.path=https://u:{s}@127.0.0.1:9/rows.jsonl"],
    "a password in an oddly spelled path": ["build", "{recipe}", "rows.path=' http:/u:{s}@127.0.0.1:9/rows.jsonl'"],
    "a signature in a path that is not there": [
        "build",
        "{recipe}",
        "rows.path=https://127.0.0.1:9/rows.jsonl?sig={s}",
    ],
    "a signature in an estimate": ["estimate", "{recipe}", "rows.path=https://127.0.0.1:9/rows.jsonl?sig={s}"],
    "a password for a step that is not there": ["build", "{recipe}", "nowhere.path=https://u:{s}@a.example.org"],
    "an address as a recipe": ["build", "https://u:{s}@a.example.org/recipe.yaml"],
    "a set with a password": ["import", "auto", "https://u:{s}@127.0.0.1:9/pairs.jsonl"],
    "a signed set": ["import", "auto", "https://127.0.0.1:9/pairs.jsonl?X-Goog-Signature={s}"],
    "a recipe that is not YAML": ["build", "{broken}"],
}
# how an address with a user and a password may be written
SPELLINGS = (
    "http://u:{s}@h.example.org/x", " http://u:{s}@h/x", "HTTPS://u:{s}@h/x", "http:/u:{s}@h/x", "http:u:{s}@h/x", "http:///u:{s}@h/x",
    "//u:{s}@h/x", "\\\\u:{s}@h\\x", "http:\\\\u:{s}@h/x", "http:/\\u:{s}@h/x", "http:\\/\\/u:{s}@h\\/x", "http://u:{s}%40h/x", "http://u:{s}%2540h/x",
    "http://u:{s}\uff20h/x", "http://u:{s}@[::1]:80/x", "http://{s}@h/x", "http://:{s}@h/x", "http://u:a/{s}@h/x", "http://u:a?{s}@h/x", "http://u:a#{s}@h/x",
    "http://u:a@{s}@h/x", "http%3A%2F%2Fu%3A{s}%40h%2Fx", "https://cors.example.org/https://u:{s}@h/x", "https://h\\@u:{s}@i/x", "zip::http://u:{s}@h/x",
    "git+https://u:{s}@h/r.git", "ssh://git:{s}@h/r.git", "u:{s}@h.example.org:r.git", "postgresql://u:{s}@h/db", "postgresql+psycopg://u:{s}@h:5432/db?sslmode=require",
    "mongodb+srv://u:{s}@h/db", "redis://:{s}@h:6379/0", "amqp://u:{s}@h", "jdbc:postgresql://h/db?user=u&password={s}", "host=h user=u password={s}", "Server=h;Pwd={s};",
    "https://h/x?X-Amz-Signature={s}", "https://h/x?sig={s}", "https://h/x?a=1&token={s}#top", "https://h/x?a=1;sig={s}", "https://h/x#access_token={s}", "https://h/x?{s}",
    "https://h/x?ticket={s}", "https://h/x?u=https%3A%2F%2Fu%3A{s}%40i", "Authorization: Bearer {s}", '"password": "{s}"', "api_key={s}", "sk-{s}", "hf_{s}", "AKIA{S}", "ghp_{s}",
    "xoxb-{s}", "eyJ{s}.{s}.{s}",
)  # fmt: skip
AROUND = (
    "{}",
    "{}: is not there",
    "('{}', 1)",
    "see {} and mend it",
    "[{}]",
    "<{}>",
    "- {}\n- b",
    '{{"a": "{}"}}',
    "rows.path={}: no step",
)
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "for a URL": lambda s: quote(s, safe=""),
    "for a URL, all of it": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "for a URL, twice": lambda s: quote(quote(s, safe=""), safe=""),
    "base64": lambda s: _base64(s, 0),
    "base64, one on": lambda s: _base64(s, 1),
    "base64, two on": lambda s: _base64(s, 2),
    "base64 for URLs": lambda s: _base64(s, 0).replace("+", "-").replace("/", "_"),
    "base64 for URLs, one on": lambda s: _base64(s, 1).replace("+", "-").replace("/", "_"),
    "base64 for URLs, two on": lambda s: _base64(s, 2).replace("+", "-").replace("/", "_"),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON, all of it": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "HTML": html.escape,
}


def _base64(s: str, lead: int) -> str:
    """What of the base64 of a longer text is the secret's own."""
    text = base64.b64encode(b"." * lead + s.encode()).decode().rstrip("=")
    return text[(0, 2, 3)[lead] : len(text) - (1 if (lead + len(s.encode())) % 3 else 0)]


def _of(raw: dict) -> dict:
    return raw["steps"][0]["source.rows"]


def _add(raw: dict, name: str, more: str) -> None:
    _of(raw)[name] += more


def drawn(dice: random.Random, odd: bool = False) -> str:
    """A secret of letters and digits; `odd`: of whatever a key may hold."""
    letters = string.ascii_letters + string.digits
    return "x7" + "".join(dice.choices(letters + ('+/=-_."%&\\' if odd else ""), k=dice.randint(18, 40))) + "q"


def held(text: bytes, secrets: dict[str, str]) -> list[str]:
    """The places whose secrets a text holds, and how they are written in it."""
    lower = text.lower()
    return [
        f"{place} ({how})"
        for place, secret in secrets.items()
        for how, encode in ENCODINGS.items()
        if encode(secret).lower().encode() in lower
    ]


def texts_of(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what is in it where they are packed."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".arrow":
        for batch in shards.batches(path):
            yield repr((batch.schema.metadata, batch.to_pylist())).encode()
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr((table.schema.metadata, list(table.drop_columns(_blobs(table)).to_pylist()))).encode()
    elif data[:16] == b"SQLite format 3\0":
        with contextlib.closing(sqlite3.connect(path)) as db:
            for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
                yield repr(db.execute(f'select * from "{table}"').fetchall()).encode()
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)


def _blobs(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if "struct<bytes" in str(table.schema.field(name).type)]


def command(*words: str) -> tuple[int, str]:
    """The exit code of a `pairwright` command and all that it prints."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["pairwright", *words]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            from flows.cli import main

            main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    return 0, said.getvalue()


@contextlib.contextmanager
def web(rows: bytes, wanted: Callable[[dict], bool]) -> Iterator[str]:
    """A server of rows, for those who ask with the right query, and of a picture."""
    picture = png()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            place = urlsplit(self.path)
            found = {"/rows.jsonl": rows if wanted(parse_qs(place.query)) else None, "/1.png": picture}.get(place.path)
            self.send_response(200 if found else 403 if place.path == "/rows.jsonl" else 404)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    import huggingface_hub.constants as client

    running = Hub()
    told = {"ENDPOINT": running.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}
    try:
        with contextlib.ExitStack() as stack:
            for name, value in told.items():
                stack.enter_context(mock.patch.object(client, name, value))
            stack.enter_context(mock.patch.object(pushing, "WAITS", (0.01,)))
            yield running
    finally:
        running.close()


def put(value, secret: str, address: str):
    """A row's columns with the secret in them."""
    if isinstance(value, str):
        return value.replace("{s}", secret).replace("{web}", address)
    if isinstance(value, dict):
        return {key: put(of, secret, address) for key, of in value.items()}
    return [put(of, secret, address) for of in value] if isinstance(value, list) else value


def whole_way(dice: random.Random, folder: Path) -> None:
    """build, show, estimate, rejudge, export and train with a secret in every place; what a prompt or an answer says stays."""
    secrets = {place: drawn(dice) for place in (*ROWS, *RECIPE)} | {name: drawn(dice, odd=True) for name in VARIABLES}
    data = f"what does sk-{drawn(dice)} mean, and hf_{drawn(dice)}, at https://u:{drawn(dice)}@h/x?sig={drawn(dice)} ?"
    environment = {name: secrets[name] for name in VARIABLES} | {"HF_TOKEN": TOKEN}
    secrets["HF_TOKEN"] = TOKEN
    echoes = "; ".join(f"{how} {encode(secrets[name])}" for name in VARIABLES for how, encode in ENCODINGS.items())
    endpoint = Endpoint(key=secrets["JUDGE_KEY"], share=0.2, times=99, status=400, message=f"no: {echoes}")
    wanted = lambda asked: asked.get("X-Amz-Signature") == [secrets["the signature of the rows"]]
    printed: dict[str, str] = {}

    def run(name: str, *words: str, code: int = 0) -> None:
        ended, printed[name] = command(*words)
        assert ended == code, f"{name} ended with {ended}: {printed[name][-800:]}"

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        rows: list[dict] = [{"prompt": data}, *({"prompt": f"what is on page {i} ?"} for i in range(PLAIN))]
        served_rows = bytearray()
        address = stack.enter_context(web(served_rows, wanted))
        for number, (place, columns) in enumerate(ROWS.items()):
            rows.append({"prompt": f"what is in row {number} ?"} | put(columns, secrets[place], address))
        served_rows += "\n".join(map(json.dumps, rows)).encode()
        url = stack.enter_context(served(endpoint))
        running = stack.enter_context(hub())
        raw = {
            "name": "secrets",
            "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url, "api_key_env": "JUDGE_KEY", "slots": 8, "retries": 0}},
            "steps": [
                {"source.rows": {"path": f"{address}/rows.jsonl?v=1", "fetch": {"allow_private": ["127.0.0.1"], "seconds": 5}}},
                {"make.sample": {"model": "policy", "n": 3, "max_tokens": 16}},
                {"judge.pointwise": {"model": "policy", "media": False}},
                {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
            ],
        }  # fmt: skip
        for place, plant in RECIPE.items():
            plant(raw, secrets[place])
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(raw))
        out, cache = folder / "left" / "run", folder / "left" / "cache"
        run("estimate", "estimate", str(recipe), "--cache", str(cache))
        run("build", "build", str(recipe), "--out", str(out), "--cache", str(cache))
        left = {path: path.read_bytes() for path in out.rglob("record.json")}
        asked = endpoint.answered
        run("the same again", "build", str(recipe), "--out", str(out), "--cache", str(cache))
        assert endpoint.answered == asked, "the same command asked again"
        assert left == {path: path.read_bytes() for path in out.rglob("record.json")}, (
            "the same command wrote shards again"
        )
        recipe.write_text(yaml.safe_dump(raw).replace(secrets["the token of the rows"], drawn(dice)))
        run("signed again", "build", str(recipe), "--out", str(out), "--cache", str(cache))
        assert left == {path: path.read_bytes() for path in out.rglob("record.json")}, (
            "another signature wrote shards again"
        )
        run("show", "show", str(out))
        run("rejudge", "rejudge", str(out), code=2)  # the rows' address is not in the folder
        run("export", "export", str(out), "--hub", "tester/pairs")
        run(
            "train",
            "train",
            str(out),
            "train.batch_size=2",
            "--out",
            str(folder / "left" / "trained"),
            "--cache",
            str(cache),
        )
        pushed = running.repos["tester/pairs"].files
    for name, text in printed.items():
        assert not (found := held(text.encode(), secrets)), f"`{name}` prints {found}"
    for path in sorted((folder / "left").rglob("*")):
        if path.is_file() and path.suffix != ".safetensors":
            for text in texts_of(path):
                assert not (found := held(text, secrets)), f"{path.relative_to(folder)} holds {found}"
    for name, content in pushed.items():
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content))
            content = repr((table.schema.metadata, table.drop_columns(_blobs(table)).to_pylist())).encode()
        assert not (found := held(content, secrets)), f"the Hub's {name} holds {found}"
        ours = [
            word
            for word in (str(folder), urlsplit(url).netloc, urlsplit(address).netloc, "127.0.0.1", "JUDGE_KEY")
            if word.encode() in content
        ]
        assert not ours, f"the Hub's {name} holds {ours}"
    samples = [
        row for path in out.rglob("samples.arrow") for batch in shards.batches(path) for row in batch.to_pylist()
    ]
    assert data in [part["text"] for row in samples for message in row["prompt"] for part in message["parts"]], (
        "a prompt was changed"
    )
    assert len({row["source"] for row in samples if row["source"].startswith("rows.jsonl#")}) == sum(
        row["source"].startswith("rows.jsonl#") for row in samples
    ), "two rows have one id"


def brought(dice: random.Random, folder: Path) -> None:
    """A preference set and a folder of pictures with secrets beside what was asked and answered: imported, shown, exported."""
    secrets = {place: drawn(dice) for place in (*PAIRS, *BESIDE)}
    pairs, pictures, left = folder / "pairs.jsonl", folder / "pictures", folder / "left"
    rows = [
        {"question": f"what is on page {i} ?", "chosen": f"a dog, sk-{'1' * 20}", "rejected": "a wolf", "ds_name": "x"}
        for i in range(len(PAIRS))
    ]
    pairs.write_text(
        "\n".join(
            json.dumps(row | put(of, secrets[place], "")) for row, (place, of) in zip(rows, PAIRS.items(), strict=True)
        )
    )
    pictures.mkdir()
    for number, (place, (name, beside)) in enumerate(BESIDE.items()):
        path = pictures / f"{put(name, secrets[place], '')}.png"
        path.write_bytes(b"no picture" if "broken" in name else png(number))
        if beside:
            path.with_suffix(".json").write_text(json.dumps(put(beside, secrets[place], "")))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {"name": "pictures", "steps": [{"source.folder": {"path": str(pictures), "prompt": "what is shown ?"}}]}
        )
    )
    printed = {}
    with mock.patch.dict(os.environ, {"HF_TOKEN": TOKEN}), hub() as running:
        for name, words in {
            "import": [
                "auto",
                str(pairs),
                "pairs.fetch.seconds=1",
                "--out",
                str(left / "pairs"),
                "--cache",
                str(left / "cache"),
            ],
            "show": [str(left / "pairs")],
            "export": [str(left / "pairs"), "--hub", "tester/pairs"],
            "build": [str(recipe), "--out", str(left / "pictures"), "--cache", str(left / "cache")],
        }.items():
            code, printed[name] = command(name, *words)
            assert code == 0, f"{name} ended with {code}: {printed[name][-500:]}"
        (left / "pushed").mkdir()
        for name, content in running.repos["tester/pairs"].files.items():
            (left / "pushed" / name.replace("/", "-")).write_bytes(content)
    for name, text in printed.items():
        assert not (found := held(text.encode(), secrets)), f"`{name}` prints {found}"
    for path in filter(Path.is_file, left.rglob("*")):
        for text in texts_of(path):
            assert not (found := held(text, secrets)), f"{path.relative_to(folder)} holds {found}"
    ((path, *_),) = [sorted((left / "pushed").glob("*.parquet"))]
    assert {row["chosen"][0]["content"][0]["text"] for row in pq.read_table(path).to_pylist()} == {
        f"a dog, sk-{'1' * 20}"
    }, "an answer was changed"


def typed(dice: random.Random, folder: Path) -> None:
    """A command with a secret in it: one line without it, and nothing of it in a folder."""
    recipe, broken, secret = folder / "recipe.yaml", folder / "broken.yaml", drawn(dice)
    recipe.write_text(yaml.safe_dump({
        "name": "typed",
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": "http://127.0.0.1:9/v1"}},
        "steps": [{"source.rows": {"path": "rows.jsonl"}}, {"make.sample": {"model": "policy"}}],
    }))  # fmt: skip
    broken.write_text(f'name: x\nmodels: {{policy: {{api_key: "{secret}}}\n  password: {secret}')
    name, words = dice.choice(list(COMMANDS.items()))
    words = [word.format(s=secret, recipe=recipe, broken=broken) for word in words]
    places = ["--cache", str(folder / "left" / "cache")] + (
        ["--out", str(folder / "left" / "out")] if words[0] != "estimate" else []
    )
    with mock.patch.dict(os.environ, {"HTTPS_PROXY": "", "NO_PROXY": "*"}):
        code, said = command(*words, *places)
    assert code == 2, f"{name}: exit code {code}: {said[-500:]}"
    assert not (found := held(said.encode(), {name: secret})), f"{name}: {found} in {said!r}"
    for path in filter(Path.is_file, (folder / "left").rglob("*")):
        for text in texts_of(path):
            assert not (found := held(text, {name: secret})), f"{name}: {path} holds {found}"


def spelled(dice: random.Random, folder: Path) -> None:
    """Every spelling in some text: no part of the secret is left, and cleaned twice it is the same."""
    for spelling in SPELLINGS:
        secret = drawn(dice)
        text = dice.choice(AROUND).format(spelling.replace("{s}", secret).replace("{S}", secret.upper()))
        told = redact.clean(text)
        assert not held(told.encode(), {spelling: secret}), f"{text!r} is told as {told!r}"
        assert redact.clean(told) == told, f"{told!r} cleaned again is {redact.clean(told)!r}"


def echoed(dice: random.Random, folder: Path) -> None:
    """A key of the environment in every encoding, cut into lines, cut off or among others: nothing of it is left that could be used."""
    for how, encode in ENCODINGS.items():
        secret = drawn(dice, odd=True)
        text = encode(secret)
        if dice.random() < 0.5:
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(["\n", "\r\n", " ", "\n    "]) + text[at:]
        text = f"{drawn(dice)} {text}{dice.choice(['', '.', '...', '=='])} said the server"
        with mock.patch.dict(os.environ, {"JUDGE_KEY": secret}):
            told = redact.clean(text)
        assert not held("".join(told.split()).encode(), {how: secret}), f"{how}: {text!r} is told as {told!r}"
        assert told.startswith((text.split()[0], redact.MARK)), f"{how}: too much is cut: {told!r}"


def anything(dice: random.Random, folder: Path) -> None:
    """Pieces of addresses and keys in any order, and many thousand times one of them: each takes its time and no more."""
    pieces = ["http", "https:", "//", "/", "\\", "@", "%40", "%2F", "%", "%3A", ":", "::", "?", "#", "=", "&", "u", "a.b", "[::1]", "sk-", "Bearer ", "password=", "\"token\": \"",
              "\"", "'", "\n", " ", "\ud800", "-----BEGIN PRIVATE KEY-----", "eyJ", "..", "~", "C:\\", "\\u0041", "&#64;", "a" * 30, "postgresql", "\u0130", "\uff20"]  # fmt: skip
    started = time.monotonic()
    with mock.patch.dict(os.environ, {"JUDGE_KEY": drawn(dice, odd=True)}):
        for text in ("".join(dice.choices(pieces, k=dice.randint(1, 30))), "".join(dice.choices(pieces, k=2)) * 3000):
            for work in (
                redact.clean,
                public_text,
                redact.bare_url,
                redact.without_signature,
                redact.has_credentials,
                redact.is_variable_name,
            ):
                work(text)
    assert time.monotonic() - started < 20, "it takes ever longer"


def harmless(dice: random.Random, folder: Path) -> None:
    """What holds no secret is not touched."""
    word = lambda: "".join(dice.choices(string.ascii_lowercase, k=dice.randint(1, 9)))
    texts = [
        f"{word()}.jsonl#{dice.randrange(10**6)}", f"https://{word()}.org/{word()}/{dice.randrange(10**9)}.jpg", f"https://{word()}.org/?id={dice.randrange(10**6)}",
        f"data/{word()}/{word()}@{word()}.png", f"{word()}/{word()}@{dice.randbytes(6).hex()}", dice.randbytes(16).hex(), "cc-by-4.0", f"C:\\{word()}\\{word()}",
        f"{word()}: the image is not there; name another", f"s3://{word()}/{word()}", f"hf://datasets/{word()}/{word()}@main/x", f"n={dice.randrange(99)}, max_tokens=64",
        f"{word()}{dice.randrange(9)}:{dice.randrange(99)}b-instruct-q4_K_M@v{dice.randrange(9)}.{dice.randrange(99)}", f"hf_{word()}", f"digest {dice.randbytes(16).hex()}",
        f"the key in {word().upper()}_KEY: check it", f"http://127.0.0.1:{dice.randrange(99999)}/v1 answered 500",
    ]  # fmt: skip
    with mock.patch.dict(os.environ, {"JUDGE_KEY": drawn(dice), "SHORT_KEY": "abc"}):
        for text in texts:
            assert redact.clean(text) == text, f"{text!r} is told as {redact.clean(text)!r}"


FAULTS = [
    Fault("secrets", f"{len(ROWS) + len(RECIPE) + len(VARIABLES) + 1} secrets in rows, recipe and variables, and a server that repeats the variables", "in no file, message or pushed dataset; prompts stay; the same command continues", whole_way, trials=5),
    Fault("secrets", f"{len(PAIRS) + len(BESIDE)} secrets in a preference set and beside pictures", "in no file, message or pushed dataset; answers stay", brought, trials=10),
    Fault("secrets", "a key, password or signature typed into a command", "one line without it, exit code 2; in no file", typed, trials=60, sample=13),
    Fault("secrets", f"{len(SPELLINGS)} spellings of addresses and keys in texts", "redacted", spelled, trials=300, sample=20),
    Fault("secrets", f"a variable's value in {len(ENCODINGS)} encodings, broken into lines", "redacted", echoed, trials=300, sample=10),
    Fault("secrets", "fragments of addresses and keys in any order", "a result in bounded time", anything, trials=300, sample=5),
    Fault("secrets", "texts without a secret", "unchanged", harmless, trials=300, sample=10),
]  # fmt: skip
