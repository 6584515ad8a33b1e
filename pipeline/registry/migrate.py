"""The number of the registry's tables, and the steps that bring an older registry to today's in the transaction that opens it."""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection, inspect, select

from pipeline.errors import ConfigError
from pipeline.registry.rows import recall, remember
from pipeline.registry.tables import import_, meta, metadata

SCHEMA: Final = 2
"""1: as first written, without a number. 2: a list may come again with the same bytes."""
_NAME = "schema"


def prepare(connection: Connection, where: str) -> None:
    """Make the tables of a new registry, or bring an older one's up to date; ConfigError where a newer tamis made them."""
    if not inspect(connection).has_table(meta.name):
        metadata.create_all(connection)
        remember(connection, _NAME, str(SCHEMA))
        return
    said = recall(connection, _NAME)
    number = int(said) if said and said.isdecimal() else 1
    if number > SCHEMA:
        raise ConfigError(
            f"the registry at {where} has tables of number {number}, made by a newer tamis; this one knows those up to {SCHEMA}: update "
            "tamis, nothing was changed"
        )
    for step in range(number, SCHEMA):
        _STEPS[step](connection)
        remember(connection, _NAME, str(step + 1))
    metadata.create_all(connection)


def _lists_may_come_again(connection: Connection) -> None:
    """Take the rule off that a source's bytes are one list (1 → 2)."""
    if not inspect(connection).has_table(import_.name):
        return
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE import DROP CONSTRAINT IF EXISTS import_sha256_source_key")
        return
    rows = connection.execute(select(import_)).mappings().all()
    import_.drop(connection)
    import_.create(connection)
    if rows:
        connection.execute(import_.insert(), [dict(row) for row in rows])


_STEPS: Final[Mapping[int, Callable[[Connection], None]]] = {1: _lists_may_come_again}
