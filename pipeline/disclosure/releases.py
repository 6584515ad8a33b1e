"""Who was given which snapshot: the register of recipients, and a manifest with every release (GDPR art. 15(1)(c), 19, 30)."""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from pipeline import amendments
from pipeline.disclosure import erased
from pipeline.disclosure.packed import Records, holds_any, wanted_of
from pipeline.errors import FormatError, InputError
from pipeline.ids import stable_hash
from pipeline.pack import shard_files
from pipeline.registry import clock, log, merkle, place
from pipeline.registry import requests as states
from pipeline.registry.registry import Registry
from pipeline.registry.tables import import_, recipient, release
from pipeline.snapshot import ShardEntry, Snapshot, numbers, read, require_latest
from pipeline.stage import sha256_stored
from pipeline.store import Store

FOLDER = "releases"
FORMAT = "tamis release 1"


@dataclass(frozen=True)
class Release:
    """A snapshot that somebody was given."""

    id: str
    snapshot: int
    recipient_id: str
    recipient: str
    released_utc: str
    manifest_sha256: str
    purpose: str

    @property
    def manifest(self) -> str:
        """Return the manifest's name in the data set."""
        return f"{FOLDER}/{self.id}.json"


def register(
    store: Store, registry: Registry, *, to: str, contact: str, purpose: str, number: int | None = None
) -> Release:
    """Enter a release in the register and write its manifest; the same again returns the same release.

    InputError while anything that is hidden, asked or listed has not been carried out: what is given away cannot be erased.
    """
    snapshot = chosen(store, number)
    for name, value, most in (("name", to, 200), ("contact", contact, 400), ("purpose", purpose, 400)):
        if not value.strip() or len(value) > most:
            raise InputError(f"the recipient's {name} must have 1 to {most} characters")
    refuse_unsettled(store, registry)
    files = shard_list(store, snapshot)
    root = root_of(files)
    with place.writing(registry.engine) as connection:
        who = _recipient(connection, to, contact)
    id_ = "v-" + stable_hash([registry.origin, who, snapshot.number, root.hex(), purpose], 26)
    body = manifest(store, registry, snapshot, files) | {"release": id_, "recipient": who, "purpose": purpose}
    name = f"{FOLDER}/{id_}.json"
    data = json.dumps(body, sort_keys=True, indent=1).encode()
    if not store.create(name, data):
        data = store.read(name)  # a command repeated after a kill
    digest = hashlib.sha256(data).hexdigest()
    with place.writing(registry.engine) as connection:
        if connection.execute(select(release.c.id).where(release.c.id == id_)).first() is None:
            connection.execute(
                release.insert().values(
                    id=id_, snapshot=snapshot.number, recipient_id=who, released_utc=json.loads(data)["released_utc"],
                    manifest_sha256=digest, purpose=purpose,
                )
            )  # fmt: skip
            told = {"release": id_, "snapshot": snapshot.number, "root": root.hex(), "manifest_sha256": digest}
            log.append(connection, "release", told)
    return next(found for found in releases(registry) if found.id == id_)


def chosen(store: Store, number: int | None) -> Snapshot:
    """Return the snapshot of that number, the newest where there is none; InputError when its shards are gone."""
    have = numbers(store)
    if number is not None and number not in have:
        raise InputError(f"{store.root}: no snapshot {number}; there are {', '.join(map(str, have)) or 'none'}")
    snapshot = require_latest(store) if number is None else read(store, number)
    if snapshot.shards and not store.exists(shard_files(snapshot.folder, snapshot.shards[0].number)["tar"]):
        raise InputError(f"{store.root}: the shards of snapshot {snapshot.number} have expired; take a newer one")
    return snapshot


def refuse_unsettled(store: Store, registry: Registry) -> None:
    """Raise InputError when somebody said no and it has not been carried out yet."""
    open_ = [found for found in registry.requests() if found.state in ("received", "identified", "confirmed")]
    waiting = [found.id for found in open_ if not found.waits]
    held = [found.id for found in open_ if found.waits and not found.asks]
    lists = [id_ for id_ in registry.imports() if registry.meta(f"searched {id_}") is None]
    hidden = len(erased.pending(store))
    says = [
        f"{hidden:,} hidden samples are not erased yet" if hidden else "",
        f"{len(waiting):,} requests have not been looked for" if waiting else "",
        f"{len(lists):,} imported lists have not been looked for" if lists else "",
        f"{len(held):,} requests wait for an officer (`tamis optout accept` or `refuse`)" if held else "",
    ]
    if any(says):
        raise InputError(f"{store.root}: {', '.join(filter(None, says))}; run `tamis optout apply` first, then release")


def _recipient(connection: Connection, name: str, contact: str) -> str:
    """Return the id of the recipient of that name, entered at the first use; a new contact replaces the old one."""
    known = connection.execute(select(recipient.c.id, recipient.c.contact).where(recipient.c.name == name)).first()
    if known is None:
        id_ = "c-" + secrets.token_hex(8)
        now = clock.text(clock.now_utc())
        connection.execute(recipient.insert().values(id=id_, name=name, contact=contact, registered_utc=now))
        return id_
    if known.contact != contact:
        connection.execute(update(recipient).where(recipient.c.id == known.id).values(contact=contact))
    return str(known.id)


def shard_list(store: Store, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return a snapshot's shards with the digests of their files as they are now; what an erasure changed is read again."""
    changed = {change.origin for erasure in amendments.erasures(store) for change in erasure.changes}

    def now(entry: ShardEntry, role: str, name: str) -> str:
        return sha256_stored(store, name) if entry.sha256[role] in changed else entry.sha256[role]

    return [
        {
            "number": entry.number,
            "rows": entry.rows,
            "files": {
                name: now(entry, role, name) for role, name in shard_files(snapshot.folder, entry.number).items()
            },
        }
        for entry in snapshot.shards
    ]


def root_of(shards: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the Merkle root (RFC 9162 §2.1.1) over the shards; a leaf is a shard's entry as canonical JSON."""
    leaves = [merkle.leaf_hash(log.canonical(shard).encode()) for shard in shards]

    def node(level: int, number: int) -> bytes:
        if level == 0:
            return leaves[number]
        return merkle.node_hash(node(level - 1, 2 * number), node(level - 1, 2 * number + 1))

    return merkle.root(0, len(leaves), node)


def manifest(
    store: Store, registry: Registry, snapshot: Snapshot, shards: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what a release says of itself: its files, and up to which point it obeys requests and lists.

    `min_safe_snapshot`: copies of snapshots before that number, taken earlier, hold samples that were removed since.
    """
    erasures = amendments.erasures(store)
    return {
        "format": FORMAT,
        "released_utc": clock.text(clock.now_utc()),
        "snapshot": snapshot.number,
        "config_digest": snapshot.config_digest,
        "root": root_of(shards).hex(),
        "rows": snapshot.rows,
        "shards": list(shards),
        "registry": registry.position(),
        "log": registry.origin,
        "tombstones": max((int(name.rsplit("/", 1)[1].split(".")[0]) for name in store.names("tombstones")), default=0),
        "erasures": erasures[-1].number if erasures else 0,
        "min_safe_snapshot": min(snapshot.number, min_safe(store, erased.erased_in(store))[0]),
        "undecided_requests": sum(1 for found in registry.requests("proposed") if found.state in states.OPEN),
        "signals": signals(snapshot),
        "lists": _lists(registry),
        "removals_feed": "removals/feed.ndjson",
    }


def signals(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a snapshot's configuration says of the statements it obeys, with the versions of its own lists of names."""
    fetch: Mapping[str, Any] = snapshot.config.get("fetch", {})
    told = {name: fetch[name] for name in ("robots", "user_agent_token", "disallowed") if name in fetch}
    return {**told, **dict(snapshot.config.get("signals", {}))}


def _lists(registry: Registry) -> list[dict[str, Any]]:
    """Return the imported lists that are obeyed, by their digests."""
    columns = (import_.c.id, import_.c.source, import_.c.sha256, import_.c.imported_utc)
    with place.reading(registry.engine) as connection:
        found = connection.execute(select(*columns).order_by(import_.c.imported_utc, import_.c.id)).all()
    return [dict(row._mapping) for row in found]


def min_safe(store: Store, removed: Iterable[bytes]) -> tuple[int, bool]:
    """Return the number from which on no snapshot holds any of these uids, and whether it is published.

    A snapshot that was made with a tombstone in view cannot hold its uid; only older ones are looked into, newest first.
    """
    stones = [(int(name.rsplit("/", 1)[1].split(".")[0]), row) for name, row in erased.stones(store)]
    uids, records, have = set(removed), Records(store), numbers(store)
    for number in reversed(have):
        snapshot = read(store, number)
        obeyed = int(snapshot.refusals.get("tombstones", 0))
        newer: dict[bytes, set[str]] = {}
        for file, row in stones:
            if file > obeyed and row["uid"] in uids:
                newer.setdefault(row["uid"], set()).add(row["part"])
        if newer and holds_any(records, snapshot, wanted_of(newer)):
            return number + 1, number + 1 in have
    return (have[0] if have else 1), True


def releases(registry: Registry) -> list[Release]:
    """Return all releases, oldest first."""
    columns = (release.c.id, release.c.snapshot, release.c.recipient_id, recipient.c.name, release.c.released_utc,
               release.c.manifest_sha256, release.c.purpose)  # fmt: skip
    joined = select(*columns).join(recipient, recipient.c.id == release.c.recipient_id)
    with place.reading(registry.engine) as connection:
        found = connection.execute(joined.order_by(release.c.released_utc, release.c.id)).all()
    return [Release(*row) for row in found]


def read_manifest(store: Store, made: Release) -> dict[str, Any]:
    """Return a release's manifest; FormatError when it is missing or not the one that was registered."""
    try:
        data = store.read(made.manifest)
    except FileNotFoundError as error:
        raise FormatError(f"{store.uri(made.manifest)}: missing, though the register names it; restore it") from error
    if hashlib.sha256(data).hexdigest() != made.manifest_sha256:
        raise FormatError(f"{store.uri(made.manifest)}: not the manifest that was registered; restore it")
    found: dict[str, Any] = json.loads(data)
    return found
