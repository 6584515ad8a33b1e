"""A data set of drawings as the bundled CLIP sees them, made once for all tests that ask with texts and pictures."""

import numpy as np
import pytest

from index.search import Searcher
from pipeline.clip_model import load
from pipeline.clip_spec import ModelSpec
from pipeline.store import Store
from tests.index.made import make
from tests.small_dataset import draw

DRAWN = 72


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """72 drawings with their captions, real vectors of both."""
    model = load(ModelSpec())
    pictures = np.stack([model.prepare(draw(n)[0]) for n in range(DRAWN)])
    image = np.concatenate([model.images(pictures[at : at + 24]) for at in range(0, DRAWN, 24)])
    text = model.texts([draw(n)[1] for n in range(DRAWN)])
    return make(tmp_path_factory.mktemp("drawn") / "set", image.astype(np.float32), text.astype(np.float32))


@pytest.fixture(scope="session")
def drawn_searcher(drawn: Store) -> Searcher:
    return Searcher(drawn)
