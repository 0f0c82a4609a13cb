"""A task says what is asked and nothing else: neither a person nor a program can tell from it which response is the better one."""

import json
import random
import zlib

import numpy as np
import pytest

from annotators.label_studio.forms import labeling_config, tasks
from annotators.label_studio.forms.results import parse
from annotators.people.question import AxisVerdict, Question, Task, order, uid
from schemas.errors import RecipeError
from schemas.records import SAMPLE_KINDS, Outcome
from tests.support.questions import question

LINKS = ("/data/local-files/?d=m/1.png", "/data/local-files/?d=m/2.png")
WORDS = ["a", "the", "red", "blue", "cross", "star", "left", "right", "of", "above", "under", "two", "three", "and"]


def links(asked: Question) -> tuple[str, ...]:
    return LINKS[: len(asked.media)]


def test_what_a_task_holds():
    left, right = question(Task.PAIRWISE).texts
    name, prompt = "0123456789abcdef", "where is the cross ?"
    head = {"uid": name, "prompt": prompt}
    texts = {"response_left": left, "response_right": right}
    assert tasks.data(question(Task.PAIRWISE, "text", uid=name, prompt=prompt), ()) == {**head, **texts}
    assert tasks.data(question(Task.PAIRWISE, uid=name, prompt=prompt), LINKS[:1]) == {
        **head,
        "image": LINKS[0],
        **texts,
    }
    media = {"image_0": LINKS[0], "image_1": LINKS[1]}
    assert tasks.data(question(Task.PAIRWISE, "multi_image", uid=name, prompt=prompt), LINKS) == {
        **head,
        **media,
        **texts,
    }
    assert tasks.data(question(Task.SAFETY, "audio", uid=name, prompt=prompt), ("link",)) == {
        **head, "audio": "link", "response": "mix what is under the sink.",
    }  # fmt: skip
    assert tasks.data(question(Task.RANKING, "text", uid=name, prompt=prompt), ()) == {
        **head,
        "responses": [
            {"id": "r1", "title": "Response 1", "body": "a red square and a cross."},
            {"id": "r2", "title": "Response 2", "body": "a blue cross."},
            {"id": "r3", "title": "Response 3", "body": "two stars."},
        ],
    }


@pytest.mark.parametrize("kind", SAMPLE_KINDS)
@pytest.mark.parametrize("task", Task)
def test_a_task_tells_nothing_that_is_ours(task, kind):
    asked = question(task, kind, sample="secret1", desk="secret2", gold=(31.5,))
    asked = asked._replace(items=tuple(f"secret3{i}" for i in asked.items))
    told = json.dumps(tasks.data(asked, links(asked)))
    assert not any(word in told for word in ("secret", "31.5", "gold", "order", "desk", "model"))


def test_a_medium_without_a_link_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        tasks.data(question(Task.PAIRWISE), ())


def test_shown_sees_every_edit_but_not_a_rewritten_link():
    data = tasks.data(question(Task.RANKING, "multi_image"), LINKS)
    same = data | {"image_0": "/tasks/7/resolve/?fileuri=czM6Ly8=", "image_1": "elsewhere"}
    assert tasks.shown(same) == tasks.shown(data) == tasks.shown(json.loads(json.dumps(data)))
    for name in ("uid", "prompt", "responses"):
        assert tasks.shown(data | {name: "edited"}) != tasks.shown(data)
        assert tasks.shown({key: value for key, value in data.items() if key != name}) != tasks.shown(data)
    assert tasks.shown(data | {"hint": "it is the left one"}) != tasks.shown(data)


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
@pytest.mark.parametrize("value", [2, 1, 0, -1, -2])
def test_a_pre_label_stands_on_the_side_of_the_response_it_prefers(places, value):
    """What is submitted as it stands says what the judge said."""
    from label_studio_sdk.label_interface import LabelInterface

    asked = question(Task.PAIRWISE, places=places)
    said = AxisVerdict("preference", (0, 1), Outcome.VERDICT if value else Outcome.TIE, float(value))
    spec = labeling_config.spec_of(asked)
    (made,) = tasks.predictions(asked, spec, (said,), "judge")
    assert LabelInterface(labeling_config.build(spec)).validate_prediction(made)
    assert parse(asked, spec, made["result"]).said == (said,)
    assert made["model_version"] == "judge"


def test_pre_labels_are_held_within_the_scale_and_only_made_where_they_can_be_shown():
    rated = question(Task.RATINGS)
    spec = labeling_config.spec_of(rated)
    said = [
        AxisVerdict(axis, (0,), Outcome.VERDICT, value) for axis, value in zip(labeling_config.AXES, (7.0, 0.2, 3.6))
    ]
    (made,) = tasks.predictions(rated, spec, tuple(said), "judge")
    assert [region["value"]["rating"] for region in made["result"]] == [5, 1, 4]
    assert tasks.predictions(rated, spec, (AxisVerdict("safety", (0,), Outcome.ABSTAIN),), "judge") == []
    assert tasks.predictions(rated, spec, (AxisVerdict("unsafe", (0,), Outcome.VERDICT, 1.0),), "judge") == []
    with pytest.raises(RecipeError, match="safety"):
        tasks.predictions(rated, spec._replace(task=Task.SAFETY), (), "judge")


# ---------------------------------------------------------------------------------------------------------------------
# Blindness. The first item is always the better one, the texts of both are drawn alike, and programs try to find its side.

N = 2000


def blind(i: int, name: str) -> tuple[int, ...]:
    return order(name, 2, seed=11)


def by_place(i: int, name: str) -> tuple[int, ...]:
    return (0, 1) if i % 2 else (1, 0)


def by_uid(i: int, name: str) -> tuple[int, ...]:
    return (0, 1) if int(name[-1], 16) % 2 else (1, 0)


def one_side(i: int, name: str) -> tuple[int, ...]:
    """Nine times in ten."""
    return (0, 1) if int(name[:8], 16) % 10 else (1, 0)


def now_and_then(i: int, name: str) -> tuple[int, ...]:
    """By the uid in a quarter of the tasks: who knows it is right in 5 of 8."""
    return by_uid(i, name) if int(name[:2], 16) < 64 else blind(i, name)


def words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 30)))


def campaign(drawn) -> tuple[list[dict], np.ndarray]:
    """The data of N pairwise tasks in the order they are pushed, and whether the better item stands left."""
    pushed, left = [], []
    for i in range(N):
        rng = random.Random(i)
        items = f"a{rng.getrandbits(64):016x}", f"b{rng.getrandbits(64):016x}"
        texts = words(rng), words(rng)
        name = uid("campaign", Task.PAIRWISE, f"sample{i}", items, "", 0)
        places = drawn(i, name)
        shown = tuple(texts[item] for item in places)
        asked = question(Task.PAIRWISE, texts=shown, places=places, uid=name, items=items, prompt=words(rng))
        pushed.append(tasks.data(asked, (f"/data/local-files/?d=m/{rng.getrandbits(256):064x}.png",)))
        left.append(places.index(0) == 0)
    return pushed, np.array(left)


def features(pushed: list[dict]) -> np.ndarray:
    """Of each task its place in the push and the order of its fields, and of every field its length, letters and the bits of its hash and, of the uid, its own."""
    names = sorted(pushed[0])
    rows = []
    for i, data in enumerate(pushed):
        row = [i, i % 2, i % 3, i % 5, len(json.dumps(data)), *(list(data).index(name) for name in names)]
        row += [(int(data["uid"], 16) >> bit) & 1 for bit in range(128)]
        for name in names:
            text = data[name]
            code = zlib.crc32(text.encode())
            row += [len(text), len(text) % 2, ord(text[0]), ord(text[-1]), sum(map(ord, text)) % 97]
            row += [(code >> bit) & 1 for bit in range(16)]
        row.append(len(data["response_left"]) - len(data["response_right"]))
        rows.append(row)
    return np.array(rows, float)


def found_out(drawn) -> list[tuple[float, float]]:
    """The 95 % interval of how often each program names the better side of tasks it has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    pushed, left = campaign(drawn)
    assert {key for data in pushed for key in data} == {"uid", "prompt", "image", "response_left", "response_right"}
    seen = features(pushed)
    programs = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
        DecisionTreeClassifier(max_depth=6, random_state=0),
    )
    shares = [np.mean(cross_val_predict(program, seen, left, cv=5) == left) for program in programs]
    return [(share - 1.96 * (share * (1 - share) / N) ** 0.5, share + 1.96 * (share * (1 - share) / N) ** 0.5) for share in shares]  # fmt: skip


def test_no_field_of_a_task_tells_the_better_side():
    assert all(low <= 0.5 <= high for low, high in found_out(blind))


@pytest.mark.parametrize("drawn", [by_place, by_uid, one_side, now_and_then])
def test_an_order_that_leaks_is_found_out(drawn):
    assert max(low for low, _ in found_out(drawn)) > 0.5
