"""Requests and matches as the database has them, and the two counters that every change moves: steps and the position."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from pipeline.errors import InputError
from pipeline.registry import clock, log, seal
from pipeline.registry.requests import Match, Request
from pipeline.registry.tables import meta, request, transition

_AT_ONCE = 400  # ids in one query


def read_request(connection: Connection, request_id: str) -> Request:
    """Return a request; InputError when there is none of that id."""
    for found in read_requests(connection, [request_id]):
        return found
    raise InputError(f"no request {request_id} in this registry; `tamis optout list` shows them")


def read_requests(connection: Connection, ids: Sequence[str]) -> Iterator[Request]:
    """Yield the requests of these ids in the order they came."""
    for at in range(0, len(ids), _AT_ONCE):
        chosen = ids[at : at + _AT_ONCE]
        steps: dict[str, list[tuple[str, str, int | None]]] = {}
        done = select(transition.c.request_id, transition.c.state, transition.c.utc, transition.c.leaf_index)
        ordered = done.where(transition.c.request_id.in_(chosen)).order_by(transition.c.number)
        for id_, state, utc, leaf in connection.execute(ordered):
            steps.setdefault(id_, []).append((state, utc, leaf))
        for row in connection.execute(select(request).where(request.c.id.in_(chosen)).order_by(request.c.position)):
            yield _request(row, tuple(steps.get(row.id, ())))


def _request(row: Row[Any], steps: tuple[tuple[str, str, int | None], ...]) -> Request:
    return Request(
        id=row.id, position=row.position, kind=row.kind, digest=bytes(row.digest) if row.digest is not None else None,
        options=json.loads(row.options), source=row.source, state=row.state, reason=row.reason, received_utc=row.received_utc,
        due_utc=row.due_utc, extension_notice_utc=row.extension_notice_utc, extended_due_utc=row.extended_due_utc,
        forgotten=row.key is None, transitions=steps,
    )  # fmt: skip


def read_match(row: Row[Any], key: bytes | None) -> Match:
    """Return a match, with what is sealed of it where the key still is."""
    uid = bytes(row.uid)
    opened = key is not None and row.sealed is not None
    secret = seal.unseal(key or b"", bytes(row.sealed), f"{row.request_id}/{uid.hex()}") if opened else None
    return Match(uid, row.part, row.how, row.score, row.state, secret)


def step(connection: Connection, request_id: str, state: str, body: Mapping[str, Any]) -> None:
    """Note that a request reached a state, with the log's entry on it."""
    count = connection.execute(select(func.count()).where(transition.c.request_id == request_id)).scalar_one()
    number = log.append(connection, state, {"request": request_id, **body})
    utc = clock.text(clock.now_utc())
    connection.execute(
        transition.insert().values(request_id=request_id, number=count, state=state, utc=utc, leaf_index=number)
    )


def remember(connection: Connection, name: str, value: str | None) -> None:
    """Keep a fact of the registry's own under a name; None forgets it."""
    if value is None:
        connection.execute(meta.delete().where(meta.c.name == name))
    elif connection.execute(update(meta).where(meta.c.name == name).values(value=value)).rowcount == 0:
        connection.execute(meta.insert().values(name=name, value=value))


def recall(connection: Connection, name: str) -> str | None:
    """Return a fact of the registry's own."""
    found = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return None if found is None else str(found)


def position(connection: Connection) -> int:
    """Return the number of the newest change to what is matched against."""
    return int(recall(connection, "position") or 0)


def advance_position(connection: Connection) -> int:
    """Count a change to what is matched against, and return its number."""
    number = position(connection) + 1
    remember(connection, "position", str(number))
    return number
