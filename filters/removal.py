"""What a request can name, and the one form in which each kind is compared (optout.md §7.2)."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from filters.urls import canonical_url, host, registrable_domain

KINDS: Final = (
    "url",
    "url_prefix",
    "host",
    "domain",
    "uid",
    "sha256",
    "md5",
    "pdq",
    "phash64",
    "text",
    "creator",
    "picture",
)
NAMED: Final = ("url", "url_prefix", "host", "domain", "text", "creator")
"""Kinds whose values are kept as keyed digests only; `uid` is a digest already."""
HASH_BYTES: Final = {"uid": 16, "sha256": 32, "md5": 16, "pdq": 32, "phash64": 8}
COPIES_TOO: Final = frozenset({"url", "uid", "sha256", "md5", "pdq", "phash64", "picture"})
"""Kinds that speak of a picture, so that a request reaches its copies unless it says otherwise."""

_VARIANT = re.compile(r"https?://(?:www\.)?")
_BLANK = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def url_key(canonical: str) -> str:
    """Return a canonical URL without its scheme and a leading `www.`: for removals the variants are one resource."""
    return _VARIANT.sub("", canonical, count=1)


def text_key(text: str) -> str:
    """Return a text as phrases are looked for in it: NFKC, case folded, white space folded."""
    return _BLANK.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def word_runs(text: str, words: int) -> list[str]:
    """Return every run of so many words of a text, in the form of `text_key` and without the punctuation around words."""
    found = _WORD.findall(text_key(text))
    return [" ".join(found[at : at + words]) for at in range(len(found) - words + 1)]


def normal(kind: str, value: str) -> str | bytes | None:
    """Return the form in which a value is compared, or None when it is none of that kind.

    Names (`NAMED`) give text, hashes give bytes. A `picture` has no form: it is turned into hashes first.
    """
    value = value.strip()
    if kind in HASH_BYTES:
        return _hash(value, HASH_BYTES[kind])
    if kind in ("url", "url_prefix"):
        canonical = canonical_url(value if "://" in value else f"https://{value}")
        return url_key(canonical) if canonical else None
    if kind in ("host", "domain"):
        canonical = canonical_url(value if "://" in value else f"https://{value}/")
        name = host(canonical).removeprefix("www.") if canonical else ""
        if kind == "domain" and name:
            name = registrable_domain(name)
        return name or None
    if kind == "creator":
        return text_key(value) or None
    if kind == "text":
        return " ".join(_WORD.findall(text_key(value))) or None
    raise ValueError(f"unknown kind {kind!r}; one of {', '.join(KINDS)}")


def _hash(value: str, size: int) -> bytes | None:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        return None
    return data if len(data) == size else None


def digest(seed: bytes, kind: str, normal_form: str) -> bytes:
    """Return the 16 bytes that stand for a name in lists: BLAKE2b (RFC 7693) keyed with the registry's secret seed (32 bytes)."""
    message = normal_form.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, digest_size=16, key=seed, person=kind.encode()).digest()


def listed_hash(seed: bytes, kind: str, data: bytes) -> bytes:
    """Return the form in which a hash stands in lists, so that whoever reads a list learns no hash.

    Exact hashes are digested with the secret. Perceptual ones are masked with it (exclusive or), which keeps every Hamming
    distance between two of them. A uid is a digest already.
    """
    if kind in ("pdq", "phash64"):
        mask = hashlib.blake2b(digest_size=len(data), key=seed, person=kind.encode()).digest()
        return bytes(one ^ other for one, other in zip(data, mask, strict=True))
    return data if kind == "uid" else digest(seed, kind, data.hex())


def entries(seed: bytes, kind: str, normal_form: str) -> list[tuple[str, bytes, int]]:
    """Return the list entries (kind, digest, length) by which a name is found.

    A phrase's length is its words. A URL prefix has two: itself with its length in characters, and its host with that length,
    so that only URLs of such hosts are cut and hashed.
    """
    own = digest(seed, kind, normal_form)
    if kind == "text":
        return [(kind, own, len(normal_form.split()))]
    if kind == "url_prefix":
        length = len(normal_form)
        return [(kind, own, length), ("prefix_host", digest(seed, "prefix_host", prefix_host(normal_form)), length)]
    return [(kind, own, 0)]


def url_digests(seed: bytes, urls: Sequence[bytes]) -> bytes:
    """Return the joined digests (kind `url`) of canonical URLs in UTF-8; one loop, for it is the cost of matching a crawl."""
    keyed = hashlib.blake2b(digest_size=16, key=seed, person=b"url").copy
    out: list[bytes] = []
    for url in urls:
        hasher = keyed()
        if url[:8] == b"https://":
            hasher.update(url[12:] if url[8:12] == b"www." else url[8:])
        else:
            hasher.update(url[11:] if url[7:11] == b"www." else url[7:])
        out.append(hasher.digest())
    return b"".join(out)


def prefix_host(key: str) -> str:
    """Return the host (with its port) of a URL in the form of `url_key`."""
    return key.partition("/")[0]
