"""The check for machines with a GPU, on one without."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from benchmarks import gpu_check
from benchmarks.overhead import ROOT
from pipeline.scenes.model.model import Thinker

pytestmark = pytest.mark.engine


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments]
    without = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=without)


def test_without_a_gpu_it_says_so_in_one_line():
    done = run()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "gpu-check needs a CUDA GPU, but none was found; try it on the CPU with `--size tiny`\n"


def test_its_whole_way_can_be_rehearsed_on_a_cpu():
    done = run("--size", "tiny", "--samples", "8", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "on a CPU: a trial run, not a result" in done.stdout
    assert (
        "8 pictures of 512 x 384, 16 requests" in done.stdout
    )  # one for answers and one to rate them: a form lets even these weights rate
    (row,) = re.findall(
        r"^\| 1 \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", done.stdout, re.MULTILINE
    )
    passed, bare, ratio = (float(number.replace(",", "")) for number in row[:3])
    assert abs(ratio - passed / bare) < 0.01
    assert re.search(r"median [\d.]+ .* target 0\.97; [\d,]+ tokens a round, [\d.]+ GiB in use", done.stdout)


def test_a_made_checkpoint_has_the_weights_of_the_tiny_ones_names_and_others_values(tmp_path):
    gpu_check.make_model(tmp_path / "model", "tiny", "cpu")
    (file,) = (tmp_path / "model").glob("*.safetensors")
    with safe_open(file, "pt") as made, safe_open(gpu_check.TINY / "model.safetensors", "pt") as trained:
        assert set(made.keys()) == set(trained.keys())
        for name in made.keys():  # noqa: SIM118  no mapping
            assert made.get_tensor(name).shape == trained.get_tensor(name).shape
        weight = made.get_tensor("thinker.model.layers.0.mlp.up_proj.weight").float()
        assert abs(weight.std() - 0.02) < 0.001
        assert made.get_tensor("thinker.model.norm.weight").unique().tolist() == [1.0]


def test_the_real_size_has_three_billion_weights():
    thinker = json.loads((gpu_check.TINY / "config.json").read_text())["thinker_config"]
    for part, changed in gpu_check.SIZES["3b"].items():
        thinker[part] |= changed
    with torch.device("meta"):
        model = Thinker(Thinker.config_class(**thinker))
    # a layer of text: attention 2 x 2048 x 2048 + 2 x 2048 x 256, gates 3 x 2048 x 11008, which is 77 M; 36 of them are 2.77 billion
    assert 2.7e9 < sum(p.numel() for p in model.model.parameters()) < 2.8e9
    # of pictures: attention 4 x 1280 x 1280, gates 3 x 1280 x 3420, which is 19.7 M; 32 of them .63 billion, and the merger
    assert 0.63e9 < sum(p.numel() for p in model.visual.parameters()) < 0.7e9
