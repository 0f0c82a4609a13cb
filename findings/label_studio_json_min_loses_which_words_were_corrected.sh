#!/bin/bash
# label-studio-sdk 2.1.2: in a JSON_MIN export it cannot be told to which marked words a correction belongs.
#
# A labeling config with Labels on an answer and a TextArea with perRegion="true": an annotator marks two mistakes, "Three" (count) and
# "bench" (object), and writes a correction, "table", for the second only. JSON joins mark and correction by their `id`. JSON_MIN stores
#   "wrong": [two marks without ids], "correction": "table"
# and is the same, byte for byte, if the correction was for the first mark. Exports for span corrections have to be JSON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
cd "$folder"
venv/bin/python - <<'PY'
import json
import pathlib

from label_studio_sdk.converter import Converter

CONFIG = """<View>
  <Text name="answer" value="$answer"/>
  <Labels name="wrong" toName="answer"><Label value="count"/><Label value="object"/></Labels>
  <TextArea name="correction" toName="answer" perRegion="true"/>
</View>"""
ANSWER = "Three dogs sit on a bench."


def mark(name, start, end, label, correction=None):
    place = {"start": start, "end": end, "text": ANSWER[start:end]}
    shared = {"id": name, "to_name": "answer"}
    yield {**shared, "type": "labels", "from_name": "wrong", "value": {**place, "labels": [label]}}
    if correction:
        yield {**shared, "type": "textarea", "from_name": "correction", "value": {**place, "text": [correction]}}


def json_min(first, second):
    result = [*mark("a", 0, 5, "count", first), *mark("b", 20, 25, "object", second)]
    times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z")
    done = {"id": 5, "completed_by": 1, "lead_time": 3.0, "was_cancelled": False, **times, "result": result}
    pathlib.Path("task.json").write_text(json.dumps([{"id": 1, "data": {"answer": ANSWER}, "annotations": [done]}]))
    Converter(config=CONFIG, project_dir=".", download_resources=False).convert("task.json", "out", "JSON_MIN", is_dir=False)
    return pathlib.Path("out/result.json").read_text()


of_first, of_second = json_min("table", None), json_min(None, "table")
row = json.loads(of_second)[0]
print(row["wrong"], row["correction"])
assert row["correction"] == "table" and all(set(each) == {"start", "end", "text", "labels"} for each in row["wrong"])
assert of_first == of_second
PY
echo "as described"
