"""Lists become entries: streamed, idempotent, counted; killed in the middle and run again they end the same."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from filters import removal
from pipeline.errors import InputError
from pipeline.registry import clock, log, place
from pipeline.registry.entries import Merged, merge
from pipeline.registry.list_formats import Bad, Line, read
from pipeline.registry.registry import Registry
from pipeline.registry.requests import CATEGORIES
from pipeline.registry.rows import recall, remember
from pipeline.registry.staging import Staged, Staging
from pipeline.registry.tables import import_

_BATCH_LINES = 20_000
_ENTRIES_A_LINE = 4  # no line has more, so that a later line's are numbered higher
_BAD_SHOWN = 5
_COUNTS = ("lines", "added", "known", "withdrawn", "bad")


@dataclass
class Imported:
    """What became of a list's lines: lines = added + known + withdrawn + bad."""

    id: str
    name: str
    lines: int = 0
    added: int = 0  # that said something which no list of the source had said
    known: int = 0  # that said what an earlier line or list of the source had said, or was overtaken by a later line
    withdrawn: int = 0  # that took something back
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

    A list has one name, made of its bytes and its source, so that the same file again adds nothing. The file is read once,
    sorted on disk, and merged in committed batches; after a kill the same command goes on where it was.
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
        if _finished(connection, done):
            return done
    with registry.store.scratch() as folder:
        staging = Staging.open(folder)
        lines = read(path, kind)
        while batch := list(islice(lines, _BATCH_LINES)):
            _stage(registry.seed, staging, batch, done, category)
            on_batch(done.lines)
        for staged in staging.batches(_BATCH_LINES):
            _merge(registry, done.id, source, staged)
        staging.connection.close()
    _finish(registry, done, source, sha256)
    return done


def _finished(connection: Connection, done: Imported) -> bool:
    """Fill in the counts of a list that was imported before, and tell whether it was."""
    known = connection.execute(select(import_).where(import_.c.id == done.id)).first()
    if known is None:
        return False
    for column in _COUNTS:
        setattr(done, column, getattr(known, column))
    done.again = True
    return True


def _stage(seed: bytes, staging: Staging, batch: Iterable[Line | Bad], done: Imported, category: str) -> None:
    staged: list[Staged] = []
    for line in batch:
        done.lines += 1
        entries = _entries(seed, line)
        if isinstance(entries, str):
            done.bad += 1
            if len(done.examples) < _BAD_SHOWN:
                done.examples.append(f"line {line.number}: {entries}")
            continue
        assert isinstance(line, Line)
        done.withdrawn += line.withdrawn
        said = line.category if line.category in CATEGORIES else category
        for entry in entries:
            own = entry[0] not in removal.HELPERS
            if own or not line.withdrawn:  # several prefixes of a host share its entries, which no one of them ends
                staged.append(Staged(*entry, said, line.distance, line.expires_utc if own else None, line.withdrawn))
    staging.add(done.lines * _ENTRIES_A_LINE, staged)


def _entries(seed: bytes, line: Line | Bad) -> list[tuple[str, bytes, int]] | str:
    """Return a line's entries, or what is wrong with it."""
    if isinstance(line, Bad):
        return line.why
    form = removal.normal(line.kind, line.value)
    if form is None:
        return f"no {line.kind}"
    if isinstance(form, bytes):
        return [(line.kind, removal.listed_hash(seed, line.kind, form), 0)]
    return removal.entries(seed, line.kind, form)


def _merge(registry: Registry, import_id: str, source: str, staged: list[Staged]) -> None:
    """Merge a batch and note in the same transaction how far the import is; one that was merged before a kill is passed over."""
    note = f"import {import_id}"
    with place.writing(registry.engine) as connection:
        said = recall(connection, note)
        progress = Progress(**json.loads(said)) if said else Progress()
        if progress.passed(staged[-1]):
            return
        merged = merge(connection, import_id, _lists(connection, source), staged)
        remember(connection, note, progress.after(staged[-1], merged).to_json())


def _lists(connection: Connection, source: str) -> frozenset[str]:
    return frozenset(connection.execute(select(import_.c.id).where(import_.c.source == source)).scalars())


@dataclass(frozen=True)
class Progress:
    """How far an import is: the last entry that was merged, and how many entries were new until there."""

    kind: str = ""
    digest: str = ""
    added: int = 0

    def passed(self, entry: Staged) -> bool:
        """Tell whether an entry was merged already."""
        return (entry.kind, entry.digest.hex()) <= (self.kind, self.digest)

    def after(self, entry: Staged, merged: Merged) -> "Progress":
        """Return the progress when a batch that ends with an entry is merged."""
        return Progress(entry.kind, entry.digest.hex(), self.added + merged.added)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


def _finish(registry: Registry, done: Imported, source: str, sha256: str) -> None:
    note = f"import {done.id}"
    with place.writing(registry.engine) as connection:
        if _finished(connection, done):  # by another process, meanwhile
            return
        said = recall(connection, note)
        done.added = Progress(**json.loads(said)).added if said else 0
        done.known = done.lines - done.bad - done.withdrawn - done.added
        row = {column: getattr(done, column) for column in ("id", "name", *_COUNTS)}
        utc = clock.text(clock.now_utc())
        connection.execute(import_.insert().values(sha256=sha256, source=source, imported_utc=utc, **row))
        body = {"list": done.id, "sha256": sha256, **{column: getattr(done, column) for column in _COUNTS}}
        log.append(connection, "list_imported", body)
        remember(connection, note, None)
