"""Lists become entries: streamed, idempotent, counted; killed in the middle and run again they end the same."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select, text

from filters import removal
from pipeline.errors import InputError
from pipeline.registry import clock, log, place
from pipeline.registry.list_formats import Bad, Line, read
from pipeline.registry.registry import Registry, advance_position
from pipeline.registry.requests import CATEGORIES
from pipeline.registry.tables import entry, import_

_BATCH_LINES = 20_000
_BAD_SHOWN = 5


@dataclass
class Imported:
    """What became of a list's lines."""

    id: str
    name: str
    lines: int = 0
    added: int = 0  # entries of this list that were not there
    known: int = 0  # lines that said what an earlier line or import of the list had said
    withdrawn: int = 0
    bad: int = 0
    again: bool = False  # the whole file had been imported before
    examples: list[str] = field(default_factory=list)  # the first bad lines

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def import_list(
    registry: Registry,
    path: Path,
    *,
    source: str = "list",
    kind: str | None = None,
    category: str = "train",
    on_batch: Callable[[int], None] = lambda lines: None,
) -> Imported:
    """Take a list's lines in as entries that every later ingest obeys, and return the counts.

    A list has one name, made of its bytes and its source, so that the same file again adds nothing. Lines are committed in
    batches; after a kill the same command goes through the file again and adds what is missing.
    """
    if category not in CATEGORIES:
        raise InputError(f"category {category!r}: one of {', '.join(CATEGORIES)}")
    try:
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    name = hashlib.sha256(f"{source}\0{sha256}".encode()).digest()[:16]
    done = Imported("i-" + base64.b32encode(name).decode().rstrip("=").lower(), path.name)
    with place.reading(registry.engine) as connection:
        known = connection.execute(select(import_).where(import_.c.id == done.id)).first()
    if known is not None:
        for column in ("lines", "added", "known", "withdrawn", "bad"):
            setattr(done, column, getattr(known, column))
        done.again = True
        return done
    lines = read(path, kind)
    seen = 0
    while batch := list(islice(lines, _BATCH_LINES)):
        _take(registry, batch, done, source, category)
        on_batch(done.lines)
        seen += len(batch)
    with place.writing(registry.engine) as connection:
        done.added = int(connection.execute(select(func.count()).where(entry.c.owner == done.id)).scalar_one())
        done.known = done.lines - done.bad - done.withdrawn - done.added
        row = {
            column: getattr(done, column) for column in ("id", "name", "lines", "added", "known", "withdrawn", "bad")
        }
        utc = clock.text(clock.now_utc())
        connection.execute(import_.insert().values(sha256=sha256, source=source, imported_utc=utc, **row))
        log.append(
            connection, "list_imported", {"list": done.id, "sha256": sha256, "lines": done.lines, "added": done.added}
        )
    return done


def _take(registry: Registry, batch: Sequence[Line | Bad], done: Imported, source: str, category: str) -> None:
    done.lines += len(batch)
    rows: dict[tuple[str, bytes], dict[str, Any]] = {}
    gone: dict[tuple[str, bytes], None] = {}
    for line in batch:
        entries = _entries(registry.seed, line)
        if isinstance(entries, str):
            done.bad += 1
            if len(done.examples) < _BAD_SHOWN:
                done.examples.append(f"line {line.number}: {entries}")
            continue
        assert isinstance(line, Line)
        if line.withdrawn:
            done.withdrawn += 1
        for kind, digest, length in entries:  # a later line on the same thing replaces an earlier one
            rows.pop((kind, digest), None)
            gone.pop((kind, digest), None)
            if line.withdrawn:
                if kind not in removal.HELPERS:
                    gone[kind, digest] = None
            else:
                said = line.category if line.category in CATEGORIES else category
                rows[kind, digest] = {
                    "kind": kind, "digest": digest, "owner": done.id, "length": length, "category": said,
                    "distance": line.distance, "expires_utc": line.expires_utc, "active": True,
                }  # fmt: skip
    with place.writing(registry.engine) as connection:
        position = advance_position(connection)
        _insert(connection, [{**row, "position": position} for row in rows.values()])
        _withdraw(connection, gone, source, done.id)


def _entries(seed: bytes, line: Line | Bad) -> list[tuple[str, bytes, int]] | str:
    """Return a line's entries, or what is wrong with it."""
    if isinstance(line, Bad):
        return line.why
    if line.kind == "picture":
        return "a picture is no line of a list; give its sha256, md5 or pdq"
    form = removal.normal(line.kind, line.value)
    if form is None:
        return f"no {line.kind}"
    if isinstance(form, bytes):
        return [(line.kind, removal.listed_hash(seed, line.kind, form), 0)]
    return removal.entries(seed, line.kind, form)


_COLUMNS = ("kind", "digest", "owner", "length", "position", "category", "distance", "expires_utc", "active")
_INTO_POSTGRES = text(
    f"INSERT INTO entry ({', '.join(_COLUMNS)}) SELECT * FROM unnest(CAST(:kind AS text[]), CAST(:digest AS bytea[]), "  # noqa: S608
    "CAST(:owner AS text[]), CAST(:length AS integer[]), CAST(:position AS bigint[]), CAST(:category AS text[]), "
    "CAST(:distance AS integer[]), CAST(:expires_utc AS text[]), CAST(:active AS boolean[])) ON CONFLICT DO NOTHING"
)


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert entries that are not there yet, in one round trip: columns as arrays where the server is elsewhere."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(_INTO_POSTGRES, {name: [row[name] for row in rows] for name in _COLUMNS})
    else:
        connection.execute(entry.insert().prefix_with("OR IGNORE"), rows)


def _withdraw(connection: Connection, gone: Iterable[tuple[str, bytes]], source: str, own: str) -> None:
    """Delete what a source takes back, from all its lists (StopNCII: a withdrawn hash is not to be kept)."""
    lists = [*connection.execute(select(import_.c.id).where(import_.c.source == source)).scalars(), own]
    for kind, digest in gone:
        connection.execute(
            delete(entry).where(entry.c.kind == kind, entry.c.digest == digest, entry.c.owner.in_(lists))
        )
