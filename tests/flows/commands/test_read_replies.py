import json
import sys
from pathlib import Path

import pytest

from flows import cli
from flows.commands.read_replies import read_replies

EXAMPLE = Path(__file__).with_name("replies.jsonl")


def ran(monkeypatch, capsys, path) -> tuple[int, list[str], list[str]]:
    """(exit code, lines on standard output, lines on standard error)."""
    monkeypatch.setattr(sys, "argv", ["pairwright", "read-replies", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code, said.out.splitlines(), said.err.splitlines()


def test_each_reply_of_the_example_is_one_json_line_with_what_it_is_read_as(monkeypatch, capsys):
    code, lines, errors = ran(monkeypatch, capsys, EXAMPLE)
    assert (code, errors) == (0, [])
    rows, found = (list(map(json.loads, text)) for text in (EXAMPLE.read_text().splitlines(), lines))
    assert [{k: v for k, v in line.items() if k not in ("outcome", "value")} for line in found] == rows
    assert [(line["outcome"], line.get("value")) for line in found] == [
        ("verdict", -1.0), ("unparsable", None), ("unparsable", None), ("verdict", 1.0), ("verdict", [4, 2]), ("verdict", [[4], [5]]),
        ("verdict", [1, 0, 2]), ("verdict", "0-9,14-19"), ("verdict", ["The cup is red.", "There is a dog."]), ("abstain", None), ("refused", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"form": "pairwise"}', "`text` is missing; set it to a text"),
        ('{"text": "a"}', "`form` is missing"),
        ('{"form": "parwise", "text": "a"}', "did you mean 'pairwise'?"),
        ('{"form": "pairwise", "text": 1}', "`text` is not a text"),
        ('{"form": "pairwise", "text": "1", "tie": "no"}', "`tie` is not true or false"),
        ('{"form": "pairwise", "text": "1", "finish": 3}', "`finish` is not a text"),
        ('{"form": "listwise", "text": "1"}', "`n` is missing; set it to a whole number"),
        ('{"form": "listwise", "text": "1", "n": true}', "`n` is not a whole number"),
        ('{"form": "listwise", "text": "1", "n": 0}', "`n` is below 1"),
        ('{"form": "pointwise", "text": "1", "n": 1, "low": 5, "high": 5, "axes": ["a"]}', "`low` is not below `high`"),
        (
            '{"form": "pointwise", "text": "1", "n": 1, "low": 1, "high": 5, "axes": []}',
            "`axes` is not a list of texts",
        ),
        ('{"form": "segments", "text": "1"}', "`answer` is missing"),
        ("{", "not valid JSON"),
        ("[]", "not an object"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it_and_the_rest_goes_on(tmp_path, monkeypatch, capsys, row, says):
    path = tmp_path / "replies.jsonl"
    good = '{"form": "pairwise", "text": "[[1]]"}'
    path.write_text(f"{good}\n{row}\n{good}\n")
    code, lines, errors = ran(monkeypatch, capsys, path)
    assert code == 0
    assert [json.loads(line)["value"] for line in lines] == [1.0, 1.0]
    (error,) = errors
    assert error.startswith("replies.jsonl#2: ")
    assert says in error


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    code, lines, errors = ran(monkeypatch, capsys, tmp_path / "none.jsonl")
    assert (code, lines) == (2, [])
    assert "none.jsonl" in errors[0]


@pytest.mark.parametrize(("finish", "outcome"), [("stop", "verdict"), ("end_turn", "verdict"), ("length", "unparsable"), ("MAX_TOKENS", "unparsable"),
                                                 ("tool_calls", "unparsable"), ("content_filter", "refused"), ("odd", "unparsable")])  # fmt: skip
def test_a_reply_that_did_not_end_by_itself_is_read_as_in_a_run(tmp_path, finish, outcome):
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"form": "pairwise", "text": "[[1]]", "finish": finish}))
    assert [found["outcome"] for found in read_replies(str(path))] == [outcome]
