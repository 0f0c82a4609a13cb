"""Labeling configs are valid, show every medium, and are told apart by what they say."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from annotators.label_studio.forms import labeling_config
from annotators.label_studio.forms.labeling_config import (
    Spec,
    build,
    check,
    controls,
    fingerprint,
    guidelines,
    names,
    spec_of,
)
from annotators.label_studio.forms.tasks import data
from annotators.people.question import Task
from schemas.errors import RecipeError
from schemas.records import SAMPLE_KINDS
from tests.support.questions import question

EACH = [(task, kind) for task in Task for kind in SAMPLE_KINDS]
SHA = "e" * 64


@pytest.mark.parametrize(("task", "kind"), EACH)
def test_every_config_is_valid_and_shows_the_whole_task(task, kind):
    asked = question(task, kind)
    xml = build(spec_of(asked))
    check(xml)
    shown = set(re.findall(r'value="\$(\w+)"', xml))
    assert shown == set(data(asked, tuple("link" for _ in asked.media))) - {"uid"}


@pytest.mark.parametrize(("task", "kind"), EACH)
def test_what_models_wrote_is_shown_as_plain_text(task, kind):
    """Anything but Text, a List's body and a box to write in would load pictures that an answer names."""
    tree = ElementTree.fromstring(build(spec_of(question(task, kind))))
    tags = {node.tag for node in tree.iter() if (node.get("value") or "").startswith(("$response", "$prompt"))}
    assert tags <= {"Text", "List", "TextArea"}


def test_every_control_has_its_own_name_and_hotkeys():
    for task in Task:
        tree = ElementTree.fromstring(build(Spec(task, "audio", ("audio",))))
        keys = [node.get("hotkey") for node in tree.iter() if node.get("hotkey")]
        assert len(keys) == len(set(keys))
        assert len(keys) > 1 or task == Task.RATINGS


def test_media_are_named_by_their_kind_and_place():
    assert names(("image",)) == ("image",)
    assert names(("image", "image", "image")) == ("image_0", "image_1", "image_2")
    assert names(("image", "audio", "image")) == ("image_0", "audio", "image_1")
    xml = build(Spec(Task.PAIRWISE, "multi_image", ("image",) * 3))
    assert re.findall(r'<Image name="(\w+)"', xml) == ["image_0", "image_1", "image_2"]
    assert re.findall(r'value="(Image \d)"', xml) == ["Image 1", "Image 2", "Image 3"]


def test_a_video_with_sound_is_shown_once():
    """Its sound is a part of the prompt of its own, with the same bytes."""
    asked = question(Task.PAIRWISE, "video", media=((SHA, "video/mp4"), (SHA, "video/mp4")))
    assert spec_of(asked).media == ("video",)
    assert data(asked, ("first", "again"))["video"] == "first"


def test_a_picture_that_stands_twice_is_shown_twice():
    """Else the prompt's 'picture three' would be another one."""
    asked = question(Task.PAIRWISE, "multi_image", media=tuple((sha, "image/png") for sha in "aba"))
    assert [data(asked, ("one", "two", "one"))[f"image_{place}"] for place in range(3)] == ["one", "two", "one"]


def test_tasks_that_look_alike_share_a_spec():
    first, other = question(Task.PAIRWISE), question(Task.PAIRWISE, texts=("x", "y"), uid="another")
    assert spec_of(first) == spec_of(other)
    assert spec_of(first, ("taste",)) == spec_of(first)  # axes matter for ratings only
    rated = question(Task.RATINGS)
    assert spec_of(rated, ("taste",)).axes == ("taste",)
    assert spec_of(question(Task.RANKING)).answers == 3


def test_axes_are_a_setting():
    spec = Spec(Task.RATINGS, "text", (), ("taste", "visual_faithfulness"))
    assert {name for name, control in controls(spec).items() if control.type == "rating"} == set(spec.axes)
    assert "Visual faithfulness" in build(spec)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec("guess", "image", ("image",)), "unknown labeling task 'guess'"),
        (Spec(Task.PAIRWISE, "smell"), "smell with no media"),
        (Spec(Task.PAIRWISE, "image", ("text",)), "image with text"),
        (Spec(Task.RATINGS, "text", (), ()), "`axes` of ratings must be"),
        (Spec(Task.RATINGS, "text", (), ("taste", "taste")), "`axes` of ratings must be"),
        (Spec(Task.RATINGS, "text", (), ("Taste!",)), "`axes` of ratings must be"),
        (Spec(Task.RATINGS, "text", (), ("prompt",)), "`axes` of ratings must be"),
        (Spec(Task.RATINGS, "image", ("image",), ("image",)), "`axes` of ratings must be"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_in_one_line(spec, said):
    with pytest.raises(RecipeError, match=said) as refused:
        build(spec)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("<View><Text", "not valid"),
        ("<View><Chat name='chat' value='$chat'/></View>", "chat"),  # the server takes it, the open edition's editor does not
        ("<View><Markdown name='a' value='$a'/></View>", "markdown"),
        ("<View><Text name='a' value='$a'/><Foo/></View>", "foo"),
        ('<View><Text name="a" value="$a"/><Rating name="b" toName="c"/></View>', "toName"),
        ('<View><Text name="a" value="$a"/><Rating name="b" toName="a"/><Rating name="b" toName="a"/></View>', "non-unique"),
        ('<View><Text name="a" value="$a"/><Choices name="b" toName="a"/></View>', "not valid"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_shown_is_refused_in_one_line(xml, said):
    with pytest.raises(RecipeError, match=said) as refused:
        check(xml)
    assert "\n" not in str(refused.value)


def test_a_fingerprint_sees_what_a_config_says_and_not_its_layout():
    xml = build(Spec(Task.PAIRWISE, "text"))
    same = xml.replace(">\n", ">\n\n   ").replace('choice="single-radio" showInline="true"', "showInline='true'  choice='single-radio'")  # fmt: skip
    assert same != xml
    assert fingerprint(same) == fingerprint(xml)
    edited = xml.replace('alias="L2"', 'alias="L3"')
    assert len({fingerprint(text) for text in (xml, edited, xml + "<", "")}) == 4
    assert len({fingerprint(build(Spec(task, "text"))) for task in Task}) == len(Task)


def test_each_task_has_guidelines_and_a_recipe_may_name_its_own(tmp_path):
    for task in Task:
        ElementTree.fromstring(f"<div>{guidelines(task).replace('&middot;', '').replace('&mdash;', '')}</div>")
        assert "<b>Skip</b>" in guidelines(task)
    own = tmp_path / "own.html"
    own.write_text("<p>look twice</p>")
    assert guidelines(Task.SAFETY, str(own)) == "<p>look twice</p>"
    with pytest.raises(RecipeError, match=r"nowhere\.html"):
        guidelines(Task.SAFETY, str(tmp_path / "nowhere.html"))


def test_the_templates_are_all_there():
    """A task without one would be found when a campaign starts."""
    assert {path.name.partition(".")[0] for path in Path(labeling_config.__file__).with_name("configs").iterdir()} - {
        "page",
        "parts",
    } == set(Task)
