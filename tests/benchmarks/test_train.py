import argparse
import json

from benchmarks import train as bench
from tests.support.text_model import make


def test_answers_have_128_to_256_tokens_and_our_training_of_them_is_measured(tmp_path):
    model = make(tmp_path / "model")
    bench.prepare(str(model), tmp_path, 4)
    rows = json.loads((tmp_path / "rows.json").read_text())
    lengths = [len(row[side].split()) for row in rows for side in ("chosen", "rejected")]  # a word is a token here
    assert len(lengths) == 8
    assert all(128 <= length < 256 for length in lengths)
    found = bench.measured("ours", argparse.Namespace(model=str(model), batch=2), tmp_path)
    assert found["steps"] == 2
    assert found["cpu"] > 0
    assert 0 < found["memory"] < 5
    assert abs(found["first"]["loss"] - 0.6931) < 1e-3
