import math

import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from schemas import arrow, errors, messages, records
from schemas.records import Message, Part, Reason, Span

SHA = "ab" * 32


def every_record() -> dict[str, list]:
    """For each table a row with every field filled and one with as few as may be."""
    prompt = (Message("system", (Part("text", "be brief"),)), messages.user(Part("image", media=SHA), "what ?"))
    full = records.sample(
        prompt, answer="4", answer_type="number", facts='{"yes": []}', reference="four", source="x#1", licence="CC0-1.0",
        split="train", step="rows",
    )  # fmt: skip
    bare = records.sample((messages.user("hello"),))
    one = records.candidate(
        full.id, "sample", "a cat", role="chosen", model="m@1", settings="{}", seed=3, index=1, parent="p", prompt=prompt,
        tokens=4, finish="stop", logprob=-1.5,
    )  # fmt: skip
    two = records.candidate(full.id, "sample", "a dog")
    claim = records.claim(one, "claims", 0, "is there a cat ?", True)
    slip = records.judgement(
        full.id, "claims", "claim", (claim.id,), "claim",
        records.Finding("verdict", 1.0, 0.9, "yes"), records.Provenance("m@1", "v", 1, 2, 3), parents=("a", "b"),
    )  # fmt: skip
    pair = records.pair(
        full.id, "best", one, two, margin=1.0, reward_chosen=0.0, reward_rejected=-1.0, confidence=0.9, soft_label=0.8,
        label=True, rank=1, hardness=0.5, needs_media=True, rejected_media=(SHA,), media_op="crop", media_list=(SHA, SHA),
        chosen_spans=(Span(0, 5, 2.0, "object", 1.0, "a cat"),), rejected_spans=(), critique_chosen="good",
        critique_rejected="bad", ref_logp_chosen=-3.0, ref_logp_rejected=-4.0, ref_stamp="s", judgements=(slip.id,),
        recipe="demo", seed=3,
    )  # fmt: skip
    return {
        "media": [
            records.Media(SHA, "video", "video/mp4", 10, 64, 64, 4.0, 8, 2.0, 16000, 1, "x"),
            records.Media(SHA, "image", "image/png", 1),
        ],
        "samples": [full, bare],
        "candidates": [one, two],
        "claims": [claim],
        "judgements": [
            slip,
            records.judgement(full.id, "s", "candidate", (one.id,), "score", records.Finding("abstain")),
        ],
        "pairs": [pair, records.pair(full.id, "best", two, one)],
        "rejections": [records.Rejection("x", "samples", "rows", Reason.BAD_ROW, "why", full.id)],
    }


@pytest.mark.parametrize("table", arrow.TABLES)
def test_every_record_survives_arrow_unchanged(table, tmp_path):
    rows = every_record()[table]
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, arrow.TABLES[table][1]) as writer:
        writer.write_batch(arrow.to_batch(table, rows))
    with ipc.open_file(str(path)) as reader:
        back = [row for i in range(reader.num_record_batches) for row in arrow.from_batch(table, reader.get_batch(i))]
    assert back == rows


@pytest.mark.parametrize("table", arrow.TABLES)
def test_the_arrow_schema_has_the_records_fields_in_their_order(table):
    record, schema = arrow.TABLES[table]
    assert tuple(schema.names) == record._fields
    assert schema.metadata[b"version"] == str(arrow.VERSION).encode()
    assert arrow.to_batch(table, []).num_rows == 0


def test_rows_of_a_newer_version_are_refused():
    batch = arrow.to_batch("claims", every_record()["claims"])
    newer = batch.replace_schema_metadata({"pairwright": "claim", "version": str(arrow.VERSION + 1)})
    with pytest.raises(ValueError, match="newer Pairwright"):
        list(arrow.from_batch("claims", newer))


def test_an_id_is_a_digest_of_content_and_of_nothing_else():
    a = records.sample((messages.user("what ?"),), source="one.jsonl#1")
    b = records.sample((messages.user("what ?"),), source="two.jsonl#9")
    c = records.sample((messages.user("what !"),))
    assert a.id == b.id != c.id
    one = records.candidate(a.id, "x", "yes", index=0)
    assert one.id == records.candidate(a.id, "y", "yes", index=0).id  # the step's name may change
    assert one.id != records.candidate(a.id, "x", "yes", index=1).id


@pytest.mark.parametrize("thing", [math.nan, math.inf, object(), {1, 2}, b"bytes"])
def test_what_cannot_be_stated_exactly_is_not_hashed(thing):
    with pytest.raises((TypeError, ValueError)):
        records.digest("a", thing)


@pytest.mark.parametrize(
    ("types", "kind"),
    [([], "text"), (["image"], "image"), (["image", "image"], "multi_image"), (["video"], "video"), (["audio"], "audio"),
     (["video", "audio"], "video"), (["image", "audio"], "audio")],
)  # fmt: skip
def test_the_kind_of_a_sample_follows_from_its_media(types, kind):
    assert records.kind_of(types) == kind


def test_text_cannot_smuggle_markup_in():
    text = "look <|IMAGE|> and <image> </s> [INST] <start_of_turn> a < b [1] <b>"
    safe = messages.escape(text)
    assert not messages.MARKUP.search(safe)
    assert safe.replace(messages.GUARD, "") == text
    assert messages.escape("plain a < b [1] <b>") == "plain a < b [1] <b>"


def test_a_question_about_the_media_keeps_their_labels():
    prompt = (
        messages.user(
            "picture one", Part("image", media="a"), "picture two", Part("image", media="b"), "describe both"
        ),
    )
    (asked,) = messages.media_with_question(prompt, "is there a cat ?")
    assert messages.text_of([asked]) == "picture one\n[image]\npicture two\n[image]\nis there a cat ?"
    (before,) = messages.media_with_question(
        (messages.user("what is this ?", Part("image", media="a")),), "is it a cat ?"
    )
    assert messages.text_of([before]) == "[image]\nis it a cat ?"
    (text,) = messages.media_with_question((messages.user("hello"),), "is it noon ?")
    assert messages.text_of([text]) == "is it noon ?"


def test_the_error_tree_in_the_docstring_is_the_tree_of_classes():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.PairwrightError)]
    for cls in classes:
        assert cls.__name__ in errors.__doc__
        assert cls.exit_code == (2 if issubclass(cls, errors.UserError) else 0 if cls is errors.Waiting else 1)


def test_a_judgements_fields_are_those_of_its_finding_and_its_provenance_in_their_order():
    own = ("id", "sample", "step", "target", "items", "axis")
    assert (*own, *records.Finding._fields, *records.Provenance._fields, "parents") == records.Judgement._fields
