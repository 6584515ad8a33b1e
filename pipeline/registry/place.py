"""Where the registry is and how it is opened: SQLite in the data set's private folder, or a PostgreSQL server by URL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from pipeline.errors import ConfigError, StorageError
from pipeline.registry.tables import metadata
from pipeline.store import Store

FOLDER = "private"
"""Holds the registry, its signing key and the lists made from it: mode 0700, never part of a release."""
_FILE = "registry.sqlite"
_ENVIRONMENT = "TAMIS_REGISTRY"
_LOCK = 7_236_001  # of PostgreSQL's advisory locks, one number for all writers of a registry


def address(store: Store, url: str | None = None) -> str:
    """Return the database's URL: the one given, else TAMIS_REGISTRY, else SQLite in the data set."""
    chosen = url or os.environ.get(_ENVIRONMENT)
    if chosen:
        return chosen.replace("postgresql://", "postgresql+pg8000://", 1).replace(
            "postgres://", "postgresql+pg8000://", 1
        )
    path = store.local(f"{FOLDER}/{_FILE}")
    if path is None:
        raise ConfigError(
            f"{store.root}: a data set on an object store keeps its requests in a database elsewhere; give its URL as "
            f"optout.registry in the configuration, as --registry, or in {_ENVIRONMENT} (postgresql://… or sqlite:////path)"
        )
    return f"sqlite:///{path}"


def exists(store: Store, url: str | None = None) -> bool:
    """Tell whether there is a registry to ask: one named by URL, or the file in the data set."""
    if url or os.environ.get(_ENVIRONMENT):
        return True
    path = store.local(f"{FOLDER}/{_FILE}")
    return path is not None and path.exists()


def private_folder(store: Store) -> Path | None:
    """Make the folder that only its owner may enter, and return it; None on an object store."""
    path = store.local(FOLDER)
    if path is not None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    return path


def open_engine(where: str) -> Engine:
    """Return an engine with the registry's tables; ConfigError and StorageError say what to do."""
    try:
        engine = create_engine(where, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"optout.registry: not a database tamis can use ({error}); sqlite:////path or postgresql://user@host/name "
            "(extra `postgres`)"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin_now)
    elif engine.dialect.name != "postgresql":
        raise ConfigError(f"optout.registry: {engine.dialect.name} is not supported; SQLite and PostgreSQL are")
    with explained(engine), engine.begin() as connection:
        _lock(connection)
        metadata.create_all(connection)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not at the first write
    cursor = connection.cursor()
    for pragma in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_now(connection: Connection) -> None:
    """Take SQLite's write lock at once: two writers wait for each other instead of failing half-way."""
    begin = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
    if begin:
        connection.exec_driver_sql(begin)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn a database's trouble into an error that says what to do; the address is shown without its password."""
    try:
        yield
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise StorageError(
            f"the registry at {where}: {error.orig}; see that the database runs, lets you in and has room, then run the same "
            "command again"
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(f"the registry at {engine.url.render_as_string(hide_password=True)}: {error}") from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give one transaction that no other writer is in; it is whole or absent."""
    with explained(engine), engine.begin() as connection:
        _lock(connection)
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection for reading; writers are not kept waiting."""
    with explained(engine), engine.connect().execution_options(begin="BEGIN") as connection:
        yield connection


def scrub(engine: Engine) -> None:
    """Make SQLite forget what was overwritten: its log is written back and emptied, free pages go (both are zeroed before).

    PostgreSQL keeps old row versions until it vacuums; they hold sealed bytes whose key they hold as well, so it is asked to
    vacuum the table now. Its own write-ahead log and backups age by the server's settings.
    """
    sqlite = engine.dialect.name == "sqlite"
    options = {"begin": ""} if sqlite else {"isolation_level": "AUTOCOMMIT"}
    with explained(engine), engine.connect().execution_options(**options) as connection:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)") if sqlite else ("VACUUM FULL request",):
            connection.exec_driver_sql(statement)
