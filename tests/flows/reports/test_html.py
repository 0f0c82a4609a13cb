import itertools
import re
import warnings
from collections import Counter

import pytest

from flows.reports import plots
from flows.reports.html import write_report
from flows.reports.previews import preview
from pipeline.storage.media_store import FolderStore
from schemas import messages, records
from tests.support import media_files, small_run
from tests.support.plants import PLANTS, Names, assert_only_text, planted_summary
from tests.support.small_run import ListTables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run with its report, its tables and its media."""
    folder = tmp_path_factory.mktemp("run")
    media = FolderStore(folder / "media")
    tables = small_run.make(media)
    write_report(folder, small_run.summarised(tables), tables, media)
    return folder, tables, media


@pytest.fixture(scope="module")
def opened(run, browser):
    """The report in a browser, with what it asked for and what it complained of."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    heard = {"requests": [], "complaints": []}
    page.on("request", lambda request: heard["requests"].append(request.url))
    page.on("console", lambda message: heard["complaints"].append(message.text))
    page.on("pageerror", lambda error: heard["complaints"].append(str(error)))
    page.goto((run[0] / "report.html").as_uri(), wait_until="load")
    yield page, heard
    page.close()


def test_the_report_asks_nobody_for_anything_and_complains_of_nothing(opened):
    _, heard = opened
    outside = [url for url in heard["requests"] if not url.startswith(("data:", "file:"))]
    assert outside == []
    assert sum(url.startswith("file:") for url in heard["requests"]) == 1
    assert heard["complaints"] == []


def test_every_picture_is_really_shown_and_described(opened):
    page, _ = opened
    images = page.eval_on_selector_all("img", "all => all.map(i => [i.naturalWidth, i.clientWidth, i.alt])")
    # three pairs of pictures, three of two pictures, three clips of six frames
    assert len(images) == 3 + 3 * 2 + 3 * 6
    assert all(natural > 0 and shown > 0 and alt for natural, shown, alt in images)


def test_clips_and_sounds_play(opened):
    page, _ = opened
    for medium in ("video", "audio"):
        assert page.locator(medium).count() == 3
        page.locator(medium).first.evaluate("m => { m.muted = true; return m.play() }")
        page.wait_for_function(f"document.querySelector('{medium}').currentTime > 0.2", timeout=10_000)


def test_plots_are_drawn_with_names_for_those_who_do_not_see_them(opened):
    page, _ = opened
    plots = page.eval_on_selector_all(
        ".plot", "all => all.map(p => [p.getAttribute('aria-label'), p.querySelector('svg').clientHeight])"
    )
    assert len(plots) == 5  # evaluation, funnel, scores, words, calibration
    assert all(label and height > 100 for label, height in plots)


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_over_the_edge_of_a_phone_or_a_desk(opened, width, scheme):
    page, _ = opened
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_verdict_and_what_to_know_come_first(opened, run):
    page, _ = opened
    tables = run[1]
    assert "Training helped: hallucinated answers fell from 37.0% to 4.0%" in page.inner_text(".verdict")
    notes = page.inner_text(".notes")
    assert f"{len(tables.rows['pairs'])} pairs from 40 prompts." in notes
    assert "Requests that failed in the engine: 1." in notes


def test_a_reader_sees_where_rows_went(opened, run):
    page, _ = opened
    reasons = Counter((r.step, r.reason.replace("_", " ")) for r in run[1].rows["rejections"])
    rows = page.eval_on_selector_all("tr", "all => all.map(r => [...r.cells].map(c => c.innerText))")
    assert {(r[0], r[1]): int(r[2]) for r in rows if len(r) == 3 and tuple(r[:2]) in reasons} == reasons


def test_a_shown_pair_says_why_it_is_that_way_round(opened, run):
    page, _ = opened
    tables = run[1]
    kinds = {s.id: s.kind for s in tables.rows["samples"]}
    pair = next(p for p in tables.rows["pairs"] if kinds[p.sample] == "image")
    values = {s.items[0]: s.value for s in tables.rows["judgements"] if s.axis == "claim"}
    refuted = [c for c in tables.rows["claims"] if c.candidate == pair.rejected_id and values[c.id] == 0]
    card = page.locator(".card").first
    assert pair.chosen in card.locator(".chosen p").inner_text()
    crossed = card.locator(".rejected .no").all_inner_texts()
    assert [re.sub(r" \(.*", "", text) for text in crossed] == [
        f"✗ {c.question} {'yes' if c.wanted else 'no'}" for c in refuted
    ]


def test_people_are_shown_with_what_they_are_worth_and_whom_to_look_at(run, browser, tmp_path):
    _, tables, media = run
    asked = small_run.people()
    people = asked["quality"]
    summary = small_run.summarised(tables) | {"people": {"asked": asked, "nobody came": {**asked, "quality": None}}}
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(write_report(tmp_path, summary, tables, media).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    rows = page.eval_on_selector_all("tr", "all => all.map(r => [...r.cells].map(c => c.innerText))")
    shown = {row[0]: row for row in rows if row[0].startswith("person:")}
    assert list(shown) == ["person:1", "person:2", "person:3", "person:4 !"]
    one = people["annotators"]["person:1"]
    assert shown["person:1"][1] == "60"
    assert shown["person:1"][3] == f"{100 * one['skill']:.1f} %"
    assert shown["person:1"][5].startswith(f"{100 * one['gold']['share']:.1f} %")
    assert shown["person:1"][9] == "21"
    assert ["Krippendorff’s α, ordinal", f"{people['agreement']['preference']['alpha']['ordinal']:.2f}"] in rows
    assert "person:4: skill " in page.inner_text("main")
    assert page.inner_text("main").count("Pairwise: 240 of 250 annotations. Questions: 50 agreed, 10 open.") == 2
    assert "In quarantine: 2 span text." in page.inner_text("main")
    assert "1 of 4 are flagged" in page.inner_text(".notes >> nth=0")
    plot = page.locator(".plot[aria-label*='annotators of asked']")
    assert [name in plot.inner_html() for name in ("person:1", "skill (flagged)")] == [True, True]
    page.close()


def test_without_people_nothing_is_said_of_them(run):
    assert "Human annotation</h2>" not in (run[0] / "report.html").read_text()


def test_texts_of_rows_cannot_become_markup(run, tmp_path):
    nasty = "<script>alert(1)</script><b>"
    sample = records.sample((messages.user(nasty),))
    answers = [records.candidate(sample.id, nasty, text + nasty) for text in ("a", "b")]
    rows = {"samples": [sample], "candidates": answers, "pairs": [records.pair(sample.id, "pair", *answers)]}
    tables = ListTables(rows)
    summary = small_run.summarised(tables) | {"name": nasty, "evaluate": {}}
    page = write_report(tmp_path, summary, tables, run[2]).read_text()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4  # name, question, two answers


@pytest.mark.slow
def test_no_text_adds_a_tag_or_an_attribute(run, tmp_path):
    _, tables, media = run
    known = small_run.summarised(tables)

    def names(*texts: str) -> set[str]:
        said = itertools.cycle(texts)
        sample = records.sample((messages.user(f"question {'; '.join(texts)}"),), source=next(said), licence=next(said))
        answers = [
            records.candidate(sample.id, f"make {next(said)}", f"{side} {'; '.join(texts)}") for side in ("a", "b")
        ]
        rows = {"samples": [sample], "candidates": answers, "pairs": [records.pair(sample.id, next(said), *answers)]}
        summary = planted_summary(known, said) | {"evaluate": {}}
        summary["judges"] = {  # a step's name, which is drawn, is a word
            step: judge | {"annotator": next(said)} for step, judge in known["judges"].items()
        }
        return Names(write_report(tmp_path, summary, ListTables(rows), media).read_text()).found

    plain = names("words")
    for start in range(4):
        assert names(*PLANTS[start::4]) == plain


@pytest.mark.parametrize("text", PLANTS)
def test_the_artifacts_of_a_flow_hold_no_markdown_of_rows_or_servers(text):
    from flows.build import asked, described

    tree = {
        "name": text,
        text: {text: 3, "annotator": f"model {text}"},
        "judges": {"claims": {"annotator": text, text: text}},
    }
    usage = {"asked": 3, "currency": text}
    summary = {"steps": {f"make {text}": {"models": {f"policy {text}": usage, text: usage}}}}
    assert_only_text(f"{described(tree)}\n\n{asked(summary)}", "")


def test_a_run_without_pairs_has_a_report_that_says_so(tmp_path):
    sample = records.sample((messages.user("why?"),))
    tables = ListTables({"samples": [sample]})
    summary = small_run.summarised(tables) | {"evaluate": {}}
    page = write_report(tmp_path, summary, tables, FolderStore(tmp_path)).read_text()
    assert "No pairs were made" in page
    assert "Did training help?" not in page


def test_a_large_picture_is_shown_small_and_a_broken_one_told_in_its_place():
    large = media_files.image_file(media_files.picture(1, 2000, 1000), "PNG")
    html = preview("image", large, "1 of the prompt")
    assert 'width="320" height="160"' in html  # 2000 x 1000 in a square of 320
    assert len(html) < len(large) / 5
    assert preview("image", large[:200], "1").startswith("<p>")


def test_media_behind_the_rejected_answer_are_shown_beside_those_of_the_prompt(tmp_path):
    media = FolderStore(tmp_path)
    shas = [media.add(media_files.png(seed)) for seed in (1, 2)]
    sample = records.sample((messages.user(records.Part("image", media=shas[0]), "what ?"),))
    good, bad = (records.candidate(sample.id, "make", text) for text in ("good", "bad"))
    pair = records.pair(sample.id, "crop", good, bad, rejected_media=(shas[1],), pair_kind="mixed")
    tables = ListTables({"samples": [sample], "candidates": [good, bad], "pairs": [pair]})
    page = write_report(tmp_path, small_run.summarised(tables), tables, media).read_text()
    assert re.findall(r'alt="([^"]+)"', page) == ["picture 1 of the prompt", "picture 1 of the rejected answer"]
    assert page.count("<b>media of the rejected answer</b>") == 1


def test_the_same_run_gives_the_same_report(run, tmp_path):
    folder, tables, media = run
    again = write_report(tmp_path, small_run.summarised(tables), tables, media)
    assert again.read_text() == (folder / "report.html").read_text()


def test_what_judges_are_worth_is_told_with_intervals_and_biases_are_named(run, tmp_path):
    _, tables, media = run
    summary = small_run.summarised(tables)
    share = {"n": 400, "share": 0.7, "low": 0.65, "high": 0.75}
    truth = {"n": 200, "share": 0.5, "low": 0.43, "high": 0.57}
    summary["judges"]["claims"] |= {
        "shown_first": share,
        "contradicted": truth,
        "longer": share,
        "longer_truth": truth,
        "own": truth,
        "own_truth": truth,
    }
    page = write_report(tmp_path, summary, tables, media).read_text()
    assert "chose the answer shown first 70% of 400 times (65\u201375 %; position bias)" in page
    assert (
        "chose the longer answer 70% of 400 times (65\u201375 %); it is better 50% of 200 times (43\u201357 %)" in page
    )
    assert "its own model\u2019s answer" not in page  # 50 % of its own are better, and 50 % are chosen
    assert page.count("70.0 % <small>(65–75, 400)</small>") == 2
    assert page.count("50.0 % <small>(43–57, 200)</small>") == 4


def test_evaluations_of_any_number_and_name_fit_into_their_plot():
    figure = {"hallucination": {"value": 0.4, "low": 0.3, "high": 0.5}}
    evaluations = {f"after-training-{i}": {"image": figure, "mean": figure} for i in range(7)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib only warns where nothing is left for the axes
        svg = plots.intervals(evaluations, "hallucination", "hallucinated answers")
    assert all(name in svg for name in evaluations)
