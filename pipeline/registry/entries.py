"""What is matched against, as the database has it: entries of lists are merged, sorted, in few round trips."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, or_, select, text, update

from filters.removal import HELPERS
from pipeline.registry.rows import advance_position, position
from pipeline.registry.staging import Staged
from pipeline.registry.tables import entry

_AT_ONCE = 500  # digests in one query
_COLUMNS = ("kind", "digest", "owner", "length", "position", "category", "distance", "expires_utc", "active")
_INTO_SQLITE = f"INSERT INTO entry ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_INTO_POSTGRES = text(
    f"INSERT INTO entry ({', '.join(_COLUMNS)}) SELECT * FROM unnest(CAST(:kind AS text[]), CAST(:digest AS bytea[]), "  # noqa: S608
    "CAST(:owner AS text[]), CAST(:length AS integer[]), CAST(:position AS bigint[]), CAST(:category AS text[]), "
    "CAST(:distance AS integer[]), CAST(:expires_utc AS text[]), CAST(:active AS boolean[]))"
)
_MINE = (entry.c.kind == bindparam("k"), entry.c.digest == bindparam("d"), entry.c.owner == bindparam("o"))
_RENEW = (
    update(entry)
    .where(
        *_MINE,
        or_(
            entry.c.category != bindparam("c"), entry.c.distance != bindparam("r"),
            entry.c.expires_utc.is_distinct_from(bindparam("e")),
        ),
    )
    .values(category=bindparam("c"), distance=bindparam("r"), expires_utc=bindparam("e"), position=bindparam("p"))
)  # fmt: skip


@dataclass(frozen=True)
class Merged:
    """What merging a batch changed."""

    added: int  # entries that no list of the source had; those of a URL prefix count as one


def merge(connection: Connection, owner: str, lists: frozenset[str], staged: Sequence[Staged]) -> Merged:
    """Bring a source's entries to its newest list's words: new ones belong to the list `owner`, known ones stay where they are.

    `lists` are the source's earlier lists. What the source takes back is deleted from all of them (StopNCII: a withdrawn
    hash is not to be kept). The registry's position moves only when something changed.
    """
    number = position(connection) + 1
    where = _owners(connection, staged, lists) if lists else {}
    fresh = [row for row in staged if not row.withdrawn and row.key not in where]
    renewed = [
        {"k": row.kind, "d": row.digest, "o": held, "c": row.category, "r": row.distance, "e": row.expires_utc, "p": number}
        for row in staged if not row.withdrawn for held in where.get(row.key, ())
    ]  # fmt: skip
    gone = [
        {"k": row.kind, "d": row.digest, "o": held}
        for row in staged
        if row.withdrawn
        for held in where.get(row.key, ())
    ]
    _insert(connection, owner, number, fresh)
    changed = len(fresh)
    changed += connection.execute(_RENEW, renewed).rowcount if renewed else 0
    changed += connection.execute(delete(entry).where(*_MINE), gone).rowcount if gone else 0
    if changed:
        advance_position(connection)
    return Merged(sum(row.kind not in HELPERS for row in fresh))


def _owners(
    connection: Connection, staged: Sequence[Staged], lists: frozenset[str]
) -> dict[tuple[str, bytes], list[str]]:
    """Return which of the lists have which entries; those of a list that was withdrawn as a whole do not count."""
    found: dict[tuple[str, bytes], list[str]] = {}
    for kind in dict.fromkeys(row.kind for row in staged):
        columns = select(entry.c.digest, entry.c.owner).where(entry.c.kind == kind, entry.c.active)
        digests = [row.digest for row in staged if row.kind == kind]
        for at in range(0, len(digests), _AT_ONCE):
            for digest, owner in connection.execute(columns.where(entry.c.digest.in_(digests[at : at + _AT_ONCE]))):
                if owner in lists:
                    found.setdefault((kind, bytes(digest)), []).append(owner)
    return found


def _insert(connection: Connection, owner: str, number: int, staged: Sequence[Staged]) -> None:
    """Insert entries in one round trip: as the driver takes them, or columns as arrays where the server is elsewhere."""
    if not staged:
        return
    rows = [(r.kind, r.digest, owner, r.length, number, r.category, r.distance, r.expires_utc, True) for r in staged]
    if connection.dialect.name == "postgresql":
        connection.execute(_INTO_POSTGRES, dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
    else:
        connection.exec_driver_sql(_INTO_SQLITE, rows)
