"""Receipts: a person holds in hand what was logged about their request, and anyone checks it offline."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from filters import removal
from pipeline.errors import FormatError, InputError, InvariantError
from pipeline.registry import log, merkle, place, seal
from pipeline.registry.registry import Registry
from pipeline.registry.requests import MOVES
from pipeline.registry.tables import leaf, request

_FORMAT = "tamis receipt 1"
_HEAD = "tamis log head 1"


def receipt(registry: Registry, request_id: str) -> dict[str, Any]:
    """Return the receipt of a request as it stands: its log entries, each with its proof, under one signed head.

    `opening` is the key of the request's commitment: with it and what was asked, the holder shows that the log speaks of
    that and nothing else. It opens nothing more, and is absent once the person is forgotten (an earlier receipt has it).
    """
    found = registry.get(request_id)
    with place.writing(registry.engine) as connection:
        note = log.sign_head(connection, registry.key, registry.origin)
        size = log.size(connection)
        read = log.reader(connection)
        mine = select(leaf.c.number, leaf.c.entry).where(leaf.c.request == request_id)
        rows = connection.execute(mine.order_by(leaf.c.number)).all()
        entries = [
            {"leaf": number, "entry": text, "proof": [step.hex() for step in merkle.inclusion(number, size, read)]}
            for number, text in rows
        ]
        key = connection.execute(select(request.c.key).where(request.c.id == request_id)).scalar()
    return {
        "format": _FORMAT,
        "request": request_id,
        "kind": found.kind,
        "state": found.state,
        "received_utc": found.received_utc,
        "due_utc": found.deadline_utc,
        "opening": seal.opening(bytes(key)).hex() if key else None,
        "checkpoint": note,
        "public_key": base64.b64encode(log.public_bytes(registry.key)).decode(),
        "entries": entries,
    }


def checkpoint(registry: Registry, since: int | None = None) -> dict[str, Any]:
    """Return the newest signed head, and the proof that the log of `since` entries is its beginning (RFC 9162 §2.1.4)."""
    with place.writing(registry.engine) as connection:
        note = log.sign_head(connection, registry.key, registry.origin)
        size, read = log.size(connection), log.reader(connection)
        if since is not None and not 0 < since <= size:
            raise InputError(f"no proof since {since} entries: the log has {size}")
        path = merkle.consistency(since, size, read) if since else []
    return {
        "format": _HEAD,
        "checkpoint": note,
        "public_key": base64.b64encode(log.public_bytes(registry.key)).decode(),
        "since": since,
        "consistency": [step.hex() for step in path],
    }


def check(
    held: Mapping[str, Any],
    value: str | None = None,
    public_key: str | None = None,
    later: Mapping[str, Any] | None = None,
) -> list[str]:
    """Check a receipt with nothing but itself and return what was shown, a sentence each.

    `public_key` (base64) is the log's key where the holder has it from elsewhere; the receipt's own proves no more than that
    it is whole. `value` is what was asked. `later` is a newer head (`checkpoint`) that must have grown out of the receipt's.
    FormatError when it is no receipt, InvariantError when a proof fails.
    """
    try:
        if held["format"] != _FORMAT:
            raise FormatError(f"not a receipt of a kind that is known: {held['format']!r}")
        public = base64.b64decode(public_key or held["public_key"], validate=True)
        origin, size, root = log.open_note(held["checkpoint"], public)
        whose = "the key you gave" if public_key else "the key in the receipt"
        shown = [f"the head of {size} entries of {origin} is signed by {whose}"]
        entries = []
        for item in held["entries"]:
            entry = json.loads(item["entry"])
            proof = [bytes.fromhex(step) for step in item["proof"]]
            if not merkle.included(merkle.leaf_hash(item["entry"].encode()), item["leaf"], size, proof, root):
                raise InvariantError(f"entry {item['leaf']} is not in the log that was signed: the receipt was changed")
            if entry.get("request") != held["request"]:
                raise InvariantError(f"entry {item['leaf']} speaks of another request")
            shown.append(f"entry {item['leaf']}: {entry['type']} at {entry['utc']}")
            entries.append(entry)
        _agree(held, entries)
        if value is not None:
            shown.append(_opened(held, value, {entry["commitment"] for entry in entries if "commitment" in entry}))
        if later is not None:
            shown.append(_grown(later, public, origin, size, root))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not a receipt: {error!r}") from error
    return shown


def _agree(held: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
    """Check that what the receipt says in plain words is what its entries say."""
    said: dict[str, Any] = {}
    for entry in entries:
        if entry["type"] in MOVES:
            said["state"] = entry["type"]
        if entry["type"] == "received":
            said |= {"kind": entry["kind"], "received_utc": entry["received"]}
        if "due" in entry:
            said["due_utc"] = entry["due"]
    for name in ("kind", "state", "received_utc", "due_utc"):
        if name not in said or held[name] != said[name]:
            raise InvariantError(f"the receipt says {name} {held[name]!r}, the log {said.get(name)!r}: it was changed")


def _grown(later: Mapping[str, Any], public: bytes, origin: str, size: int, root: bytes) -> str:
    if later["format"] != _HEAD:
        raise FormatError(f"not a head of a kind that is known: {later['format']!r}")
    name, grown, top = log.open_note(later["checkpoint"], public)
    path = [bytes.fromhex(step) for step in later["consistency"]]
    if name != origin:
        raise InvariantError(f"the later head is {name}'s, the receipt is {origin}'s")
    if later["since"] != size:
        raise InvariantError(f"the later head's proof begins at {later['since']} entries; ask for one since {size}")
    if not merkle.consistent(size, grown, path, root, top):
        raise InvariantError("the log was rewritten: its later head does not follow from the receipt's")
    return f"the log of {grown} entries begins with the {size} of the receipt"


def _opened(held: Mapping[str, Any], value: str, commitments: set[str]) -> str:
    if not held["opening"]:
        raise InvariantError("the receipt was made after the person was forgotten: it no longer opens what was asked")
    picture = held["kind"] == "picture"  # named by the SHA-256 of its file
    form = removal.normal("sha256" if picture else held["kind"], value)
    form = form.hex() if picture and isinstance(form, bytes) else form
    if form is None or seal.commitment(bytes.fromhex(held["opening"]), held["kind"], form).hex() not in commitments:
        raise InvariantError("the log speaks of something else than that value")
    return f"what was asked is that {held['kind']}"
