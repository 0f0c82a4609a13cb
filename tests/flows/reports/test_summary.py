"""The figures of a run from its tables, which are read side by side, sample by sample."""

from operator import itemgetter

from flows.reports.summary import counts, grouped_by_sample
from flows.reports.terminal import cut_lines, dropped_lines, rule_lines
from schemas import records
from schemas.records import Finding, Outcome, Provenance, judgement
from tests.support.rows import Held, rows_of


def test_rows_that_lie_sample_by_sample_are_found_for_who_asks_in_order():
    of = grouped_by_sample([("b", 1), ("b", 2), ("d", 3)], itemgetter(0))
    assert [of(name) for name in "abcde"] == [[], [("b", 1), ("b", 2)], [], [("d", 3)], []]


def test_judges_are_measured_with_the_answers_of_their_own_sample():
    first, silent, last = (rows_of([f"{i} yes", f"{i} no no"], question=f"{i} ?") for i in range(3))
    for rows in (first, last):
        for c in rows.candidates:
            value = float("yes" in c.text)
            rows.judgements += [
                judgement(
                    c.sample,
                    "truth",
                    "candidate",
                    (c.id,),
                    "truth",
                    Finding(Outcome.VERDICT, value),
                    Provenance("rule"),
                ),
                judgement(
                    c.sample,
                    "rate",
                    "candidate",
                    (c.id,),
                    "rating",
                    Finding(Outcome.VERDICT, 1 - value),
                    Provenance("m@1"),
                ),
            ]
    pairs = [records.pair(r.sample.id, "pair", *r.candidates) for r in (first, silent, last)]
    marked = [pair._replace(needs_media=needs) for pair, needs in zip(pairs, (True, None, False), strict=True)]
    every = (first, silent, last)
    found = counts(
        Held(
            samples=[r.sample for r in every],
            candidates=[c for r in every for c in r.candidates],
            judgements=[s for r in every for s in r.judgements],
            pairs=marked,
        )
    )
    assert {name: found[name] for name in ("samples", "candidates", "judgements", "pairs")} == {
        "samples": {"image": 3}, "candidates": {"image": 6}, "judgements": {"image": 8}, "pairs": {"image": 3},
    }  # fmt: skip
    rate = found["judges"]["rate"]
    assert (rate["agreement_with_truth"]["image"]["n"], rate["agreement_with_truth"]["image"]["share"]) == (2, 0.0)
    assert (rate["longer"]["share"], rate["longer_truth"]["share"]) == (1.0, 0.0)
    assert (found["survive_without_media"]["image"]["n"], found["survive_without_media"]["all"]["share"]) == (2, 0.5)


def test_what_max_tokens_cut_off_is_counted_by_step_with_the_remedy():
    rows = rows_of(["one", "two", "three"])
    rows.candidates = [
        c._replace(finish=finish) for c, finish in zip(rows.candidates, ("stop", "length", None), strict=True)
    ]
    said = {
        "rate": "truncated: max_tokens (9) cut it off; raise max_tokens: [[1",
        "mark": '{"reply": "truncated: max_tokens (9) ...',
        "other": "[[1",
    }
    rows.judgements = [
        judgement(
            rows.sample.id, step, "candidate", (c.id,), "rating", Finding(Outcome.UNPARSABLE, raw=raw), Provenance(step)
        )
        for step, raw in said.items()
        for c in rows.candidates[: 2 if step == "rate" else 1]
    ]
    gone = records.Rejection("x", "candidates", "make", records.Reason.TRUNCATED, "", rows.sample.id)
    held = Held(samples=[rows.sample], candidates=rows.candidates, judgements=rows.judgements, rejections=[gone])
    found = counts(held)
    assert found["cut_off"] == {"answers": {"sample": 1}, "replies": {"rate": 2, "mark": 1}}
    assert cut_lines(found) == [
        "make: 1 answer cut off and dropped; raise its max_tokens",
        "sample: 1 answer cut off and kept: a model learns from it to stop in the middle of a sentence; raise its max_tokens",
        "rate: 2 judgements cut off and unparsable; raise its max_tokens",
        "mark: 1 judgement cut off and unparsable; raise its max_tokens",
    ]
    assert cut_lines({"rejections": {}}) == []  # of an older version


def test_samples_that_a_judge_dropped_are_named_with_the_first_reason():
    gone = lambda n, step, reason, table="samples": records.Rejection(
        f"{n}", table, step, reason, f"rows.jsonl#{n}: the known answer '?' has no letters", f"{n}"
    )
    rejections = [
        gone(1, "rows", records.Reason.BAD_ROW), gone(2, "truth", records.Reason.BAD_ROW), gone(3, "truth", records.Reason.BAD_ROW),
        gone(4, "truth", records.Reason.UNSUPPORTED_MEDIA), gone(5, "truth", records.Reason.TOO_LONG, "candidates"),
        gone(6, "truth", records.Reason.UNREACHABLE),  # open: asked again
    ]  # fmt: skip
    found = counts(Held(rejections=rejections), ["truth"])
    assert dropped_lines(found) == [
        "truth: the judge dropped 2 samples as bad_row, with all answers; the first: rows.jsonl#2: the known answer '?' has no letters",
        "truth: the judge dropped 1 sample as unsupported_media, with all answers; the first: rows.jsonl#4: the known answer '?' has no letters",
    ]
    assert dropped_lines(counts(Held(rejections=rejections))) == dropped_lines({"rejections": {}}) == []


def test_a_rule_that_does_not_suit_the_answers_is_named_with_counts_and_the_rule_to_take():
    rows = rows_of([f"It is 42{'.' * n}" for n in range(12)], question="How many ?", answer="42")
    rows.judgements = [
        judgement(
            rows.sample.id, "truth", "candidate", (c.id,), "truth", Finding(Outcome.VERDICT, -1.0, raw=c.text),
            Provenance("rule.exact"),
        )
        for c in rows.candidates
    ]  # fmt: skip
    found = counts(Held(samples=[rows.sample], candidates=rows.candidates, judgements=rows.judgements))
    assert rule_lines(found) == [
        "truth: the rule exact takes 12 of 12 answers that contain the known answer for wrong; set `kind: final`, by which 12 of them are right"
    ]
    assert rule_lines({}) == []
