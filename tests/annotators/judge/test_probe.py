import random
from functools import partial

import pytest
from pydantic import ValidationError

from annotators.judge import claims, probe
from annotators.judge.probe import Settings
from annotators.score import refuted_claims
from pipeline.source import scenes
from schemas import messages, records
from schemas.operator import SampleRows
from schemas.records import Claim, Finding, Judgement, Outcome, Pair, Part, Provenance, Rejection, Sample, judgement
from tests.annotators.judge.test_claims import split
from tests.support import scene_pairs
from tests.support.rows import context, rows_of

MEDIA = "ab" * 32  # of rows_of


def rows_with_a_pair(*texts: str, question: str = "what is there ?") -> SampleRows:
    """The first answer is chosen, the second rejected."""
    rows = rows_of(list(texts or ("a cat", "a dog")), question=question)
    rows.pairs = [records.pair(rows.sample.id, "pair", *rows.candidates[:2], margin=2.0)]
    return rows


def rater(values: dict[str, float | None], shown: list):
    """A judge who rates answers by their text, and notes what it is shown."""

    async def judge(rows: SampleRows) -> list[Judgement]:
        shown.append(rows.sample)
        return [
            judgement(
                rows.sample.id, "probe", "candidate", (c.id,), "rating",
                Finding(
                    Outcome.UNPARSABLE if values[c.text] is None else Outcome.VERDICT, values[c.text],
                    raw="what ?" if values[c.text] is None else None,
                ), Provenance("judge@1"),
            )
            for c in rows.candidates
        ]  # fmt: skip

    return judge


async def probed(rows: SampleRows, values: dict, fitted=None, **settings):
    shown: list = []
    chosen = Settings(judge="judge.pointwise", **settings)
    found = await probe.judge(rows, chosen, context("probe", built={"judge": rater(values, shown)}, fitted=fitted))
    return found, shown


@pytest.mark.parametrize(("cat", "dog", "needs"), [(5, 1, False), (1, 5, True), (3, 3, True)])
def test_a_preference_that_survives_does_not_need_the_media(runner, cat, dog, needs):
    rows = rows_with_a_pair()
    (old,) = rows.pairs
    (slip, gone, new), (sample,) = runner.run(probed(rows, {"a cat": cat, "a dog": dog}))
    assert (gone.id, gone.table, gone.reason) == (old.id, "pairs", "superseded")
    assert new == old._replace(id=new.id, step="probe", needs_media=needs)
    assert new.id != old.id
    first = slip.items[0] == old.chosen_id
    assert (slip.axis, slip.target, slip.value) == ("blind", "pair", cat - dog if first else dog - cat)
    assert slip.outcome == ("tie" if cat == dog else "verdict")
    assert (sample.id, sample.media, sample.kind, messages.question_of(sample.prompt)) == (
        rows.sample.id,
        (),
        "image",  # a judge asks in the words of pictures still
        "what is there ?",
    )


def test_without_a_blind_verdict_nothing_is_known(runner):
    rows = rows_with_a_pair()
    found, _ = runner.run(probed(rows, {"a cat": None, "a dog": 3}))
    assert [(s.outcome, s.value, s.raw) for s in found] == [("unparsable", None, "what ?")]


def test_the_judge_sees_all_answers_as_before_and_every_pair_is_told(runner):
    rows = rows_with_a_pair("a cat", "a dog", "a cow")
    rows.pairs.append(records.pair(rows.sample.id, "pair", *rows.candidates[1:]))
    found, _ = runner.run(probed(rows, {"a cat": 5, "a dog": 4, "a cow": 4.5}))
    assert [row.needs_media for row in found if isinstance(row, Pair)] == [False, True]
    assert sum(isinstance(row, Rejection) for row in found) == 2


def test_text_alone_has_nothing_to_take_away(runner):
    rows = rows_with_a_pair()
    rows.sample = records.sample((messages.user("what is there ?"),))
    assert runner.run(probed(rows, {})) == ([], [])
    rows = rows_with_a_pair()
    rows.pairs = []
    assert runner.run(probed(rows, {})) == ([], [])


def test_swapped_media_are_another_samples_of_the_same_kind(runner):
    rows = rows_with_a_pair()
    others = [
        SampleRows(records.sample((messages.user(Part(kind, media=f"{i:064x}"), "?"),)))
        for i, kind in enumerate(("image", "image", "video"))
    ]
    settings = Settings(judge="judge.pointwise", media="swap")
    fitted = probe.fit([rows, *others], settings, context())
    assert (
        fitted.key == probe.fit([*others, rows], settings, context()).key != probe.fit(others, settings, context()).key
    )
    _, (sample,) = runner.run(probed(rows, {"a cat": 2, "a dog": 1}, fitted.value, media="swap"))
    assert sample.media[0] in {f"{i:064x}" for i in range(2)}
    assert (sample.kind, sample.prompt[0].parts[1]) == ("image", rows.sample.prompt[0].parts[1])
    alone = probe.fit([rows, others[2]], settings, context())
    assert runner.run(probed(rows, {}, alone.value, media="swap")) == ([], [])


def test_a_video_that_is_heard_too_stays_one_clip():
    clip, other = "c" * 64, "d" * 64
    sample = records.sample((messages.user(Part("video", media=clip), Part("audio", media=clip), "?"),))
    settings = Settings(judge="judge.pointwise", media="swap")
    fitted = probe.fit(
        [SampleRows(sample), SampleRows(records.sample((messages.user(Part("video", media=other), "?"),)))],
        settings,
        context(),
    )
    assert sorted(fitted.value["video"]) == [clip, other]
    assert "audio" not in fitted.value
    assert probe._blind(sample, settings, context(fitted=fitted.value)).media == (other, other)


def test_people_are_not_asked_again():
    with pytest.raises(ValidationError, match=r"judge\.people cannot be probed"):
        Settings(judge={"judge.people": {}})


def test_the_real_model_prefers_what_it_sees_and_without_seeing_it_cannot(runner, vllm_engine, media_store):
    """24 pictures, the true description and one with a word of it exchanged: claim by claim the model prefers the true one of most when it
    sees them, and of far fewer when it sees another picture, or none."""
    rows = scenes.read(scenes.Settings(n=24, shares={"image": 1}), context("scenes", media_store))
    samples = [row for row in rows if isinstance(row, Sample)]
    inner = context("probe", media_store, engines={"policy": vllm_engine}, built={"splitter": split})
    ask = partial(claims.judge, settings=claims.Settings(model="policy"), context=inner)

    def survive(media: str, pool: list[str]) -> int:
        settings, found = Settings(judge="judge.claims", media=media), []
        for sample in samples:
            rows = SampleRows(sample)
            rows.candidates = [
                records.candidate(sample.id, "sample", text) for text in (sample.reference, _wrong(sample))
            ]
            rows.pairs = [records.pair(sample.id, "pair", *rows.candidates)]
            pools = {"image": [media for media in pool if media not in sample.media]}
            found += runner.run(probe.judge(rows, settings, context("probe", built={"judge": ask}, fitted=pools)))
        return sum(row.needs_media is False for row in found if isinstance(row, Pair))

    seen = sum(
        runner.run(
            _prefers(
                ask,
                sample,
                [records.candidate(sample.id, "sample", text) for text in (sample.reference, _wrong(sample))],
            )
        )
        for sample in samples
    )
    blind, swapped = survive("none", []), survive("swap", [s.media[0] for s in samples])
    assert seen >= 14
    assert blind <= seen - 8
    assert swapped <= seen - 8


def _wrong(sample: Sample) -> str:
    """The reference with a word exchanged that leaves it well-formed."""
    rng, question = random.Random(sample.id), messages.question_of(sample.prompt)
    return next(
        text for _ in range(100) if split(question, text := scene_pairs.exchanged(sample.reference, rng)) is not None
    )


async def _prefers(ask, sample: Sample, answers: list) -> bool:
    """Whether the judge refutes fewer claims of the first answer than of the second."""
    rows = SampleRows(sample)
    rows.candidates = answers
    for row in await ask(rows):
        (rows.claims if isinstance(row, Claim) else rows.judgements).append(row)
    first, second = refuted_claims.score(rows, refuted_claims.Settings(), context("score"))
    return first.value > second.value
