import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter import subsample
from pipeline.storage.media_store import FolderStore
from schemas import messages, records
from tests.support.photographs import jpeg_of, pieces
from tests.support.rows import Held, context, tables_of


@pytest.mark.parametrize(
    ("had", "n", "kept"),
    [
        ((100, 100, 100), 10, (4, 5, 1)),
        ((100, 100, 100), 11, (4, 6, 1)),  # 4.4, 5.5, 1.1
        ((100, 2, 100), 10, (6, 2, 2)),  # 2 of 5 are there; the other 8 are 6.4 and 1.6
        ((1, 1, 1), 10, (1, 1, 1)),
        ((0, 0, 7), 3, (0, 0, 3)),
    ],
)
def test_quotas_by_weight(had, n, kept):
    names = ("long", "short", "mcq")
    found = subsample.allocate(dict(zip(names, had)), {"long": 4, "short": 5, "mcq": 1}, n)
    assert tuple(found[name] for name in names) == kept


@given(
    st.dictionaries(st.text(max_size=3), st.tuples(st.integers(0, 50), st.floats(0, 10)), min_size=1),
    st.integers(1, 200),
)
def test_quotas_are_as_many_as_can_be_and_none_more_than_there_is(groups, n):
    had, weights = ({name: group[i] for name, group in groups.items()} for i in (0, 1))
    found = subsample.allocate(had, weights, n)
    assert all(0 <= found[name] <= had[name] for name in had)
    assert all(found[name] == 0 for name in had if weights[name] == 0)
    assert sum(found.values()) == min(n, sum(had[name] for name in had if weights[name] > 0))


@pytest.mark.parametrize(
    ("prompt", "known", "stratum"),
    [
        ("Which one?\nA. red\nB. blue", {}, "mcq"),
        ("Which one? (A) red (B) blue", {}, "mcq"),
        ("Which one?", {"answer": "C"}, "mcq"),
        ("What is A. B. Smith holding?", {}, "short"),
        ("Describe it.", {"reference": "x" * 129}, "long"),
        ("Describe it.", {"reference": "x" * 128}, "short"),
        ("Describe it.", {}, "short"),
    ],
)
def test_strata(prompt, known, stratum):
    assert subsample.stratum(records.sample((messages.user(prompt),), **known), 128) == stratum


def kept(tables, store=None, **settings) -> list[int]:
    out = subsample.keep(tables, subsample.Settings(**settings), context(media=store))
    gone = {row.id for row in out["rejections"]}
    assert {row.reason for row in out["rejections"]} <= {"not_sampled"}
    assert sum(c["kept"] for c in out["samples"].values()) == len(tables.tables["samples"]) - len(gone)
    return [i for i, s in enumerate(tables.tables["samples"], 1) if s.id not in gone]


def test_the_draw_hangs_on_ids_and_seed_alone():
    samples = [records.sample((messages.user(f"question {i}"),), source=f"r#{i}") for i in range(100)]
    first = kept(Held(samples=samples), n=20, weights={"short": 1})
    assert len(first) == 20
    assert kept(Held(samples=samples), n=20, weights={"short": 1}) == first
    backwards = kept(Held(samples=samples[::-1]), n=20, weights={"short": 1})
    assert sorted(101 - i for i in backwards) == first
    assert kept(Held(samples=samples), n=20, weights={"short": 1}, seed=1) != first
    assert kept(Held(samples=samples), n=200, weights={"short": 1}) == list(range(1, 101))
    assert kept(Held(samples=[]), n=2) == []


def test_clusters_keep_what_is_rare(tmp_path):
    """Twenty versions of one picture, two of another, a text: three of each kind at most, and the rare ones all."""
    store = FolderStore(tmp_path)
    many, few = pieces()[0], pieces()[9]
    shown = [jpeg_of(many, 40 + 2 * i) for i in range(20)] + [jpeg_of(few, q) for q in (50, 90)]
    tables = tables_of(store, [("What is it?", [data]) for data in shown])
    tables.tables["samples"] += tables_of(store, [("Why is that?", [])]).tables["samples"]
    found = kept(tables, store, n=6, by="clusters", clusters=2)
    assert found[-3:] == [21, 22, 23]
    assert len(found) == 6
    assert kept(tables, store, n=6, by="clusters", clusters=2) == found


def test_prompts_cluster_by_their_words():
    texts = [f"How many red cars are parked in street {i}?" for i in range(12)]
    texts += [f"Describe the mood of the painting, version {i}." for i in range(2)]
    samples = [records.sample((messages.user(t),), source=f"r#{i}") for i, t in enumerate(texts)]
    found = kept(Held(samples=samples), n=4, by="clusters", clusters=2, embedding="prompt")
    assert found[-2:] == [13, 14]
    assert len(found) == 4


@pytest.mark.parametrize(
    "wrong", [{"model": "eyes"}, {"by": "clusters", "embedding": "model"}, {"embedding": "model", "model": "eyes"}]
)
def test_a_model_goes_with_its_embedding(wrong):
    with pytest.raises(ValueError, match="set `model` together with"):
        subsample.Settings(n=3, **wrong)


def test_weights_must_say_something():
    with pytest.raises(ValueError, match="weights"):
        subsample.Settings(n=3, weights={"long": 0})
