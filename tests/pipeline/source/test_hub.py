"""source.hub against what `datasets` itself writes, and against a stand-in of the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Features, Image, List, Value, Video

from pipeline.source import hub
from pipeline.source.reading.conversation import MediaLookup
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError, RowError
from schemas.operator import Context
from schemas.records import Media, Reason, Rejection, Sample
from tests.support import media_files as make
from tests.support.hub_standin import COMMIT, TOKEN, Hub, Repo

ROOT = Path(__file__).parents[3]
FEATURES = Features({
    "question": Value("string"), "images": List(Image()), "audio": Audio(), "video": Video(), "answer": Value("int64"), "other": Value("string"),
})  # fmt: skip
CLIP = make.mp4()  # an encoder may write another byte each time
ROWS = [
    {"question": "Two?", "images": [{"bytes": make.png(1), "path": None}, {"bytes": make.jpeg(2), "path": "b.jpg"}], "answer": 2},
    {"question": "A sound?", "images": [], "audio": {"bytes": make.wav(), "path": "c.wav"}},
    {"question": "A clip?", "images": None, "video": {"bytes": CLIP, "path": None}, "other": "x"},
    {"question": "Cut?", "images": [{"bytes": make.jpeg(1)[:-200], "path": None}]},
    {"question": " ", "images": []},
]  # fmt: skip
COLUMNS = {"prompt": "question"}


def parquet(path: Path, rows=ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema), path)
    return path.parent


def read(path, tmp_path, **settings):
    context = Context(step="in", version="", media=FolderStore(tmp_path / "store"))
    return list(hub.read(hub.Settings(path=str(path), **settings), context))


def rejected(found) -> list[tuple[str, Reason]]:
    return [(row.id, row.reason) for row in found if isinstance(row, Rejection)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("how", ["streaming", "copied", "saved", "saved splits"])
def test_features_of_media_come_as_their_bytes(tmp_path, how):
    folder = parquet(tmp_path / "set" / "train.parquet")
    if how.startswith("saved"):
        whole = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "c"))
        (whole if how == "saved splits" else whole["train"]).save_to_disk(tmp_path / "disk" / "set")
        folder = tmp_path / "disk" / "set"
    found = read(folder, tmp_path, columns=COLUMNS, streaming=how == "streaming", licence="CC0")
    samples = [row for row in found if isinstance(row, Sample)]
    assert [(s.kind, s.answer, s.source, s.licence) for s in samples] == [
        ("multi_image", "2", "set/train#1", "CC0"), ("audio", None, "set/train#2", "CC0"), ("video", None, "set/train#3", "CC0"),
    ]  # fmt: skip
    assert [row.size for row in found if isinstance(row, Media)] == [
        len(data) for data in (make.png(1), make.jpeg(2), make.wav(), CLIP)
    ]  # not a byte was coded anew
    assert rejected(found) == [("set/train#4", Reason.UNDECODABLE), ("set/train#5", Reason.EMPTY_PROMPT)]
    assert len(read(folder, tmp_path, columns=COLUMNS, limit=2)) == 5


def test_an_imagefolder_is_a_dataset_too(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "x.png").write_bytes(make.png(1))
    (tmp_path / "set" / "metadata.csv").write_text("file_name,prompt\na/x.png,What?\n")
    media, sample = read(tmp_path / "set", tmp_path)
    assert (media.size, sample.kind) == (len(make.png(1)), "image")


def test_a_sample_of_the_rows(tmp_path):
    folder = parquet(tmp_path / "set" / "train.parquet", [{"question": f"{n}?"} for n in range(300)])
    some = [s.source for s in read(folder, tmp_path, columns=COLUMNS, sample={"n": 20, "seed": 1})]
    assert len(some) == 20
    assert some == [
        s.source for s in read(folder, tmp_path, columns=COLUMNS, sample={"n": 20, "seed": 1}, streaming=False)
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split": "test"}, r"Available splits: \['train'\]"), ({"config": "b"}, r"Available: \['default'\]"), ({"path": "/nowhere/at/all"}, "neither a folder nor"),
        ({"columns": {}}, "no column prompt; it has .*question"), ({"path": "a b"}, "use OWNER/NAME"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(tmp_path, settings, said):
    folder = parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(InputError, match=said) as raised:
        read(**{"path": folder, "tmp_path": tmp_path, "columns": COLUMNS} | settings)
    assert "\n" not in str(raised.value)


@pytest.fixture
def standin():
    running = Hub()
    yield running
    running.close()


SCRIPT = """
import json, sys
from pathlib import Path
from pipeline.source import hub
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError, RowError
from schemas.operator import Context
try:
    found = list(hub.read(hub.Settings(**json.loads(sys.argv[1])), Context(step="in", version="", media=FolderStore("store"))))
    print(json.dumps([[type(row).__name__, row.source if hasattr(row, "source") else row.id, getattr(row, "licence", None), getattr(row, "detail", None)] for row in found]))
except InputError as error:
    print(json.dumps(str(error)))
"""


def over_the_hub(standin, tmp_path, token=TOKEN, **settings):
    """What the source says, in a process that takes the stand-in for the Hub."""
    environment = {
        "HF_ENDPOINT": standin.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment |= {"PYTHONPATH": str(ROOT), "HF_TOKEN": token}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(settings)], env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert token not in done.stdout
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False])
def test_a_dataset_of_the_hub_is_read_at_one_commit_which_its_rows_name(standin, tmp_path, streaming):
    secret = tmp_path / "secret.png"
    secret.write_bytes(make.png(9))
    rows = [ROWS[0], {"question": "A file of this machine?", "images": [{"bytes": None, "path": str(secret)}]},
            {"question": "A metadata service?", "images": [{"bytes": None, "path": "http://169.254.169.254/a.png"}]}]  # fmt: skip
    folder = parquet(tmp_path / "made" / "train.parquet", rows)
    card = b"---\nlicense: cc-by-4.0\n---\n"
    standin.repos["tester/set"] = Repo(
        True, {"README.md": card, "data/train.parquet": (folder / "train.parquet").read_bytes()}
    )
    found = over_the_hub(standin, tmp_path, path="tester/set", columns=COLUMNS, streaming=streaming)
    place = f"tester/set@{COMMIT[:12]}/train"
    assert [row[0] for row in found] == ["Media", "Media", "Sample", "Rejection", "Rejection"]
    assert found[2][1:3] == [f"{place}#1", "cc-by-4.0"]
    assert "local file" in found[3][3]
    assert "private or special address" in found[4][3]
    assert any(COMMIT in line for line in standin.log)


def test_a_dataset_that_may_not_be_read_is_one_line_without_the_token(standin, tmp_path):
    standin.repos["tester/set"] = Repo(True, {})
    for token, path in (("hf_wrong_token", "tester/set"), (TOKEN, "tester/none")):
        said = over_the_hub(standin, tmp_path, token, path=path)
        assert isinstance(said, str)
        assert said.startswith(f"cannot read the dataset {path} train")
        assert "\n" not in said


def test_rows_of_the_hub_name_files_of_their_dataset_and_of_no_other():
    root = "hf://datasets/tester/pets@0123"
    shelf = MediaLookup(root, None, None, (), ())
    good = {
        "a/b.png": f"{root}/a/b.png",
        f"{root}/c.png": f"{root}/c.png",
        "https://example.org/d.png": "https://example.org/d.png",
    }
    assert {path: shelf.url(path) for path in good} == good
    bad = [f"{root}/../../other/secret.png", f"{root}/%2e%2e/secret.png", "hf://datasets/tester/secrets/a.png", "s3://bucket/a.png",
           "../other/a.png", "%2e%2e/a.png", "..\\a.png", "/etc/passwd", "%2Fetc/passwd", f"{root}s/a.png"]  # fmt: skip
    for path in bad:
        with pytest.raises(RowError) as raised:
            shelf.find(path, "image")
        assert raised.value.reason in (Reason.UNSAFE, Reason.BAD_ROW)
        assert shelf.url(path) is None


def test_what_else_a_row_holds_is_counted_or_refused(tmp_path):
    rows = [{"prompt": "<image> What?", "image": make.png(1), "system": "Be short.", "tools": None, "width": 64},
            {"prompt": "What?", "image": make.png(1), "system": None, "tools": "zoom", "width": 64}]  # fmt: skip
    (tmp_path / "d").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d" / "train.parquet")
    notes: dict = {}
    context = Context(step="in", version="", media=FolderStore(tmp_path / "store"), unread=notes)
    found = list(hub.read(hub.Settings(path=str(tmp_path / "d")), context))
    (sample,) = (row for row in found if isinstance(row, Sample))
    assert [part.text or part.type for message in sample.prompt for part in message.parts] == [
        "Be short.",
        "image",
        " What?",
    ]
    assert rejected(found) == [("d/train#2", Reason.NOT_READ)]
    assert notes == {"d/train": {"tools": 1, "width": 2}}  # of a column that is not loaded, all rows


def test_rows_are_put_together_by_bytes(monkeypatch):
    # 32 MB at once: rows of 20 MB two at a time, small ones 64 at a time
    big = pa.table({"x": [b"x" * (20 << 20)]})
    assert [t.num_rows for t in hub._batches(iter([big] * 5))] == [2, 2, 1]
    assert [t.num_rows for t in hub._batches(iter([pa.table({"x": [1]})] * 130))] == [64, 64, 2]
    assert list(hub._batches(iter([]))) == []


@pytest.mark.parametrize("streaming", [True, False])
def test_a_folder_that_has_changed_is_read_as_it_is_now(tmp_path, monkeypatch, streaming):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: data/*.parquet\n---\n")

    def prompts(*rows: str) -> list[str]:
        pq.write_table(pa.table({"prompt": list(rows)}), tmp_path / "set" / "data" / "0.parquet")
        settings = hub.Settings(path=str(tmp_path / "set"), config="a", streaming=streaming)
        found = hub.read(settings, Context("hub", "", FolderStore(tmp_path / "media")))
        return [row.prompt[0].parts[0].text for row in found if isinstance(row, Sample)]

    assert prompts("One?", "Two?") == ["One?", "Two?"]
    assert prompts("Three?") == ["Three?"]
