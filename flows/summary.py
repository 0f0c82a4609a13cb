"""What a run did, from its records and tables: summary.json, the dataset card, report.html. Every figure is of this very run."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from annotators.agreement import Worth
from flows import costs, people, shards
from pipeline.cache import total
from schemas.arrow import from_batch
from schemas.operator import Tables
from schemas.recipe import Price
from schemas.records import SAMPLE_KINDS

COUNTED = ("samples", "candidates", "judgements", "pairs")


def finish(run) -> dict:
    """Writes and returns the summary of a run whose units are all finished, and the pages made from it."""
    from flows.report import write_report
    from pipeline.dataset.card import write_card
    from pipeline.store import open_store

    found = summary(run)
    shards.write_json(run.folder / "summary.json", found)
    if found["dataset"] and not run.dataset_given:
        write_card(run.folder / found["dataset"], found, run.raw)
    if found["samples"]:
        write_report(run.folder, found, run.tables(), open_store(run.cache / "media"))
    return found


def summary(run) -> dict[str, Any]:
    """The summary of the last round, with the seconds of all of them, and what was asked in all of them."""
    last = run.units[-1].round
    out: dict[str, Any] = {"name": run.recipe.name, "about": run.recipe.about, "recipe": run.raw, "rounds": last}
    out |= counts(run.tables(round=last))
    out |= {"seconds": {}, "train": {}, "evaluate": {}, "dataset": None}
    if of_people := people.figures(run):
        out["people"] = of_people
    usages: list[costs.Usages] = []
    units: dict[str, str] = {}
    for unit in run.units:
        done = shards.read_json(run.place(unit) / "done.json")
        out["seconds"][unit.name] = done["seconds"]
        usages.append(done.get("usage", {}))
        units |= dict.fromkeys(usages[-1], unit.name)
        if unit.kind == "dataset":
            out["dataset"] = str(run.dataset(unit.round).relative_to(run.folder))
        elif unit.kind == "table" and unit.steps[0].family in ("train", "evaluate"):
            out[unit.steps[0].family][unit.name] = done["result"]
    found = costs.by_step(usages)
    ordered = {step.name: found[step.name] for step in run.recipe.steps if step.name in found}
    return out | asked(ordered, units, run.recipe.prices)


def asked(usages: costs.Usages, units: dict[str, str], prices: dict[str, Price]) -> dict[str, Any]:
    """What was asked, by step and by model, and the money for it; `units`: where each step ran."""
    models = costs.priced(costs.by_model(usages), prices)
    whole = total(costs.by_model(usages).values())
    steps = {step: {"unit": units[step], "models": costs.priced(of, prices)} for step, of in usages.items()}
    return {
        "steps": steps, "models": models, "money": costs.purse(models.values()),
        "questions_asked": whole.asked, "questions_cached": whole.cached, "questions_failed": whole.failed,
        "tokens": {"prompt": whole.prompt_tokens, "answer": whole.answer_tokens},
        "tokens_cached": {"prompt": whole.cached_prompt_tokens, "answer": whole.cached_answer_tokens},
    }  # fmt: skip


def counts(tables: Tables) -> dict[str, Any]:
    """Live rows by media kind, rejections by step and reason, and the worth of the judges, in one stream."""
    kinds: dict[str, str] = {}
    found = {name: Counter() for name in COUNTED}
    rejections: dict[str, dict[str, int]] = {}
    worth = Worth()
    for batch in tables.batches("samples", ["id", "kind"]):
        new = dict(zip(batch.column("id").to_pylist(), batch.column("kind").to_pylist(), strict=True))
        kinds |= new
        found["samples"].update(new.values())
    for name in ("candidates", "pairs"):
        for batch in tables.batches(name, ["sample"]):
            found[name].update(kinds[s] for s in batch.column("sample").to_pylist())
    for slips in _by_sample(tables):
        kind = kinds[slips[0].sample]
        found["judgements"][kind] += len(slips)
        worth.add(slips, kind)
    for batch in tables.batches("rejections", ["step", "reason"]):
        for step, reason in zip(batch.column("step").to_pylist(), batch.column("reason").to_pylist(), strict=True):
            reasons = rejections.setdefault(step, {})
            reasons[reason] = reasons.get(reason, 0) + 1
    out: dict[str, Any] = {name: {k: n[k] for k in SAMPLE_KINDS if n[k]} for name, n in found.items()}
    return out | {"rejections": rejections, "judges": worth.report()}


def _by_sample(tables: Tables) -> Iterator[list]:
    slips: list = []
    for batch in tables.batches("judgements"):
        for slip in from_batch("judgements", batch):
            if slips and slip.sample != slips[0].sample:
                yield slips
                slips = []
            slips.append(slip)
    if slips:
        yield slips
