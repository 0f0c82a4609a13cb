"""Trains the demo's model: python -m pipeline.scenes.model --out FOLDER --seed 1"""

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.scenes.model.measure import measure
from pipeline.scenes.model.model import (
    Thinker,
    load,
    new_model,
    new_tokenizer,
    round_weights,
    save,
    with_judging_layers,
)
from pipeline.scenes.model.pack import Prompter
from pipeline.scenes.model.pretrain import CYCLES, corpus, learn_to_judge, pretrain
from pipeline.scenes.model.warmup import warm_up_audio, warm_up_vision
from pipeline.scenes.world import SCENES, load_world

STEPS = {"vision": 700, "audio": 300, "language": 6400, "judging": 2200, "refining": 1000, "hardening": 600}
COLUMNS = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def make(
    out: Annotated[Path, typer.Option(help="folder of the checkpoint")],
    seed: Annotated[int, typer.Option(help="random seed of the weights and all scenes")] = 1,
    steps_scale: Annotated[
        float, typer.Option(help="factor on all step counts: 1 trains fully, 0.01 is a trial run")
    ] = 1.0,
    prompts: Annotated[int, typer.Option(help="prompts of each kind for the evaluation at the end; 0 skips it")] = 400,
) -> None:
    """Train the demo's model from scratch and save it as a Hub checkpoint."""
    torch.set_num_threads(1)  # for a model this small, two threads are slower than one; and one thread is deterministic
    steps = {name: max(2, round(count * steps_scale)) for name, count in STEPS.items()}
    world, start = load_world(), time.process_time()
    tokenizer, more = new_tokenizer(corpus(world)), new_tokenizer(corpus(world, judging=True))
    model = new_model(tokenizer, seed)
    log: dict = {"seed": seed, "steps": steps}
    with Progress(*COLUMNS, console=Console()) as progress:

        def follow(name):
            bar = progress.add_task(name, total=steps[name])

            def report(step, text):
                progress.update(bar, completed=step)
                if text:
                    line = f"{name} {step}, {time.process_time() - start:.0f} s: {text}"
                    progress.console.print(line, highlight=False, soft_wrap=True)

            return report

        log["vision"] = warm_up_vision(model, world, steps["vision"], seed, follow("vision"))
        log["audio"] = warm_up_audio(model, world, steps["audio"], seed, follow("audio"))
        _freeze_towers(model)
        log["language"] = pretrain(model, Prompter(tokenizer), world, steps["language"], seed, follow("language"))
        model = with_judging_layers(model, tokenizer, more, seed)
        _freeze_towers(model)
        for name, cycle in CYCLES.items():
            if name == "hardening":
                round_weights(model)  # so that this last part can also start from a saved checkpoint
            log[name] = learn_to_judge(model, Prompter(more), world, steps[name], seed, cycle, follow(name))
    save(model, more, out)
    log |= {"parameters": sum(p.numel() for p in model.parameters()), "cpu_seconds": time.process_time() - start}
    model, tokenizer = load(out)  # with the weights rounded by saving
    if prompts:
        log["eval"] = {kind: measure(model, Prompter(tokenizer), world, kind, prompts) for kind in SCENES}
    (out / "training.json").write_text(json.dumps(_rounded(log), indent=1) + "\n")


def _freeze_towers(model: Thinker) -> None:
    """Otherwise training on text would destroy what they learnt."""
    for tower in (model.visual, model.audio_tower):
        tower.requires_grad_(False)


def _rounded(value):
    if isinstance(value, dict):
        return {name: _rounded(v) for name, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    typer.run(make)
