"""What a run cost, and that a price changes nothing else."""

import re
import shutil

import pytest
import yaml

from flows.commands.show import show
from flows.reports.terminal import Meter, progress_line, reporter
from flows.runs import costs, executor
from flows.runs.shards import read_json
from pipeline.storage.answer_cache import Usage
from schemas.recipe import Price
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

PRICE = {"prompt": 2.5, "answer": 10, "request": 0.01, "currency": "EUR"}


def document(folder, url: str, **more) -> dict:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "what is number {i} ?"}}\n' for i in range(20)))
    scripted = {"engine": "openai", "model": "scripted", "base_url": url}
    return {
        "name": "small",
        "models": {"policy": scripted | more, "judge": scripted | {"revision": "2"}},
        "steps": [
            {"source.rows": {"path": str(rows)}},
            {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
            {"judge.pointwise": {"model": "judge", "media": False}},
            {"pair.best_worst": {"axis": "rating"}},
        ],
    }


def build(raw: dict, folder, out: str = "out", cache: str = "cache") -> dict:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw))
    run = executor.open_run(str(path), out=folder / out, cache=folder / cache)
    return completed(run)


@pytest.fixture(scope="module")
def url():
    with served(Endpoint()) as url:
        yield url


@pytest.fixture(scope="module")
def priced(tmp_path_factory, url):
    """The folder and the summary of a run whose policy has a price."""
    folder = tmp_path_factory.mktemp("costs")
    return folder, build(document(folder, url, price=PRICE), folder)


def test_usage_is_told_by_step_and_model(priced):
    _, summary = priced
    assert set(summary["steps"]) == {"sample", "pointwise"}
    assert set(summary["steps"]["sample"]["models"]) == {"policy"}
    assert set(summary["steps"]["pointwise"]["models"]) == {"judge"}
    policy = summary["models"]["policy"]
    # 20 prompts of five words, a line with the model's name before them: the scripted server counts words
    assert (policy["asked"], policy["cached"], policy["failed"], policy["prompt_tokens"]) == (20, 0, 0, 20 * 6)
    assert policy["most_answer_tokens"] == 20 * 3 * 32
    assert 0 < policy["seconds"] < 20
    assert summary["questions_asked"] == 40


def test_money_is_tokens_by_price_and_requests(priced):
    _, summary = priced
    policy = summary["models"]["policy"]
    wanted = 2.5e-6 * 120 + 10e-6 * policy["answer_tokens"] + 0.01 * 20
    assert policy["spent"] == pytest.approx(wanted, abs=1e-6)
    assert (policy["saved"], policy["currency"]) == (0, "EUR")
    assert "spent" not in summary["models"]["judge"]
    assert summary["money"] == {"EUR": {"spent": policy["spent"], "saved": 0}}


def test_what_is_cached_is_saved_and_the_card_says_the_same(priced, url):
    folder, first = priced
    again = build(document(folder, url, price=PRICE), folder, "again")
    policy = again["models"]["policy"]
    assert (policy["asked"], policy["cached"], policy["spent"]) == (0, 20, 0)
    assert policy["saved"] == pytest.approx(first["models"]["policy"]["spent"], abs=1e-6)
    cards = [(folder / out / "dataset" / "README.md").read_text() for out in ("out", "again")]
    said = [re.search(r"The models answered .*", card)[0] for card in cards]
    assert said[0] == said[1]
    assert said[0].startswith("The models answered 40 requests: ")
    assert said[0].endswith(" EUR at the recipe's prices.")


def test_a_price_makes_no_other_run_and_no_other_row(priced, url):
    folder, _ = priced
    files = {p: p.stat().st_mtime_ns for p in (folder / "out" / "passes").rglob("*.arrow")}
    exported = {p: p.read_bytes() for p in (folder / "out" / "dataset").rglob("*.parquet")}
    dearer = build(document(folder, url, price={"answer": 1000}), folder)
    assert dearer["money"]["USD"]["spent"] == pytest.approx(
        1e-3 * dearer["models"]["policy"]["answer_tokens"], abs=1e-6
    )
    without = build(document(folder, url), folder)
    assert without["money"] == {}
    assert files == {p: p.stat().st_mtime_ns for p in (folder / "out" / "passes").rglob("*.arrow")}
    assert build(document(folder, url, price={"answer": 1}), folder, "free")["questions_asked"] == 0
    build(document(folder, url), folder, "unpriced", "other cache")
    others = {
        p.relative_to(folder / "unpriced"): p.read_bytes() for p in (folder / "unpriced" / "dataset").rglob("*.parquet")
    }
    assert others == {p.relative_to(folder / "out"): data for p, data in exported.items()}
    build(document(folder, url, price=PRICE), folder)


def test_records_say_what_was_asked_and_no_money(priced):
    folder, _ = priced
    (record,) = (folder / "out" / "passes").glob("*/*/record.json")
    usage = read_json(record)["steps"]["sample"]["models"]["policy"]
    assert set(usage) == set(Usage().figures())
    done = read_json(record.parents[1] / "done.json")
    assert done["usage"]["sample"]["policy"] == usage


def test_show_and_report_say_it(priced, capsys):
    folder, _ = priced
    show(folder / "out")
    text = " ".join(capsys.readouterr().out.split())
    assert "model usage" in text
    assert "EUR" in text
    page = (folder / "out" / "report.html").read_text()
    assert "Model usage" in page
    assert "saved by the cache" in page


def test_of_an_unfinished_run_show_says_what_was_asked_so_far(priced, tmp_path, capsys):
    half = shutil.copytree(priced[0] / "out", tmp_path / "half")
    (half / "summary.json").unlink()
    (unit,) = (half / "passes").iterdir()
    (unit / "done.json").unlink()
    show(half)
    assert "model usage so far" in capsys.readouterr().out


def test_live_figures_come_with_progress_from_the_first_to_the_last(tmp_path, url):
    said = []
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(document(tmp_path, url, price=PRICE)))
    run = executor.open_run(str(path), out=tmp_path / "out", cache=tmp_path / "cache", report=lambda *a: said.append(a))
    for _ in executor.run_all(run):
        pass
    run.close()
    asked = [used["policy"]["asked"] for unit, *_, used in said if "policy" in used]
    assert asked == sorted(asked)
    assert asked[-1] == 20
    assert said[0][1:] == (0, None, "", {})  # a unit is named before its model is loaded
    last = next(used for unit, *_, used in reversed(said) if used)
    assert last["policy"]["spent"] > 0.2
    assert last["judge"]["asked"] == 20


def test_what_a_process_asked_before_it_died_is_not_forgotten():
    def used(asked: int) -> dict:
        return costs.priced({"policy": Usage(asked=asked).figures()}, {"policy": Price(request=1)})

    meter = Meter()
    for asked in (5, 9, 1, 3):  # it died after 9
        meter.note("pass0", used(asked))
    meter.note("pass1", used(2))
    (policy,) = meter.models().values()
    assert (policy["asked"], policy["spent"]) == (9 + 3 + 2, 14)


def test_a_line_says_what_a_model_was_asked():
    usage = Usage(asked=1200, cached=3, failed=1, prompt_tokens=98_765, answer_tokens=2_345_678).figures()
    assert progress_line(usage) == "1,200 asked, 3 cached, 1 failed, tokens 98.8k in, 2.35M out"
    written = []
    reporter(written.append)("pass0", 7, 20, "", {"policy": usage})
    assert written == [f"pass0: 7 of 20; policy: {progress_line(usage)}"]


def used(**figures) -> dict:
    return Usage(**figures).figures()


def test_records_are_summed_by_step_and_model():
    first = {"sample": {"policy": used(asked=2, media=1)}, "pointwise": {"judge": used(asked=5)}}
    second = {"sample": {"policy": used(asked=3), "other": used(cached=7)}}
    found = costs.by_step([first, second])
    assert list(found) == ["sample", "pointwise"]
    assert found["sample"] == {"policy": used(asked=2 + 3, media=1), "other": used(cached=7)}
    assert found["pointwise"] == {"judge": used(asked=5)}
    assert costs.by_step([]) == {}


def test_a_model_that_several_steps_ask_is_summed_over_them():
    usages = {
        "sample": {"policy": used(asked=2)},
        "claims": {"policy": used(asked=4, failed=1), "judge": used(asked=8)},
    }
    assert costs.by_model(usages) == {"policy": used(asked=2 + 4, failed=1), "judge": used(asked=8)}


def test_the_record_of_a_shard_says_what_its_steps_asked():
    asked = {"policy": used(asked=2)}
    assert costs.usage_of_shard({"steps": {"sample": {"models": asked, "rows": 3}}}) == {"sample": asked}


def test_money_by_hand():
    usage = used(
        asked=10,
        cached=4,
        prompt_tokens=2_000_000,
        answer_tokens=500_000,
        cached_prompt_tokens=100_000,
        cached_answer_tokens=50_000,
    )
    price = Price(prompt=3, answer=8, request=0.25, currency="EUR")
    # spent 2 x 3 + 0.5 x 8 + 10 x 0.25 = 6 + 4 + 2.5; saved 0.1 x 3 + 0.05 x 8 + 4 x 0.25 = 0.3 + 0.4 + 1
    assert costs.cost(usage, price) == {"spent": 12.5, "saved": 1.7, "currency": "EUR"}


def test_money_is_rounded_to_a_millionth():
    # one token of a million for a whole unit of money is 0.000001; a third of that is nothing
    assert costs.cost(used(prompt_tokens=1), Price(prompt=1))["spent"] == 0.000001
    assert costs.cost(used(prompt_tokens=1), Price(prompt=0.3))["spent"] == 0.0


def test_only_models_with_a_price_have_money():
    models = {"policy": used(asked=3), "judge": used(asked=2)}
    found = costs.priced(models, {"policy": Price(request=2)})
    assert found == {
        "policy": models["policy"] | {"spent": 6.0, "saved": 0.0, "currency": "USD"},
        "judge": models["judge"],
    }


def test_what_units_asked_is_added_by_model_and_currencies_stay_words():
    one = {"policy": {"asked": 3, "spent": 1.5, "currency": "EUR"}}
    two = {"policy": {"asked": 4, "spent": 0.25, "currency": "EUR"}, "judge": {"asked": 1}}
    assert costs.add_priced([one, two]) == {
        "policy": {"asked": 7, "spent": 1.75, "currency": "EUR"},
        "judge": {"asked": 1},
    }
    assert costs.add_priced([]) == {}


def test_each_currency_has_a_sum_of_its_own():
    euros = {"spent": 1.5, "saved": 0.5, "currency": "EUR"}
    dollars = {"spent": 4.0, "saved": 0.0, "currency": "USD"}
    purse = costs.total_money([euros, dollars, euros, {"asked": 9}])
    assert purse == {"EUR": {"spent": 3.0, "saved": 1.0}, "USD": {"spent": 4.0, "saved": 0.0}}
    assert costs.amounts(purse, "spent") == "3.00 EUR + 4.00 USD"
    assert costs.amounts(purse, "saved") == "1.00 EUR + 0.00 USD"
    # 0.1 + 0.2 is 0.30000000000000004 in binary
    assert costs.total_money([{"spent": x, "saved": 0, "currency": "EUR"} for x in (0.1, 0.2)])["EUR"]["spent"] == 0.3
    assert costs.total_money([]) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (0.0123, "0.012"), (0.5, "0.50"), (0.999, "1.0"), (1, "1.00"), (12.3, "12.30"), (1234.5, "1,234.50")],
)
def test_an_amount_has_two_decimals_or_two_digits(value, text):
    assert costs.amount(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (4_100_000, "4.1M"),
        (1_000_000, "1M"),
        (1e9, "1G"),
        (2.5e9, "2.5G"),
    ],
)
def test_a_large_count_is_short(count, text):
    assert costs.compact_amount(count) == text


def test_the_artifact_of_a_flow_has_what_each_step_asked(priced):
    from flows.build import asked, described

    _, summary = priced
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in asked(summary).splitlines()]
    assert lines[0][:4] == ["step", "model", "asked", "cached"]
    assert [line[:4] for line in lines[2:]] == [["sample", "policy", "20", "0"], ["pointwise", "judge", "20", "0"]]
    assert lines[2][-1] == "EUR"
    assert "steps." not in described(summary)
    assert "| money.EUR.spent |" in described(summary)
    assert described({"steps": 3}).endswith("| steps | 3 |")  # a training has a figure of that name
