"""One data set for all tests of erasure; each test erases in a copy of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store import Store
from tests import erasing


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """The data set with everything in it."""
    return erasing.make(tmp_path_factory.mktemp("erasing"), "--scheduler", scheduler)


@pytest.fixture
def fresh(whole: Path, tmp_path: Path) -> Callable[[str], Store]:
    """Makes copies of the data set."""
    return lambda name: erasing.copy(whole, tmp_path / name)
