"""A registry that an older tamis made is brought up to date when it is opened; one that a newer tamis made is left alone."""

from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from pipeline.errors import ConfigError
from pipeline.registry import place
from pipeline.registry.imports import import_list
from pipeline.registry.migrate import SCHEMA
from pipeline.registry.registry import Registry
from pipeline.registry.rows import remember
from tests.pipeline.registry.conftest import Opener


def as_first_written(registry: Registry) -> None:
    """Give a registry the tables of number 1: a rule on lists, and no number."""
    with place.writing(registry.engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "ALTER TABLE import ADD CONSTRAINT import_sha256_source_key UNIQUE (sha256, source)"
            )
        else:
            (made,) = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'import'")).scalars()
            connection.exec_driver_sql("ALTER TABLE import RENAME TO old")
            connection.exec_driver_sql(made.rstrip().removesuffix(")") + ", UNIQUE (sha256, source))")
            connection.exec_driver_sql("INSERT INTO import SELECT * FROM old")
            connection.exec_driver_sql("DROP TABLE old")
        remember(connection, "schema", None)


def test_an_older_registry_keeps_everything_and_gets_its_number(opener: Opener, tmp_path: Path) -> None:
    registry = opener()
    path = tmp_path / "list.txt"
    path.write_text("1b" * 32 + "\n")
    first = import_list(registry, path)
    asked = registry.add("domain", "a.example", contact="jane@mail.example")
    as_first_written(registry)
    assert inspect(registry.engine).get_unique_constraints("import")
    registry.engine.dispose()
    again = opener()
    assert not inspect(again.engine).get_unique_constraints("import")
    assert again.meta("schema") == str(SCHEMA)
    assert (again.imports(), again.secret(asked.id)["contact"]) == ([first.id], "jane@mail.example")
    assert again.check_log() == []
    assert import_list(again, path, kind="pdq").added == 1  # the same bytes, which number 1 could not hold


def test_a_newer_registry_is_refused_and_not_touched(opener: Opener) -> None:
    registry = opener()
    assert registry.meta("schema") == str(SCHEMA)
    registry.remember("schema", str(SCHEMA + 1))
    with pytest.raises(ConfigError, match=f"tables of number {SCHEMA + 1}, made by a newer tamis; .* update tamis"):
        opener()
    assert registry.meta("schema") == str(SCHEMA + 1)
