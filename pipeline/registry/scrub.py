"""Making a database's files forget what its tables no longer say."""

import mmap
from pathlib import Path

from sqlalchemy import Engine

from pipeline.errors import StorageError
from pipeline.registry.place import explained


def scrub(engine: Engine, key: bytes | None = None) -> None:
    """Make the database's files forget what was overwritten, a destroyed key above all; StorageError where they cannot yet.

    SQLite zeroes what is deleted (secure_delete); its write-ahead log is written back and emptied. Should the key still be
    found in the file (pages that were rebalanced), the file is rewritten. PostgreSQL keeps old row versions until it vacuums;
    they hold sealed bytes whose key they hold as well, so it is asked to vacuum the table now. Its own write-ahead log and
    backups age by the server's settings.
    """
    if engine.dialect.name != "sqlite":
        with explained(engine), engine.connect() as connection:
            connection.connection.rollback()  # the pool's ping began a transaction, in which no vacuum runs
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM FULL request")
        return
    _empty_log(engine)
    if key is not None and _holds(Path(engine.url.database or ""), key):
        with explained(engine), engine.connect().execution_options(begin="") as connection:
            connection.exec_driver_sql("VACUUM")
        _empty_log(engine)


def _empty_log(engine: Engine) -> None:
    with explained(engine), engine.connect().execution_options(begin="") as connection:
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
    if busy:
        raise StorageError(
            f"{engine.url.database}-wal: still read by another program, so what was forgotten is not gone from it yet; "
            "stop that program, then run the same command again"
        )


def _holds(path: Path, needle: bytes) -> bool:
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as seen:
        return seen.find(needle) >= 0
