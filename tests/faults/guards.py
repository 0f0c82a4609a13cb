"""What data could do if it were not guarded: speak as the template, write into the card, shut out those who annotate, take files along."""

import os
import random
from pathlib import Path

import yaml

from flows.commands import outgoing
from flows.planning import load
from schemas.markdown import block, plain
from schemas.messages import escape, escape_all
from schemas.special_tokens import GUARD
from tests.faults.fault import Fault
from tests.schemas.test_special_tokens import tokenizer
from tests.support.plants import PLANTS, assert_only_text
from tests.support.serving import HALVES, Served, hold_open
from tests.support.special_tokens import EVERY, ORDINARY


def token_soup(dice: random.Random, folder: Path) -> None:
    """Special tokens of all families, in each other, cut in two, among ordinary text."""
    model, ids = tokenizer(EVERY)
    for _ in range(300):
        text = dice.choice(EVERY)
        for _ in range(dice.randint(0, 5)):
            place = dice.randint(0, len(text))
            text = text[:place] + dice.choice((*EVERY, *ORDINARY, "<", "|>", GUARD, "\n")) + text[place:]
        safe = escape(text)
        assert not ids.intersection(model.encode(safe).ids), text
        assert escape(safe) == safe, text
        cut = sorted(dice.choices(range(len(text)), k=2))
        parts = text[: cut[0]], text[cut[0] : cut[1]], text[cut[1] :]
        assert not ids.intersection(model.encode("".join(escape_all(parts))).ids), parts


def page_soup(dice: random.Random, folder: Path) -> None:
    """Pieces of Markdown and HTML, mixed, as heading, paragraph, item and cells of one page."""
    for _ in range(100):
        first, second = (
            "".join(dice.choices((*PLANTS, "`", "|", "\\", "\n", " "), k=dice.randint(1, 5))) for _ in "ab"
        )
        cells = f"| a | b |\n| --- | --- |\n| {plain(first)} | {plain(second)} |\n| {plain(second)} | {plain(first)} |"
        page = f"# {plain(first)}\n\n{plain(second)}, {plain(first)}.\n\n1. {plain(first)}: {plain(second)}\n\n{cells}\n\n{block(yaml.safe_dump([first, second]), 'yaml')}"
        assert_only_text(page, plain(first))


def held_open(dice: random.Random, folder: Path) -> None:
    """More connections than `pairwright serve` takes at a time, of one kind or of all, which say nothing or too little."""
    with Served(folder) as served:
        served.start()
        hold_open(served, dice.choice([[kind] for kind in HALVES] + [list(HALVES)]), dice.randint(200, 400))
        assert "Traceback" not in served.log()


def told_places(dice: random.Random, folder: Path) -> None:
    """A recipe from elsewhere that sends rows, files and keys to places of its own: each is named before anything runs, no value is."""
    secret, path = "".join(dice.choices("abcdef0123456789", k=24)), folder / "theirs.yaml"
    hosts = [f"h{dice.randrange(10**6)}.example" for _ in range(4)]
    model = {"engine": "openai", "model": "m", "api_key_env": "PATH"}
    judge = {
        **model,
        "endpoints": [{"base_url": f"https://{host}:8{i}/{secret}/v1"} for i, host in enumerate(hosts[:2])],
    }
    prompt = folder / "private.txt"
    prompt.write_text(f"{secret} {{question}}")
    document = {
        "name": "theirs", "models": {"policy": {**model, "base_url": f"http://{hosts[2]}/v1"}, "judge": judge},
        "steps": [
            {"source.rows": {"path": f"https://{hosts[3]}/{secret}.jsonl?sig={secret}", "media_root": f"s3://{secret[:8]}/deep"}},
            {"make.sample": {"model": "policy", "prompt": str(prompt)}}, {"judge.pointwise": {"model": "judge"}}, {"pair.best_worst": {"axis": "rating"}},
        ],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document))
    found = outgoing.disclosures(load.checked(load.document(str(path))))
    assert {
        f"https://{hosts[0]}:80",
        f"https://{hosts[1]}:81",
        f"http://{hosts[2]}",
        f"https://{hosts[3]}",
        f"s3://{secret[:8]}",
    } <= {one.to for one in found}
    said = "\n".join(outgoing.summary_lines(found))
    assert str(prompt) in said
    assert os.environ["PATH"] not in said
    assert f"sig={secret}" not in said


FAULTS = [
    Fault("data", "a text holds special tokens of models", "no tokenizer finds one of them", token_soup, 30),
    Fault("data", "a row contains Markdown and HTML", "pages show it as text", page_soup, 30),
    Fault(
        "people",
        "200 to 400 connections to `serve` are held open",
        "others are answered, and all of them are closed",
        held_open,
        10,
    ),
    Fault(
        "recipes",
        "a recipe sends rows, files and keys elsewhere",
        "`check` and `build` name each place and variable, no value",
        told_places,
        20,
    ),
]
