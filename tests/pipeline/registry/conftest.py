"""A new registry for each test, in SQLite or in a real PostgreSQL server."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pipeline.registry.registry import Registry
from pipeline.store import Store

Opener = Callable[[], Registry]


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Open the same registry again and again, as several processes do."""
    url = cast(str, request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None
    return lambda: Registry.open(Store.open_url(str(tmp_path / "set")), url)


@pytest.fixture
def either(opener: Opener) -> Registry:
    """A new registry in each of the databases."""
    return opener()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A new registry in SQLite, in the data set `set`."""
    return Registry.open(Store.open_url(str(tmp_path / "set")))
