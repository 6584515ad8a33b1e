"""What a request can name, and the one form in which each kind is compared (optout.md §7.2)."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from filters import url_tags
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
MOST_BITS: Final = {"pdq": 63, "phash64": 15}
"""Widest Hamming radius that may be asked for. Strangers' hashes differ in half of the bits on average (128, 32): from here to
there a radius would sweep the data set."""
COPIES_TOO: Final = frozenset({"url", "uid", "sha256", "md5", "pdq", "phash64", "picture"})
"""Kinds that speak of a picture, so that a request reaches its copies unless it says otherwise."""

HELPERS: Final = ("prefix_host", "prefix_length")
"""Kinds of entries that only spare work; several listed prefixes may share one, so it stays when one of them is withdrawn."""

_VARIANT = re.compile(r"https?://(?:www\.)?")
_BLANK = re.compile(r"\s+")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana, Han and Hangul: no spaces around words, or particles joined to them, so a character is a word."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’-][^\W_{_UNSPACED}]+)*")


def url_key(canonical: str) -> str:
    """Return a canonical URL without its scheme and a leading `www.`: for removals the variants are one resource."""
    return _VARIANT.sub("", canonical, count=1)


def text_key(text: str) -> str:
    """Return a text as phrases are looked for in it: NFKC, case folded, white space folded."""
    return _BLANK.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def word_runs(text: str, lengths: Sequence[int]) -> list[str]:
    """Return every run of so many words (each of `lengths`) of a text, in the form of `text_key` and without punctuation."""
    words = _WORD.findall(text_key(text))
    return [" ".join(words[at : at + n]) for n in lengths for at in range(len(words) - n + 1)]


def normal(kind: str, value: str) -> str | bytes | None:
    """Return the form in which a value is compared, or None when it is none of that kind.

    Names (`NAMED`) give text, hashes give bytes. A `picture` has no form: it is turned into hashes first.
    """
    value = value.strip()
    if kind in HASH_BYTES:
        return _hash(value, HASH_BYTES[kind])
    if kind in ("url", "url_prefix"):
        canonical = _address(value)
        return url_key(canonical) if canonical else None
    if kind in ("host", "domain"):
        canonical = _address(value.removeprefix("*.").removeprefix(".") if kind == "domain" else value)
        name = host(canonical) if canonical else ""
        if kind == "domain":  # www.gov.uk is one: its www. is no variant
            name = registrable_domain(name) if name else ""
            return name or None
        return name.removeprefix("www.") or None
    if kind in ("text", "creator"):
        return " ".join(_WORD.findall(text_key(value))) or None
    raise ValueError(f"unknown kind {kind!r}; one of {', '.join(KINDS)}")


def _address(value: str) -> str | None:
    """Read an address that may lack its scheme; one with an @ is somebody's mail then, not a site that they speak for."""
    if "://" in value:
        return canonical_url(value)
    return None if "@" in value.split("/", 1)[0] else canonical_url(f"https://{value}")


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

    A phrase's length is its words, a URL's its checksum (`url_tags`). A URL prefix has three entries: itself, its host, and its
    host with the prefix's length in characters, so that only URLs of such hosts are cut, there, and hashed.
    """
    own = digest(seed, kind, normal_form)
    if kind in ("text", "creator"):
        return [(kind, own, len(normal_form.split()))]
    if kind == "url_prefix":
        at, length = prefix_host(normal_form), len(normal_form)
        measured = digest(seed, "prefix_length", f"{at} {length}")
        return [
            (kind, own, length),
            ("prefix_host", digest(seed, "prefix_host", at), 0),
            ("prefix_length", measured, length),
        ]
    if kind == "url":
        return [(kind, own, url_tags.tag(seed, normal_form))]
    return [(kind, own, 0)]


def digests(seed: bytes, kind: str, forms: Iterable[bytes]) -> bytes:
    """Return the joined digests of many names in UTF-8."""
    keyed = hashlib.blake2b(digest_size=16, key=seed, person=kind.encode()).copy
    out: list[bytes] = []
    for form in forms:
        hasher = keyed()
        hasher.update(form)
        out.append(hasher.digest())
    return b"".join(out)


def url_digests(seed: bytes, urls: Iterable[bytes]) -> bytes:
    """Return the joined digests (kind `url`) of canonical URLs in UTF-8."""
    return digests(seed, "url", (url.partition(b"//")[2].removeprefix(b"www.") for url in urls))


def prefix_host(key: str) -> str:
    """Return the host (with its port) of a URL in the form of `url_key`."""
    return key.partition("/")[0]
