"""Does training on the demo's pairs help for every seed, and more than training on shuffled pairs? And GRPO?

    python -m benchmarks.does_it_help [--seeds 1 2 3 4 5] [--folder data/runs/does_it_help]

Each seed runs the demo's recipe with other prompts, answers, training order and held-out prompts (the checkpoint stays the same),
with three shuffled controls instead of one, and GRPO as in the recipe grpo, on the same prompts. Units already finished in the folder
are reused."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml

from flows.planning import load
from flows.reports.summary import finish
from flows.reports.terminal import reporter
from flows.runs import executor

MEDIA = ("image", "multi_image", "video", "audio")
SHUFFLED = ("shuffled1", "shuffled2", "shuffled3")
MODELS = ("before", "dpo", "grpo", "control")
COLUMNS = (*MEDIA, "mean", "recall")
NOVELTY = tuple(f"{kind}, {part}" for kind in MEDIA for part in ("seen", "held out"))
Figures = dict[
    str, dict[str, float]
]  # of one seed: model -> {column of COLUMNS and NOVELTY: hallucination; mean recall under "recall"}


def recipe(seed: int) -> dict[str, Any]:
    """The demo's recipe with this seed throughout and with our trainings and evaluations instead of its own."""
    demo = load.document("demo", [f"scenes.seed={seed}", f"sample.seed={seed}", f"before.seed={1000 + seed}"])
    steps = {name_of(entry): entry for entry in demo["steps"]}
    dpo = steps["train"]
    (grpo,) = (entry for entry in load.document("grpo")["steps"] if name_of(entry) == "train")
    trained = {"dpo": with_settings(dpo, seed=seed), "grpo": with_settings(grpo, seed=seed)}
    trained |= {name: with_settings(dpo, shuffle=True, seed=10 * seed + i) for i, name in enumerate(SHUFFLED)}
    for name in ("pairwise", "pointwise", "train", "shuffled", "after", "control"):
        del steps[name]
    entries = list(steps.values())
    for name, entry in trained.items():
        entries.append(with_settings(entry, name=f"train-{name}", **{"as": name}))
        entries.append(with_settings(steps["before"], name=name, model=name))
    return {**demo, "name": f"does-it-help-{seed}", "steps": entries}


def name_of(entry: dict) -> str:
    """The name of a recipe's step: its `name`, or its operator."""
    ((title, settings),) = entry.items()
    return settings.get("name", title.rpartition(".")[2])


def with_settings(entry: dict, **settings) -> dict:
    """The step with these settings changed."""
    ((title, old),) = entry.items()
    return {title: {**old, **settings}}


def built(document: dict, folder: Path, name: str) -> dict:
    """Builds a recipe in folder/name, with the answers in folder/cache, or reads a finished run, and returns its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    say = reporter(lambda text: print(f"{name}: {text}", file=sys.stderr), every=30)
    run = executor.open_run(str(path), out=folder / name, cache=folder / "cache", report=say)
    try:
        for _ in executor.run_all(run):
            pass
        return finish(run)
    finally:
        run.close()


def figures(evaluations: dict) -> Figures:
    """The figures that the claims are about, from a summary's evaluations. The control is the mean of the shuffled trainings."""
    found = {name: of_model(evaluation) for name, evaluation in evaluations.items()}
    found["control"] = {figure: fmean(found[name][figure] for name in SHUFFLED) for figure in found["before"]}
    return {name: found[name] for name in MODELS}


def of_model(evaluation: dict) -> dict[str, float]:
    found = {kind: evaluation[kind]["hallucination"]["value"] for kind in (*MEDIA, "mean")}
    found["recall"] = evaluation["mean"]["recall"]["value"]
    for kind in MEDIA:
        total, held = evaluation[kind]["prompts"], evaluation[kind]["held_out"]
        found[f"{kind}, held out"] = held["value"]
        bad = found[kind] * total - held["value"] * held["prompts"]
        found[f"{kind}, seen"] = bad / (total - held["prompts"])
    return found


def table(seeds: dict[int, Figures]) -> Iterator[str]:
    """Lines of Markdown: hallucination in each seed, then the mean over the seeds."""
    yield from header("seed", "model", *COLUMNS)
    for seed, found in [*seeds.items(), ("mean", mean(seeds))]:
        for model in MODELS:
            yield row(f"{seed} | {model}", found[model], COLUMNS)


def novelty(seeds: dict[int, Figures]) -> Iterator[str]:
    """Lines of Markdown: mean hallucination on combinations seen in training and on held-out ones."""
    yield from header("model", *NOVELTY)
    for model, found in mean(seeds).items():
        yield row(model, found, NOVELTY)


def mean(seeds: dict[int, Figures]) -> Figures:
    return {m: {c: fmean(of[m][c] for of in seeds.values()) for c in (*COLUMNS, *NOVELTY)} for m in MODELS}


def header(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"


def row(name: str, found: dict[str, float], columns: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(f'{found[c]:.3f}' for c in columns)} |"


def verdicts(seeds: dict[int, Figures]) -> Iterator[str]:
    """One line per claim: whether it holds, and in how many seeds."""
    for model in ("dpo", "grpo"):
        ratios = {c: [of[model][c] / of["before"][c] for of in seeds.values()] for c in (*MEDIA, "mean")}
        yield verdict(f"{model}: mean hallucination below a third of before", [r < 1 / 3 for r in ratios["mean"]],
                      f"ratios {two_decimals(ratios['mean'])}")  # fmt: skip
        for kind in MEDIA:
            yield verdict(f"{model}: {kind} below half", [r < 1 / 2 for r in ratios[kind]],
                          f"ratios {two_decimals(ratios[kind])}, median {median(ratios[kind]):.2f}")  # fmt: skip
        gained = [of[model]["recall"] - of["before"]["recall"] for of in seeds.values()]
        yield verdict(f"{model}: recall not lower", [g >= 0 for g in gained], f"differences {two_decimals(gained)}")
    gained = [of["control"]["mean"] - of["before"]["mean"] for of in seeds.values()]
    yield verdict("control: mean hallucination not lower than before", [g >= 0 for g in gained],
                  f"differences {two_decimals(gained)}, mean {fmean(gained):.3f}")  # fmt: skip


def verdict(claim: str, holds: list[bool], details: str) -> str:
    return f"- {'holds' if all(holds) else 'FAILS'}: {claim}: true in {sum(holds)} of {len(holds)} seeds ({details})"


def two_decimals(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    arguments.add_argument("--folder", type=Path, default=Path("data/runs/does_it_help"))
    chosen = arguments.parse_args()
    seeds = {seed: figures(built(recipe(seed), chosen.folder, f"seed-{seed}")["evaluate"]) for seed in chosen.seeds}
    print("\n".join([*table(seeds), "", *novelty(seeds), "", *verdicts(seeds)]))


if __name__ == "__main__":
    main()
