"""The columns of the exported dataset: one row a pair, one config a media kind, self-contained."""

import json
from typing import NamedTuple

import pyarrow as pa

from schemas.arrow import IDS, SPANS

VERSION = 1
"""Raised when a reader of the older form would misread the files."""

CONTENT = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", CONTENT)]))
BLOBS = pa.list_(
    pa.struct([("bytes", pa.binary()), ("path", pa.string())])
)  # large_binary would lose the Image feature

MEDIA_OF = {"text": (), "image": ("image",), "multi_image": ("image",), "video": ("video", "audio", "image"),
            "audio": ("audio", "image")}  # fmt: skip
"""Media kinds that the prompts of a config may show: a video may come with sound or a still, a sound with a picture."""


class Column(NamedTuple):
    name: str
    type: pa.DataType
    meaning: str
    origin: str = "pairs"  # the table it is copied from as it is: pairs, samples; "" where it is built


TALK = (
    Column("prompt", CHAT, "what was asked, as chat messages; parts of type image, video or audio stand where the media stood", ""),
    Column("chosen", CHAT, "the better answer, as one assistant message", ""),
    Column("rejected", CHAT, "the worse answer, as one assistant message; null where the row is `desirable` or not instead", ""),
)  # fmt: skip
RECORD = (
    Column("id", pa.string(), "digest of the sample, both candidates and the step that paired them"),
    Column("sample", pa.string(), "digest of the prompt and its media: pairs of one prompt share it"),
    Column("media", IDS, "SHA-256 of each media file, in prompt order", "samples"),
    Column("pair_kind", pa.string(), "what differs: `text` (the answers), `media` (what is shown), `mixed` (both)"),
    Column("margin", pa.float64(), "score of chosen minus score of rejected, in the scorer's units"),
    Column("reward_chosen", pa.float64(), "score of chosen"),
    Column("reward_rejected", pa.float64(), "score of rejected"),
    Column("confidence", pa.float64(), "0 to 1: how sure the judges are of the order"),
    Column("soft_label", pa.float64(), "0 to 1: probability that chosen is better"),
    Column("desirable", pa.bool_(), "for unpaired losses: whether `chosen` is a good answer", ""),  # TRL refuses `label` here
    Column("rank", pa.int32(), "place of the pair among its sample's pairs, 0 first"),
    Column("hardness", pa.float64(), "how hard the pair is to tell apart, in the scorer's units"),
    Column("needs_media", pa.bool_(), "whether the question cannot be answered without its media"),
    Column("rejected_media", IDS, "SHA-256 of the media behind `rejected` where they differ from `media`, one for one"),
    Column("media_op", pa.string(), "the corruption that made `rejected_media`"),
    Column("media_list", IDS, "SHA-256 of media that stand in for the only one of the prompt, ranked best first, for listwise losses"),
    Column("chosen_spans", SPANS, "stretches of chosen in characters, end exclusive, with weight, class, severity, correction"),
    Column("rejected_spans", SPANS, "the same for rejected"),
    Column("critique_chosen", pa.string(), "a judge's words on chosen"),
    Column("critique_rejected", pa.string(), "a judge's words on rejected"),
    Column("chosen_id", pa.string(), "candidate that became chosen"),
    Column("rejected_id", pa.string(), "candidate that became rejected"),
    Column("generator_chosen", pa.string(), "identity of the model that wrote chosen"),
    Column("generator_rejected", pa.string(), "identity of the model that wrote rejected"),
    Column("judgements", IDS, "ids of the judgements the order rests on"),
    Column("ref_logp_chosen", pa.float64(), "log-probability of chosen under the reference model, natural log, summed over tokens"),
    Column("ref_logp_rejected", pa.float64(), "the same for rejected"),
    Column("ref_stamp", pa.string(), "which model, template and settings gave the two numbers above"),
    Column("answer", pa.string(), "the short right answer, where one is known", "samples"),
    Column("answer_type", pa.string(), "how `answer` is to be compared", "samples"),
    Column("facts", pa.string(), "JSON: what is known to be true of the media", "samples"),
    Column("reference", pa.string(), "a whole good answer, where one is known", "samples"),
    Column("source", pa.string(), "where the sample came from", "samples"),
    Column("licence", pa.string(), "licence of the sample", "samples"),
    Column("split", pa.string(), "split of the sample in its source", "samples"),
    Column("recipe", pa.string(), "digest of the recipe"),
    Column("seed", pa.int64(), "seed of the pairing step"),
    Column("step", pa.string(), "step of the recipe that made the pair"),
)  # fmt: skip


def columns(kind: str) -> tuple[Column, ...]:
    """The columns of one config, in order. `kind` is one of SAMPLE_KINDS."""
    shown = tuple(Column(f"{m}s", BLOBS, f"the {m} files of the prompt, in order", "") for m in MEDIA_OF[kind])
    other = tuple(
        Column(f"rejected_{m}s", BLOBS, f"the {m} files behind `rejected`; null where they are those of the prompt", "")
        for m in MEDIA_OF[kind]
    )
    ranked = tuple(
        Column(f"ranked_{m}s", BLOBS, f"the {m} files of `media_list`; null without one", "") for m in MEDIA_OF[kind]
    )
    return TALK + shown + other + ranked + RECORD


def arrow_schema(kind: str, info: dict) -> pa.Schema:
    """Schema of one config's files, with the metadata that makes `datasets` show pictures, clips and sounds."""
    fields = [pa.field(c.name, c.type) for c in columns(kind)]
    features = {f.name: _feature(f) for f in fields}
    return pa.schema(fields, metadata={
        "huggingface": json.dumps({"info": {"features": features}}),
        "pairwright": json.dumps({"version": VERSION, "kind": kind, "manifest": True, **info}, sort_keys=True),
    })  # fmt: skip


def _feature(field: pa.Field) -> dict:
    if field.type == BLOBS:
        medium = field.name.rpartition("_")[2].removesuffix("s").capitalize()
        decode = {} if medium == "Image" else {"decode": False}  # clips and sounds would need torchcodec
        return {"feature": {**decode, "_type": medium}, "_type": "List"}
    return _plain(field.type)


def _plain(kind: pa.DataType) -> dict:
    if pa.types.is_list(kind):
        return {"feature": _plain(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {f.name: _plain(f.type) for f in kind}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}
