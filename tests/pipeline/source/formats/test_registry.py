"""Which format a file's columns show, and that no row of whatever content is anything but a Draft or a RowError."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.source.formats.draft import Draft
from pipeline.source.formats.fields import Cell
from pipeline.source.formats.registry import FORMATS, detect
from schemas.errors import RowError
from schemas.text import same_text
from tests.pipeline.source.formats import (
    test_argilla,
    test_data_juicer,
    test_distilabel,
    test_helpsteer,
    test_hh_rlhf,
    test_label_studio,
    test_llama_factory,
    test_llava,
    test_llava_rlhf,
    test_mllm_judge,
    test_mm_rlhf,
    test_mmpr,
    test_ms_swift,
    test_multimodal_rewardbench,
    test_nectar,
    test_nemo_rl,
    test_omni_preference,
    test_openai,
    test_orpo_mix,
    test_pairwright,
    test_pick_a_pic,
    test_pku_saferlhf,
    test_rlaif_v,
    test_rlhf_v,
    test_trl,
    test_ultrafeedback,
    test_verl,
    test_verl_omni,
    test_vl_rewardbench,
    test_vlfeedback,
)  # fmt: skip

GOOD = {
    "distilabel": [test_distilabel.ROW, test_distilabel.PAIR], "mm_rlhf": [test_mm_rlhf.ROW], "mmpr": [test_mmpr.ROW],
    "label_studio": [test_label_studio.task(test_label_studio.slip(test_label_studio.pairwise("left"), test_label_studio.choice("tie")))],
    "llama_factory": [test_llama_factory.ROW, test_llama_factory.ALPACA, test_llama_factory.KTO], "llava": [test_llava.ROW],
    "ms_swift": [test_ms_swift.ROW, test_ms_swift.MIXED, {"messages": test_ms_swift.TALK, "label": True, "images": ["a.jpg"]}],
    "pairwright": [test_pairwright.ROW], "rlaif_v": [test_rlaif_v.HUB, test_rlaif_v.STAGE],
    "trl": [test_trl.ROW, {"chosen": test_trl.TALK, "rejected": test_trl.OTHER}, {"prompt": "?", "completion": "x", "label": True},
            {"prompt": "?"}],
    "mllm_judge": [test_mllm_judge.SCORE, test_mllm_judge.PAIR, test_mllm_judge.BATCH],
    "multimodal_rewardbench": [test_multimodal_rewardbench.ROW], "vl_rewardbench": [test_vl_rewardbench.ROW],
    "ultrafeedback": [test_ultrafeedback.ROW, test_ultrafeedback.MANY], "vlfeedback": [test_vlfeedback.ROW], "rlhf_v": [test_rlhf_v.ROW],
    "llava_rlhf": [test_llava_rlhf.ROW], "nemo_rl": [test_nemo_rl.ROW], "openai": [test_openai.ROW], "nectar": [test_nectar.ROW],
    "argilla": [test_argilla.PLAIN, test_argilla.CLEANED, test_argilla.CAPYBARA, test_argilla.ORCA],
    "pku_saferlhf": [test_pku_saferlhf.ROW, test_pku_saferlhf.SINGLE], "pick_a_pic": [test_pick_a_pic.ROW],
    "hh_rlhf": [test_hh_rlhf.ROW], "helpsteer": [test_helpsteer.RATED, test_helpsteer.TWO, test_helpsteer.THREE], "orpo_mix": [test_orpo_mix.ROW, test_orpo_mix.LONG],
    "data_juicer": [test_data_juicer.ROW, test_data_juicer.TALK], "verl": [test_verl.ROW],
    "verl_omni": [test_verl_omni.ROW, test_verl_omni.PICTURES], "omni_preference": [test_omni_preference.ROW],
}  # fmt: skip


def test_every_dialect_has_its_rows_here():
    assert set(GOOD) == set(FORMATS)


@pytest.mark.parametrize("name", GOOD)
def test_the_columns_tell_the_format_and_why(name):
    for row in GOOD[name]:
        found, why = detect(row)
        assert found == name
        assert why.startswith("column")


# what else takes a format's rows, so that it must come behind: nothing else may
BEHIND = {
    "argilla": {"distilabel", "trl"}, "distilabel": {"ultrafeedback", "trl"}, "ultrafeedback": {"ms_swift", "trl"},
    "rlaif_v": {"mmpr", "trl"}, "orpo_mix": {"mmpr", "trl"}, "llama_factory": {"ms_swift", "trl"}, "omni_preference": {"ms_swift"},
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_no_other_format_takes_its_rows_but_those_behind_it(name):
    """The matrix of all formats' rows and all formats; TRL's columns are in many."""
    others = {other for row in GOOD[name] for other, module in FORMATS.items() if other != name and module.fits(row)}
    assert others <= BEHIND.get(name, {"trl"})
    order = list(FORMATS)
    assert all(order.index(name) < order.index(other) for other in others)


def test_strange_columns_are_no_format():
    assert detect({"text": "x", "label": 1}) is None
    assert detect({}) is None


# what may stand in a row: JSON's values, bytes of Parquet, cells of CSV, numbers that JSON has not, half characters
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=8), st.binary(max_size=4),
    st.sampled_from(["\ud800", "<image>", "user", "assistant", "left", "text", "image", Cell("5"), Cell("x"), "data:,%", "{}"]),
)  # fmt: skip
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "image", "image_url", "url", "from", "value", "bytes", "path", "Rating", "Rationale", "model",
     "response", "annotations", "completed_by", "result", "selected", "rating", "choices", "ranker", "to_name", "from_name", "id", "\ud800",
     "prompt", "answer1", "answer2", "items", "body", "scores", "chosen", "rejected", "score", "judge", "start", "end"],
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def places(value, path=()):
    """Where something stands in a row, at any depth."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield from places(inner, (*path, at))


def put(value, path, new):
    """A copy with `new` at `path`."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@st.composite
def rows(draw, name):
    """A good row with something else in none to three places, or a row of anything under the format's names."""
    good = draw(st.sampled_from(GOOD[name]))
    if draw(st.integers(0, 3)) == 0:
        return draw(st.dictionaries(st.sampled_from(list(good)), ANYTHING))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from([p for p in places(good) if p]))
        good = put(good, path, draw(ANYTHING))
    return good


@pytest.mark.parametrize("name", FORMATS)
def test_any_row_is_a_draft_or_a_row_error(name):
    seen = set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows(name))
    def check(row):
        try:
            draft = FORMATS[name].read(row)
        except RowError as error:
            seen.add(error.reason)
            return
        assert isinstance(draft, Draft)
        seen.add(Draft)
        indices = range(len(draft.answers))
        assert all(i in indices for said in draft.said for i in said.items)
        assert all(p.chosen in indices and (p.rejected is None or p.rejected in indices) for p in draft.pairs)

    check()
    assert {Draft, "bad_row"} <= seen  # it saw both sides of the line


def spaced(value, rejected: str, chosen: str):
    """The row with the rejected answer's text replaced by the chosen one in other white space, wherever it stands alone."""
    if isinstance(value, dict):
        return {key: spaced(inner, rejected, chosen) for key, inner in value.items()}
    if isinstance(value, list):
        return [spaced(inner, rejected, chosen) for inner in value]
    return f"\n{chosen} " if value == rejected else value


def equal_pairs(name: str, row: dict) -> int:
    """Number of pairs of two equal texts that are read from a row; 0 if it is refused."""
    try:
        draft = FORMATS[name].read(row)
    except RowError:
        return 0
    both = [(p, p.chosen, p.rejected) for p in draft.pairs if p.rejected is not None and p.rejected_media is None]
    return sum(same_text(draft.answers[chosen].text, draft.answers[rejected].text) for _, chosen, rejected in both)


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in GOOD.items() for row in rows])
def test_answers_that_differ_in_white_space_only_are_no_pair(name, row):
    draft = FORMATS[name].read(row)
    for pair in draft.pairs:
        if pair.rejected is not None:
            rejected, chosen = (draft.answers[i].text for i in (pair.rejected, pair.chosen))
            assert equal_pairs(name, spaced(row, rejected, chosen)) == 0
