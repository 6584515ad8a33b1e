"""A list's lines between the file and the registry: on disk, sorted, and of several lines on one thing the last."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Staged(NamedTuple):
    """One entry as a list's last word on it."""

    kind: str
    digest: bytes
    length: int
    category: str
    distance: int
    expires_utc: str | None
    withdrawn: bool

    @property
    def key(self) -> tuple[str, bytes]:
        """Return what it is about."""
        return self.kind, self.digest


@dataclass(frozen=True)
class Staging:
    """A scratch file: sorted entries go into a database's tree page by page, unsorted ones touch a page each."""

    connection: sqlite3.Connection

    @classmethod
    def open(cls, folder: Path) -> "Staging":
        """Make the scratch file in a folder; it is lost with the process, and the list is read again then."""
        connection = sqlite3.connect(folder / "lines.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE line (number, kind, digest, length, category, distance, expires, withdrawn)")
        return cls(connection)

    def add(self, number: int, entries: Sequence[Staged]) -> None:
        """Put the entries of lines down; the later `number` has the last word on a thing."""
        self.connection.execute("BEGIN")
        rows = ((number + at, *entry) for at, entry in enumerate(entries))
        self.connection.executemany("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.connection.execute("COMMIT")

    def batches(self, rows: int) -> Iterator[list[Staged]]:
        """Yield the last words, sorted by what they are about."""
        found = self.connection.execute(
            "SELECT kind, digest, length, category, distance, expires, withdrawn, max(number) FROM line "
            "GROUP BY kind, digest ORDER BY kind, digest"
        )
        while batch := found.fetchmany(rows):
            yield [Staged._make((*row[:6], bool(row[6]))) for row in batch]
