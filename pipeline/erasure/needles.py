"""What the proof of an erasure looks for: everything that was known of the erased, sealed before anything is erased."""

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from sqlalchemy import select, update

from pipeline.erasure.finder import ANCHOR_BYTES
from pipeline.erasure.parts import Wanted
from pipeline.registry import place, seal
from pipeline.registry.registry import Registry
from pipeline.registry.tables import match, request
from pipeline.stage import committed, find
from pipeline.store import Store

NAMES = ("url", "final_url", "page_url", "text", "creator", "copyright", "copyright_owner")
HASHES = ("sha256", "md5", "pdq256", "pdq", "phash64")
VECTORS = ("image_emb", "text_emb")
_STORED = "stored_sha256"
_PIECE = "stored_piece"
_PIECE_BYTES = 64
_TELLING = 40
"""Different bytes that a piece of a picture must have: tables and flat areas are alike in many pictures."""


@dataclass
class Needles:
    """Byte strings and what each of them is; and what is compared in other ways."""

    uids: set[str] = field(default_factory=set)  # hex
    owners: dict[str, set[str]] = field(default_factory=dict)  # uid, or string in hex → requests that look for it
    strings: dict[bytes, set[str]] = field(default_factory=dict)  # bytes → kinds
    values: dict[bytes, bytes] = field(default_factory=dict)  # string → the value it is a form of (hex, JSON, float32)
    stored: set[str] = field(default_factory=set)  # SHA-256 of pictures as they were stored, hex
    pdqs: set[bytes] = field(default_factory=set)
    too_short: int = 0  # texts that stand everywhere by chance: their rows are checked, not all bytes

    def add(self, request: str, uid: bytes, secret: Mapping[str, Any] | None) -> None:
        """Take in what was known of one sample that a request means."""
        self.uids.add(uid.hex())
        self._owned(uid.hex(), request)
        for name, value in (secret or {}).items():
            if not isinstance(value, str) or not value:
                continue
            if name in NAMES:
                self.name(request, name, value)
            elif name in HASHES:
                self._forms(request, name, bytes.fromhex(value), value.lower().encode(), value.upper().encode())
                if name.startswith("pdq"):
                    self.pdqs.add(bytes.fromhex(value))
            elif name == _STORED:
                self.stored.add(value)
                self._owned(value, request)
            elif name == _PIECE:
                self._forms(request, "the stored picture", bytes.fromhex(value))
            elif name in VECTORS:
                vector = np.frombuffer(bytes.fromhex(value), np.float16)
                if not vector.any():  # blanked before
                    continue
                self._forms(request, name, vector.tobytes(), vector.astype(np.float32).tobytes())

    def name(self, request: str, kind: str, value: str) -> None:
        """Take in a name: as it is, and as JSON, HTML, addresses and Windows' programs may write it."""
        encoded = value.encode("utf-8", "surrogatepass")
        if len(encoded) < ANCHOR_BYTES:
            self.too_short += 1
            return
        plain, ascii_ = json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]
        written = (
            plain,
            ascii_,
            ascii_.replace("/", "\\/"),
            html.escape(value),
            quote(encoded, safe=""),
            quote(encoded),
        )
        forms = (text.encode("utf-8", "surrogatepass") for text in dict.fromkeys(written))
        self._forms(request, kind, encoded, *forms, value.encode("utf-16-le", "surrogatepass"))

    def _forms(self, request: str, kind: str, *forms: bytes) -> None:
        for data in forms:
            if len(data) >= ANCHOR_BYTES:
                self.strings.setdefault(data, set()).add(kind)
                self.values.setdefault(data, forms[0])
                self._owned(data.hex(), request)

    def _owned(self, subject: str, request: str) -> None:
        self.owners.setdefault(subject, set()).add(request)


def of_requests(registry: Registry, requests: Iterable[str]) -> Needles:
    """Return what is to be looked for on behalf of requests: their confirmed matches and, where one names a URL, that."""
    needles = Needles()
    for request_id in requests:
        for found in registry.matches(request_id, "confirmed"):
            needles.add(request_id, found.uid, found.secret)
        asked, value = registry.get(request_id), registry.secret(request_id).get("value")
        if asked.kind == "url" and isinstance(value, str):
            needles.name(request_id, "url", value)
    return needles


def collect(store: Store, uids: Iterable[bytes], parts: Iterable[str]) -> dict[bytes, dict[str, Any]]:
    """Return uid → all that the named candidates parts and what was made of them tell of it."""
    wanted = Wanted(pa.array(sorted(uids), pa.binary(16)), set(parts))
    found: dict[bytes, dict[str, Any]] = {}
    keys = sorted(wanted.parts - {""})
    for key in keys:
        candidates = find(store, "candidates", key)
        if candidates is not None:
            table = candidates.table(store)
            for row in table.take(wanted.rows(table["uid"])).to_pylist():
                _note(found, row)
        for part in committed(store, f"fetch/{key}"):
            table = part.table(store)
            rows = table.take(wanted.rows(table["uid"])).to_pylist()
            with part.open(store, "tar") as tar:
                for row in rows:
                    _note(found, row)
                    if row["tar_offset"] is not None and row["reason"] is None:
                        tar.seek(row["tar_offset"])
                        picture = tar.read(row["tar_bytes"])
                        found[row["uid"]][_STORED] = sha256(picture).hexdigest()
                        if piece := _piece(picture):
                            found[row["uid"]][_PIECE] = piece.hex()
    for part in committed(store, "embed"):
        if set(part.inputs[:1]) <= set(keys):
            uid_column = part.table(store, columns=["uid"])["uid"]
            at = wanted.rows(uid_column)
            for name, suffix in zip(VECTORS, ("img.npy", "text.npy"), strict=True) if at else ():
                with part.open(store, suffix) as handle:
                    vectors = np.load(handle)
                for row in at:
                    found.setdefault(uid_column[row].as_py(), {})[name] = vectors[row].tobytes().hex()
    return found


def _piece(picture: bytes) -> bytes:
    """Return some bytes that tell a picture from others, wherever it lies; none where it has no such."""
    steps = range(0, max(0, len(picture) - _PIECE_BYTES), max(1, len(picture) // 16))
    pieces = [picture[at : at + _PIECE_BYTES] for at in steps][4:]  # behind the tables that encoders write alike
    best = max(pieces, key=lambda piece: len(set(piece)), default=b"")
    return best if len(set(best)) >= _TELLING else b""


def _note(found: dict[bytes, dict[str, Any]], row: Mapping[str, Any]) -> None:
    known = found.setdefault(row["uid"], {})
    for name in (*NAMES, *HASHES):
        value = row.get(name)
        if value is not None:
            known[name] = value.hex() if isinstance(value, bytes) else value


def seal_needles(registry: Registry, request_id: str, secrets: Mapping[bytes, Mapping[str, Any]]) -> None:
    """Add to a request's matches, sealed with its key, what is known of their samples; what they held before stays."""
    with place.writing(registry.engine) as connection:
        key = connection.execute(select(request.c.key).where(request.c.id == request_id)).scalar()
        if key is None:
            return
        rows = connection.execute(select(match.c.uid, match.c.sealed).where(match.c.request_id == request_id)).all()
        for uid, sealed in rows:
            if bytes(uid) not in secrets:
                continue
            label = f"{request_id}/{bytes(uid).hex()}"
            before = seal.unseal(bytes(key), bytes(sealed), label) if sealed else {}
            fresh = seal.seal(bytes(key), {**secrets[bytes(uid)], **before}, label)
            mine = (match.c.request_id == request_id, match.c.uid == uid)
            connection.execute(update(match).where(*mine).values(sealed=fresh))
