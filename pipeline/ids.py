"""Names that stay: of a sample (uid), of a part (key), of anything JSON can say."""

import hashlib
import json
import unicodedata
from typing import Any

import pyarrow as pa

UID_BYTES = 16


def uid(url: str, text: str) -> bytes:
    """Return the 16-byte name of a pair: BLAKE2b of (canonical URL, NUL, NFC text)."""
    message = (
        url.encode("utf-8", "surrogatepass")
        + b"\0"
        + unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    )
    return hashlib.blake2b(message, digest_size=UID_BYTES).digest()


def url_hash(url: str) -> bytes:
    """Return 8 bytes that stand for a canonical URL, evenly spread."""
    return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def stable_hash(value: Any, digits: int = 24) -> str:
    """Return hex digits that depend on the JSON value alone (keys sorted, no white space)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(canonical.encode(), digest_size=digits // 2).hexdigest()


def uid_digest(uids: pa.Array) -> str:
    """Return a digest of a list of uids, in the order given."""
    digest = hashlib.blake2b(digest_size=12)
    for value in uids.to_pylist():
        digest.update(value)
    return digest.hexdigest()


def faiss_id(uid_bytes: bytes) -> int:
    """Return the 63-bit id of a uid in FAISS: its first eight bytes without the sign bit."""
    return int.from_bytes(uid_bytes[:8], "big") >> 1
