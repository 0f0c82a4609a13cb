"""What others download names no place of ours: the columns, the card, what a push takes along."""

import json

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.hub import _clean_card
from pipeline.dataset.read import dataset_files
from pipeline.dataset.write import write
from pipeline.storage.media_store import FolderStore
from schemas import records
from schemas.records import Message, Part
from tests.support.small_run import ListTables

PLACES = {
    "rows.jsonl#17": "rows.jsonl#17",
    "pictures/cats/1.jpg": "pictures/cats/1.jpg",
    "https://example.org/1.jpg": "https://example.org/1.jpg",
    "/home/me/pictures/1.jpg": "1.jpg",
    "http://10.0.0.7:8000/pictures/1.jpg": "1.jpg",
    "http://nas/1.jpg": "1.jpg",
    "C:\\Users\\me\\1.jpg": "1.jpg",
    "file:///home/me/1.jpg": "1.jpg",
}


@pytest.fixture
def dataset(tmp_path):
    """A pair for each of PLACES."""
    rows = {name: [] for name in ("samples", "candidates", "judgements", "pairs")}
    for number, place in enumerate(PLACES):
        prompt = (Message("user", (Part("text", f"what is in {number}, /home/me/{number} ?"),)),)
        row = records.sample(prompt, source=place, licence="see /home/me/licence.txt")
        good, bad = (
            records.candidate(row.id, "make", text, model="/models/tiny@1") for text in ("/home/me/good", "bad")
        )
        rows["samples"].append(row)
        rows["pairs"].append(records.pair(row.id, "pair", good, bad, recipe="places"))
    write(ListTables(rows), FolderStore(tmp_path / "media"), tmp_path / "dataset", {"recipe": "places"})
    return tmp_path / "dataset"


def test_columns_that_say_where_a_row_is_from_name_no_place_of_ours_and_data_stay(dataset):
    ((_, path),) = dataset_files(dataset)
    rows = pq.read_table(path).to_pylist()
    assert [row["source"] for row in rows] == list(PLACES.values())
    assert {(row["licence"], row["generator_chosen"], row["generator_rejected"]) for row in rows} == {
        ("see licence.txt", "tiny@1", "tiny@1")
    }
    assert {row["chosen"][0]["content"][0]["text"] for row in rows} == {"/home/me/good"}
    assert json.dumps(rows[3]["prompt"]).count("/home/me/3") == 1


def test_a_card_from_before_is_clean_card_when_it_is_pushed(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(
        "# x\n\n```yaml\nmodels:\n  policy:\n    base_url: https://llm.example.org/v1\n    api_key_env: JUDGE\n    model: q\n"
        "steps:\n- source.rows:\n    path: /home/me/rows.jsonl\n```\n\nfrom https://u:p4ss@example.org/x?sig=1 and/or HF_TOKEN\n"
    )
    _clean_card(card)
    assert card.read_text() == (
        "# x\n\n```yaml\nmodels:\n  policy:\n    model: q\nsteps:\n- source.rows:\n    path: rows.jsonl\n```\n\n"
        "from https://example.org/x and/or (a variable)\n"
    )
    _clean_card(card)
    _clean_card(tmp_path / "nowhere.md")
