#!/bin/bash
# datasets 5.2.0: load_dataset(FOLDER, CONFIG) gives the rows of before when the files of a folder with a card are written anew.
#
# A folder holds README.md, whose header names a config with data_files, and one Parquet file. It is loaded, the Parquet file is replaced by
# one with other rows under the same name, and it is loaded again: the first rows come back, from the cache, without a word. The same file
# loaded by load_dataset("parquet", data_files=...) gives the new rows. An export that is made again in place is trained on as it was.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0
cd "$folder"
HF_HOME=$folder/home HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import pathlib
import time

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

datasets.disable_progress_bars()
pathlib.Path("export/data").mkdir(parents=True)
pathlib.Path("export/README.md").write_text("---\nconfigs:\n- config_name: image\n  data_files: data/*.parquet\n---\n# Pairs\n")


def written(answers):
    pq.write_table(pa.table({"chosen": answers}), "export/data/rows.parquet")


written(["a red square"])
first = datasets.load_dataset("export", "image", split="train")["chosen"][:]
time.sleep(1.1)
written(["a blue circle", "two dogs"])
again = datasets.load_dataset("export", "image", split="train")["chosen"][:]
alone = datasets.load_dataset("parquet", data_files="export/data/rows.parquet", split="train")["chosen"][:]
print("first", first, "\nagain", again, "\nfile alone", alone)
assert again == first == ["a red square"] and alone == ["a blue circle", "two dogs"]
PY
echo "as described"
