"""DPO with a real language model: memory and CPU time, compared with TRL's DPOTrainer.

    python -m benchmarks.train MODEL [--pairs 32] [--batch 32] [--rounds 3] [--only ours trl] [--folder DIR]

MODEL is the folder of a text-only model. The pairs are drawn English words: a question, and two answers of 128 to 256 tokens each. Both
train LoRA adapters of rank 8 on all linear layers for one epoch in float32, one thread, with their other default settings, each in a fresh
process. CPU seconds begin when the model is loaded and end after the last step, with tokenisation, checks and the reference. Memory is the
peak above what the process has when the model is loaded. The programs alternate, and results are medians over the rounds. On stderr, ours
says what each phase took."""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from transformers import AutoTokenizer

from flows.runs import executor

RANK = 8
WORDS = (
    "the a of and to in with for on by river market winter garden teacher letter stone bridge city village light morning "
    "story music question answer number paper window simple quiet early long green old open bring build carry follow "
    "remember explain because although while often never slowly together people water history science"
)


class Mark:
    """CPU seconds and memory of this process since a moment."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        self._cpu, self._memory = time.process_time(), self._status("VmRSS")
        self._told = 0.0

    def tell(self, what: str) -> None:
        """Prints CPU seconds since it was called last, and the peak so far."""
        now = self.figures()
        print(f"{now['cpu'] - self._told:.1f} CPU s, peak {now['memory']:.2f} GB: {what}", file=sys.stderr)
        self._told = now["cpu"]

    def figures(self) -> dict[str, float]:
        """{cpu: seconds, memory: peak in GB above the beginning}."""
        return {"cpu": time.process_time() - self._cpu, "memory": (self._status("VmHWM") - self._memory) / 1e6}

    @staticmethod
    def _status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))  # kB


def rows(model: str, pairs: int) -> list[dict[str, str]]:
    """Pairs whose answers have 128 to 256 tokens."""
    rng, tokenizer, known = random.Random(0), AutoTokenizer.from_pretrained(model), WORDS.split()

    def text(least: int, most: int) -> str:
        wanted, words = rng.randint(least, most), []
        while len(tokenizer.encode(" ".join(words), add_special_tokens=False)) < wanted:
            words.append(rng.choice(known))
        return " ".join(words)

    return [{"prompt": text(20, 40), "chosen": text(128, 255), "rejected": text(128, 255)} for _ in range(pairs)]


def ours(model: str, folder: Path, batch: int) -> dict:
    """Our figures, in this process."""
    from pipeline.modeling import load
    from pipeline.train import _checks, _plan
    from pipeline.train.dpo import Settings, train
    from schemas.operator import Context

    marks: list[Mark] = []
    figures: dict = {}
    loaded, merged = load.load, load.merge

    def timed(check: Callable) -> Callable:
        def run(*given):
            marks[0].tell(f"before {check.__name__}")
            began = time.process_time()
            found = check(*given)
            figures["checks"] = figures.get("checks", 0.0) + time.process_time() - began
            marks[0].tell(check.__name__)
            return found

        return run

    def begin(source: str):
        found = loaded(source)
        marks.append(Mark())
        return found

    def end(trained):
        figures.update(marks[0].figures())
        return merged(trained)

    load.load, load.merge = begin, end
    _checks.run_checks, _plan.plan = timed(_checks.run_checks), timed(_plan.plan)
    context = Context(
        "train", "v", None, models={"policy": model}, dataset=folder / "run" / "dataset", folder=folder / "ours",
        progress=lambda done, total, text: marks[0].tell(f"{text}: {done} of {total}"),
    )  # fmt: skip
    result = train(None, Settings(model="policy", lora=RANK, batch_size=batch), context)
    line = (folder / "ours" / "metrics.jsonl").read_text().splitlines()[0]
    return {**figures, "steps": result["steps"], "first": json.loads(line)}


def trl(model: str, folder: Path, batch: int) -> dict:
    """TRL's figures, in this process."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    mark = Mark()
    given = [
        {key: [{"role": "user" if key == "prompt" else "assistant", "content": text}] for key, text in row.items()}
        for row in json.loads((folder / "rows.json").read_text())
    ]
    arguments = DPOConfig(
        str(folder / "trl"), per_device_train_batch_size=batch, num_train_epochs=1, bf16=False, use_cpu=True, report_to=[],
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    adapters = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = DPOTrainer(
        loaded, args=arguments, train_dataset=Dataset.from_list(given), peft_config=adapters,
        processing_class=AutoTokenizer.from_pretrained(model),
    )  # fmt: skip
    trainer.train()
    return {**mark.figures(), "checks": 0.0, "steps": trainer.state.global_step, "first": trainer.state.log_history[0]}


def prepare(model: str, folder: Path, pairs: int) -> None:
    """Writes the pairs as TRL takes them, and as a dataset of ours in folder/run."""
    made = rows(model, pairs)
    (folder / "rows.json").write_text(json.dumps(made))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    raw = {"name": "pairs", "steps": [{"source.pairs": {"path": str(folder / "rows.jsonl")}}]}
    run = executor.open_document(raw, out=folder / "run", cache=folder / "cache")
    try:
        for _ in executor.run_all(run):
            pass
    finally:
        run.close()


def measured(name: str, asked: argparse.Namespace, folder: Path) -> dict:
    """One program's figures from a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.train",
        asked.model,
        "--batch",
        str(asked.batch),
        "--folder",
        str(folder),
        "--child",
        name,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{name} failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=("ours", "trl"), default=["ours", "trl"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", choices=("ours", "trl"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps({"ours": ours, "trl": trl}[asked.child](asked.model, asked.folder, asked.batch)))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        folder = Path(place)
        prepare(asked.model, folder, asked.pairs)
        print("| round | program | CPU s | of these checks | peak above the weights, GB | steps | first loss |")
        print("|---|---|---|---|---|---|---|")
        found: dict[str, list[dict]] = {name: [] for name in asked.only}
        for number in range(1, asked.rounds + 1):
            for name in asked.only:
                one = measured(name, asked, folder)
                found[name].append(one)
                figures = f"{one['cpu']:.1f} | {one['checks']:.1f} | {one['memory']:.2f} | {one['steps']}"
                print(f"| {number} | {name} | {figures} | {one['first']['loss']:.4f} |", flush=True)
    if len(found) == 2:
        middle = {
            name: {key: statistics.median(one[key] for one in many) for key in ("cpu", "memory")}
            for name, many in found.items()
        }
        print(
            f"\nTRL's CPU time / ours {middle['trl']['cpu'] / middle['ours']['cpu']:.2f}, "
            f"our memory / TRL's {middle['ours']['memory'] / middle['trl']['memory']:.2f}"
        )


if __name__ == "__main__":
    main()
