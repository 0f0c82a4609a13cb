"""Ids and keys of things that do not change, as they are computed now.

    python -m tests.contracts.keys        writes keys.json: only when a change of them is meant, with the reason in docs/decisions.md

Everything that is stored is found by them: a changed one makes finished work be done again, a changed cache key asks a model again."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flows.planning import load
from flows.runs import executor, shards
from pipeline.storage.answer_cache import request_key
from schemas import messages, records
from schemas.records import Message, Outcome, Part
from schemas.requests import Form, Generate, Likelihood, Score

HERE = Path(__file__).parent
KEPT = HERE / "keys.json"
TINY = {"real": ("models.policy.model=data/models/tiny",)}
"""recipes whose model is made on each machine, from a download: here the tiny one stands for it"""


def ids() -> dict[str, str]:
    """The id of one record of each kind, and the cache key of one request of each kind."""
    picture = "ab" * 32
    prompt = (
        messages.user(Part("image", media=picture), "How many dogs?"),
        Message("assistant", (Part("text", "Two."),)),
        Message("user", (Part("text", "Are you sure? \u2014 \u00fc\n"),)),
    )
    sample = records.sample(
        prompt, answer="2", facts='{"dogs": 2}', reference="Two dogs.", source="a.png", licence="CC0-1.0"
    )
    text = records.sample((messages.user("Say hello."),))
    made = records.candidate(sample.id, "sample", "Two dogs.", model="tiny@1", seed=7, index=0)
    other = records.candidate(sample.id, "sample", "Three dogs.", model="tiny@1", seed=7, index=1)
    claim = records.claim(made, "claims", 0, "Are there two dogs?", True)
    slip = records.judgement(
        sample.id, "pairwise", "pair", (made.id, other.id), "preference",
        records.Finding(Outcome.VERDICT, 1.0, raw="[[1]]"), records.Provenance("tiny@1", "v1", 1, 0),
    )  # fmt: skip
    pair = records.pair(sample.id, "best_worst", made, other, margin=1.0, judgements=(slip.id,))
    asked = Generate(prompt, 2, 0.7, 0.9, 64, 7, form=Form(choice=("yes", "no")))
    return {
        "sample": sample.id, "sample of text": text.id, "candidate": made.id, "claim": claim.id, "judgement": slip.id, "pair": pair.id,
        "generate": request_key("tiny@1", asked).hex(), "score": request_key("tiny@1", Score(prompt, ("yes", "no"))).hex(),
        "likelihood": request_key("tiny@1", Likelihood(prompt[:2])).hex(),
    }  # fmt: skip


def units(recipe: str, folder: Path) -> dict[str, str]:
    """The key of every unit of a bundled recipe, as if all before it had left no rows and every training the tiny model."""
    run = executor.open_run(recipe, TINY.get(recipe, ()), out=folder / recipe, cache=folder / "cache")
    try:
        found = {}
        for unit in run.units:
            found[unit.name] = run.key(unit)
            run.unit_folder(unit).mkdir(parents=True)
            if unit.trains:
                (run.unit_folder(unit) / "model").symlink_to(Path("data/models/tiny").resolve())
            shards.write_json(
                run.unit_folder(unit) / "done.json", {"key": found[unit.name], "shards": [], "seconds": 0}
            )
        return found
    finally:
        run.close()


def now() -> dict[str, Any]:
    os.chdir(HERE.parents[1])  # recipes name the model by its place in the checkout
    with tempfile.TemporaryDirectory() as folder:
        return {"ids": ids(), "units": {name: units(name, Path(folder)) for name in sorted(load.known())}}


if __name__ == "__main__":
    KEPT.write_text(json.dumps(now(), indent=1, sort_keys=True) + "\n")
