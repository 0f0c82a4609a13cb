"""Runs that ask people, as commands in processes of their own: answers come from the scripted endpoint, so that no model is loaded,
and people label through Label Studio's API as its pages do."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from annotators.label_studio.forms.tasks import STEPS
from annotators.people.ledger import Ledger


def write_recipe(folder: Path, endpoint: str, n: int, shares: dict | None = None, **asking) -> Path:
    """Two answers to each of `n` scenes go to people, who decide the pairs."""
    source = {"n": n, "seed": 5, "shares": shares or {"image": 1}}
    document = {
        "name": folder.name,
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": endpoint}},
        "steps": [
            {"source.scenes": source},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
            {"judge.people": {"repeat": 0, **asking}},
            "score.consensus",
            "pair.judged",
        ],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def environment_of(label_studio, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.key,
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(label_studio.files),
        **more,
    }


def pairwright(environment, *words, code: int = 0) -> str:
    """What the command says; it ends with `code`, without a traceback, and keeps the key to itself."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, words)],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert environment["LABEL_STUDIO_API_KEY"] not in said
    return said


def preference(question, value: float) -> list[dict]:
    """The result of a pairwise task; `value` > 0: the first item is better."""
    choice = STEPS[int(value if question.order[0] == 0 else -value)]
    return [
        {"id": "x", "from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": [choice]}}
    ]


def label(ledger: Ledger, annotators: list[httpx.Client], value, most: int | None = None) -> int:
    """Everybody takes tasks from the label stream until there are none, `most` in all, and says `value(question, who)`: > 0 the
    first is better. How many that were."""
    count = 0
    for project in ledger.projects():
        for who, client in enumerate(annotators):
            while count != most and (task := client.get(f"/api/projects/{project.id}/next")).status_code == 200:
                question = ledger.question(task.json()["data"]["uid"])
                body = {"result": preference(question, value(question, who)), "lead_time": 6.0}
                client.post(f"/api/tasks/{task.json()['id']}/annotations/", json=body).raise_for_status()
                count += 1
    return count
