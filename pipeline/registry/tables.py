"""The registry's tables (SQLAlchemy Core): SQLite in the data set by default, PostgreSQL by URL.

Nothing here holds a URL, a name, a text or an address in clear: what a person told us is sealed with the request's own key
(`request.key`), lists hold keyed digests, and the log holds commitments. Destroying the key forgets the person.
All times are UTC, stored as ISO 8601 text with `Z`, so that both databases sort and show them alike.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER PRIMARY KEY

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),  # registry_id, list_seed, position, …
    Column("value", Text, nullable=False),
)

request = Table(
    "request",
    metadata,
    Column("id", String(40), primary_key=True),  # r-<26 characters>, not guessable
    Column("position", _Serial, nullable=False, unique=True),  # rising; the registry's position is the largest
    Column("kind", String(24), nullable=False),  # filters.removal.KINDS
    Column("digest", LargeBinary(16)),  # keyed digest of the normal form; null for pictures and creators
    Column("key", LargeBinary(32)),  # AES-256 key of everything sealed for this request; null once shredded
    Column("sealed", LargeBinary),  # JSON: value, contact, note, evidence
    Column(
        "options", Text, nullable=False
    ),  # JSON without anything personal: copies, distance, category, list, legal_basis
    Column("source", String(64), nullable=False),  # person, list, recheck, hotline
    Column(
        "state", String(16), nullable=False
    ),  # received identified proposed confirmed tombstoned erased closed withdrawn refused
    Column("reason", String(64)),  # code of a refusal
    Column("received_utc", String(32), nullable=False),
    Column("due_utc", String(32), nullable=False),
    Column("extension_notice_utc", String(32)),
    Column("extended_due_utc", String(32)),
    Column("commitment", LargeBinary(32), nullable=False),  # HMAC-SHA256, what the log's leaves hold of the value
    Index("request_state", "state", "due_utc"),
    Index("request_digest", "digest"),  # equal requests
)

link = Table(  # by which somebody who filed a request on the page follows it; the secret itself is theirs alone
    "link",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),  # SHA-256 of the secret, which has 160 bits
    Column("request_id", String(40), ForeignKey("request.id"), nullable=False),
)

transition = Table(
    "transition",
    metadata,
    Column("request_id", String(40), ForeignKey("request.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("utc", String(32), nullable=False),
    Column("leaf_index", BigInteger),  # the log entry that says so
)

match = Table(
    "match",
    metadata,
    Column("request_id", String(40), ForeignKey("request.id"), primary_key=True),
    Column("uid", LargeBinary(16), primary_key=True),
    Column("part", String(64), nullable=False),  # key of the candidates part that holds the row; "" for a refused row
    Column("how", String(24), nullable=False),  # url, domain, sha256, pdq, copy, neighbour, creator, text, uid …
    Column("score", Float),  # distance in bits, or cosine
    Column("state", String(12), nullable=False),  # proposed, confirmed, rejected
    Column(
        "sealed", LargeBinary
    ),  # JSON: what the verifier looks for (url, text, digests), sealed with the request's key
)

entry = Table(  # what candidates are matched against; a digest that several lists name has several rows
    "entry",
    metadata,
    Column("kind", String(24), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),  # filters.removal: digested or masked with the secret
    Column("owner", String(40), primary_key=True),  # id of the request or of the import
    Column(
        "length", Integer, nullable=False, default=0
    ),  # of a prefix in characters, of a phrase in words; of a url its checksum (filters.url_tags)
    Column("position", BigInteger, nullable=False),
    Column("category", String(16), nullable=False),  # train, tdm, gdpr17, gdpr21, csam, ncii, dmca, copyright
    Column("distance", Integer, nullable=False, default=0),
    Column("expires_utc", String(32)),
    Column("active", Boolean, nullable=False, default=True),
    Index("entry_owner", "owner", "kind"),
    Index(
        "entry_expires",
        "expires_utc",
        sqlite_where=text("expires_utc IS NOT NULL"),
        postgresql_where=text("expires_utc IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

import_ = Table(
    "import",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("name", String(200), nullable=False),  # of the file, without its folder
    Column("source", String(64), nullable=False),
    Column("imported_utc", String(32), nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("known", BigInteger, nullable=False),
    Column("withdrawn", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
)

leaf = Table(
    "leaf",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 0, 1, 2 …
    Column("utc", String(32), nullable=False),
    Column("type", String(32), nullable=False),
    Column("request", String(40)),  # the request it speaks of, so that its entries are found without reading the log
    Column("entry", Text, nullable=False),  # canonical JSON (RFC 8785); commitments and counts only
    Column("hash", LargeBinary(32), nullable=False),  # SHA-256(0x00 ‖ entry), RFC 9162 §2.1.1
    Index("leaf_request", "request"),
)

node = Table(  # complete subtrees of the log above its leaves: 2^level leaves, the number-th of its level
    "node",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)

head = Table(
    "head",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("utc", String(32), nullable=False),
    Column("note", Text, nullable=False),  # the signed note (C2SP tlog-checkpoint)
)

recipient = Table(
    "recipient",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("contact", String(400), nullable=False),
    Column("registered_utc", String(32), nullable=False),
)

release = Table(
    "release",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("snapshot", Integer, nullable=False),
    Column("recipient_id", String(40), ForeignKey("recipient.id"), nullable=False),
    Column("released_utc", String(32), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("purpose", String(400), nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("request_id", String(40), ForeignKey("request.id"), primary_key=True),
    Column("recipient_id", String(40), ForeignKey("recipient.id"), primary_key=True),
    Column("written_utc", String(32), nullable=False),
    Column("delivered_utc", String(32)),
    Column("acknowledged_utc", String(32)),
    Column("failure", String(200)),
)
