"""What the trainer's tests share: one data set for a session, and a copy of it for whoever changes it."""

import shutil
from pathlib import Path

import pytest
import torch

from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests import small_dataset
from tests.train import tiny_run
from tests.train.distinct import distinct
from train.run import Run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Train on one thread: the tests' models are too small for more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A data set of 76 drawings with 8-d embeddings, not to be changed."""
    return distinct(small_dataset.build(tmp_path_factory.mktemp("pictures") / "set").store)


@pytest.fixture
def own(pictures: Store, tmp_path: Path) -> Store:
    """A copy of the data set, to be changed."""
    shutil.copytree(pictures.root, tmp_path / "set", ignore=shutil.ignore_patterns("runs", "pins"))
    store = Store.open_url(str(tmp_path / "set"))
    assert require_latest(store).rows
    return store


@pytest.fixture(scope="session")
def decoder_run(pictures: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A decoder that trained 8 steps, with checkpoints at 4 and 8; not to be changed."""
    return tiny_run.trained(pictures, tmp_path_factory.mktemp("runs") / "decoder")
