"""Makes and trains the seeing model: python -m pipeline.scenes.seeing train | assemble | measure"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from pipeline.scenes.seeing import train as course
from pipeline.scenes.seeing.model import ADAPTER, PARTS, assemble
from pipeline.scenes.world import load_world

STEPS = {"tower": 500, "language": 300}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Base = Annotated[Path, typer.Option(help="folder of the base, see environment/real")]
BASE, SEEING = Path("data/models/smollm2"), Path("data/models/seeing")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder of what is learnt: tower, projector, adapter")],
    base: Base = BASE,
    seed: Annotated[int, typer.Option(help="random seed of the weights and all scenes")] = 1,
    tower_steps: Annotated[int, typer.Option(min=1, help="steps of the tower alone")] = STEPS["tower"],
    steps: Annotated[int, typer.Option(min=1, help="steps of the language model's low-rank parts")] = STEPS["language"],
) -> None:
    """Train the tower, then the adapter. Started again, it goes on where it was stopped; a finished one starts over."""
    torch.set_num_threads(1)
    world, log = load_world(), out / "training.json"
    told: dict[str, Any] = json.loads(log.read_text()) if log.exists() else {}
    if told.get("done") or told.get("seed") != seed:
        for name in (PARTS, ADAPTER, "optimizer.pt"):
            (out / name).unlink(missing_ok=True)
        told = {"seed": seed, "done": False, "cpu_seconds": 0.0}
    started = time.process_time() - told["cpu_seconds"]

    def report(name: str):
        def follow(step: int, text: str) -> None:
            if text:
                told["cpu_seconds"] = round(time.process_time() - started, 1)
                print(f"{name} {step}, {told['cpu_seconds']:.0f} s: {text}", flush=True)
                log.write_text(json.dumps(told, indent=1) + "\n")

        return follow

    out.mkdir(parents=True, exist_ok=True)
    if not (out / PARTS).exists():
        told |= {
            "tower_steps": tower_steps,
            "tower": course.warm_up(base, world, tower_steps, seed, out, report("tower")),
        }
    told |= {"steps": steps, "losses": course.teach(base, world, steps, seed, out, report("language"))}
    told |= {"done": True, "cpu_seconds": round(time.process_time() - started, 1)}
    log.write_text(json.dumps(told, indent=1) + "\n")


@app.command("assemble")
def merge(
    out: Annotated[Path, typer.Option(help="folder of the complete checkpoint")],
    base: Base = BASE,
    parts: Annotated[Path, typer.Option(help="folder of what was learnt")] = SEEING,
) -> None:
    """Write base, tower, projector and adapter as one checkpoint that transformers and vLLM load."""
    assemble(base, parts, out)


@app.command("measure")
def table(
    model: Annotated[Path, typer.Argument(help="folder of the complete checkpoint")],
    base: Base = BASE,
    parts: Annotated[Path, typer.Option(help="folder of what was learnt")] = SEEING,
    scenes: Annotated[int, typer.Option(min=2, help="pictures")] = 100,
    agree: Annotated[int, typer.Option(min=1, help="questions that transformers answers, too")] = 32,
    out: Annotated[Path | None, typer.Option(help="file for the figures; printed otherwise")] = None,
) -> None:
    """Measure what the model can do, on scenes and wordings that were never trained."""
    from pipeline.scenes.seeing.measure import measure  # loads vLLM

    text = json.dumps(measure(model, base, parts, scenes, agree), indent=1)
    out.write_text(text + "\n") if out else print(text)


if __name__ == "__main__":
    app()
