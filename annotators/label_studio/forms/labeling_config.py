"""Labeling configs: the pages that annotators see, as XML rendered from a typed Spec with the templates under `configs/`.

A config depends on its Spec alone, so tasks with the same Spec share a project. `controls` derives the possible answers from the same
XML, so that asking and parsing cannot diverge. Only tags that work in the community edition are used: required Choices instead of
Pairwise (which cannot be required), a Ranker with buckets (a plain one stores the given order if untouched), and Text for model output
(Markdown and HTML load images).
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import jinja2

from annotators.people.question import Question, Task
from schemas import prompts
from schemas.errors import RecipeError
from schemas.records import MEDIA_KINDS, SAMPLE_KINDS, digest

AXES = ("helpfulness", "faithfulness", "safety")
TAGS = {
    "audio", "bucket", "choice", "choices", "collapse", "datetime", "filter", "header", "image", "label", "labels", "list",
    "number", "paragraphs", "ranker", "rating", "shortcut", "style", "table", "taxonomy", "text", "textarea",
    "timelinelabels", "video", "view",
}  # fmt: skip
"""Allowed tags: those of the community edition, without Chat (not available), Markdown and HyperText (see above)."""

_HERE = Path(__file__).parent
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "configs"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)  # fmt: skip


class Spec(NamedTuple):
    """Everything that a labeling config depends on."""

    task: str  # one of Task
    kind: str  # one of SAMPLE_KINDS
    media: tuple[str, ...] = ()  # kinds of the media shown, in the order of the prompt
    axes: tuple[str, ...] = AXES  # for ratings
    answers: int = 2  # number of answers, for a ranking


class Control(NamedTuple):
    """The possible answers of one control of a config."""

    type: str  # its tag in lower case, as results name it
    options: frozenset[str]  # choices, labels or buckets; empty for free text and ratings
    one: bool  # whether at most one option may be chosen
    best: int  # the highest rating; 0 if it is not a rating
    region: bool  # whether it is answered per marked span


def spec_of(question: Question, axes: tuple[str, ...] = AXES) -> Spec:
    """The Spec of the project of a Question; `axes` count only for ratings, the number of answers only for rankings."""
    task = Task(question.task)
    media = tuple(question.media[place][1].partition("/")[0] for place in shown_media(question))
    return Spec(
        task, question.kind, media, axes if task is Task.RATINGS else AXES,
        len(question.items) if task is Task.RANKING else 2,
    )  # fmt: skip


def shown_media(question: Question) -> tuple[int, ...]:
    """Indices of the Question's media that are shown: all images; a video that occurs twice (for its own audio) once."""
    media = question.media
    return tuple(p for p, (_, mime) in enumerate(media) if mime.startswith("image/") or media[p] not in media[:p])


def names(media: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a prompt's media in task data: `image` if it is the only one of its kind, else `image_0`, `image_1`, ..."""
    return tuple(
        f"{kind}_{media[:place].count(kind)}" if media.count(kind) > 1 else kind for place, kind in enumerate(media)
    )


@lru_cache
def build(spec: Spec) -> str:
    """The labeling config as XML. RecipeError for an unknown task, kind or media type, or invalid axes."""
    _check_spec(spec)
    template = _TEMPLATES.get_template(f"{Task(spec.task).value}.xml.j2")
    return template.render(spec=spec, media=list(zip(names(spec.media), spec.media, strict=True)))


def check(xml: str) -> None:
    """RecipeError, in one line, for a config that Label Studio would reject, or accept but fail to show."""
    from label_studio_sdk._legacy import exceptions  # the only place that exports them
    from label_studio_sdk.label_interface import LabelInterface

    try:
        tags = {node.tag.lower() for node in ElementTree.fromstring(xml).iter()}
        if unknown := sorted(tags - TAGS):
            raise RecipeError(f"the labeling config uses tags that annotators cannot see: {', '.join(unknown)}")
        LabelInterface(xml).validate()
    except (
        ElementTree.ParseError, exceptions.LSConfigParseException, exceptions.LabelStudioXMLSyntaxErrorSentryIgnored,
        exceptions.LabelStudioValidationErrorSentryIgnored,
    ) as error:  # fmt: skip
        why = " ".join(str(error).split())[:200]
        raise RecipeError(f"the labeling config is not valid ({why}); correct its template") from None


def fingerprint(xml: str) -> str:
    """32 hex digits that identify a config independently of its XML layout; text that is not XML has a fingerprint too."""
    try:
        return digest("config", ElementTree.canonicalize(xml, strip_text=True))
    except ElementTree.ParseError:
        return digest("no config", xml)


@lru_cache
def controls(spec: Spec) -> dict[str, Control]:
    """The controls of a Spec's config by name. RecipeError as from `build`."""
    found = {}
    for node in ElementTree.fromstring(build(spec)).iter():
        if "toName" in node.attrib:
            options = [child.get("alias") or child.get("value") or child.get("name") or "" for child in node.iter()][1:]
            found[node.attrib["name"]] = Control(
                node.tag.lower(), frozenset(options), node.get("choice") == "single-radio",
                int(node.get("maxRating", 0)), node.get("perRegion") == "true" or node.tag == "Labels",
            )  # fmt: skip
    return found


def guidelines(task: str, path: str | None = None) -> str:
    """The guidelines for annotators, as HTML: the file at `path`, else the task's built-in one. RecipeError if it cannot be read."""
    return prompts.read(path, str(_HERE / "guidelines" / "_"), f"{Task(task).value}.html")


def _check_spec(spec: Spec) -> None:
    if spec.task not in set(Task):
        raise RecipeError(f"unknown labeling task '{spec.task}'; use one of {', '.join(Task)}")
    if spec.kind not in SAMPLE_KINDS or not set(spec.media) <= set(MEDIA_KINDS):
        raise RecipeError(f"no labeling config can show {spec.kind} with {', '.join(spec.media) or 'no media'}")
    if spec.task == Task.RATINGS:
        bad = [axis for axis in spec.axes if not re.fullmatch(r"[a-z][a-z0-9_]*", axis)]
        taken = {"prompt", "response", "flags", "rationale", "uid", *names(spec.media)} & set(spec.axes)
        if bad or taken or not spec.axes or len(set(spec.axes)) < len(spec.axes):
            raise RecipeError(
                f"`axes` of ratings must be different lower-case words, except prompt, response, flags, rationale and uid; got {spec.axes}"
            )
