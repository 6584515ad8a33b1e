"""The tables that parts are made of; every stage reads and writes these and no others."""

import pyarrow as pa

UID = pa.binary(16)

CAPTURE_FIELDS = [
    pa.field("capture_kind", pa.string()),  # "warc" (a record at an offset) or "file" (a byte range)
    pa.field("capture_uri", pa.string()),
    pa.field("capture_offset", pa.int64()),
    pa.field("capture_bytes", pa.int64()),
]

CANDIDATE = pa.schema(
    [
        pa.field("uid", UID),
        pa.field("url", pa.string()),
        pa.field("text", pa.string()),
        pa.field("text_from", pa.string()),
        pa.field("page_url", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("source", pa.string()),
        pa.field("lang", pa.string()),
        pa.field("license", pa.string()),
        pa.field("tags", pa.int32()),  # how many <img> tags or list rows were merged into this pair
        *CAPTURE_FIELDS,
    ]
)

REFUSED = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("page_url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("tags", pa.int32()),
        pa.field("observed_utc", pa.timestamp("us", tz="UTC")),  # when the extraction read the statement
    ]
)

RIGHTS_TEXTS = (  # what the picture's own metadata say of its makers and terms (filters.rights)
    "creator",
    "copyright",
    "credit",
    "usage_terms",
    "web_statement",
    "licensor",
    "digital_source_type",
    "copyright_owner",
    "other_constraints",
    "rights_marked",  # "true" or "false"
)

FETCH = pa.schema(
    [
        pa.field("uid", UID),
        pa.field("reason", pa.string()),
        pa.field("transient", pa.bool_()),
        pa.field("detail", pa.string()),
        pa.field("via", pa.string()),
        pa.field("final_url", pa.string()),
        pa.field("http_status", pa.int16()),
        pa.field("content_type", pa.string()),
        pa.field("original_bytes", pa.int64()),
        pa.field("sha256", pa.binary(32)),
        pa.field("md5", pa.binary(16)),
        pa.field("phash64", pa.binary(8)),
        pa.field("pdq256", pa.binary(32)),
        pa.field("pdq_quality", pa.int16()),
        pa.field("original_width_px", pa.int32()),
        pa.field("original_height_px", pa.int32()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("frames", pa.int32()),
        pa.field("tar_offset", pa.int64()),
        pa.field("tar_bytes", pa.int64()),
        *[pa.field(name, pa.string()) for name in RIGHTS_TEXTS],
    ]
)

SIGNAL = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("subject_url", pa.string()),
        pa.field("scope", pa.string()),
        pa.field("mechanism", pa.string()),
        pa.field("category", pa.string()),
        pa.field("value", pa.string()),
        pa.field("agent_scope", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("observed_utc", pa.timestamp("us", tz="UTC")),
        pa.field("flag", pa.string()),  # "" unless the statement is malformed, nonconformant, …
        pa.field("evidence_digest", pa.binary(32)),  # SHA-256 of the file or packet it was read from
    ]
)

MEMBER = pa.schema(  # of a group of copies, and what the choice of the kept one needs
    [
        pa.field("uid", UID),
        pa.field("group", UID),
        pa.field("px", pa.int64()),
        pa.field("clip_cos", pa.float32()),
        pa.field("eligible", pa.bool_()),
        pa.field("removed", pa.bool_()),  # because somebody asked for it
    ]
)

DECISION = pa.schema(
    [
        pa.field("uid", UID),
        pa.field("reason", pa.string()),
        pa.field("duplicate_of", UID),
    ]
)
