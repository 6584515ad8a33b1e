"""Every recipient of a release is told what was erased since (GDPR art. 19): one file a recipient, delivered by a person."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select, update

from pipeline.disclosure import erased
from pipeline.disclosure.packed import Records, Spot, spots, wanted_of
from pipeline.disclosure.releases import Release, min_safe, read_manifest, releases
from pipeline.errors import FormatError, InputError
from pipeline.pack import shard_files
from pipeline.registry import clock, log, place
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Request
from pipeline.registry.tables import notice, recipient
from pipeline.snapshot import read
from pipeline.store import Store

FOLDER = "notices"
FORMAT = "tamis removal notice 1"
_SEALED: Final = {"csam": "legal", "ncii": "legal"}
"""A list of rows with such a category would be a directory of them; a recipient need not know more than: remove."""


@dataclass
class Written:
    """What a call did, and how things stand."""

    files: list[str] = field(default_factory=list)
    rows: int = 0
    report: list[dict[str, Any]] = field(default_factory=list)


def write_notices(store: Store, registry: Registry) -> Written:
    """Write a notice for every recipient that holds samples erased since it got them, and enter it; again adds nothing."""
    done = Written()
    made = releases(registry)
    concerned = _concerned(store, registry, made)
    for who in sorted({release.recipient_id for release in made}):
        lines = {request: rows for (request, holder), rows in concerned.items() if holder == who and rows}
        told = _in_files(store, who)  # a command killed before it entered them
        fresh = {request: rows for request, rows in lines.items() if request not in told}
        if fresh:
            done.files.append(_write(store, registry, who, fresh))
            done.rows += sum(map(len, fresh.values()))
        _enter(registry, who, sorted(lines))
    done.report = report(store, registry)
    return done


def _concerned(
    store: Store, registry: Registry, made: Sequence[Release]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return (request, recipient) → lines, for erased requests that the recipient has not been told of."""
    with place.reading(registry.engine) as connection:
        known = {(row.request_id, row.recipient_id) for row in connection.execute(select(notice))}
    erasures, records = erased.erased_in(store), Records(store)
    manifests = {release.id: read_manifest(store, release) for release in made}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    meant = [(request, _meant(registry, request, erasures)) for request in _erased(registry)]
    wanted = wanted_of({uid: parts for _, uids in meant for uid, parts in uids.items()})
    places = {number: spots(records, read(store, number), wanted) for number in {r.snapshot for r in made}}
    for request, uids in meant:
        for release in made:
            since = int(manifests[release.id]["erasures"])
            mine = [uid for uid in uids if erasures[uid].number > since]
            if (request.id, release.recipient_id) not in known:
                lines = found.setdefault((request.id, release.recipient_id), [])
                lines += _lines(request, release, mine, places[release.snapshot])
    return found


def _erased(registry: Registry) -> Iterator[Request]:
    for request in registry.requests():
        if any(state == "erased" for state, _, _ in request.transitions):
            yield request


def _meant(registry: Registry, request: Request, erasures: Mapping[bytes, Any]) -> dict[bytes, set[str]]:
    found: dict[bytes, set[str]] = {}
    for match in registry.matches(request.id, "confirmed"):
        if match.part and match.uid in erasures:
            found.setdefault(match.uid, set()).add(match.part)
    return found


def _lines(
    request: Request, release: Release, uids: Sequence[bytes], where: Mapping[bytes, Spot]
) -> list[dict[str, Any]]:
    category = str(request.options.get("category", "train"))
    return [
        {
            "release": release.id,
            "snapshot": release.snapshot,
            "shard": shard_files(f"{release.snapshot:06d}", where[uid].shard)["tar"],
            "uid": uid.hex(),
            "reason": _SEALED.get(category, category),
        }
        for uid in sorted(uids)
        if uid in where
    ]


def _write(store: Store, registry: Registry, who: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write the next file of a recipient and return its name; the first line says what the others are."""
    uids = {bytes.fromhex(line["uid"]) for rows in lines.values() for line in rows}
    safe, published = min_safe(store, uids)
    date = clock.text(clock.now_utc())[:10]
    rows = sorted({json.dumps(line, sort_keys=True) for found in lines.values() for line in found})
    number = 1 + sum(1 for name in store.names(f"{FOLDER}/{who}") if f"/{date}-" in name)
    while True:
        id_ = f"{who}/{date}-{number}"
        head = {
            "format": FORMAT, "notice": id_, "date": date, "log": registry.origin, "requests": sorted(lines), "rows": len(rows),
            "min_safe_snapshot": safe, "published": published,
            "do": "delete these samples from every copy and everything made of it, and confirm; a snapshot from min_safe_snapshot "
            "on is free of them" + ("" if published else "; it is not published yet"),
        }  # fmt: skip
        data = "".join(line + "\n" for line in [json.dumps(head, sort_keys=True), *rows])
        if store.create(f"{FOLDER}/{id_}.ndjson", data.encode()):
            return f"{FOLDER}/{id_}.ndjson"
        number += 1


def _heads(store: Store, who: str) -> Iterator[dict[str, Any]]:
    for name in store.names(f"{FOLDER}/{who}"):
        try:
            head: dict[str, Any] = json.loads(store.read(name).split(b"\n", 1)[0])
        except ValueError as error:
            raise FormatError(f"{store.uri(name)}: not a notice ({error})") from error
        yield head


def _in_files(store: Store, who: str) -> set[str]:
    return {request for head in _heads(store, who) for request in head["requests"]}


def _enter(registry: Registry, who: str, requests: Sequence[str]) -> None:
    """Enter written notices in the register, with the log's word on each."""
    with place.writing(registry.engine) as connection:
        known = set(connection.execute(select(notice.c.request_id).where(notice.c.recipient_id == who)).scalars())
        for request in requests:
            if request not in known:
                now = clock.text(clock.now_utc())
                connection.execute(notice.insert().values(request_id=request, recipient_id=who, written_utc=now))
                log.append(connection, "recipient_notified", {"request": request, "recipient": who})


def mark(store: Store, registry: Registry, notice_id: str, what: str, why: str | None = None) -> int:
    """Note that a notice was `delivered`, `acknowledged`, or `failed` (with the reason); return how many requests it covers.

    An acknowledgement says that it was delivered too. InputError when there is no notice of that id.
    """
    who, _, _ = notice_id.partition("/")
    head = next((head for head in _heads(store, who) if head["notice"] == notice_id), None)
    if head is None:
        raise InputError(f"{notice_id!r} is no notice; `tamis notices DATASET` lists them (c-…/2026-01-31-1)")
    now = clock.text(clock.now_utc())
    values: dict[str, Any] = {"failure": why or "not said"} if what == "failed" else {"failure": None}
    with place.writing(registry.engine) as connection:
        for request in head["requests"]:
            mine = (notice.c.request_id == request, notice.c.recipient_id == who)
            row = connection.execute(select(notice).where(*mine)).one()
            if what == "acknowledged":
                values["acknowledged_utc"] = row.acknowledged_utc or now
            if what in ("delivered", "acknowledged"):
                values["delivered_utc"] = row.delivered_utc or now
            connection.execute(update(notice).where(*mine).values(**values))
            log.append(connection, f"recipient_{what}", {"request": request, "recipient": who})
    return len(head["requests"])


def report(store: Store, registry: Registry) -> list[dict[str, Any]]:
    """Return every notice with its recipient and how far it got: written, delivered, acknowledged or failed (and why)."""
    told = []
    with place.reading(registry.engine) as connection:
        people = connection.execute(select(recipient).order_by(recipient.c.registered_utc, recipient.c.id)).all()
        rows = {(row.request_id, row.recipient_id): row for row in connection.execute(select(notice))}
    for person in people:
        for head in _heads(store, person.id):
            mine = [row for request in head["requests"] if (row := rows.get((request, person.id))) is not None]
            told.append(
                {
                    "notice": head["notice"],
                    "file": f"{FOLDER}/{head['notice']}.ndjson",
                    "recipient": person.name,
                    "contact": person.contact,
                    "requests": len(head["requests"]),
                    "rows": head["rows"],
                    "state": _state(mine),
                    "why": next((row.failure for row in mine if row.failure), None),
                }
            )
    return told


def _state(rows: Sequence[Any]) -> str:
    if any(row.failure for row in rows):
        return "failed"
    for state in ("acknowledged", "delivered"):
        if rows and all(getattr(row, f"{state}_utc") for row in rows):
            return state
    return "written"


def summary(told: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence that art. 19 asks for: who was informed, who confirmed, who could not be reached and why."""
    by = {
        state: [line for line in told if line["state"] == state]
        for state in ("written", "delivered", "acknowledged", "failed")
    }
    informed = len(by["delivered"]) + len(by["acknowledged"])
    why = "; ".join(f"{line['recipient']}: {line['why']}" for line in by["failed"])
    return (
        f"{informed} informed, {len(by['acknowledged'])} acknowledged, {len(by['failed'])} unreachable"
        + (f" ({why})" if why else "")
        + f", {len(by['written'])} to be delivered"
    )
