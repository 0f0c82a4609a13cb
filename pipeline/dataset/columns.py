"""The columns of the exported dataset: one row per pair, one config per media type, media embedded."""

import json
from typing import NamedTuple

import pyarrow as pa

from schemas.arrow import IDS, SPANS

VERSION = 1
"""Increased when readers of the previous format would misread the files."""

CONTENT = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", CONTENT)]))
BLOBS = pa.list_(
    pa.struct([("bytes", pa.binary()), ("path", pa.string())])
)  # large_binary would lose the Image feature

MEDIA_OF = {"text": (), "image": ("image",), "multi_image": ("image",), "video": ("video", "audio", "image"),
            "audio": ("audio", "image")}  # fmt: skip
"""The media kinds that prompts of a config may contain: a video may come with audio or a still image, an audio clip with an image."""


class Column(NamedTuple):
    name: str
    type: pa.DataType
    meaning: str
    origin: str = "pairs"  # table that the column is copied from ("pairs" or "samples"); "" if it is computed


CHAT_COLUMNS = (
    Column("prompt", CHAT, "the prompt as chat messages; parts of type image, video or audio mark the places of the media", ""),
    Column("chosen", CHAT, "the better answer, as one assistant message", ""),
    Column("rejected", CHAT, "the worse answer, as one assistant message; null in unpaired rows, which have `desirable` instead", ""),
)  # fmt: skip
DATA_COLUMNS = (
    Column("id", pa.string(), "digest of the sample, both candidates and the pairing step"),
    Column("sample", pa.string(), "digest of the prompt and its media; pairs of the same prompt share it"),
    Column("media", IDS, "SHA-256 of each media file, in prompt order", "samples"),
    Column("pair_kind", pa.string(), "what differs: `text` (the answers), `media` (the media), `mixed` (both)"),
    Column("margin", pa.float64(), "score of chosen minus score of rejected, in the scorer's units"),
    Column("reward_chosen", pa.float64(), "score of chosen"),
    Column("reward_rejected", pa.float64(), "score of rejected"),
    Column("confidence", pa.float64(), "0 to 1: the judges' confidence in the preference"),
    Column("soft_label", pa.float64(), "0 to 1: probability that chosen is better"),
    Column("desirable", pa.bool_(), "for unpaired losses: whether `chosen` is a good answer", ""),  # TRL refuses `label` here
    Column("rank", pa.int32(), "rank of the pair among its sample's pairs, from 0"),
    Column("hardness", pa.float64(), "how hard the two answers are to tell apart, in the scorer's units"),
    Column("needs_media", pa.bool_(), "whether the media are needed to prefer chosen (false: the judge decided the same without them)"),
    Column("rejected_media", IDS, "SHA-256 of the media shown for `rejected`, if they differ from `media`; one for each of `media`, or none"),
    Column("media_op", pa.string(), "the corruption that made `rejected_media`"),
    Column("media_list", IDS, "SHA-256 of media that replace the prompt's only one, best first, for listwise losses"),
    Column("chosen_spans", SPANS, "spans of chosen (character offsets, end exclusive) with weight, class, severity and correction"),
    Column("rejected_spans", SPANS, "the same for rejected"),
    Column("critique_chosen", pa.string(), "a judge's critique of chosen"),
    Column("critique_rejected", pa.string(), "a judge's critique of rejected"),
    Column("chosen_id", pa.string(), "id of the candidate used as chosen"),
    Column("rejected_id", pa.string(), "id of the candidate used as rejected"),
    Column("generator_chosen", pa.string(), "identity of the model that wrote chosen"),
    Column("generator_rejected", pa.string(), "identity of the model that wrote rejected"),
    Column("judgements", IDS, "ids of the judgements that the preference is based on"),
    Column("ref_logp_chosen", pa.float64(), "log-probability of chosen under the reference model (natural log, summed over tokens)"),
    Column("ref_logp_rejected", pa.float64(), "the same for rejected"),
    Column("ref_stamp", pa.string(), "model, template and settings behind the reference log-probabilities"),
    Column("answer", pa.string(), "the short correct answer, if known", "samples"),
    Column("answer_type", pa.string(), "how to compare with `answer`", "samples"),
    Column("facts", pa.string(), "JSON: known facts about the media", "samples"),
    Column("reference", pa.string(), "a complete good answer, if known", "samples"),
    Column("source", pa.string(), "where the sample came from", "samples"),
    Column("licence", pa.string(), "licence of the sample", "samples"),
    Column("split", pa.string(), "split of the sample in its source", "samples"),
    Column("recipe", pa.string(), "digest of the recipe"),
    Column("seed", pa.int64(), "seed of the pairing step"),
    Column("step", pa.string(), "recipe step that made the pair"),
)  # fmt: skip


def columns(kind: str) -> tuple[Column, ...]:
    """The columns of one config, in order. `kind` is one of SAMPLE_KINDS; KeyError otherwise."""
    shown = tuple(Column(f"{m}s", BLOBS, f"the {m} files of the prompt, in order", "") for m in MEDIA_OF[kind])
    other = tuple(
        Column(f"rejected_{m}s", BLOBS, f"the {m} files shown for `rejected`; null if they are the prompt's", "")
        for m in MEDIA_OF[kind]
    )
    ranked = tuple(
        Column(f"ranked_{m}s", BLOBS, f"the {m} files of `media_list`; null if there is no list", "")
        for m in MEDIA_OF[kind]
    )
    return CHAT_COLUMNS + shown + other + ranked + DATA_COLUMNS


def arrow_schema(kind: str, info: dict) -> pa.Schema:
    """The Arrow schema of one config's files, with metadata that gives `datasets` the Image, Video and Audio features.

    `info` (JSON values) is stored under the metadata key `pairwright`."""
    fields = [pa.field(c.name, c.type) for c in columns(kind)]
    features = {f.name: _feature(f) for f in fields}
    return pa.schema(fields, metadata={
        "huggingface": json.dumps({"info": {"features": features}}),
        "pairwright": json.dumps({"version": VERSION, "kind": kind, "manifest": True, **info}, sort_keys=True),
    })  # fmt: skip


def _feature(field: pa.Field) -> dict:
    if field.type == BLOBS:
        medium = field.name.rpartition("_")[2].removesuffix("s").capitalize()
        decode = {} if medium == "Image" else {"decode": False}  # decoding videos and audio clips needs torchcodec
        return {"feature": {**decode, "_type": medium}, "_type": "List"}
    return _plain(field.type)


def _plain(kind: pa.DataType) -> dict:
    if pa.types.is_list(kind):
        return {"feature": _plain(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {f.name: _plain(f.type) for f in kind}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}
