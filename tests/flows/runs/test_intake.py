"""Rows that a source brings along: each prompt once, with everything that was said of it, whatever the order and the shard."""

import random
from types import SimpleNamespace

import pytest

from flows.planning.bind import Bound
from flows.runs import shards
from flows.runs.intake import Arrival, arrivals, merge_repeated
from flows.runs.stream import from_sources
from schemas import messages, records
from schemas.operator import Context, OperatorSettings
from schemas.recipe import Step
from schemas.records import Media, Outcome, Part, Reason, Rejection


def shown(name: str, **known) -> list:
    """A picture and a Sample that shows it."""
    media = Media(name * 32, "image", "image/png", 1)
    return [
        media,
        records.sample((messages.user(Part("image", media=media.id), "What?"),), source=name, step="s", **known),
    ]


def pair(sample, chosen: str, rejected: str, **known) -> list:
    """Two answers and their pair."""
    better, worse = (
        records.candidate(sample.id, "s", t, role=r) for t, r in ((chosen, "chosen"), (rejected, "rejected"))
    )
    return [better, worse, records.pair(sample.id, "s", better, worse, **known)]


def rating(candidate, value: float):
    return records.judgement(
        candidate.sample,
        "s",
        "candidate",
        (candidate.id,),
        "score",
        records.Finding(Outcome.VERDICT, value),
        records.Provenance("a"),
    )


def put_together(rows) -> list:
    return [item for item in merge_repeated(arrivals(rows, 4)) if item is not None]


def test_rows_stand_behind_their_sample_and_media_before_it():
    picture, sample = shown("aa")
    rows = pair(sample, "x", "y")
    lost = Media("dd" * 32, "image", "image/png", 1)
    bad = Rejection("f#1", "samples", "s", Reason.BAD_ROW, "f#1: bad")
    found = list(arrivals([picture, sample, *rows, lost, bad, *shown("bb")], 100))
    assert found == [
        Arrival([picture], sample, rows),
        bad,
        Arrival(*[[m] if isinstance(m, Media) else m for m in shown("bb")], []),
    ]


def test_others_may_run_now_and_then_whatever_comes():
    bad = [Rejection(f"f#{i}", "samples", "s", Reason.BAD_ROW) for i in range(8)]
    assert [i for i, item in enumerate(arrivals(bad, 4)) if item is None] == [4, 9]  # behind the 4th and the 8th


def test_a_row_without_its_sample_is_an_error_of_the_source():
    sample = shown("aa")[1]
    with pytest.raises(ValueError, match="a Candidate without its Sample before it"):
        list(arrivals(pair(sample, "x", "y"), 4))


def test_pairs_of_one_prompt_come_together_from_anywhere():
    (a, first), (b, second) = shown("aa"), shown("bb")
    bad = Rejection("f#2", "samples", "s", Reason.BAD_ROW)
    rows = [a, first, *pair(first, "x", "y"), bad, b, second, *pair(second, "p", "q"), a, first, *pair(first, "z", "x")]
    one, rejection, two = put_together(rows)
    assert (one.sample, one.media, rejection, two.rows) == (first, [a], bad, pair(second, "p", "q"))
    texts = [(row.text, row.role) for row in one.rows[:3]]
    assert texts == [("x", None), ("y", "rejected"), ("z", "chosen")]  # x is chosen once and rejected once
    assert [(row.chosen, row.rejected) for row in one.rows[3:]] == [("x", "y"), ("z", "x")]


def test_what_was_there_is_no_news_or_a_rejection_that_names_its_row():
    picture, sample = shown("aa")
    later = sample._replace(source="f#9")
    rows = pair(sample, "x", "y")
    slip = rating(rows[0], 1.0)
    again = [picture, later, *rows, slip]
    found = put_together(
        [picture, sample, *rows, slip, *again, picture, later, slip._replace(value=2.0), picture, later]
    )
    assert found[0] == Arrival([picture], sample, [*rows[:2], slip, rows[2]])
    assert [(r.table, r.reason, r.id, r.detail) for r in found[1:]] == [
        ("pairs", Reason.DUPLICATE, f"{rows[2].id}~2", "f#9: duplicate pair; remove one of them"),
        ("judgements", Reason.DUPLICATE, f"{slip.id}~3", "f#9: duplicate judgement; remove one of them"),
        (
            "samples",
            Reason.DUPLICATE,
            f"{sample.id}~4",
            "f#9: duplicate of an earlier prompt with the same media; remove one of them",
        ),
    ]


def test_pairs_in_other_white_space_are_duplicates_and_contradictions_too():
    picture, sample = shown("aa")
    later, last = sample._replace(source="f#2"), sample._replace(source="f#3")
    first, spaced, turned = pair(sample, "x y", "z"), pair(sample, "x  y", "z\n"), pair(sample, "z ", "x y")
    found = put_together([picture, sample, *first, picture, later, *spaced, picture, last, *turned])
    assert [row for row in found[0].rows if isinstance(row, records.Pair)] == []
    assert [(r.id, r.reason, r.detail[:11]) for r in found[1:]] == [
        (f"{spaced[2].id}~2", Reason.DUPLICATE, "f#2: duplic"),
        (first[2].id, Reason.CONTRADICTION, "aa: f#3 pre"),
        (turned[2].id, Reason.CONTRADICTION, "f#3: aa pre"),
    ]


def source(rows: list, leaves: tuple[str, ...]) -> Bound:
    module = SimpleNamespace(read=lambda settings, context: iter(rows))
    step = Step(name="s", family="source", operator="rows", settings={})
    return Bound(module, OperatorSettings(), step=step, leaves=leaves)


def shard_of(rows: list, leaves=("media", "samples", "candidates", "pairs")) -> list:
    return [s for s in from_sources([source(rows, leaves)], lambda bound: Context("s", "", None), "key") if s]


def test_no_pair_is_lost_over_many_shards():
    """Three pairs a prompt, 1,500 prompts in shards of 512, the rows shuffled over the whole file."""
    samples = [shown(f"{i:02x}"[-2:])[1]._replace(id=records.digest(i)) for i in range(1500)]
    blocks = [[s, *pair(s, f"x{n}", "y")] for s in samples for n in range(3)]
    random.Random(1).shuffle(blocks)
    found = shard_of([row for block in blocks for row in block])
    assert [len(s.given) for s in found] == [512, 512, 476]
    given = [rows for s in found for rows in s.given]
    assert len({rows.sample.id for rows in given}) == 1500
    assert all(len(rows.pairs) == 3 and len(rows.candidates) == 4 for rows in given)
    assert not any(s.first["rejections"] for s in found)
    assert given[0].sample == blocks[0][0]  # in the order in which prompts first came
    assert all(p.sample == rows.sample.id for rows in given for p in rows.pairs)
    assert [len(made) for made in found[0].made] == [8] * 512  # the sample, four answers, three pairs


def test_a_shards_name_depends_on_what_its_rows_say():
    picture, sample = shown("aa")
    names = {
        shard_of([picture, sample, *pair(sample, "x", "y", margin=margin)])[0].name for margin in (1.0, 1.0, 2.0, None)
    }
    assert len(names) == 3


def test_sources_of_samples_alone_stream_and_a_second_equal_sample_is_a_rejection():
    picture, sample = shown("aa")
    read = []

    def rows():
        for i in range(shards.SIZE + 1):
            read.append(i)
            yield sample._replace(id=records.digest(i))
        yield from (picture, sample, picture, sample)

    stream = from_sources([source(rows(), ("media", "samples"))], lambda bound: Context("s", "", None), "key")
    next(s for s in stream if s)
    assert len(read) == shards.SIZE + 1  # the first shard waits for no more than the row behind it
    (last,) = [s for s in stream if s]
    assert [(r.table, r.id, r.reason) for r in last.first["rejections"]] == [
        ("samples", f"{sample.id}~2", Reason.DUPLICATE)
    ]
