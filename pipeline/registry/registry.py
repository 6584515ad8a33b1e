"""The registry of requests: every change is one transaction that holds the new state and the log's entry on it."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, func, select, tuple_, update

from filters import removal
from pipeline.errors import ConfigError, InputError, StorageError
from pipeline.registry import clock, log, place, scrub, seal
from pipeline.registry.naming import Named, Value
from pipeline.registry.opened import Opened
from pipeline.registry.requests import CATEGORIES, OPEN, QUESTION, REFUSALS, Match, Request, check_move
from pipeline.registry.rows import (
    advance_position,
    position,
    read_match,
    read_request,
    read_requests,
    recall,
    remember,
    step,
)
from pipeline.registry.tables import entry, import_, leaf, match, request
from pipeline.store import Store

_KEY = "public_key"  # the name of the fact
_ROWS = 10_000  # read at once


@dataclass(frozen=True)
class Registry:
    """An opened registry of one data set."""

    engine: Engine
    store: Store

    @classmethod
    def open(cls, store: Store, url: str | None = None) -> "Registry":
        """Open the data set's registry, made at the first use; ConfigError and StorageError say what to do."""
        where = place.address(store, url)
        place.private_folder(store)
        registry = cls(place.open_engine(where), store)
        registry._found()
        place.bind(store, registry.engine, registry.id)
        return registry

    def _found(self) -> None:
        """Give a new registry its name, its secret and its signing key; of two that start at once, the first one's stay."""
        fresh = {"registry_id": secrets.token_hex(8), "list_seed": secrets.token_hex(32), "position": "0"}
        folder = place.keys_folder(self.store)
        if folder is not None and self.meta(_KEY) is None:
            fresh[_KEY] = _public(log.signing_key(folder))
        with place.writing(self.engine) as connection:
            for name, value in fresh.items():
                if recall(connection, name) is None:
                    remember(connection, name, value)

    def meta(self, name: str) -> str | None:
        """Return one of the registry's own facts."""
        with place.reading(self.engine) as connection:
            return recall(connection, name)

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of the registry's own under a name."""
        with place.writing(self.engine) as connection:
            remember(connection, name, value)

    @cached_property
    def seed(self) -> bytes:
        """Return the 32 secret bytes that names are digested with in lists (filters.removal.digest)."""
        return bytes.fromhex(self.meta("list_seed") or "")

    @cached_property
    def id(self) -> str:
        """Return the registry's own name."""
        return str(self.meta("registry_id"))

    @property
    def origin(self) -> str:
        """Return the log's name, as its signed heads say it."""
        return f"tamis/{self.id}"

    def ready(self) -> None:
        """Raise what stands in the way of a receipt, before a request is taken that nobody could follow."""
        _ = self.key

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """Return the key that signs heads and reports; it lives in the data set's private folder, else in TAMIS_KEYS.

        It is always the same one: StorageError when the key that signed earlier is gone or another lies in its place.
        """
        folder, known = place.keys_folder(self.store), self.meta(_KEY)
        if folder is None:
            raise ConfigError(
                f"a data set on an object store keeps its signing key in a local folder; name it in {place.KEYS}"
            )
        path = folder / log.KEY_FILE
        if known is not None and not path.exists():
            raise StorageError(f"{path}: the registry's signing key is gone; restore it from a backup")
        key = log.signing_key(folder)
        if known not in (None, _public(key)):
            raise StorageError(f"{path}: not the key that signed the log before ({known}); restore it from a backup")
        return key

    def position(self) -> int:
        """Return the number of the newest change to what is matched against; snapshots and releases name it."""
        with place.reading(self.engine) as connection:
            return position(connection)

    def add(
        self,
        kind: str,
        value: Value,
        *,
        source: str = "person",
        contact: str | None = None,
        note: str | None = None,
        category: str = "train",
        copies: bool | None = None,
        distance: int | None = None,
        received_utc: datetime | None = None,
        held: bool = False,
        evidence: str | None = None,
    ) -> Request:
        """Take a request in and return it; an equal one of the same person that is still open is returned instead of a second.

        `value` is what the request names; for a `picture` its hashes in hex (sha256, md5, pdq, phash64). From this moment
        ingests obey it, unless it is `held` until an officer accepts it, or only asks. `evidence` is sealed with what the
        person told. InputError when the value is none of that kind.
        """
        if category not in CATEGORIES:
            raise InputError(f"category {category!r}: one of {', '.join(CATEGORIES)}")
        received = received_utc or clock.now_utc()
        if received > clock.now_utc() + timedelta(days=1):  # a day, for people whose clock is ahead of UTC
            raise InputError(f"received on {clock.text(received)}: that is yet to come")
        most = removal.MOST_BITS.get("pdq" if kind == "picture" else kind)
        if distance is not None and not (most and 0 < distance <= most):
            says = f"1 to {most} bits" if most else "of pdq, phash64 and picture, not of other kinds"
            raise InputError(f"distance {distance} of a {kind}: a radius is {says}")
        named = Named.read(self.seed, kind, value)
        options: dict[str, Any] = {
            "copies": kind in removal.COPIES_TOO if copies is None else copies,
            "category": category,
        }
        if distance is not None:
            options["distance"] = distance
        if held:
            options["held"] = True
        active = not held and category != QUESTION
        id_ = "r-" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        secret = {"value": value, "contact": contact, "note": note, **({"evidence": evidence} if evidence else {})}
        opened = Opened(id_, kind, source, options, secret, named.form, named.digest, received)
        with place.writing(self.engine) as connection:
            known = opened.equal(connection)
            if known is not None:
                return read_request(connection, known)
            number = opened.insert(connection)
            for entry_kind, digest, length in named.entries:
                connection.execute(
                    entry.insert().values(
                        kind=entry_kind, digest=digest, owner=id_, length=length, position=number, category=category,
                        distance=distance or 0, active=active,
                    )
                )  # fmt: skip
            return read_request(connection, id_)

    def imports(self) -> list[str]:
        """Return the ids of the lists that were imported, oldest first."""
        with place.reading(self.engine) as connection:
            return [
                str(id_) for id_ in connection.execute(select(import_.c.id).order_by(import_.c.imported_utc)).scalars()
            ]

    def list_request(self, import_id: str, *, keep: bool = True) -> Request:
        """Return the request of kind `list` that stands for an import; made at the first use unless it is not to be kept."""
        options = {"copies": False, "category": "train"}
        opened = Opened(import_id, "list", "list", options, {"value": import_id}, import_id, None, clock.now_utc())
        if not keep:
            return opened.request()
        with place.writing(self.engine) as connection:
            if connection.execute(select(request.c.id).where(request.c.id == import_id)).first() is None:
                opened.insert(connection)
            return read_request(connection, import_id)

    def get(self, request_id: str) -> Request:
        """Return a request; InputError when there is none of that id."""
        with place.reading(self.engine) as connection:
            return read_request(connection, request_id)

    def requests(self, state: str | None = None) -> Iterator[Request]:
        """Yield the requests in the order they came, those of one state where given."""
        with place.reading(self.engine) as connection:
            chosen = select(request.c.id).order_by(request.c.position)
            ids = connection.execute(chosen.where(request.c.state == state) if state else chosen).scalars().all()
            found = list(read_requests(connection, ids))
        yield from found

    def advance(
        self, request_id: str, state: str, *, reason: str | None = None, body: Mapping[str, Any] | None = None
    ) -> None:
        """Bring a request to its next state, with the log's entry; InputError when the move is not legal.

        To the state it has already is fine, and changes nothing (a command repeated after a kill).
        """
        with place.writing(self.engine) as connection:
            now = read_request(connection, request_id)
            if now.state == state:
                return
            check_move(now, state)
            if state == "refused" and reason not in REFUSALS:
                raise InputError(f"a refusal needs its reason (GDPR art. 12(4)): one of {', '.join(REFUSALS)}")
            connection.execute(update(request).where(request.c.id == request_id).values(state=state, reason=reason))
            if state in ("withdrawn", "refused"):
                connection.execute(
                    update(entry)
                    .where(entry.c.owner == request_id)
                    .values(active=False, position=advance_position(connection))
                )
            step(connection, request_id, state, {**({"reason": reason} if reason else {}), **(body or {})})

    def accept(self, request_id: str) -> None:
        """Let ingests obey what a held request names, with the log's entry; again changes nothing."""
        with place.writing(self.engine) as connection:
            mine = (entry.c.owner == request_id, entry.c.active.is_(False))
            said = select(leaf.c.number).where(leaf.c.request == request_id, leaf.c.type == "accepted")
            if not read_request(connection, request_id).waits or connection.execute(said).first() is not None:
                return
            connection.execute(update(entry).where(*mine).values(active=True, position=advance_position(connection)))
            log.append(connection, "accepted", {"request": request_id})

    def extend(self, request_id: str, now: datetime | None = None) -> Request:
        """Extend the deadline to three months in all, which the person must be told within the first (GDPR art. 12(3))."""
        at = clock.text(now or clock.now_utc())
        with place.writing(self.engine) as connection:
            found = read_request(connection, request_id)
            if found.state not in OPEN:
                raise InputError(f"request {request_id} is {found.state}: there is no deadline to extend")
            if found.extended_due_utc:
                raise InputError(f"request {request_id} was extended already, until {found.extended_due_utc}")
            if at > found.due_utc:
                raise InputError(
                    f"request {request_id} was due on {found.due_utc}: an extension must be told before that"
                )
            until = clock.text(clock.months_on(clock.moment(found.received_utc), clock.EXTENDED_MONTHS))
            values = {"extension_notice_utc": at, "extended_due_utc": until}
            connection.execute(update(request).where(request.c.id == request_id).values(**values))
            log.append(connection, "extended", {"request": request_id, "due": until})
            return read_request(connection, request_id)

    def secret(self, request_id: str) -> dict[str, Any]:
        """Return what the person told us (value, contact, note); InputError once it is forgotten."""
        with place.reading(self.engine) as connection:
            row = connection.execute(select(request.c.key, request.c.sealed).where(request.c.id == request_id)).first()
        if row is None or row.key is None or row.sealed is None:
            raise InputError(f"request {request_id}: what the person told us is no longer known, its key was destroyed")
        return seal.unseal(bytes(row.key), bytes(row.sealed), request_id)

    def add_matches(self, request_id: str, rows: Sequence[Match]) -> int:
        """Keep what was found for a request, sealed; a uid that is known stays as it was. Return how many are new."""
        with place.writing(self.engine) as connection:
            key = connection.execute(select(request.c.key).where(request.c.id == request_id)).scalar()
            known = set(connection.execute(select(match.c.uid).where(match.c.request_id == request_id)).scalars())
            fresh = {row.uid: row for row in rows if row.uid not in known}
            for row in fresh.values():
                secret = (
                    seal.seal(bytes(key), row.secret, f"{request_id}/{row.uid.hex()}") if key and row.secret else None
                )
                connection.execute(
                    match.insert().values(
                        request_id=request_id,
                        uid=row.uid,
                        part=row.part,
                        how=row.how,
                        score=row.score,
                        state=row.state,
                        sealed=secret,
                    )
                )
            if fresh:
                log.append(connection, "matched", {"request": request_id, "rows": len(fresh)})
        return len(fresh)

    def matches(self, request_id: str, state: str | None = None) -> list[Match]:
        """Return what was found for a request; `secret` is None once it is forgotten."""
        with place.reading(self.engine) as connection:
            key = connection.execute(select(request.c.key).where(request.c.id == request_id)).scalar()
            rows = connection.execute(select(match).where(match.c.request_id == request_id).order_by(match.c.uid)).all()
        return [read_match(row, bytes(key) if key else None) for row in rows if state in (None, row.state)]

    def settle_match(self, request_id: str, uid: bytes, state: str) -> None:
        """Confirm or reject a proposal; InputError when there is none of that uid."""
        with place.writing(self.engine) as connection:
            mine = (match.c.request_id == request_id, match.c.uid == uid)
            if connection.execute(update(match).where(*mine).values(state=state)).rowcount == 0:
                raise InputError(f"request {request_id} has no match {uid.hex()}; `tamis optout show` lists them")
            log.append(connection, f"match_{state}", {"request": request_id})

    def shred(self, request_id: str) -> None:
        """Destroy the key of everything personal in a request, and what it sealed, in the database's files too; again is fine."""
        with place.writing(self.engine) as connection:
            key = connection.execute(select(request.c.key).where(request.c.id == request_id)).scalar()
            connection.execute(update(request).where(request.c.id == request_id).values(key=None, sealed=None))
            connection.execute(update(match).where(match.c.request_id == request_id).values(sealed=None))
            if key is not None:
                log.append(connection, "forgotten", {"request": request_id})
        scrub.scrub(self.engine, bytes(key) if key is not None else None)

    def append(self, type_: str, body: Mapping[str, Any]) -> int:
        """Append an entry to the log and return its number."""
        with place.writing(self.engine) as connection:
            return log.append(connection, type_, body)

    def sign(self) -> str:
        """Sign the log as it stands, where that was not done, and return its head (a C2SP checkpoint)."""
        with place.writing(self.engine) as connection:
            return log.sign_head(connection, self.key, self.origin)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what is matched against, as JSON values: digests, nothing in clear."""
        last: tuple[str, bytes, str] = ("", b"", "")
        names = ("kind", "digest", "owner", "category", "distance", "expires_utc", "active")
        while True:
            after = tuple_(entry.c.kind, entry.c.digest, entry.c.owner) > last
            chosen = select(*(entry.c[name] for name in names)).where(after)
            with place.reading(self.engine) as connection:
                rows = connection.execute(
                    chosen.order_by(entry.c.kind, entry.c.digest, entry.c.owner).limit(_ROWS)
                ).all()
            for row in rows:
                yield dict(zip(names, row, strict=True)) | {"digest": bytes(row.digest).hex()}
            if len(rows) < _ROWS:
                return
            last = (rows[-1].kind, bytes(rows[-1].digest), rows[-1].owner)

    def counts(self) -> dict[str, int]:
        """Return state → requests."""
        with place.reading(self.engine) as connection:
            found = connection.execute(select(request.c.state, func.count()).group_by(request.c.state))
            return {str(state): int(rows) for state, rows in found}

    def check_log(self) -> list[str]:
        """Return what is wrong with the log; empty when every leaf and every signed head is as it was written."""
        with place.reading(self.engine) as connection:
            return log.check(connection, log.public_bytes(self.key))

    def entries_of(self, request_id: str) -> list[tuple[int, str]]:
        """Return (number, JSON) of the log's entries on a request."""
        with place.reading(self.engine) as connection:
            found = select(leaf.c.number, leaf.c.entry).where(leaf.c.request == request_id).order_by(leaf.c.number)
            return [(int(number), str(text)) for number, text in connection.execute(found)]


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(log.public_bytes(key)).decode()
