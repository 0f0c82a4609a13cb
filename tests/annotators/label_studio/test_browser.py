"""A real browser, a real server: an annotator logs in, sees each kind of task as it should be, and labels it by mouse and keyboard.

What they said is read back through the server's API and understood. The page of each task, as it was submitted, is kept as a
PNG in the folder that PAIRWRIGHT_SCREENSHOTS names, by default the test's own."""

import io
import os
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image

from annotators.label_studio.forms import labeling_config, tasks
from annotators.label_studio.forms.results import parse
from annotators.label_studio.local import local_server
from annotators.people.question import AxisVerdict, ParsedAnnotation, Task
from pipeline.scenes.world import draw, encode, load_world
from schemas.records import Outcome, Span
from tests.support.questions import question

VIEW = {"width": 1280, "height": 800}
KINDS = ("text", "image", "multi_image", "video", "audio")
VERDICT, TIE, ABSTAIN = Outcome.VERDICT, Outcome.TIE, Outcome.ABSTAIN


def files_of(kind: str) -> list[tuple[bytes, str]]:
    """The media of a scene of the demo, (bytes, MIME type) each, drawn larger."""
    if kind == "text":
        return []
    found = []
    for part, content in draw(load_world(), kind, seed=1).parts():
        if part == "text":
            continue
        if part == "image":
            content = larger(content)
        elif part == "video":
            content = [larger(frame) for frame in content]
        found.append(encode(part, content))
    return found


def larger(picture: Image.Image) -> Image.Image:
    return picture.resize((480, 480), Image.Resampling.LANCZOS)


class Desk:
    """An annotator at the browser."""

    def __init__(self, server: local_server.LocalServer, page, ann: httpx.Client, folder: Path):
        self.page, self.ann, self.folder, self.server = page, ann, folder, server
        self.failed: list[str] = []
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("request", lambda request: self.failed.append(request.url) if "evil" in request.url else None)

    def open(self, asked, *, instruction: bool = False, predictions: tuple[dict, ...] = ()) -> None:
        """Makes a project with one task of the Question, and opens it for labeling; with predictions it is a review project."""
        self.asked, self.spec = asked, labeling_config.spec_of(asked)
        xml = labeling_config.build(self.spec)
        labeling_config.check(xml)
        project = self.post(
            "/api/projects", title=f"{asked.task} {asked.kind}", label_config=xml, enable_empty_annotation=False,
            expert_instruction=labeling_config.guidelines(asked.task), show_instruction=instruction,
            show_collab_predictions=bool(predictions),
        )  # fmt: skip
        assert labeling_config.fingerprint(project["label_config"]) == labeling_config.fingerprint(xml)
        if asked.media:
            folder = str(self.server.files / "shown")
            self.post("/api/storages/localfiles", project=project["id"], path=folder, title="media", use_blob_urls=True)
        data = tasks.data(asked, tuple(f"/data/local-files/?d=shown/{name}" for name, _ in asked.media))
        where = f"/api/projects/{project['id']}/import?return_task_ids=true"
        (self.task,) = self.post(where, [{"data": data, "predictions": predictions}])["task_ids"]
        assert tasks.shown(self.get(f"/api/tasks/{self.task}")["data"]) == tasks.shown(data)
        self.failed.clear()
        self.page.goto(f"{self.server.url}/projects/{project['id']}/data?labeling=1")
        self.submit_button.wait_for()

    @property
    def submit_button(self):
        return self.page.get_by_label("Submit current annotation")

    def post(self, where: str, json=None, **fields) -> dict:
        return self.ann.post(where, json=fields if json is None else json).raise_for_status().json()

    def get(self, where: str) -> dict:
        return self.ann.get(where).raise_for_status().json()

    def choose(self, text: str) -> None:
        self.page.locator("label", has_text=re.compile(rf"^{re.escape(text)}(\[.\])?$")).click()

    def keep(self, name: str) -> None:
        self.page.screenshot(path=self.folder / f"{name}.png")

    def submit(self, name: str, key: str | None = None) -> ParsedAnnotation:
        """Keeps a picture of the page, submits by the button or a key, and returns what the server then has, understood."""
        self.keep(name)
        with self.page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST") as sent:
            self.page.keyboard.press(key) if key else self.submit_button.click()
        assert sent.value.status == 201
        (annotation,) = self.get(f"/api/tasks/{self.task}")["annotations"]
        assert config_takes(labeling_config.build(self.spec), annotation["result"])
        assert self.failed == []
        return parse(self.asked, self.spec, annotation["result"])


def config_takes(xml: str, result: list[dict]) -> bool:
    from label_studio_sdk.label_interface import LabelInterface

    return LabelInterface(xml).validate_annotation({"result": result})


@pytest.fixture(scope="module")
def page(browser, label_studio):
    """A page whose annotator has logged in by password."""
    person = local_server.people(label_studio, ["ann"])["ann"]
    page = browser.new_context(viewport=VIEW).new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", person.email)
    page.fill("input[name=password]", person.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def desk(page, label_studio, sign_in, tmp_path_factory):
    folder = Path(os.environ.get("PAIRWRIGHT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return Desk(label_studio, page, sign_in("ann"), folder)


@pytest.fixture(scope="module")
def shown(label_studio) -> dict[str, tuple[tuple[str, str], ...]]:
    """(name of its file, MIME type) of each medium by kind of sample."""
    folder = label_studio.files / "shown"
    folder.mkdir()
    found = {}
    for kind in KINDS:
        found[kind] = ()
        for place, (data, mime) in enumerate(files_of(kind)):
            name = f"{kind}{place}.{mime.partition('/')[2]}"
            (folder / name).write_bytes(data)
            found[kind] += ((name, mime),)
    return found


# ---------------------------------------------------------------------------------------------------------------------


def test_the_guidelines_come_first(desk):
    """As HTML with its lists, before the first task of a project."""
    desk.open(question(Task.PAIRWISE, "text"), instruction=True)
    first = desk.page.locator("ol > li").first
    assert first.inner_text().startswith("The media, before the responses.")
    assert first.evaluate("item => getComputedStyle(item).listStyleType") == "decimal"
    desk.page.wait_for_timeout(300)
    desk.keep("guidelines")
    desk.page.keyboard.press("Escape")


@pytest.mark.parametrize("kind", KINDS)
def test_pairwise(desk, shown, kind):
    """Left stands the second item, so that 'response 1 better' is -1 on the scale whose plus is the first item."""
    desk.open(question(Task.PAIRWISE, kind, places=(1, 0), media=shown[kind]))
    media_load(desk.page, kind)
    desk.page.keyboard.press("2")
    said = (AxisVerdict("preference", (0, 1), VERDICT, -1.0),)
    if kind == "text":
        desk.page.keyboard.press("6")
        said += (AxisVerdict("both_bad", (0, 1), VERDICT, 1.0),)
    desk.page.get_by_placeholder("Why?").fill("There is no dog.")
    assert desk.submit(f"pairwise-{kind}") == ParsedAnnotation(said, rationale="There is no dog.")


def test_a_small_video_fills_its_box(desk, label_studio, shown):
    """The editor itself would draw it at its own 64 pixels, in the middle of a box that is 300 high."""
    data, mime = encode("video", [Image.new("RGB", (64, 64), "red")] * 8)
    (label_studio.files / "shown" / "small.mp4").write_bytes(data)
    desk.open(question(Task.PAIRWISE, "video", media=(("small.mp4", mime),)))
    desk.page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    desk.page.wait_for_timeout(500)
    box = desk.page.locator(".lsf-video-canvas__view").bounding_box()
    assert box["height"] == 300
    assert desk.page.locator("video").bounding_box() == box
    picture = Image.open(io.BytesIO(desk.page.screenshot())).convert("RGB")
    middle, across = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for down in (-140, 140):
        red, green, blue = picture.getpixel((round(middle), round(across + down)))
        assert red > 200 > 60 > max(green, blue)


def test_who_cannot_judge_need_not_choose(desk):
    """And a medium that is missing shows as an error, so that `media_load` can fail."""
    desk.open(question(Task.PAIRWISE, places=(1, 0), media=(("missing.png", "image/png"),)))
    desk.page.locator("[class*=error]").first.wait_for()
    desk.page.keyboard.press("1")
    desk.choose("media does not load")
    desk.choose("cannot judge")
    reply = desk.submit("pairwise-cannot-judge")
    assert reply == ParsedAnnotation(
        (AxisVerdict("preference", (0, 1), ABSTAIN), AxisVerdict("media_broken", (0, 1), VERDICT, 1.0))
    )
    desk.open(question(Task.RATINGS, "text"))
    desk.choose("cannot judge")
    assert desk.submit("ratings-cannot-judge") == ParsedAnnotation(
        tuple(AxisVerdict(axis, (0,), ABSTAIN) for axis in labeling_config.AXES)
    )


HOSTILE = "<img src='/evil.png'> <script>document.title = 'evil'</script> ![x](/evil.png)"


def test_long_responses_scroll_and_stay_text(desk):
    desk.open(question(Task.PAIRWISE, "text", texts=(f"{HOSTILE}\n\n{'one two three. ' * 500}", "short")))
    assert desk.page.get_by_text(HOSTILE).count() == 1
    heights = desk.page.locator(".pw-answers .pw-box").first.evaluate("box => [box.clientHeight, box.scrollHeight]")
    assert heights[0] <= 300 < heights[1]
    desk.page.keyboard.press("3")
    assert desk.submit("pairwise-long") == ParsedAnnotation((AxisVerdict("preference", (0, 1), TIE, 0.0),))
    desk.open(question(Task.RANKING, "text", texts=(HOSTILE, "short")))
    desk.page.get_by_text(HOSTILE).wait_for()
    desk.page.wait_for_timeout(300)
    assert desk.failed == []
    assert desk.page.title() != "evil"


def test_a_verdict_is_asked_for_when_it_is_missing(desk):
    desk.open(question(Task.PAIRWISE, "text"))
    desk.choose("unsafe content")
    desk.submit_button.click()
    desk.page.get_by_text("Choose which response is better").wait_for()
    assert desk.get(f"/api/tasks/{desk.task}")["annotations"] == []
    desk.page.keyboard.press("Escape")


@pytest.mark.parametrize("task", [Task.PAIRWISE, Task.RATINGS])
def test_a_review_project_starts_from_the_judge(desk, shown, task):
    """Submitted as it stands it says what the judge said: much better is what stands on the right, the first item."""
    said = (AxisVerdict("preference", (0, 1), VERDICT, 2.0),)
    if task == Task.RATINGS:
        said = tuple(
            AxisVerdict(axis, (0,), VERDICT, value) for axis, value in zip(labeling_config.AXES, (4.0, 1.0, 5.0))
        )
    asked = question(task, media=shown["image"], places=(1, 0) if task == Task.PAIRWISE else (0,))
    desk.open(asked, predictions=tuple(tasks.predictions(asked, labeling_config.spec_of(asked), said, "a judge")))
    desk.page.wait_for_timeout(500)
    assert desk.submit(f"review-{task}") == ParsedAnnotation(said)


def media_load(page, kind: str) -> None:
    """Waits until the browser has decoded the media of the page. A missing file fails here."""
    pictures = {"image": 1, "multi_image": 2}.get(kind, 0)
    page.wait_for_function(
        """([kind, pictures]) => {
            const [video] = document.getElementsByTagName("video"), [audio] = document.getElementsByTagName("audio");
            const seen = [...document.images].filter(image => image.complete && image.naturalWidth == 480);
            return seen.length >= pictures
                && (kind != "video" || video?.readyState >= 2 && video.videoWidth == 480)
                && (kind != "audio" || audio?.readyState >= 2 && audio.duration == 1);
        }""",
        arg=[kind, pictures],
    )
    if kind in ("audio", "video"):
        page.wait_for_timeout(500)  # the editor draws frames and waveforms on a canvas that says nothing
    assert page.locator("[class*=error]").count() == 0


def test_ranking(desk, shown):
    """Sorted with the keyboard: space lifts a response, the arrows move it. By place 1 > 3, and 2 is unacceptable; places are items 2, 0, 1."""
    desk.open(question(Task.RANKING, places=(2, 0, 1), media=shown["image"]))
    for name, moves in (("r3", 1), ("r1", 1), ("r2", 2)):
        desk.page.locator(f"[data-ranker-id={name}]").focus()
        for key in (" ", *["ArrowRight"] * moves, *(["ArrowUp"] if name == "r1" else []), " "):
            desk.page.keyboard.press(key)
            desk.page.wait_for_timeout(350)
    desk.choose("I sorted every response")
    reply = desk.submit("ranking")
    ranks = [
        AxisVerdict("rank", (0,), VERDICT, -2.0),
        AxisVerdict("rank", (1,), VERDICT, -1.0),
        AxisVerdict("rank", (2,), VERDICT, 0.0),
    ]
    assert reply == ParsedAnnotation((*ranks, AxisVerdict("unacceptable", (0,), VERDICT, 1.0)))


def test_ratings(desk, shown):
    desk.open(question(Task.RATINGS, media=shown["image"]))
    for axis, stars in enumerate((4, 2, 5)):
        desk.page.locator(".pw-axis").nth(axis).get_by_role("radio").nth(stars - 1).click()
    desk.choose("unsafe content")
    reply = desk.submit("ratings")
    rated = [AxisVerdict(axis, (0,), VERDICT, value) for axis, value in zip(labeling_config.AXES, (4.0, 2.0, 5.0))]
    assert reply == ParsedAnnotation((*rated, AxisVerdict("unsafe", (0,), VERDICT, 1.0)))


def test_ratings_are_asked_for_when_one_is_missing(desk, shown):
    desk.open(question(Task.RATINGS, media=shown["image"]))
    desk.page.locator(".pw-axis").first.get_by_role("radio").nth(2).click()
    desk.submit_button.click()
    desk.page.get_by_text("Rate: Faithfulness").wait_for()
    desk.page.wait_for_timeout(300)
    desk.keep("ratings-missing")
    assert desk.get(f"/api/tasks/{desk.task}")["annotations"] == []


def mark(page, word: str) -> None:
    """Marks a word of the response with a double click, as annotators do."""
    x, y, width, height = page.locator(".pw-answers .lsf-htx-richtext").evaluate(
        """(response, word) => {
            const texts = document.createTreeWalker(response, NodeFilter.SHOW_TEXT);
            while (!texts.nextNode().data.includes(word));
            const at = texts.currentNode.data.indexOf(word), range = document.createRange();
            range.setStart(texts.currentNode, at);
            range.setEnd(texts.currentNode, at + word.length);
            const box = range.getBoundingClientRect();
            return [box.x, box.y, box.width, box.height];
        }""",
        word,
    )
    page.mouse.dblclick(x + width / 2, y + height / 2)


@pytest.mark.parametrize("name", ["correct", "correct-unicode"])
def test_correct(desk, shown, name):
    """A family is one sign on the screen, eight units in the browser and five characters in Python; the offsets are Python's."""
    family = "👨‍👩‍👧 " if name == "correct-unicode" else ""
    text = f"Two red squares {family}stand at the top, left of a dog."
    desk.open(question(Task.CORRECT, texts=(text,), media=shown["image"]))
    desk.page.keyboard.press("3")
    mark(desk.page, "Two")
    desk.page.keyboard.press("1")
    mark(desk.page, "dog")
    desk.page.get_by_text("dog", exact=True).first.click()
    desk.choose("grave")
    desk.page.get_by_placeholder("Correction").fill("cross")
    desk.page.keyboard.press("Enter")
    corrected = f"One red square {family}stands at the top, left of a cross."
    desk.page.locator("textarea[name=corrected_response]").fill(corrected)
    desk.choose("Corrected")
    reply = desk.submit(name)
    at = 44 + len(family)  # "Two red squares " has 16 characters, "stand at the top, left of a " 28
    spans = (Span(0, 3, label="count"), Span(at, at + 3, label="object", severity=3.0, correction="cross"))
    assert reply == ParsedAnnotation((AxisVerdict("faults", (0,), VERDICT, -2.0),), corrected, spans)


def test_no_fault_leaves_the_prefilled_response_as_it_was(desk, shown):
    desk.open(question(Task.CORRECT, media=shown["image"]))
    desk.page.keyboard.press("7")
    assert desk.submit("correct-no-fault", "Control+Enter") == ParsedAnnotation(
        (AxisVerdict("faults", (0,), VERDICT, 0.0),)
    )


def test_safety(desk, shown):
    desk.open(question(Task.SAFETY, media=shown["image"]))
    desk.page.keyboard.press("2")
    desk.choose("violence")
    desk.choose("other")
    desk.choose("2 serious")
    reply = desk.submit("safety")
    said = (("safe", 0.0), ("severity", 2.0), ("harm:other", 1.0), ("harm:violence", 1.0))
    assert reply == ParsedAnnotation(tuple(AxisVerdict(axis, (0,), VERDICT, value) for axis, value in said))


def test_harm_that_was_described_is_forgotten_when_the_response_turns_out_safe(desk, shown):
    desk.open(question(Task.SAFETY, media=shown["image"]))
    for key in ("2", "q", "6", "1"):
        desk.page.keyboard.press(key)
    reply = desk.submit("safety-safe")
    assert reply == ParsedAnnotation(
        (AxisVerdict("safe", (0,), VERDICT, 1.0), AxisVerdict("severity", (0,), VERDICT, 0.0))
    )
