"""Receipts: a person holds in hand what was logged about their request, and anyone checks it offline."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from filters import removal
from pipeline.errors import FormatError, InvariantError
from pipeline.registry import log, merkle, place, seal
from pipeline.registry.registry import Registry
from pipeline.registry.tables import leaf, request

_FORMAT = "tamis receipt 1"


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
        pattern = leaf.c.entry.like(f'%"request":"{request_id}"%')
        rows = connection.execute(select(leaf.c.number, leaf.c.entry).where(pattern).order_by(leaf.c.number)).all()
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


def check(held: Mapping[str, Any], value: str | None = None, public_key: str | None = None) -> list[str]:
    """Check a receipt with nothing but itself and return what was shown, a sentence each.

    `public_key` (base64) is the log's key where the holder has it from elsewhere; the receipt's own proves no more than that
    it is whole. `value` is what was asked. FormatError when it is no receipt, InvariantError when a proof fails.
    """
    try:
        if held["format"] != _FORMAT:
            raise FormatError(f"not a receipt of a kind that is known: {held['format']!r}")
        public = base64.b64decode(public_key or held["public_key"], validate=True)
        origin, size, root = log.open_note(held["checkpoint"], public)
        whose = "the key you gave" if public_key else "the key in the receipt"
        shown = [f"the head of {size} entries of {origin} is signed by {whose}"]
        commitments = set()
        for item in held["entries"]:
            entry = json.loads(item["entry"])
            proof = [bytes.fromhex(step) for step in item["proof"]]
            if not merkle.included(merkle.leaf_hash(item["entry"].encode()), item["leaf"], size, proof, root):
                raise InvariantError(f"entry {item['leaf']} is not in the log that was signed: the receipt was changed")
            if entry.get("request") != held["request"]:
                raise InvariantError(f"entry {item['leaf']} speaks of another request")
            shown.append(f"entry {item['leaf']}: {entry['type']} at {entry['utc']}")
            commitments |= {entry["commitment"]} if "commitment" in entry else set()
        if value is not None:
            shown.append(_opened(held, value, commitments))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not a receipt: {error!r}") from error
    return shown


def _opened(held: Mapping[str, Any], value: str, commitments: set[str]) -> str:
    if not held["opening"]:
        raise InvariantError("the receipt was made after the person was forgotten: it no longer opens what was asked")
    form = value if held["kind"] == "picture" else removal.normal(held["kind"], value)
    if form is None or seal.commitment(bytes.fromhex(held["opening"]), held["kind"], form).hex() not in commitments:
        raise InvariantError("the log speaks of something else than that value")
    return f"what was asked is that {held['kind']}"
