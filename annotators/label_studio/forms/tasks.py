"""Tasks: the part of a Question that is sent to the labeling server.

In the community edition every annotator can read the whole task, so it reveals no models, sides, gold, judges or samples. A judge's
verdict is sent only as a pre-label of a review project, where nobody is measured, because pre-labels bias people."""

import re

from annotators.label_studio.forms.labeling_config import Spec, names, shown_media, spec_of
from annotators.people.question import AxisVerdict, Question, Task, item_index
from schemas.axes import PREFERENCE
from schemas.errors import RecipeError
from schemas.records import digest

LINK = re.compile(r"(image|video|audio)(_\d+)?")
STEPS = {2: "L2", 1: "L1", 0: "T", -1: "R1", -2: "R2"}
"""The choices of a pairwise task, by how much better the left response is."""


def data(question: Question, links: tuple[str, ...]) -> dict:
    """A task's data; `links` are the links of `question.media`, in the same order. ValueError if their numbers differ."""
    found = [link for _, link in zip(question.media, links, strict=True)]
    media = dict(zip(names(spec_of(question).media), [found[place] for place in shown_media(question)], strict=True))
    return {"uid": question.uid, "prompt": question.prompt, **media, **_answers(question)}


def _answers(question: Question) -> dict:
    if question.task == Task.PAIRWISE:
        left, right = question.texts
        return {"response_left": left, "response_right": right}
    if question.task == Task.RANKING:
        return {
            "responses": [
                {"id": f"r{place}", "title": f"Response {place}", "body": text}
                for place, text in enumerate(question.texts, 1)
            ]
        }
    (text,) = question.texts
    return {"response": text}


def shown(data: dict) -> str:
    """Digest (32 hex digits) of what an annotator read; without links, because storages rewrite them."""
    return digest("shown", {name: value for name, value in data.items() if not LINK.fullmatch(name)})


def predictions(question: Question, spec: Spec, said: tuple[AxisVerdict, ...], judge: str) -> list[dict]:
    """A judge's verdicts as the pre-label of a task in a review project; [] if there is none that can be shown.

    Uses `preference` (-2 to 2) for pairwise and the axes of ratings (1 to 5), rounded and clipped to whole steps; other axes are
    ignored. RecipeError for other tasks."""
    if spec.task not in (Task.PAIRWISE, Task.RATINGS):
        raise RecipeError(f"`prelabels` do not work with the task '{spec.task}', only with pairwise and ratings")
    region, axes = (_preference, (PREFERENCE,)) if spec.task == Task.PAIRWISE else (_rating, spec.axes)
    result = [region(question, s) for s in said if s.axis in axes and s.value is not None]
    return [{"model_version": judge, "result": result}] if result else []


def _preference(question: Question, said: AxisVerdict) -> dict:
    step = max(-2, min(2, round(said.value or 0)))
    choice = STEPS[step if item_index(question, 0) == said.items[0] else -step]
    return {"from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": [choice]}}


def _rating(question: Question, said: AxisVerdict) -> dict:
    stars = max(1, min(5, round(said.value or 0)))
    return {"from_name": said.axis, "to_name": "response", "type": "rating", "value": {"rating": stars}}
