"""A person's picture is compared by the model that made the data set's vectors, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.confirm import confirm
from pipeline.picture_hashes import picture_hashes
from pipeline.picture_vector import picture_vector, recognised
from pipeline.store import Store
from tests.index.made import make, unit
from tests.small_dataset import jpeg


@pytest.mark.parametrize("weights", [None, "ab" * 32])
def test_a_vector_is_of_the_data_sets_own_weights_or_there_is_none(
    tmp_path: Path, weights: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(tmp_path / "set", unit(3), weights=weights)
    found = recognised(store, jpeg(1))
    assert found | {"vector": ""} == picture_hashes(jpeg(1), "test") | {
        "vector": ""
    }  # by its hashes it is known anyway
    assert ("vector" in found) == (weights is None)
    if weights is None:
        vector = np.frombuffer(bytes.fromhex(found["vector"]), np.float16).astype(np.float32)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-2)
    else:
        assert "look-alikes cannot be looked for" in caplog.text


def test_without_a_data_set_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert picture_vector(Store.open_url(str(tmp_path)), jpeg(1)) == {}


def test_an_answer_says_that_look_alikes_were_not_looked_for(tmp_path: Path) -> None:
    store = make(tmp_path / "set", unit(3), weights="ab" * 32)
    assert confirm(store, "picture", recognised(store, jpeg(1)))["scope"]["look_alikes_from_cos"] is None
