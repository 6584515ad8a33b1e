"""Lists become entries: streamed, idempotent, counted; killed in the middle and run again they end the same."""

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import count, islice
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
from pipeline.registry.tables import import_, leaf

_BATCH_LINES = 20_000
_ENTRIES_A_LINE = 4  # no line has more, so that a later line's are numbered higher
_BAD_SHOWN = 5
_SOURCE_CHARACTERS = 64
_NAME_CHARACTERS = 200  # as the tables have them
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

    A list has one name, made of its bytes, its source and what its lines were said to be, so that the same file again adds
    nothing. The file (standard input where it is `-`) is read once, sorted on disk, and merged in committed batches; after a
    kill the same command goes on where it was. InputError when no line of it is understood: nothing is kept then.
    """
    if category not in CATEGORIES:
        raise InputError(f"category {category!r}: one of {', '.join(CATEGORIES)}")
    if not 0 < len(source) <= _SOURCE_CHARACTERS:
        raise InputError(f"a source has a name of 1 to {_SOURCE_CHARACTERS} characters")
    with registry.store.scratch() as folder:
        path, said = _file(path, folder), _said(path)
        sha256, state = _digest(path)
        base = f"{source}\0{sha256}" + (f"\0{kind}\0{category}" if (kind, category) != (None, "train") else "")
        with place.reading(registry.engine) as connection:
            done = Imported(_name(connection, source, base), said)
            if _finished(connection, done):
                return done
        staging = Staging.open(folder)
        lines = read(path, kind)
        while batch := list(islice(lines, _BATCH_LINES)):
            _stage(registry.seed, staging, batch, done, category)
            on_batch(done.lines)
        if _state(path) != state:
            raise InputError(f"{path}: was written to while it was read; run the same command again when it is whole")
        if done.bad == done.lines:
            return _nothing(path, done)
        for staged in staging.batches(_BATCH_LINES):
            _merge(registry, done.id, source, staged)
        staging.connection.close()
    _finish(registry, done, source, sha256)
    return done


def _file(path: Path, folder: Path) -> Path:
    """Return a file that can be read twice: itself, or a copy in a folder of what comes through a pipe."""
    if str(path) != "-" and (path.is_file() or not path.exists()):
        return path
    copy = folder / _said(path)
    try:
        with copy.open("wb") as out:
            if str(path) == "-":
                shutil.copyfileobj(sys.stdin.buffer, out)
            else:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, out)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return copy


def _said(path: Path) -> str:
    return "stdin" if str(path) == "-" else path.name[:_NAME_CHARACTERS]


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(path: Path) -> tuple[str, tuple[int, int, int]]:
    """Return the SHA-256 of a file, and what tells whether it has changed since."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest(), _state(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _name(connection: Connection, source: str, base: str) -> str:
    """Return a list's id. A file that comes again after the source has sent others is a list of its own: it says anew what
    they may have taken back."""
    mine = _lists(connection, source)
    told = select(leaf.c.entry).where(leaf.c.type == "list_imported").order_by(leaf.c.number.desc())
    newest = next(
        (id_ for text in connection.execute(told).scalars() if (id_ := json.loads(text)["list"]) in mine), None
    )
    for again in count():
        name = hashlib.sha256((base + (f"\0{again}" if again else "")).encode()).digest()[:16]
        id_ = "i-" + base64.b32encode(name).decode().rstrip("=").lower()
        if id_ not in mine or id_ == newest:
            return id_
    raise AssertionError


def _nothing(path: Path, done: Imported) -> Imported:
    """Return the counts of an empty list; InputError where there were lines, and none of them says anything."""
    if done.lines == 0:
        return done
    raise InputError(
        f"{path}: none of its {done.lines:,} lines is understood ({done.examples[0]}); a table needs the columns type and value, or "
        "one named by its kind (url, domain, sha256, …), JSON one object a line, plain lines perhaps --kind"
    )


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
