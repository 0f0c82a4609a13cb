"""Does training teach a pretrained language model to follow instructions that code can check, on topics that it was not trained on?

    python -m benchmarks.instructions MODEL [--seeds 1 2 3] [--each 10] [--held 17] [--folder data/runs/instructions]

MODEL is the folder of a text-only model, such as data/models/smollm2. Each seed draws `each` prompts of every kind of instruction on one set
of topics. The model answers them, a rule judges the answers, and DPO learns from right over wrong answers to the same prompt; the control
learns from the same pairs with half of them swapped. Before and after, the model answers `held` prompts of every kind on other topics, the
same for all seeds. Units already finished in the folder are reused, and their time is then not counted."""

import argparse
import json
import random
import resource
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.does_it_help import built, header, two_decimals, verdict
from pipeline.scenes.seeing import talk

TRAINED = (
    "rain", "bread", "the moon", "bicycles", "sleep", "coffee", "trees", "the ocean", "friendship", "computers", "birds", "history",
    "music", "mountains", "breakfast", "trains", "the heart", "bees", "electricity", "gardens", "books", "volcanoes", "chess",
    "cats", "gravity", "markets", "teachers", "rivers", "clouds", "bridges", "soap", "birthdays", "tea", "maps", "dogs", "the stars",
    "libraries", "running", "cheese", "snow", "letters", "farms", "dreams", "glass", "airplanes", "deserts", "spring", "painting",
)  # fmt: skip
HELD = (
    "potatoes", "the sun", "hospitals", "football", "coats", "elephants", "clocks", "paper", "the wind", "islands", "apples", "swimming",
    "robots", "winter", "museums", "horses", "salt", "radios", "forests", "honey", "castles", "shoes", "whales", "pencils",
)  # fmt: skip
WORDS = (
    "gentle",
    "silver",
    "ancient",
    "quiet",
    "golden",
    "narrow",
    "bright",
    "hidden",
    "simple",
    "warm",
    "distant",
    "strange",
)
ENDS = ("That is all.", "Thank you.", "Is that clear?", "The end.")
STARTS = ("In short,", "To be honest,", "As we know,", "Listen:")
TOKENS = 48  # of an answer at most
MODELS = ("before", "after", "control")
SAMPLING = {"n": 6, "temperature": 0.7, "max_tokens": TOKENS}
DPO = {"lora": 16, "lr": 5e-4, "beta": 0.1, "batch_size": 8, "warmup": 3}
PER_PROMPT = 3  # pairs
SENTENCES = 200
Wanted = list[
    tuple[str, dict[str, Any]]
]  # instructions of a prompt as judge.rule takes them: names, each with its arguments


def title(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    text = f"Write a title for a story about {topic}. Put it in double angular brackets, such as <<title>>."
    return text, [("detectable_format:title", {})]


def quotation(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    text = f"Write one sentence about {topic}. Put the whole answer in double quotation marks."
    return text, [("startend:quotation", {})]


def words(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    two = rng.sample(WORDS, 2)
    text = f"Write one sentence about {topic} with the words {two[0]} and {two[1]}."
    return text, [("keywords:existence", {"keywords": two})]


def end(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    phrase = rng.choice(ENDS)
    text = f'Write one sentence about {topic}. End with the words "{phrase}"'
    return text, [("startend:end_checker", {"end_phrase": phrase})]


def start(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    phrase = rng.choice(STARTS)
    text = f'Write one sentence about {topic}. Begin with the words "{phrase}"'
    return text, [("startend:start_checker", {"start_phrase": phrase})]


def short(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    most = rng.choice((6, 8, 10))
    return f"Write one sentence about {topic}. Use at most {most} words.", [length(most, "at most"), length(3)]


def twice(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    word = rng.choice(WORDS)
    text = f"Write one sentence about {topic}. Use the word {word} at least twice."
    return text, [("keywords:frequency", {"keyword": word, "frequency": 2, "relation": "at least"})]


def sentences(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    exactly = rng.choice((2, 3))
    text = f"Write about {topic} in exactly {exactly} short sentences."
    return text, [("length_constraints:number_sentences", {"num_sentences": exactly, "relation": "exactly"})]


def highlight(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    text = f"Write one sentence about {topic}. Highlight one word with asterisks, like *this*."
    return text, [("detectable_format:number_highlighted_sections", {"num_highlights": 1})]


def postscript(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    text = f'Write one short sentence about {topic}, then a postscript that begins with "P.S."'
    return text, [("detectable_content:postscript", {"postscript_marker": "P.S."})]


def no_comma(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    return f"Write one long sentence about {topic}. Use no commas.", [("punctuation:no_comma", {}), length(12)]


def choice(topic: str, rng: random.Random) -> tuple[str, Wanted]:
    text = f'Do you like {topic}? Answer with "My answer is yes.", "My answer is no." or "My answer is maybe."'
    return text, [("detectable_format:constrained_response", {})]


def length(words: int, relation: str = "at least") -> tuple[str, dict[str, Any]]:
    return "length_constraints:number_words", {"num_words": words, "relation": relation}


KINDS: tuple[Callable[[str, random.Random], tuple[str, Wanted]], ...] = (
    title, quotation, words, end, start, short, twice, sentences, highlight, postscript, no_comma, choice,
)  # fmt: skip


def write_rows(path: Path, topics: tuple[str, ...], each: int, seed: str) -> Path:
    """Writes `each` prompts of every kind, with the instructions that judge.rule reads; a kind's topics differ while there are enough."""
    rng, lines = random.Random(seed), []
    for kind in KINDS:
        for topic in rng.sample(topics * -(-each // len(topics)), each):
            prompt, wanted = kind(topic, rng)
            names, given = [name for name, _ in wanted], [arguments for _, arguments in wanted]
            lines.append({"id": kind.__name__, "prompt": prompt, "instruction_id_list": names, "kwargs": given})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(model: str, seed: int, rows: Path, held: Path) -> dict[str, Any]:
    """The whole way of one seed: answers, rule, pairs, training and its control, and three evaluations."""
    trained = {"model": "policy", **DPO, "seed": seed}
    asked = {"path": str(held), "max_tokens": TOKENS}
    return {
        "name": f"instructions-{seed}",
        "models": {"policy": {"engine": "vllm", "model": model}},
        "steps": [
            {"source.rows": {"path": str(rows)}},
            {"make.sample": {"model": "policy", **SAMPLING, "seed": seed}},
            {"judge.rule": {"kind": "instructions"}},
            {"pair.right_wrong": {"per_prompt": PER_PROMPT, "seed": seed}},
            {"evaluate.rows": {"name": "before", "model": "policy", **asked}},
            {"train.dpo": {"name": "train", **trained, "as": "trained"}},
            {"evaluate.rows": {"name": "after", "model": "trained", **asked}},
            {"train.dpo": {"name": "shuffled", **trained, "shuffle": True, "as": "control"}},
            {"evaluate.rows": {"name": "control", "model": "control", **asked}},
        ],
    }


def plain_sentences() -> list[str]:
    """SENTENCES different plain sentences, such as "An old man is waiting near the window."."""
    parts = talk.words()["facts"]
    every = [" ".join(words) for words in product(parts["subjects"], parts["doings"], parts["rests"])]
    return [f"{text[0].upper()}{text[1:]}." for text in random.Random(0).sample(every, SENTENCES)]


def english(model: str) -> float:
    """Mean log-probability of a token of the plain sentences, as text without a chat template; the first token is only given."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for text in plain_sentences():
            ids = tokenizer(text, return_tensors="pt").input_ids
            total -= loaded(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    return total / count


class Found(NamedTuple):
    """What a seed showed. Intervals are {value, low, high} of 95 %."""

    right: dict[str, dict[str, float]]  # model -> share of right answers
    gain: dict[str, dict[str, float]]  # `after` or `control` -> its difference to `before`
    words: dict[str, float]  # model -> mean words of an answer
    kinds: dict[str, dict[str, float]]  # model -> {kind: share of right answers}
    english: dict[str, float]  # model -> mean log-probability of a token of the plain sentences
    pairs: int
    cpu: float  # seconds of all processes
    memory: float  # GB, peak of the largest process


def measure(model: str, seed: int, each: int, held: int, folder: Path) -> Found:
    """Builds the recipe of a seed, or reads a finished run."""
    folder.mkdir(parents=True, exist_ok=True)
    began = cpu_seconds()
    rows = write_rows(folder / f"rows-{seed}.jsonl", TRAINED, each, f"trained {seed}")
    asked = write_rows(folder / "held.jsonl", HELD, held, "held")
    summary = built(recipe(model, seed, rows, asked), folder, f"seed-{seed}")
    spent = cpu_seconds() - began
    steps = folder / f"seed-{seed}" / "steps"
    where = {"before": model, "after": str(steps / "train" / "model"), "control": str(steps / "shuffled" / "model")}
    every = {name: summary["evaluate"][name]["all"] for name in MODELS}
    return Found(
        {name: figures["right"] for name, figures in every.items()},
        {name: differences["right"] for name, differences in summary["differences"].items()},
        {name: figures["words"]["value"] for name, figures in every.items()},
        {name: by_kind(steps / name / "answers.jsonl") for name in MODELS},
        {name: english(path) for name, path in where.items()},
        summary["train"]["train"]["pairs"], spent, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6,
    )  # fmt: skip


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def by_kind(answers: Path) -> dict[str, float]:
    """{kind: share of right answers} of an evaluation."""
    found: dict[str, list[float]] = {kind.__name__: [] for kind in KINDS}
    for line in map(json.loads, answers.read_text().splitlines()):
        found[line["source"].rpartition("#")[2]].append(line["right"])
    return {kind: fmean(right) for kind, right in found.items() if right}


def table(seeds: dict[int, Found]) -> Iterator[str]:
    """Lines of Markdown: what each seed showed."""
    yield from header(
        "seed", "pairs", "model", "right", "difference to before", "words", "plain English", "CPU min", "GB"
    )
    for seed, found in seeds.items():
        for name in MODELS:
            gain = interval(found.gain[name], "+.3f") if name in found.gain else "-"
            cost = f"{found.cpu / 60:.1f} | {found.memory:.1f}" if name == "before" else "|"
            cells = (
                f"{interval(found.right[name])} | {gain} | {found.words[name]:.1f} | {found.english[name]:.3f} | {cost}"
            )
            yield f"| {seed} | {found.pairs} | {name} | {cells} |"


def kinds(seeds: dict[int, Found]) -> Iterator[str]:
    """Lines of Markdown: the share of right answers to each kind of instruction, mean over the seeds."""
    first = next(iter(seeds.values())).kinds["before"]
    yield from header("model", *first)
    for name in MODELS:
        yield f"| {name} | {' | '.join(f'{fmean(of.kinds[name][kind] for of in seeds.values()):.2f}' for kind in first)} |"


def interval(of: dict[str, float], form: str = ".3f") -> str:
    return f"{of['value']:{form}} ({of['low']:{form}} to {of['high']:{form}})"


def verdicts(seeds: dict[int, Found]) -> Iterator[str]:
    """One line per claim: whether it holds, and in how many seeds."""
    every = list(seeds.values())
    gained = [found.gain["after"] for found in every]
    yield verdict("at least 15 points more are right, interval above 0",
                  [gain["value"] >= 0.15 and gain["low"] > 0 for gain in gained], two_decimals([g["value"] for g in gained]))  # fmt: skip
    control = [found.gain["control"]["value"] for found in every]
    yield verdict(
        "the control changes by at most 3 points", [abs(gain) <= 0.03 for gain in control], two_decimals(control)
    )
    kept = [found.english["after"] / found.english["before"] - 1 for found in every]
    yield verdict("the log-probability of plain sentences changes by at most 2 %", [abs(by) <= 0.02 for by in kept],
                  " ".join(f"{by:+.1%}" for by in kept))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--each", type=int, default=10, help="prompts of every kind that are trained on")
    parser.add_argument("--held", type=int, default=17, help="prompts of every kind that are asked before and after")
    parser.add_argument("--folder", type=Path, default=Path("data/runs/instructions"))
    asked = parser.parse_args()
    seeds = {seed: measure(asked.model, seed, asked.each, asked.held, asked.folder) for seed in asked.seeds}
    print("\n".join([*table(seeds), "", *kinds(seeds), "", *verdicts(seeds)]))


if __name__ == "__main__":
    main()
