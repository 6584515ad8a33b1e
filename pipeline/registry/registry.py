"""The registry of requests: every change is one transaction that holds the new state and the log's entry on it."""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, Row, func, select, update

from filters import removal
from filters.perceptual import PDQ_MIN_QUALITY
from pipeline.errors import ConfigError, InputError
from pipeline.registry import clock, log, place, seal
from pipeline.registry.requests import CATEGORIES, OPEN, Match, Request, check_move
from pipeline.registry.tables import entry, import_, leaf, match, meta, request, transition
from pipeline.store import Store


@dataclass(frozen=True)
class Registry:
    """An opened registry of one data set."""

    engine: Engine
    store: Store

    @classmethod
    def open(cls, store: Store, url: str | None = None) -> "Registry":
        """Open the data set's registry, made at the first use; ConfigError and StorageError say what to do."""
        if url is None and place.address(store).startswith("sqlite"):
            place.private_folder(store)
        registry = cls(place.open_engine(place.address(store, url)), store)
        registry._found()
        return registry

    def _found(self) -> None:
        """Give a new registry its name and its secret; of two that start at once, the first one's stay."""
        with place.writing(self.engine) as connection:
            have = {name for (name,) in connection.execute(select(meta.c.name))}
            fresh = {"registry_id": secrets.token_hex(8), "list_seed": secrets.token_hex(32), "position": "0"}
            for name, value in fresh.items():
                if name not in have:
                    connection.execute(meta.insert().values(name=name, value=value))

    def meta(self, name: str) -> str | None:
        """Return one of the registry's own facts."""
        with place.reading(self.engine) as connection:
            found = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
        return None if found is None else str(found)

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of the registry's own under a name."""
        with place.writing(self.engine) as connection:
            if connection.execute(update(meta).where(meta.c.name == name).values(value=value)).rowcount == 0:
                connection.execute(meta.insert().values(name=name, value=value))

    @cached_property
    def seed(self) -> bytes:
        """Return the 32 secret bytes that names are digested with in lists (filters.removal.digest)."""
        return bytes.fromhex(self.meta("list_seed") or "")

    @cached_property
    def origin(self) -> str:
        """Return the log's name, as its signed heads say it."""
        return f"tamis/{self.meta('registry_id')}"

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """Return the key that signs heads and reports; it lives in the data set's private folder, else in TAMIS_KEYS."""
        import os
        from pathlib import Path

        folder = place.private_folder(self.store) or (
            Path(os.environ["TAMIS_KEYS"]) if "TAMIS_KEYS" in os.environ else None
        )
        if folder is None:
            raise ConfigError(
                "a data set on an object store keeps its signing key in a local folder; name it in TAMIS_KEYS"
            )
        return log.signing_key(folder)

    def position(self) -> int:
        """Return the number of the newest change to what is matched against; snapshots and releases name it."""
        return int(self.meta("position") or 0)

    def add(
        self,
        kind: str,
        value: str | Mapping[str, str],
        *,
        source: str = "person",
        contact: str | None = None,
        note: str | None = None,
        category: str = "train",
        copies: bool | None = None,
        distance: int | None = None,
        received_utc: datetime | None = None,
    ) -> Request:
        """Take a request in and return it; an equal one that is still open is returned instead of a second.

        `value` is what the request names; for a `picture` its hashes in hex (sha256, md5, pdq, phash64). From this moment
        ingests obey it. InputError when the value is none of that kind.
        """
        if category not in CATEGORIES:
            raise InputError(f"category {category!r}: one of {', '.join(CATEGORIES)}")
        named = _Named.read(self.seed, kind, value)
        options = {
            "copies": kind in removal.COPIES_TOO if copies is None else copies,
            "category": category,
            **({"distance": distance} if distance is not None else {}),
        }
        received = received_utc or clock.now_utc()
        with place.writing(self.engine) as connection:
            same = select(request.c.id).where(
                request.c.kind == kind,
                request.c.digest == named.digest,
                request.c.source == source,
                request.c.state.in_(OPEN),
            )
            known = connection.execute(same).scalar()
            if known is not None:
                return _read(connection, known)
            id_ = "r-" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
            key = seal.new_key()
            secret = {"value": value, "contact": contact, "note": note}
            commitment = seal.commitment(seal.opening(key), kind, named.form)
            position = advance_position(connection)
            connection.execute(
                request.insert().values(
                    id=id_, position=position, kind=kind, digest=named.digest, key=key, sealed=seal.seal(key, secret, id_),
                    options=json.dumps(options, sort_keys=True), source=source, state="received",
                    received_utc=clock.text(received), due_utc=clock.text(clock.months_on(received, clock.MONTHS)),
                    commitment=commitment,
                )
            )  # fmt: skip
            for entry_kind, digest, length in named.entries:
                connection.execute(
                    entry.insert().values(
                        kind=entry_kind, digest=digest, owner=id_, length=length, position=position, category=category,
                        distance=distance or 0, active=True,
                    )
                )  # fmt: skip
            _step(connection, id_, "received", {"kind": kind, "commitment": commitment.hex(), **options})
            return _read(connection, id_)

    def imports(self) -> list[str]:
        """Return the ids of the lists that were imported, oldest first."""
        with place.reading(self.engine) as connection:
            return [
                str(id_) for id_ in connection.execute(select(import_.c.id).order_by(import_.c.imported_utc)).scalars()
            ]

    def list_request(self, import_id: str, *, keep: bool = True) -> Request:
        """Return the request of kind `list` that stands for an import; made at the first use unless it is not to be kept."""
        now = clock.now_utc()
        received, due = clock.text(now), clock.text(clock.months_on(now, clock.MONTHS))
        options = {"copies": False, "category": "train"}
        if not keep:
            return Request(
                id=import_id, position=0, kind="list", digest=None, options=options, source="list", state="received", reason=None,
                extension_notice_utc=None, extended_due_utc=None, forgotten=False, received_utc=received, due_utc=due,
            )  # fmt: skip
        with place.writing(self.engine) as connection:
            if connection.execute(select(request.c.id).where(request.c.id == import_id)).first() is None:
                key = seal.new_key()
                commitment = seal.commitment(seal.opening(key), "list", import_id)
                connection.execute(
                    request.insert().values(
                        id=import_id, position=advance_position(connection), kind="list", key=key,
                        sealed=seal.seal(key, {"value": import_id}, import_id), options=json.dumps(options, sort_keys=True),
                        source="list", state="received", commitment=commitment, received_utc=received, due_utc=due,
                    )
                )  # fmt: skip
                _step(connection, import_id, "received", {"kind": "list", "commitment": commitment.hex()})
            return _read(connection, import_id)

    def get(self, request_id: str) -> Request:
        """Return a request; InputError when there is none of that id."""
        with place.reading(self.engine) as connection:
            return _read(connection, request_id)

    def requests(self, state: str | None = None) -> Iterator[Request]:
        """Yield the requests in the order they came, those of one state where given."""
        with place.reading(self.engine) as connection:
            chosen = select(request.c.id).order_by(request.c.position)
            ids = connection.execute(chosen.where(request.c.state == state) if state else chosen).scalars().all()
        for id_ in ids:
            yield self.get(id_)

    def advance(
        self, request_id: str, state: str, *, reason: str | None = None, body: Mapping[str, Any] | None = None
    ) -> None:
        """Bring a request to its next state, with the log's entry; InputError when the move is not legal.

        To the state it has already is fine, and changes nothing (a command repeated after a kill).
        """
        with place.writing(self.engine) as connection:
            now = _read(connection, request_id)
            if now.state == state:
                return
            check_move(now, state)
            connection.execute(update(request).where(request.c.id == request_id).values(state=state, reason=reason))
            if state in ("withdrawn", "refused"):
                connection.execute(
                    update(entry)
                    .where(entry.c.owner == request_id)
                    .values(active=False, position=advance_position(connection))
                )
            _step(connection, request_id, state, {**({"reason": reason} if reason else {}), **(body or {})})

    def extend(self, request_id: str, now: datetime | None = None) -> Request:
        """Extend the deadline to three months in all, which the person must be told within the first (GDPR art. 12(3))."""
        at = clock.text(now or clock.now_utc())
        with place.writing(self.engine) as connection:
            found = _read(connection, request_id)
            if found.state not in OPEN or found.extended_due_utc:
                raise InputError(
                    f"request {request_id} is {found.state} and {'extended already' if found.extended_due_utc else 'not open'}"
                )
            if at > found.due_utc:
                raise InputError(
                    f"request {request_id} was due on {found.due_utc}: an extension must be told before that"
                )
            until = clock.text(clock.months_on(clock.moment(found.received_utc), clock.EXTENDED_MONTHS))
            values = {"extension_notice_utc": at, "extended_due_utc": until}
            connection.execute(update(request).where(request.c.id == request_id).values(**values))
            log.append(connection, "extended", {"request": request_id, "due": until})
            return _read(connection, request_id)

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
        return [_match(row, bytes(key) if key else None) for row in rows if state in (None, row.state)]

    def settle_match(self, request_id: str, uid: bytes, state: str) -> None:
        """Confirm or reject a proposal; InputError when there is none of that uid."""
        with place.writing(self.engine) as connection:
            mine = (match.c.request_id == request_id, match.c.uid == uid)
            if connection.execute(update(match).where(*mine).values(state=state)).rowcount == 0:
                raise InputError(f"request {request_id} has no match {uid.hex()}; `tamis optout show` lists them")
            log.append(connection, f"match_{state}", {"request": request_id})

    def shred(self, request_id: str) -> None:
        """Destroy the key of everything personal in a request, and what it sealed, in the database's files too."""
        with place.writing(self.engine) as connection:
            connection.execute(update(request).where(request.c.id == request_id).values(key=None, sealed=None))
            connection.execute(update(match).where(match.c.request_id == request_id).values(sealed=None))
            log.append(connection, "forgotten", {"request": request_id})
        place.scrub(self.engine)

    def append(self, type_: str, body: Mapping[str, Any]) -> int:
        """Append an entry to the log and return its number."""
        with place.writing(self.engine) as connection:
            return log.append(connection, type_, body)

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
        pattern = f'%"request":"{request_id}"%'
        with place.reading(self.engine) as connection:
            found = select(leaf.c.number, leaf.c.entry).where(leaf.c.entry.like(pattern)).order_by(leaf.c.number)
            return [(int(number), str(text)) for number, text in connection.execute(found)]


@dataclass(frozen=True)
class _Named:
    """What a request names, in the forms that are stored: a digest, what is committed to, and list entries."""

    digest: bytes
    form: str | bytes
    entries: Sequence[tuple[str, bytes, int]]

    @classmethod
    def read(cls, seed: bytes, kind: str, value: str | Mapping[str, str]) -> "_Named":
        if kind not in removal.KINDS:
            raise InputError(f"kind {kind!r}: one of {', '.join(removal.KINDS)}")
        if not isinstance(value, str):
            return cls._picture(seed, value)
        form = removal.normal(kind, value) if kind != "picture" else None
        if form is None:
            raise InputError(f"{value!r} is no {kind}")
        if isinstance(form, bytes):
            return cls(removal.digest(seed, kind, form.hex()), form, [(kind, removal.listed_hash(seed, kind, form), 0)])
        return cls(removal.digest(seed, kind, form), form, removal.entries(seed, kind, form))

    @classmethod
    def _picture(cls, seed: bytes, hashes: Mapping[str, str]) -> "_Named":
        forms = {kind: removal.normal(kind, hashes[kind]) for kind in ("sha256", "md5", "pdq") if hashes.get(kind)}
        if not isinstance(forms.get("sha256"), bytes):
            raise InputError("a picture is named by its hashes, sha256 at least")
        if int(hashes.get("pdq_quality", PDQ_MIN_QUALITY)) < PDQ_MIN_QUALITY:
            del forms["pdq"]  # says too little to be matched (ThreatExchange)
        entries = [
            (kind, removal.listed_hash(seed, kind, form), 0) for kind, form in forms.items() if isinstance(form, bytes)
        ]
        return cls(removal.digest(seed, "picture", hashes["sha256"]), hashes["sha256"], entries)


def advance_position(connection: Connection) -> int:
    """Count a change to what is matched against, and return its number."""
    number = int(connection.execute(select(meta.c.value).where(meta.c.name == "position")).scalar_one()) + 1
    connection.execute(update(meta).where(meta.c.name == "position").values(value=str(number)))
    return number


def _step(connection: Connection, request_id: str, state: str, body: Mapping[str, Any]) -> None:
    count = connection.execute(select(func.count()).where(transition.c.request_id == request_id)).scalar_one()
    number = log.append(connection, state, {"request": request_id, **body})
    utc = clock.text(clock.now_utc())
    connection.execute(
        transition.insert().values(request_id=request_id, number=count, state=state, utc=utc, leaf_index=number)
    )


def _read(connection: Connection, request_id: str) -> Request:
    row = connection.execute(select(request).where(request.c.id == request_id)).first()
    if row is None:
        raise InputError(f"no request {request_id} in this registry; `tamis optout list` shows them")
    steps = select(transition.c.state, transition.c.utc, transition.c.leaf_index).where(
        transition.c.request_id == request_id
    )
    done = connection.execute(steps.order_by(transition.c.number)).all()
    return Request(
        id=row.id, position=row.position, kind=row.kind, digest=row.digest, options=json.loads(row.options), source=row.source,
        state=row.state, reason=row.reason, received_utc=row.received_utc, due_utc=row.due_utc,
        extension_notice_utc=row.extension_notice_utc, extended_due_utc=row.extended_due_utc, forgotten=row.key is None,
        transitions=tuple((state, utc, number) for state, utc, number in done),
    )  # fmt: skip


def _match(row: Row[Any], key: bytes | None) -> Match:
    sealed = bytes(row.sealed) if row.sealed is not None else None
    uid = bytes(row.uid)
    secret = seal.unseal(key, sealed, f"{row.request_id}/{uid.hex()}") if key and sealed else None
    return Match(uid, row.part, row.how, row.score, row.state, secret)
