"""Where the registry is and how it is opened: SQLite in the data set's private folder, or a PostgreSQL server by URL."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from pipeline.errors import ConfigError, StorageError
from pipeline.registry.migrate import prepare
from pipeline.store import Store

FOLDER = "private"
"""Holds the registry, its signing key and the lists made from it: mode 0700, never part of a release."""
_FILE = f"{FOLDER}/registry.sqlite"
_WHICH = f"{FOLDER}/registry.json"
_OWN = "the data set's own"
_ENVIRONMENT = "TAMIS_REGISTRY"
KEYS = "TAMIS_KEYS"
_LOCK = 7_236_001  # of PostgreSQL's advisory locks, one number for all writers of a registry


def address(store: Store, url: str | None = None) -> str:
    """Return the database's URL: the one given, else TAMIS_REGISTRY, else SQLite in the data set.

    ConfigError where the data set has its registry elsewhere, or where it was and is gone: an empty one in its place would
    bring back everybody who said no.
    """
    chosen = url or os.environ.get(_ENVIRONMENT)
    if chosen:
        return chosen.replace("postgresql://", "postgresql+pg8000://", 1).replace(
            "postgres://", "postgresql+pg8000://", 1
        )
    how = (
        f"optout.registry in the configuration, as --registry, or in {_ENVIRONMENT} (postgresql://… or sqlite:////path)"
    )
    path, said = store.local(_FILE), _bound(store)
    if path is not None and not path.exists() and said is not None:
        gone = f"{path} is gone: restore it from a backup" if said["at"] == _OWN else f"name {said['at']} as {how}"
        raise ConfigError(
            f"{store.root}: this data set has a registry of requests; {gone}. To begin an empty one, which forgets who said no, "
            f"delete {store.uri(_WHICH)}"
        )
    if path is None:
        known = f" (it was {said['at']})" if said else ""
        raise ConfigError(
            f"{store.root}: a data set on an object store keeps its requests in a database elsewhere; give its URL{known} as {how}"
        )
    return f"sqlite:///{path}"


def _bound(store: Store) -> dict[str, str] | None:
    """Return which registry a data set has (`registry`: its id, `at`: its address without the password)."""
    try:
        found: dict[str, str] = json.loads(store.read(_WHICH))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(f"{store.uri(_WHICH)}: {error}; restore it from a backup") from error
    return found


def bind(store: Store, engine: Engine, registry_id: str) -> None:
    """Note in the data set which registry is its own; ConfigError when it has another one already."""
    own = store.local(_FILE)
    here = engine.url.render_as_string(hide_password=True)
    said = {"registry": registry_id, "at": _OWN if own is not None and here == f"sqlite:///{own}" else here}
    known = _bound(store)
    if known is not None and known["registry"] != registry_id:
        raise ConfigError(
            f"{store.root}: its requests are in another registry, {known['at']}, which later ingests would no longer obey; name "
            f"that one, or delete {store.uri(_WHICH)} where {said['at']} is to replace it"
        )
    if known != said:
        store.write(_WHICH, json.dumps(said).encode())


def exists(store: Store, url: str | None = None) -> bool:
    """Tell whether there is a registry to ask: one named by URL, or one that the data set has had."""
    return bool(url or os.environ.get(_ENVIRONMENT)) or store.exists(_FILE) or store.exists(_WHICH)


def private_folder(store: Store) -> Path | None:
    """Make the folder that only its owner may enter, and return it; None on an object store."""
    path = store.local(FOLDER)
    if path is not None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    return path


def keys_folder(store: Store) -> Path | None:
    """Return the folder of the signing key: the private one, or for a data set on an object store the one TAMIS_KEYS names."""
    named = os.environ.get(KEYS)
    return private_folder(store) or (Path(named) if named else None)


def lacking(store: Store, url: str | None = None) -> str | None:
    """Return what a data set still needs before requests can be taken, or None; nothing is made or opened."""
    try:
        address(store, url)
    except ConfigError as error:
        return str(error)
    if not store.is_local and not os.environ.get(KEYS):
        return f"a data set on an object store keeps its signing key in a local folder; name it in {KEYS}"
    return None


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
        prepare(connection, engine.url.render_as_string(hide_password=True))
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not at the first write
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "cache_size=-32768",
    ):  # fmt: skip
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


def _said(error: BaseException | None) -> str:
    """Return a driver's own words; pg8000 gives the server's answer field by field."""
    first = error.args[0] if error is not None and error.args else error
    return str(first.get("M", first) if isinstance(first, dict) else first)


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn a database's trouble into an error that says what to do; the address is shown without its password."""
    try:
        yield
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise StorageError(
            f"the registry at {where}: {_said(error.orig)}; see that the database runs, lets you in and has room, then run the same "
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
