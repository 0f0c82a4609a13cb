"""Records <-> Arrow. One explicit schema per record; the version is in the schema's metadata."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.records import Candidate, Claim, Judgement, Media, Message, Pair, Part, Rejection, Sample, Span

VERSION = 3  # 2: candidates have token_logprobs; 3: judgements have mass

PART = pa.struct([("type", pa.string()), ("text", pa.string()), ("media", pa.string())])
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("parts", pa.list_(PART))]))
SPANS = pa.list_(
    pa.struct(
        [
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("weight", pa.float32()),
            ("label", pa.string()),
            ("severity", pa.float32()),
            ("correction", pa.string()),
        ]
    )
)
IDS = pa.list_(pa.string())


def _schema(name: str, *fields) -> pa.Schema:
    return pa.schema(list(fields), metadata={"pairwright": name, "version": str(VERSION)})


MEDIA = _schema(
    "media",
    ("id", pa.string()),
    ("kind", pa.string()),
    ("mime", pa.string()),
    ("size", pa.int64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("seconds", pa.float64()),
    ("frames", pa.int32()),
    ("fps", pa.float64()),
    ("rate", pa.int32()),
    ("channels", pa.int32()),
    ("source", pa.string()),
)
SAMPLE = _schema(
    "sample",
    ("id", pa.string()),
    ("prompt", MESSAGES),
    ("media", IDS),
    ("kind", pa.string()),
    ("answer", pa.string()),
    ("answer_type", pa.string()),
    ("facts", pa.string()),
    ("reference", pa.string()),
    ("source", pa.string()),
    ("licence", pa.string()),
    ("split", pa.string()),
    ("step", pa.string()),
)
CANDIDATE = _schema(
    "candidate",
    ("id", pa.string()),
    ("sample", pa.string()),
    ("step", pa.string()),
    ("text", pa.string()),
    ("role", pa.string()),
    ("model", pa.string()),
    ("settings", pa.string()),
    ("seed", pa.int64()),
    ("index", pa.int32()),
    ("parent", pa.string()),
    ("prompt", MESSAGES),
    ("tokens", pa.int32()),
    ("finish", pa.string()),
    ("logprob", pa.float64()),
    ("token_logprobs", pa.list_(pa.float32())),
)
CLAIM = _schema(
    "claim",
    ("id", pa.string()),
    ("sample", pa.string()),
    ("candidate", pa.string()),
    ("step", pa.string()),
    ("index", pa.int32()),
    ("question", pa.string()),
    ("wanted", pa.bool_()),
)
JUDGEMENT = _schema(
    "judgement",
    ("id", pa.string()),
    ("sample", pa.string()),
    ("step", pa.string()),
    ("target", pa.string()),
    ("items", IDS),
    ("axis", pa.string()),
    ("outcome", pa.string()),
    ("value", pa.float64()),
    ("prob", pa.float64()),
    ("raw", pa.string()),
    ("mass", pa.float64()),
    ("annotator", pa.string()),
    ("version", pa.string()),
    ("order", pa.int32()),
    ("attempt", pa.int32()),
    ("revision", pa.int32()),
    ("parents", IDS),
)
PAIR = _schema(
    "pair",
    ("id", pa.string()),
    ("sample", pa.string()),
    ("step", pa.string()),
    ("chosen", pa.string()),
    ("rejected", pa.string()),
    ("pair_kind", pa.string()),
    ("chosen_id", pa.string()),
    ("rejected_id", pa.string()),
    ("margin", pa.float64()),
    ("reward_chosen", pa.float64()),
    ("reward_rejected", pa.float64()),
    ("confidence", pa.float64()),
    ("soft_label", pa.float64()),
    ("label", pa.bool_()),
    ("rank", pa.int32()),
    ("hardness", pa.float64()),
    ("needs_media", pa.bool_()),
    ("rejected_media", IDS),
    ("media_op", pa.string()),
    ("media_list", IDS),
    ("chosen_spans", SPANS),
    ("rejected_spans", SPANS),
    ("critique_chosen", pa.string()),
    ("critique_rejected", pa.string()),
    ("generator_chosen", pa.string()),
    ("generator_rejected", pa.string()),
    ("ref_logp_chosen", pa.float64()),
    ("ref_logp_rejected", pa.float64()),
    ("ref_stamp", pa.string()),
    ("judgements", IDS),
    ("recipe", pa.string()),
    ("seed", pa.int64()),
)
REJECTION = _schema(
    "rejection",
    ("id", pa.string()),
    ("table", pa.string()),
    ("step", pa.string()),
    ("reason", pa.string()),
    ("detail", pa.string()),
    ("sample", pa.string()),
)

# table name -> (record, schema), in the order in which rows are created
TABLES = {
    "media": (Media, MEDIA),
    "samples": (Sample, SAMPLE),
    "candidates": (Candidate, CANDIDATE),
    "claims": (Claim, CLAIM),
    "judgements": (Judgement, JUDGEMENT),
    "pairs": (Pair, PAIR),
    "rejections": (Rejection, REJECTION),
}
TABLE_OF = {record: name for name, (record, _) in TABLES.items()}


def to_batch(table: str, rows: list) -> pa.RecordBatch:
    """Rows of one table as a record batch; an empty list gives an empty batch."""
    schema = TABLES[table][1]
    columns = zip(*rows) if rows else ((),) * len(schema)
    return pa.RecordBatch.from_arrays(
        [_array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _array(column: tuple, kind: pa.DataType) -> pa.Array:
    # fast path: most columns are empty for most records
    return pa.nulls(len(column), kind) if column.count(None) == len(column) else pa.array(column, kind)


def _messages(value):
    return value and tuple(
        Message(m["role"], tuple(Part(p["type"], p["text"], p["media"]) for p in m["parts"])) for m in value
    )


def _tuple(value):
    return value if value is None else tuple(value)


def _spans(value):
    return value if value is None else tuple(Span(**s) for s in value)


_BACK = {
    "prompt": _messages,
    "media": _tuple,
    "token_logprobs": _tuple,
    "items": _tuple,
    "parents": _tuple,
    "judgements": _tuple,
    "rejected_media": _tuple,
    "media_list": _tuple,
    "chosen_spans": _spans,
    "rejected_spans": _spans,
}


def from_batch(table: str, batch: pa.RecordBatch) -> Iterable:
    """The rows of a record batch, as records; columns that an older version lacks are None. ValueError for a batch of a newer version."""
    record, schema = TABLES[table]
    found = int((batch.schema.metadata or {}).get(b"version", b"0"))
    if found > VERSION:
        raise ValueError(
            f"the {table} were written by a newer Pairwright (version {found}, this one reads {VERSION}); update Pairwright"
        )
    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append([None] * batch.num_rows)
            continue
        values = batch.column(field.name).to_pylist()
        back = _BACK.get(field.name)
        columns.append([back(v) for v in values] if back and not pa.types.is_string(field.type) else values)
    return map(record._make, zip(*columns, strict=True))


def word_counts(texts: pa.Array) -> pa.Array:
    """`schemas.text.word_count` of each text, int32 [n]; null where the text is null."""
    import pyarrow.compute as pc  # here: slow to import, and most callers need only the schemas

    trimmed = pc.utf8_trim_whitespace(texts)
    words = pc.list_value_length(pc.utf8_split_whitespace(trimmed))  # 1 for an empty text
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(0, words.type), words)
