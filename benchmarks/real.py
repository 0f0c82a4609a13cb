"""A pretrained language model goes the whole way, by the product's commands alone.

    make real                                    sets the model up (once), then runs this; started again, it goes on where it was stopped
    python -m benchmarks.real [--folder data/runs/real] [--page]         --page: writes the figures into docs/benchmarks.md

`build real` lets the model describe pictures, judge itself, learn from it, and be evaluated. A second build asks it prompts of our own: pictures to
describe in free text, questions over a passage whose answer is a number, and instructions that code can check; each kind of judge judges its
answers. Then `judge-bench` on labelled pairs in plain English, `train` on answers that a rule found right and wrong, and `evaluate` on held-out rows."""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from flows.planning import load
from pipeline.scenes.seeing import talk
from pipeline.scenes.world import ImageScene, draw_as, encode, load_world

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MARKS = ("<!-- written by `python -m benchmarks.real --page` -->\n", "<!-- to here -->\n")
SIZES = {"pictures": 12, "photos": 8, "questions": 16, "instructions": 16, "pairs": 24, "held": 40}
NAMES = ("Elena", "Tom", "Aisha", "Marek", "Lucy", "Diego", "Hana", "Peter")
GOODS = ("books", "apples", "tickets", "lamps", "chairs", "letters")
TOPICS = ("rivers", "bread", "the moon", "trains", "honey bees", "winter", "music", "a small garden")
HELD_TOPICS = ("potatoes", "the sun", "football", "elephants", "clocks", "islands", "paper", "the wind")
CHECKED = (  # how an instruction ends, and the check of it
    ("Answer in capital letters only.", "change_case:english_capital", {}),
    ("Answer in one sentence of at most twelve words.", "length_constraints:number_words", {"num_words": 12, "relation": "at most"}),
    ("Begin your answer with the word Well.", "startend:start_checker", {"start_phrase": "Well"}),
    ('End your answer with "That is all."', "startend:end_checker", {"end_phrase": "That is all."}),
)  # fmt: skip
JUDGES = ("claims", "free", "pairwise", "pointwise", "listwise", "segments")
FIGURES = {
    "decided": "decided",
    "shown_first": "first shown",
    "contradicted": "contradicted",
    "same_reply": "same reply",
}
EVALUATED = ("hallucination", "recall", "yes_no_accuracy", "right", "words")


def write_prompts(folder: Path, sizes: dict[str, int]) -> None:
    """The files of rows and their pictures; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    world, describe = load_world(), talk.words()["held"]["describe"]
    scenes = [draw_as(ImageScene, world, f"real {i}", "eval") for i in range(max(sizes["photos"], sizes["pairs"]))]
    for i, scene in enumerate(scenes):
        (folder / f"{i}.png").write_bytes(encode("image", scene.parts()[0][1])[0])
    rows = {
        "photos": ({"prompt": describe[i % len(describe)], "image": f"{i}.png"} for i in range(sizes["photos"])),
        "questions": (question(random.Random(i)) for i in range(sizes["questions"])),
        "instructions": (instruction(i, TOPICS) for i in range(sizes["instructions"])),
        "pairs": (pair(i, scenes[i]) for i in range(sizes["pairs"])),
        "held": (instruction(i // 2, HELD_TOPICS) if i % 2 else question(random.Random(f"held {i}")) for i in range(sizes["held"])),
    }  # fmt: skip
    for name, found in rows.items():
        write(folder / f"{name}.jsonl", found)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def question(rng: random.Random) -> dict[str, Any]:
    """A passage with two numbers and a question about one of them."""
    name, goods, days = rng.choice(NAMES), rng.choice(GOODS), ("Monday", "Friday")
    numbers, which = rng.sample(range(11, 99), 2), rng.randrange(2)
    told = f"{name} sold {numbers[0]} {goods} on {days[0]} and {numbers[1]} {goods} on {days[1]}."
    asked = f"How many {goods} did {name} sell on {days[which]}?"
    return {"prompt": f"{told} {asked}", "answer": str(numbers[which]), "answer_type": "number"}


def instruction(i: int, topics: tuple[str, ...]) -> dict[str, Any]:
    """Something to say about a topic, in a form that can be checked."""
    ending, name, arguments = CHECKED[i % len(CHECKED)]
    topic = topics[i // len(CHECKED) % len(topics)]
    return {
        "prompt": f"Tell me something about {topic}. {ending}",
        "instruction_id_list": [name],
        "kwargs": [arguments],
    }


def pair(i: int, scene: ImageScene) -> dict[str, Any]:
    """Two descriptions in plain English, one better by the scene's facts."""
    rng = random.Random(f"pair {i}")
    first, second = talk.pair(scene, rng)
    while first.rating(scene) == second.rating(scene):
        first, second = talk.pair(scene, rng)
    better, worse = sorted((first, second), key=lambda one: -one.rating(scene))
    asked = talk.words()["held"]["describe"][i % 3]
    return {"question": asked, "image": f"{i}.png", "chosen": better.text, "rejected": worse.text, "category": "image"}


def recipe(prompts: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """The recipe of our own prompts, with the model of the recipe `real`."""
    texts = ["questions", "instructions"]
    free = {"split.model": {"model": "policy", "max_tokens": 128}}
    return {
        "name": "real-own",
        "models": load.document("real")["models"],
        "steps": [
            {"source.scenes": {"name": "pictures", "n": sizes["pictures"], "seed": 3, "shares": {"image": 1}}},
            *({"source.rows": {"name": name, "path": str(prompts / f"{name}.jsonl")}} for name in ["photos", *texts]),
            {"make.sample": {"model": "policy", "n": 4, "temperature": 0.8, "max_tokens": 64}},
            {"judge.claims": {"model": "policy", "from": ["pictures"]}},
            {"judge.rule": {"name": "truth", "from": ["pictures", *texts]}},
            {"judge.claims": {"name": "free", "model": "policy", "splitter": free, "from": ["photos"]}},
            {"judge.pairwise": {"model": "policy", "per_prompt": 1, "from": ["pictures", "photos"]}},
            {"judge.pointwise": {"model": "policy", "together": False, "max_tokens": 32, "from": ["pictures"]}},
            {"judge.listwise": {"model": "policy", "max_tokens": 48, "from": ["pictures"]}},
            {"judge.segments": {"model": "policy", "max_tokens": 128, "from": ["photos"]}},
            {"pair.right_wrong": {"per_prompt": 2, "from": texts}},
        ],
    }


def run(folder: Path, name: str, *words: str) -> None:
    """Runs a command of `pairwright` into folder/name, adding the CPU seconds of its processes to folder/cpu.json, over all starts."""
    words = (*words, "--out", str(folder / name), "--cache", str(folder / "cache"))
    print("$ pairwright", *words, flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "flows.cli", *words])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    path = folder / "cpu.json"
    cpu = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(cpu | {name: round(cpu.get(name, 0) + used, 1)}))
    if done.returncode:
        sys.exit("stopped; run the same command again to go on")


def go(folder: Path) -> None:
    """The whole way, each command into its folder."""
    own, prompts = folder / "own.yaml", folder / "prompts"
    write_prompts(prompts, SIZES)
    own.write_text(yaml.safe_dump(recipe(prompts, SIZES), sort_keys=False))
    model = load.document("real")["models"]["policy"]["model"]
    run(folder, "real", "build", "real")
    run(folder, "own", "build", str(own))
    run(folder, "bench", "judge-bench", str(own), str(prompts / "pairs.jsonl"), "--step", "pairwise")
    how = ["train.beta=0.3", "train.lr=1e-4", "train.lora=16", "train.batch_size=8", "train.warmup=0"]
    run(folder, "train", "train", str(folder / "own"), *how, "--model", model)
    asked = ["--rows", str(prompts / "held.jsonl"), "evaluate.max_tokens=64"]
    run(folder, "before", "evaluate", model, *asked)
    run(folder, "after", "evaluate", str(folder / "train" / "steps" / "train" / "model"), *asked)


def tables(folder: Path) -> list[str]:
    """What came out, as lines of Markdown."""
    real, own = (json.loads((folder / name / "summary.json").read_text()) for name in ("real", "own"))
    done = (
        json.loads((folder / name / "steps" / "evaluate" / "done.json").read_text()) for name in ("before", "after")
    )
    bench = json.loads((folder / "bench" / "judge-bench.json").read_text())
    return [
        *judges({"claims, `real`": real["judges"]["claims"]} | {name: own["judges"][name] for name in JUDGES}),
        "",
        "| evaluation | before | after |", "|---|---|---|",
        *evaluated("pictures", *(real["evaluate"][name]["mean"] for name in ("before", "after"))),
        *evaluated("rows", *(found["result"]["all"] for found in done)),
        "",
        f"DPO learnt from {real['train']['train']['pairs']} pairs of pictures in {real['train']['train']['steps']} steps, and from "
        f"{sum(own['pairs'].values())} of texts. `judge-bench`, pairwise: {share(bench['categories']['all']['accuracy'])} right.",
    ]  # fmt: skip


def judges(found: dict[str, dict[str, Any]]) -> list[str]:
    """A row for each judge: its figures with their numbers, as far as it has them."""
    out = ["| judge | " + " | ".join(("read", "right", *FIGURES.values())) + " |", "|---" * (3 + len(FIGURES)) + "|"]
    for name, figures in found.items():
        read = {"share": figures["parse_rate"], "n": figures["judgements"]}
        shown = (read, figures["agreement_with_truth"].get("all"), *(figures[figure] for figure in FIGURES))
        out.append(f"| {name} | " + " | ".join(map(share, shown)) + " |")
    return out


def share(figure: dict[str, Any] | None) -> str:
    return f"{figure['share']:.2f} of {figure['n']}" if figure else "-"


def evaluated(what: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A row for each figure, with its 95 % interval."""
    return [
        f"| {what}: {name.replace('_', ' ')} | "
        + " | ".join(f"{one[name]['value']:.2f} ({one[name]['low']:.2f} to {one[name]['high']:.2f})" for one in (before, after)) + " |"
        for name in EVALUATED if name in before
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("data/runs/real"))
    parser.add_argument("--page", action="store_true", help="write the figures into docs/benchmarks.md")
    told = parser.parse_args()
    print("takes about 20 minutes of one core; if it is stopped, the same command goes on", flush=True)
    go(told.folder)
    lines = tables(told.folder)
    cpu = json.loads((told.folder / "cpu.json").read_text())
    parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in cpu.items())
    lines += ["", f"CPU seconds: {parts}; {sum(cpu.values()):.0f} in all ({time.strftime('%Y-%m-%d')})."]
    print("\n".join(lines))
    if told.page:
        head, _, rest = PAGE.read_text().partition(MARKS[0])
        PAGE.write_text(head + MARKS[0] + "\n" + "\n".join(lines) + "\n\n" + MARKS[1] + rest.partition(MARKS[1])[2])


if __name__ == "__main__":
    main()
