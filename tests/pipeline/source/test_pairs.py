"""Preference sets as files with real media become records; whatever a row holds, it is records or a rejection."""

import base64
import csv
import io
import json
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from typing import get_args

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from pipeline.source import pairs
from pipeline.source.reading.row_files import Row
from pipeline.storage.media_store import FolderStore
from schemas.arrow import TABLE_OF, to_batch
from schemas.errors import InputError
from schemas.operator import Context
from schemas.records import Candidate, Judgement, Media, Outcome, Pair, Reason, Rejection, Sample, media_parts
from tests.pipeline.source.formats.test_registry import FORMATS, rows
from tests.support import media_files as make
from tests.support.preference_sets import MORE, SETS, jsonl, with_media

# by hand from tests/support/preference_sets.py: rows of each kind that a set becomes, one Sample a row
COUNTS = {
    "trl": {"Media": 4, "Sample": 4, "Candidate": 8, "Pair": 4},  # 1 + 2 + 1 + 0 images
    "llama_factory": {"Media": 4, "Sample": 4, "Candidate": 7, "Pair": 4},  # the KTO row has one answer
    "ms_swift": {
        "Media": 7,
        "Sample": 5,
        "Candidate": 7,
        "Pair": 4,
    },  # two rows show two images, the last has no answer
    "rlaif_v": {"Media": 2, "Sample": 2, "Candidate": 4, "Judgement": 2, "Pair": 2},  # the scores of the pair stage
    "vlfeedback": {"Media": 2, "Sample": 2, "Candidate": 4, "Judgement": 12},  # 2 rows, 2 answers, 3 axes
    "mm_rlhf": {
        "Media": 5,
        "Sample": 4,
        "Candidate": 8,
        "Judgement": 4,
        "Pair": 4,
        "Rejection": 1,
    },  # a tie; a mixed-up image is a pair of its own
    "mmpr": {"Media": 3, "Sample": 3, "Candidate": 6, "Pair": 3},
    "llava": {"Media": 2, "Sample": 2, "Candidate": 4, "Pair": 2},
    "ultrafeedback": {"Sample": 1, "Candidate": 2, "Judgement": 2, "Pair": 1},
    "distilabel": {
        "Media": 1,
        "Sample": 2,
        "Candidate": 4,
        "Judgement": 4,
        "Pair": 1,
        "Rejection": 1,
    },  # one generation failed
    # verdicts 2 + 1, a skip, 1 + a tie, a rating, 2 ranks; only the first task is agreed upon
    "label_studio": {"Media": 3, "Sample": 5, "Candidate": 9, "Judgement": 9, "Pair": 1},
    "rlhf_v": {"Media": 1, "Sample": 1, "Candidate": 2, "Pair": 1},
    "llava_rlhf": {"Media": 1, "Sample": 1, "Candidate": 2, "Judgement": 1, "Pair": 1},
    "nemo_rl": {"Sample": 2, "Candidate": 5, "Judgement": 5, "Pair": 1},  # three completions are ranked only
    "openai": {"Media": 2, "Sample": 3, "Candidate": 6, "Pair": 3},
    "argilla": {"Sample": 1, "Candidate": 2, "Judgement": 2, "Pair": 1},
    # a preference, the safer one, and two safeties in each row; an unsafe answer is not chosen
    "pku_saferlhf": {"Sample": 2, "Candidate": 4, "Judgement": 8, "Pair": 1, "Rejection": 1},
    "nectar": {"Sample": 1, "Candidate": 3, "Judgement": 3},
    "helpsteer": {"Sample": 3, "Candidate": 4, "Judgement": 11, "Pair": 1},  # 2 rows of 5 axes, and a preference
    "hh_rlhf": {"Sample": 1, "Candidate": 2, "Pair": 1},
    "pick_a_pic": {"Media": 2, "Sample": 1, "Candidate": 2, "Pair": 1, "Rejection": 1},  # a tie
    "orpo_mix": {"Sample": 2, "Candidate": 4, "Pair": 2},
    "data_juicer": {"Media": 2, "Sample": 2, "Candidate": 2, "Judgement": 1, "Pair": 1},
    "verl": {"Media": 1, "Sample": 1},
    "verl_omni": {"Media": 3, "Sample": 2, "Candidate": 4, "Judgement": 2, "Pair": 2},
    "omni_preference": {"Media": 1, "Sample": 1, "Candidate": 2, "Judgement": 3, "Pair": 1},
}
ROW = {"prompt": "What?", "chosen": "A cat.", "rejected": "A dog.", "image": "cat.jpg"}


@pytest.fixture
def home(tmp_path):
    return with_media(tmp_path / "set")


@pytest.fixture
def read(home):
    def read(path="", **settings):
        settings = pairs.Settings(**{"path": str(home / path) if isinstance(path, str) else path, **settings})
        context = Context(step="import", version="", media=FolderStore(home.parent / "store"), recipe="r")
        return list(pairs.read(settings, context))

    return read


def of(kind, found) -> list:
    return [row for row in found if isinstance(row, kind)]


@pytest.mark.parametrize("form", ["auto", "named"])
@pytest.mark.parametrize("name", [*SETS, *MORE])
def test_a_set_becomes_records(home, read, name, form):
    {**SETS, **MORE}[name](home)
    found = read(format="auto" if form == "auto" else name)
    assert Counter(type(row).__name__ for row in found) == COUNTS[name]
    behind = None
    for row in found:  # each row stands behind its Sample, and names only what is there
        behind = row.id if isinstance(row, Sample) else behind
        if isinstance(row, Candidate | Judgement | Pair):
            assert (row.sample, row.step) == (behind, "import")
    answers = {c.id for c in of(Candidate, found)}
    assert answers.issuperset(i for slip in of(Judgement, found) for i in slip.items)
    assert answers.issuperset(p.chosen_id for p in of(Pair, found))
    slips = {slip.id for slip in of(Judgement, found)}
    assert slips.issuperset(i for pair in of(Pair, found) for i in pair.judgements)
    media = {m.id for m in of(Media, found)}
    assert media.issuperset(m for sample in of(Sample, found) for m in sample.media)
    for kind in (Media, Sample, Candidate, Judgement, Pair, Rejection):
        to_batch(TABLE_OF[kind], of(kind, found))  # Arrow takes them


def test_a_pair_knows_its_answers_margin_and_judgements(home, read):
    SETS["rlaif_v"](home)
    found = read("pairs.jsonl")
    sample, pair, (better, worse) = of(Sample, found)[0], of(Pair, found)[0], of(Candidate, found)
    assert (sample.kind, sample.source) == ("image", "pairs.jsonl#q1")
    assert (better.role, worse.role) == ("chosen", "rejected")
    assert (pair.chosen, pair.rejected, pair.margin) == ("A dog.", "A wolf, a bear and a fox.", 2.0)
    assert (pair.chosen_id, pair.rejected_id, pair.recipe) == (better.id, worse.id, "r")
    assert pair.judgements == tuple(slip.id for slip in of(Judgement, found))
    assert [(s.axis, s.value, s.annotator, s.items) for s in of(Judgement, found)] == [
        ("score", -1.0, "llava", (better.id,)), ("score", -3.0, "llava", (worse.id,)),
    ]  # fmt: skip


def test_media_that_differ_between_the_sides(home, read):
    SETS["ms_swift"](home)
    text, mixed, media, alone = of(Pair, read())
    cat, dog = (of(Media, read("cat_and_dog.jsonl"))[i].id for i in range(2)) if _two(home) else (None, None)
    assert (text.pair_kind, text.rejected_media) == ("text", None)
    assert (mixed.pair_kind, mixed.rejected_media) == ("mixed", (dog,))
    assert (media.pair_kind, media.rejected_media, media.chosen) == ("media", (dog,), media.rejected)
    assert (alone.rejected, alone.label) == (None, False)
    assert len({text.id, mixed.id, media.id}) == 3
    assert cat != dog


def _two(home) -> bool:
    jsonl(home / "cat_and_dog.jsonl", {"prompt": "?", "images": ["cat.jpg", "dog.png"]})
    return True


FRENCH = "Answer in French, in at most three words."
PICTURE = {"role": "user", "content": "<image>What is shown?"}
SYSTEMS = {
    "trl": {"system": FRENCH, "prompt": "What?", "chosen": "Un carr\u00e9.", "rejected": "Un chien."},
    "distilabel": {"system_prompt": FRENCH, "instruction": "What?", "chosen": "Un carr\u00e9.", "rejected": "Un chien.",
                   "chosen_model": "m1", "rejected_model": "m2", "chosen_rating": 5, "rejected_rating": 1, "image": "cat.jpg"},
    "llava": {"system": FRENCH, "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Un carr\u00e9."}],
              "rejected_conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Un chien."}], "image": "cat.jpg"},
    "ms_swift": {"system": FRENCH, "messages": [PICTURE, {"role": "assistant", "content": "Un carr\u00e9."}], "rejected_response": "Un chien.",
                 "images": ["cat.jpg"]},
    "llama_factory": {"system": FRENCH, "instruction": "What?", "chosen": "Un carr\u00e9.", "rejected": "Un chien."},
    "ultrafeedback": {"system_message": FRENCH, "prompt": "What?", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 0},
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_column_is_the_first_message_of_the_prompt(home, read, name):
    jsonl(home / "rows.jsonl", SYSTEMS[name])
    (made,) = of(Sample, read())
    assert (made.prompt[0].role, made.prompt[0].parts[0].text) == ("system", FRENCH)
    assert [message.role for message in made.prompt] == ["system", "user"]


def test_a_system_column_may_repeat_the_system_message_but_not_contradict_it(home, read):
    said = [{"role": "system", "content": FRENCH}, {"role": "user", "content": "What?"}]
    row = {"prompt": said, "chosen": "a", "rejected": "b"}
    jsonl(
        home / "rows.jsonl",
        row | {"system": FRENCH},
        row | {"prompt": "Who?", "system": FRENCH, "system_prompt": "Be short."},
    )
    found = read()
    assert [[message.role for message in made.prompt] for made in of(Sample, found)] == [["system", "user"]]
    (left,) = of(Rejection, found)
    assert (
        left.detail
        == "rows.jsonl#2: system_prompt differs from the system message that the prompt begins with; keep one of them"
    )


CALL = [{"type": "function", "function": {"name": "zoom", "arguments": {"x": 40}}}]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"chosen": [{"role": "assistant", "content": "I look.", "tool_calls": CALL}]}, "chosen.tool_calls"),
        ({"chosen": [{"role": "assistant", "content": "A dog.", "thinking": "Hm."}]}, "chosen.thinking"),  # the same words
        ({"chosen": [{"role": "assistant", "content": "A cat.", "reasoning_content": "Ears."}]}, "chosen.reasoning_content"),
        ({"prompt": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "I look.", "tool_calls": CALL},
                     {"role": "user", "content": "So?"}]}, "prompt.tool_calls"),
        ({"rejected_images": ["dog.png"]}, "rejected_images"),
        ({"image": None, "image_path": "cat.jpg"}, "image_path"),
    ],
)  # fmt: skip
def test_what_is_not_read_and_would_change_a_row_rejects_it_by_its_name(home, read, more, named):
    row = ROW | {
        "rejected": [{"role": "assistant", "content": "A dog."}],
        "chosen": [{"role": "assistant", "content": "A cat."}],
    }
    jsonl(home / "rows.jsonl", row, row | more)
    found = read()
    (left,) = of(Rejection, found)
    assert (left.id, left.reason) == ("rows.jsonl#2", Reason.NOT_READ)
    assert left.detail.startswith(f"rows.jsonl#2: {named} ")
    assert len(of(Pair, found)) == 1


def test_a_mapped_column_is_read_and_a_picture_beside_the_read_one_is_only_noted(home, read):
    jsonl(
        home / "rows.jsonl",
        {"prompt": "?", "better": "a", "rejected": "b", "image": "cat.jpg", "image_path": "elsewhere/cat.jpg", "n": 1}
        | {"brief": "Be short.", "chosen": "c"},
    )
    notes: dict = {}
    settings = pairs.Settings(path=str(home / "rows.jsonl"), columns={"chosen": "better", "system": "brief"})
    found = list(
        pairs.read(settings, Context(step="i", version="", media=FolderStore(home.parent / "store"), unread=notes))
    )
    assert [pair.chosen for pair in of(Pair, found)] == ["a"]
    assert of(Sample, found)[0].prompt[0].role == "system"
    assert notes == {"rows.jsonl": {"image_path": 1, "n": 1, "chosen": 1}}


def test_answers_that_no_format_reads_are_not_lost_beside_a_prompt(home, read):
    jsonl(home / "rows.jsonl", {"prompt": "?", "answer1": "x", "answer2": "y", "preference": 1})
    with pytest.raises(InputError, match=r"format is unknown.*answer1, answer2, preference look like answers"):
        read()


def test_an_answer_that_no_format_reads_is_not_lost_in_a_later_row(home, read):
    odd = {"prompt": "odd?", "answer1": "x", "answer2": "y", "preference": 1}
    jsonl(home / "rows.jsonl", *({"prompt": f"{i}?"} for i in range(70)), odd)  # the first 64 show the format
    found = read()
    assert len(of(Sample, found)) == 70
    (left,) = of(Rejection, found)
    assert (left.id, left.reason) == ("rows.jsonl#71", Reason.NOT_READ)
    assert "answer1, answer2, preference look like answers" in left.detail
    assert len(of(Sample, read(format="trl"))) == 71  # who names the format has prompts


@pytest.mark.parametrize("columns", [{"images": "image"}, {"image": "images"}, {"images": "picture"}])
def test_a_picture_under_another_name_is_one_picture(home, read, columns):
    (other,) = columns.values()
    row = {name: value for name, value in ROW.items() if name != "image"} | {"prompt": "<image>What?", other: "cat.jpg"}
    jsonl(home / "rows.jsonl", row)
    assert [len(sample.media) for sample in of(Sample, read(columns=columns))] == [1]


def test_nan_in_a_column_that_nobody_reads_costs_nothing(home, read):
    lines = [json.dumps(ROW | {"prompt": f"{i}?"})[:-1] for i in range(3)]
    (home / "rows.json").write_text(
        "["
        + ",".join(f"{line}, {more}}}" for line, more in zip(lines, ['"clip": NaN', '"clip": 1', '"margin": NaN']))
        + "]"
    )
    found = read()
    assert [sample.prompt[0].parts[-1].text for sample in of(Sample, found)] == ["0?", "1?"]
    assert [left.detail.partition(";")[0] for left in of(Rejection, found)] == ["rows.json#3: margin is nan"]


def test_lists_in_cells_are_lists_in_both_spellings_and_answers_are_texts(home, read):
    (home / "rows.csv").write_text(
        "prompt,chosen,rejected,images\n"
        'What?,"[1, 2]","{""a"": 1}","[""cat.jpg"", ""dog.png""]"\n'
        "Who?,\"[{'role': 'assistant', 'content': 'A cat.'}]\",\"[{'role': 'assistant', 'content': 'A dog.'}]\",\"['cat.jpg', 'dog.png']\"\n"
    )
    found = read()
    assert [(pair.chosen, pair.rejected) for pair in of(Pair, found)] == [("[1, 2]", '{"a": 1}'), ("A cat.", "A dog.")]
    assert [len(sample.media) for sample in of(Sample, found)] == [2, 2]


def test_anthropics_system_blocks_and_data_juicers_ends_of_chunks_in_any_format(home, read):
    blocks = [
        {"type": "text", "text": "Be short."},
        {"type": "text", "text": "Be true.", "cache_control": {"type": "ephemeral"}},
    ]
    row = {"prompt": "<__dj__image>\nWhat? <|__dj__eoc|>", "image": "cat.jpg", "system": blocks}
    row |= {"chosen": "A cat. <|__dj__eoc|>", "rejected": "A dog. <|__dj__eoc|>"}
    jsonl(home / "rows.jsonl", row, row | {"prompt": "Who?", "system": [{"type": "image"}]}, row | {"system": 5})
    found = read()
    (made,), (pair,) = of(Sample, found), of(Pair, found)
    assert [(part.type, part.text) for part in made.prompt[0].parts] == [("text", "Be short."), ("text", "Be true.")]
    assert [(part.type, part.text) for part in made.prompt[1].parts] == [("image", None), ("text", "What?")]
    assert (pair.chosen, pair.rejected) == ("A cat.", "A dog.")
    assert [left.id for left in of(Rejection, found)] == ["rows.jsonl#2", "rows.jsonl#3"]


def turns_of(*words: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(words)]


BEEP = {"type": "input_audio", "input_audio": {"data": base64.b64encode(make.wav()).decode(), "format": "wav"}}
# rows as other tools write them: the row, kinds of the prompt's parts, and the chosen and the rejected answer
PUBLISHED = {
    "llava_rlhf": (
        {"id": "1", "image": "cat.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat?"}], "preference": 2,
         "output_1": {"from": "llava", "value": "x"}, "output_2": {"from": "llava", "value": "y"}},
        "image text", "y", "x",
    ),
    "nemo_rl": (
        {"context": turns_of("q"), "task_name": "t", "completions": [
            {"rank": 0, "completion": [{"role": "assistant", "content": "good"}]}, {"rank": 1, "completion": [{"role": "assistant", "content": "bad"}]}]},
        "text", "good", "bad",
    ),
    "openai": (
        {"input": {"messages": turns_of("How cold is it?"), "tools": [], "parallel_tool_calls": True},
         "preferred_output": turns_of("", "Not quite cold.")[1:], "non_preferred_output": turns_of("", "Not particularly cold.")[1:]},
        "text", "Not quite cold.", "Not particularly cold.",
    ),
    "ms_swift": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Listen"}, BEEP]}, *turns_of("", "x")[1:]], "rejected_response": "y"},
        "text audio", "x", "y",
    ),
    "orpo_mix": (
        {"source": "capybara", "chosen": turns_of("q1", "a1", "q2", "x"), "rejected": turns_of("q1", "a1", "q2", "y"), "prompt": "q1", "question": "q1"},
        "text text text", "x", "y",
    ),
    "pku_saferlhf": ({"prompt": "Q?", "response_0": "x", "response_1": "y", "better_response_id": 1, "is_response_0_safe": True}, "text", "y", "x"),
    "data_juicer": ({"prompt": "Q?", "answer1": "x", "answer2": "y", "chosen": "answer1", "rejected": "answer2"}, "text", "x", "y"),
    "rlhf_v": (
        {"ds_name": "RLHF-V", "image": "cat.jpg", "text": json.dumps({"question": "What?", "chosen": "x", "rejected": "y"}),
         "origin_dataset": "VQAv2", "origin_split": "train", "idx": 1, "image_path": "cat.jpg"},
        "image text", "x", "y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_row_is_detected_and_is_its_pair(home, read, name):
    row, kinds, chosen, rejected = PUBLISHED[name]
    jsonl(home / "rows.jsonl", row)
    assert [found.format for found in pairs.detect_formats(pairs.Settings(path=str(home / "rows.jsonl")))] == [name]
    (made,), (pair,) = of(Sample, found := read()), of(Pair, found)
    assert [part.type for message in made.prompt for part in message.parts] == kinds.split()
    assert (pair.chosen, pair.rejected) == (chosen, rejected)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("nemo_rl", {"context": turns_of("Which? <video>")}), ("pku_saferlhf", {"prompt": "Which? <video>"}),
        ("orpo_mix", {"prompt": "Which? <video>", **{side: turns_of("Which? <video>", side) for side in ("chosen", "rejected")}}),
        ("openai", {"input": {"messages": turns_of("Which? <video>")}}),
    ],
)  # fmt: skip
def test_a_tag_in_a_set_of_texts_is_a_text(home, read, name, more):
    """HTML's <video>, of which code is full; a row with media is of another set."""
    jsonl(home / "rows.jsonl", PUBLISHED[name][0] | more)
    (made,) = of(Sample, read())
    assert [part.text for message in made.prompt for part in message.parts] == ["Which? <video>"]


@pytest.mark.parametrize(
    ("name", "more", "named"),
    [
        ("openai", {"input": {"messages": turns_of("?"), "tools": [{"type": "function"}]}}, "input.tools"),
        ("openai", {"preferred_output": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}]}, "preferred_output.tool_calls"),
        ("nemo_rl", {"context": [{"role": "user", "content": "q", "reasoning_content": "hm"}]}, "context.reasoning_content"),
        ("pku_saferlhf", {"history": [["a", "b"]]}, "history"),
    ],
)  # fmt: skip
def test_a_published_row_with_more_than_is_read_is_rejected_by_name(home, read, name, more, named):
    jsonl(home / "rows.jsonl", PUBLISHED[name][0], PUBLISHED[name][0] | more)
    (left,) = of(Rejection, read())
    assert (left.id, left.reason) == ("rows.jsonl#2", Reason.NOT_READ)
    assert left.detail.startswith(f"rows.jsonl#2: {named} ")


def test_two_answers_that_make_no_pair_are_kept_and_counted_with_the_reason(home, read):
    answers = {"response_1": "Because.", "response_2": "So."}
    jsonl(home / "helpsteer.jsonl", {"prompt": "Why?", **answers, "preference_strength": 0})
    SETS["mm_rlhf"](home)
    MORE["pku_saferlhf"](home)
    lost = [(left.id, left.table, left.reason, left.detail.partition(": ")[2]) for left in of(Rejection, read())]
    unsafe = "people preferred response_0, and found it unsafe, so it is not chosen"
    assert lost == [
        ("dpo_pairs.jsonl#3", "pairs", "no_margin", "neither answer was preferred to the other"),
        ("helpsteer.jsonl#1", "pairs", "no_margin", "neither answer was preferred to the other"),
        ("train.jsonl#2", "pairs", "unsafe_answer", unsafe),
    ]


def test_a_folder_of_frames_is_its_images_in_order(home, read):
    """yfzhang114/MM-RLHF, README: `the other folders contain the image and video frames`; a row's `video` is the folder of one."""
    frames = [make.png(i) for i in range(3)]
    (home / "video" / "1").mkdir(parents=True)
    for name, data in zip(("frame_10.png", "frame_2.png", "frame_1.png"), frames):  # by number: 1, 2, 10
        (home / "video" / "1" / name).write_bytes(data)
    (home / "video" / "1" / ".DS_Store").write_bytes(b"x")
    (home / "video" / "empty").mkdir()
    row = {"prompt": "<image>\nWhat happens?", "chosen": "a", "rejected": "b", "is_tie": False}
    jsonl(home / "rows.jsonl", row | {"video": "video/1"}, row | {"video": "video/empty"})
    found = read()
    (made,) = of(Sample, found)
    assert made.kind == "multi_image"
    assert list(made.media) == [sha256(frames[i]).hexdigest() for i in (2, 1, 0)]
    assert [part.type for part in made.prompt[0].parts] == ["image"] * 3 + ["text"]
    (left,) = of(Rejection, found)
    assert (left.reason, "video/empty is a folder without frames" in left.detail) == (Reason.MISSING_FILE, True)


def test_the_description_of_llama_factory_beside_a_file_is_read(home, read):
    dialog = [{"who": "U", "said": "<image>What?", "weight": 1}]
    row = {"dialog": dialog, "good": {"who": "A", "said": "A cat."}, "bad": {"who": "A", "said": "A dog."}, "pics": ["cat.jpg"],
           "brief": "Be short.", "n": 1}  # fmt: skip
    (home / "sub").mkdir()
    (home / "sub" / "dpo.json").write_text(
        json.dumps([row, row | {"dialog": [*dialog, {"who": "U", "said": "?", "tool_calls": CALL}]}])
    )
    tags = {"role_tag": "who", "content_tag": "said", "user_tag": "U", "assistant_tag": "A"}
    columns = {"messages": "dialog", "chosen": "good", "rejected": "bad", "images": "pics", "system": "brief"}
    info = {
        "mine": {
            "file_name": "sub/dpo.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns,
            "tags": tags,
        }
    }
    (home / "dataset_info.json").write_text(json.dumps(info))
    notes: dict = {}
    settings = pairs.Settings(path=str(home / "sub" / "dpo.json"), media_root=str(home))
    (found,) = pairs.detect_formats(settings)
    assert (found.format, found.why) == ("llama_factory", "dataset_info.json describes it")
    rows = list(
        pairs.read(settings, Context(step="i", version="", media=FolderStore(home.parent / "store"), unread=notes))
    )
    (made,), (pair,), (left,) = of(Sample, rows), of(Pair, rows), of(Rejection, rows)
    assert [message.role for message in made.prompt] == ["system", "user"]
    assert [part.text or part.type for part in made.prompt[1].parts] == ["image", "What?"]
    assert (pair.chosen, pair.rejected) == ("A cat.", "A dog.")
    assert "conversations.tool_calls" in left.detail
    assert notes == {"dpo.json": {"conversations.weight": 2, "n": 2, "conversations.tool_calls": 1}}


def test_ties_skips_and_ratings_that_are_none(home, read):
    SETS["label_studio"](home)
    outcomes = Counter((s.axis, s.outcome) for s in of(Judgement, read()))
    assert outcomes == {
        ("preference", Outcome.VERDICT): 4, ("preference", Outcome.TIE): 1, ("skipped", Outcome.ABSTAIN): 1,
        ("quality", Outcome.VERDICT): 1, ("rank", Outcome.VERDICT): 2,
    }  # fmt: skip
    (pair,) = of(Pair, read())
    assert (pair.chosen, len(pair.judgements)) == ("A cat.", 3)  # two people, and the model that saw it the other way
    SETS["vlfeedback"](home)
    slips = of(Judgement, read("lines.jsonl"))
    assert [s.value for s in slips] == [3, 5, 4, 5, 5, None]
    assert json.loads(slips[5].raw)["Rating"] == "N/A"


def test_the_same_answers_have_the_same_ids_in_every_row_and_draws_their_own(home, read):
    jsonl(home / "a.jsonl", ROW, ROW | {"rejected": "A horse."}, {"instruction": "What?", "generations": ["x", "x"]})
    first, second, third, fourth = of(Candidate, read("a.jsonl", format="trl"))
    assert (first.id, second.text, fourth.text) == (third.id, "A dog.", "A horse.")
    jsonl(home / "b.jsonl", {"instruction": "What?", "generations": ["x", "x"]})
    one, two = of(Candidate, read("b.jsonl"))
    assert (one.index, two.index) == (0, 1)


def test_every_kind_of_file_holds_the_same_rows(home, read):
    plain = [ROW | {"margin": 1.5}, ROW | {"prompt": 'Say "a,\nb"', "margin": None}]
    jsonl(home / "a.jsonl", *plain)
    (home / "b.json").write_text(json.dumps(plain, indent=2))
    (home / "c.json").write_text("\n".join(map(json.dumps, plain)))
    table = pa.Table.from_pylist(plain)
    pq.write_table(table, home / "d.parquet")
    with pa.OSFile(str(home / "e.arrow"), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(home / "f.arrow"), "wb") as sink, ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(plain[0]))
    writer.writeheader()
    writer.writerows(plain)
    (home / "g.csv").write_text(text.getvalue())
    files = sorted(p.name for p in home.iterdir() if p.suffix not in (".jpg", ".png", ".mp4", ".wav"))
    assert len(files) == 7
    first = of(Pair, read(files[0]))
    assert [p.margin for p in first] == [1.5, None]
    assert all(of(Pair, read(name)) == first for name in files)
    assert of(Sample, read("g.csv"))[1].source == "g.csv#2"


def test_cells_of_csv_may_be_conversations(home, read):
    talk = json.dumps([{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "A cat."}])
    (home / "a.csv").write_text(f'image,conversations,kto_tag\ncat.jpg,"{talk.replace(chr(34), chr(34) * 2)}",True\n')
    (pair,) = of(Pair, read("a.csv"))
    assert (pair.chosen, pair.label) == ("A cat.", True)


def test_a_row_of_csv_with_too_many_fields_is_a_rejection(home, read):
    (home / "a.csv").write_text("prompt,chosen,rejected\nWhat, really?,a,b\nWhy?,a,b\n")
    found = read("a.csv")
    assert [s.source for s in of(Sample, found)] == ["a.csv#2"]
    assert (
        of(Rejection, found)[0].detail
        == "a.csv#1: the row has 4 fields, but the header has 3; correct its commas and quotes"
    )


def test_several_paths_a_limit_a_licence_and_columns_of_other_names(home, read):
    jsonl(home / "a.jsonl", *[ROW] * 3)
    jsonl(home / "b.jsonl", {"better": "A cat.", "worse": "A dog.", "prompt": "?"})
    paths = (str(home / "a.jsonl"), str(home / "b.jsonl"))
    found = read(paths, limit=4, licence="CC0", columns={"chosen": "better", "rejected": "worse"}, format="trl")
    # of a.jsonl, `chosen` is named by a column that is not there
    assert [type(row) for row in of((Sample, Rejection), found)] == [Rejection] * 3 + [Sample]
    found = read("a.jsonl", limit=2, licence="CC0")
    assert [(s.source, s.licence) for s in of(Sample, found)] == [("a.jsonl#1", "CC0"), ("a.jsonl#2", "CC0")]
    assert of(Pair, read("b.jsonl", columns={"chosen": "better", "rejected": "worse"}))[0].chosen == "A cat."


def test_media_may_lie_under_a_root_of_their_own(home, read):
    (home / "rows").mkdir()
    jsonl(home / "rows" / "a.jsonl", ROW)
    assert len(of(Sample, read("rows", media_root=str(home)))) == 1
    with pytest.raises(InputError, match=r"cannot read any row of .* first error: a.jsonl#1: cat.jpg does not exist"):
        read("rows")


BAD = {
    "a missing file": (ROW | {"image": "horse.jpg"}, Reason.MISSING_FILE, "horse.jpg does not exist"),
    "a broken image": (ROW | {"image": "cut.jpg"}, Reason.UNDECODABLE, "cut.jpg is truncated"),
    "a text as an image": (ROW | {"image": "text.png"}, Reason.UNSUPPORTED_MEDIA, "text.png"),
    "a sound as an image": (ROW | {"image": "bark.wav"}, Reason.UNSUPPORTED_MEDIA, "is audio"),
    "a way out": (ROW | {"image": "../secret.jpg"}, Reason.BAD_ROW, "leads out"),
    "a URL of this machine": (ROW | {"image": "http://ann:secret@127.0.0.1/a.jpg"}, Reason.UNSAFE, "127.0.0.1"),
    "a URL beside no bytes": (ROW | {"image": {"path": "http://k:secret@[::1]/a", "bytes": None}}, Reason.UNSAFE, "::1"),
    "bytes that are nothing": (ROW | {"image": "data:image/png;base64,"}, Reason.EMPTY_MEDIA, "empty"),
    "an empty prompt": (ROW | {"prompt": " "}, Reason.EMPTY_PROMPT, "the prompt is empty"),
    "no words": (ROW | {"prompt": [], "image": None}, Reason.EMPTY_PROMPT, "the prompt is empty"),
    "a tool's message": (ROW | {"prompt": [{"role": "tool", "content": "x"}], "image": None}, Reason.NOT_READ, "role"),
    "ends with the assistant": (
        ROW | {"prompt": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]}, Reason.BAD_ROW, "last message",
    ),
    "an empty answer": (ROW | {"chosen": ""}, Reason.EMPTY_ANSWER, "chosen is empty"),
    "equal answers": (ROW | {"chosen": "A dog."}, Reason.EQUAL_ANSWERS, "the same text"),
    "a number": (5, Reason.BAD_ROW, "the row is an int"),
    "a list": ([ROW], Reason.BAD_ROW, "the row is a list"),
    "a broken line": ('{"prompt": "What', Reason.BAD_ROW, "not valid JSON"),
    "a margin that is NaN": ('{"prompt": "?", "chosen": "a", "rejected": "b", "margin": NaN}', Reason.BAD_ROW, "margin is nan"),
    "half a character": ('{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}', Reason.BAD_ROW, "an unpaired surrogate at offset 0"),
    "bytes that are no text": (b'{"prompt": "\xff", "chosen": "a", "rejected": "b"}', Reason.BAD_ROW, "not valid JSON"),
    "too deep": ("[" * 100_000, Reason.BAD_ROW, "not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_one_rejection_and_the_rest_goes_on(home, read, name):
    (home / "cut.jpg").write_bytes(make.jpeg(1)[:-200])
    (home / "text.png").write_bytes(b"Not a picture.")
    row, reason, word = BAD[name]
    line = row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
    good = json.dumps(ROW).encode()
    (home / "rows.jsonl").write_bytes(b"\n".join([good, line, b"", good]))
    found = read("rows.jsonl")
    assert [s.source for s in of(Sample, found)] == ["rows.jsonl#1", "rows.jsonl#4"]
    (bad,) = of(Rejection, found)
    assert (bad.id, bad.table, bad.step, bad.reason) == ("rows.jsonl#2", "samples", "import", reason)
    assert bad.detail.startswith("rows.jsonl#2: ")
    assert word in bad.detail
    assert "\n" not in bad.detail
    assert "secret@" not in bad.detail
    assert len(of(Pair, found)) == 2


def test_an_empty_answer_among_several_is_left_out_alone(home, read):
    SETS["distilabel"](home)
    found = read("rated.jsonl")
    (gone,) = of(Rejection, found)
    (sample,) = of(Sample, found)
    assert (gone.table, gone.reason, gone.sample) == ("candidates", Reason.EMPTY_ANSWER, sample.id)
    assert "answer 3 of 3 is empty" in gone.detail
    assert [c.text for c in of(Candidate, found)] == ["A cat.", "A dog."]
    assert [s.value for s in of(Judgement, found)] == [5, 2]


def test_what_cannot_be_read_is_an_input_error(home, read):
    (home / "empty.jsonl").write_text("\n")
    (home / "cut.json").write_text(json.dumps([ROW, ROW])[:-20])
    (home / "broken.parquet").write_bytes(b"PAR1 and no more")
    (home / "broken.arrow").write_bytes(b"ARROW1 and no more")
    (home / "latin.csv").write_bytes("prompt,chosen,rejected\ncaf\xe9,a,b\n".encode("latin-1"))
    (home / "notes.txt").write_text("x")
    (home / "pretty.jsonl").write_text(json.dumps(ROW, indent=1))
    jsonl(home / "other.jsonl", {"text": "x", "label": 1})
    jsonl(home / "bad.jsonl", ROW | {"chosen": 1}, ROW)
    (home / "media").mkdir()
    for path, line in {
        "none.jsonl": "does not exist", "notes.txt": "is not a row file", "media": "is not a row file, or a folder with one",
        "empty.jsonl": "format is unknown: it has no rows; remove the file", "cut.json": "as a JSON array: broken after row 1",
        "broken.parquet": "cannot read .* as Parquet", "broken.arrow": "cannot read .* as Arrow", "latin.csv": "its first row cannot be read: .*UTF-8",
            "pretty.jsonl": r"none of its first lines is a JSON object; write each row as {...} on a line of its own",
        "other.jsonl": "format is unknown: its columns are text, label; set format",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=line):
            read(path)
    with pytest.raises(InputError, match=r"cannot read any row of .* first error: bad.jsonl#1: question is missing"):
        read("bad.jsonl", format="mmpr")


READ = """
import resource, sys
from pathlib import Path
from pipeline.source import pairs
from pipeline.storage.media_store import FolderStore
from schemas.operator import Context
from schemas.records import Sample

context = Context(step="s", version="", media=FolderStore(Path(sys.argv[2])))
seen = 0
for row in pairs.read(pairs.Settings(path=sys.argv[1]), context):
    seen += isinstance(row, Sample)
    if isinstance(row, Sample) and seen in (1000, 8000):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_folder_may_hold_files_that_are_no_rows(home, read):
    """As `save_to_disk` of `datasets` leaves it."""
    Dataset.from_list([ROW, ROW | {"prompt": "Hm?"}]).save_to_disk(home / "saved")
    found = read("saved", media_root=str(home))
    assert [s.source for s in of(Sample, found)] == ["data-00000-of-00001.arrow#1", "data-00000-of-00001.arrow#2"]
    assert of(Rejection, found) == []


def test_a_category_is_the_split_in_any_format(home, read):
    jsonl(
        home / "rows.jsonl",
        ROW | {"category": "video"},
        ROW | {"prompt": "And?", "category": 5},
        ROW | {"prompt": "Or?"},
    )
    found = read("rows.jsonl")
    assert [s.split for s in of(Sample, found)] == ["video", None]
    assert [r.detail for r in of(Rejection, found)] == ["rows.jsonl#2: category is an int; use a text"]


def test_the_order_of_the_answers_does_not_tell_which_is_chosen(home, read):
    jsonl(home / "rows.jsonl", *(ROW | {"prompt": f"{i}?"} for i in range(40)))
    answers = of(Candidate, read("rows.jsonl"))
    first = [c.role for c in answers[::2]]
    assert {c.role for c in answers} == {"chosen", "rejected"}
    assert 10 <= first.count("chosen") <= 30  # 20 of 40 by chance, less than 10 one in a thousand times


def test_the_setting_names_every_format():
    assert set(get_args(pairs.Format)) == {"auto", *FORMATS}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["media.parquet", "lines.jsonl", "array.json"])
def test_memory_stays_flat_as_rows_grow(home, name):
    data, text = make.jpeg(1, 640, 480), "word " * 4000
    rows = [ROW | {"prompt": f"{i}?", "image": {"bytes": data, "path": None}} for i in range(8000)]
    if name == "media.parquet":
        pq.write_table(
            pa.Table.from_pylist(rows), home / name, row_group_size=100, compression="none", use_dictionary=False
        )
    else:
        lines = [json.dumps(ROW | {"prompt": f"{i}?", "chosen": text}) for i in range(8000)]
        (home / name).write_text("\n".join(lines) if name == "lines.jsonl" else f"[{','.join(lines)}]")
    assert (home / name).stat().st_size > 60e6
    done = subprocess.run(
        [sys.executable, "-c", READ, str(home / name), str(home.parent / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    early, late = map(int, done.stdout.split())
    assert (late - early) * 1024 < 20e6  # bytes; what came in between is more than 50 MB


@pytest.mark.parametrize("name", FORMATS)
def test_any_row_becomes_records_or_a_rejection(home, monkeypatch, name):
    (home / "a.jpg").write_bytes(make.jpeg(1))
    jsonl(home / "rows.jsonl", ROW)
    context = Context(step="s", version="", media=FolderStore(home.parent / "store"))
    seen = set()

    @examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows(name))
    def check(row):
        monkeypatch.setattr(pairs.row_files, "read", lambda file, fetch: iter([Row("rows.jsonl#1", str(home), row)]))
        found = []
        try:
            found += pairs.read(pairs.Settings(path=str(home / "rows.jsonl"), format=name), context)
        except InputError:  # the one row was no good
            found = [Rejection("rows.jsonl#1", "samples", "s", Reason.BAD_ROW)]
        for record in found:
            to_batch(TABLE_OF[type(record)], [record])  # Arrow takes it
            seen.add(type(record))

    check()
    assert Rejection in seen


def test_a_label_studio_project_is_read_by_the_names_in_the_setting(tmp_path):
    """Own fields and words, in a JSON export and in a JSON-MIN one; what nobody reads is named as a field of the task."""
    data = {"query": "What?", "pairText1": "A dog.", "pairText2": "A cat.", "level": "hard"}
    verdict = {"type": "choices", "from_name": "verdict", "to_name": "q", "value": {"choices": ["Ours"]}}
    task = {"id": 1, "data": data, "annotations": [{"completed_by": 3, "result": [verdict]}]}
    flat = {**data, "id": 1, "annotator": 3, "annotation_id": 5, "verdict": "Ours", "lead_time": 1.5}
    names = {"prompt": "query", "answers": {"a": "pairText1", "b": "pairText2"}, "choices": {"Ours": "second"}}
    for name, row in (("task", task), ("flat", flat)):
        (tmp_path / f"{name}.json").write_text(json.dumps([row]))
        context = Context("pairs", "", FolderStore(tmp_path / "media"))
        settings = pairs.Settings(path=str(tmp_path / f"{name}.json"), label_studio=names)
        found = list(pairs.read(settings, context))
        assert [(p.chosen, p.rejected) for p in found if isinstance(p, Pair)] == [("A cat.", "A dog.")]
        assert [(j.axis, j.value, j.annotator) for j in found if isinstance(j, Judgement)] == [
            ("preference", -1.0, "person:3")
        ]
        assert "data.level" in context.unread[f"{name}.json"]


def test_nan_is_what_pandas_writes_for_a_missing_value(home, read):
    (home / "rows.jsonl").write_text(
        '{"prompt": "a?", "chosen": "x", "rejected": "y", "id": NaN, "image": NaN, "category": NaN, "answer": NaN, "system": NaN}\n'
        '{"prompt": "b?", "chosen": NaN, "rejected": "y"}\n{"prompt": "c?", "chosen": "x", "rejected": null}\n'
    )
    found = read()
    (made,) = of(Sample, found)
    assert (made.source, made.answer, made.split, len(made.prompt)) == ("rows.jsonl#1", None, None, 1)
    assert [left.detail for left in of(Rejection, found)] == [
        "rows.jsonl#2: chosen is missing (NaN); add the answer or remove the row",
        "rows.jsonl#3: rejected is missing; add the answer or remove the row",
    ]


def test_a_kind_of_media_in_both_of_its_columns_is_the_same_or_refused(home, read):
    one = {"prompt": "<image>What?", "chosen": "a", "rejected": "b", "image": "cat.jpg"}
    jsonl(home / "rows.jsonl", one | {"images": ["cat.jpg"]}, one | {"images": ["cat.jpg", "dog.png"]})
    found = read()
    assert [len(media_parts(made.prompt)) for made in of(Sample, found)] == [1]
    assert [left.detail for left in of(Rejection, found)] == [
        "rows.jsonl#2: image and images name different files; keep one of them"
    ]


def test_a_place_of_a_picture_in_the_column_of_the_system_prompt_is_not_read_as_text(home, read):
    row = {"prompt": "What?", "chosen": "a", "rejected": "b", "image": "cat.jpg"}
    jsonl(home / "rows.jsonl", row | {"system": "Look: <image>"}, row | {"system": "Look."})
    found = read()
    assert [left.id for left in of(Rejection, found)] == ["rows.jsonl#1"]
    assert "write the system prompt as the first message" in of(Rejection, found)[0].detail


def test_a_prompt_with_a_place_and_an_unread_picture_names_the_picture(home, read):
    row = {"prompt": "<image>What?", "chosen": "a", "rejected": "b"}
    jsonl(home / "rows.jsonl", row | {"photo": "cat.jpg"}, row, ROW)
    first, second = of(Rejection, read())
    assert (first.reason, "photo seems to contain media" in first.detail) == (Reason.NOT_READ, True)
    assert (
        second.detail
        == "rows.jsonl#2: the prompt has 1 place for image files, but the row has 0; give one for each place"
    )


def test_messages_written_as_a_text_are_messages_in_any_file(home, read):
    says = lambda role, content: [{"role": role, "content": content}]
    question, better, worse = (
        says("user", "<image>What's this?"),
        says("assistant", "A cat."),
        says("assistant", "A dog."),
    )
    row = {"prompt": json.dumps(question), "chosen": json.dumps(better), "rejected": str(worse), "image": "cat.jpg"}
    jsonl(home / "rows.jsonl", row)
    pq.write_table(pa.Table.from_pylist([row]), home / "rows.parquet")
    for name in ("rows.jsonl", "rows.parquet"):
        found = read(name)
        assert [(p.chosen, p.rejected) for p in of(Pair, found)] == [("A cat.", "A dog.")]
        assert [[part.text for part in m.parts] for m in of(Sample, found)[0].prompt] == [[None, "What's this?"]]


def test_an_answer_that_quotes_messages_beside_another_one_is_a_text(home, read):
    quoted = json.dumps([{"role": "assistant", "content": "Hi"}])
    jsonl(home / "rows.jsonl", {"prompt": "Write a chat as JSON.", "chosen": quoted, "rejected": "I cannot."})
    assert [p.chosen for p in of(Pair, read())] == [quoted]


@pytest.mark.parametrize("value", [5, {"role": "system", "content": "Be brief."}])
def test_a_system_column_that_is_no_text_is_refused_in_words(home, read, value):
    jsonl(home / "rows.jsonl", ROW, ROW | {"system": value})
    (left,) = of(Rejection, read())
    assert left.detail.startswith("rows.jsonl#2: system is a")
    assert left.detail.endswith("use a text")
