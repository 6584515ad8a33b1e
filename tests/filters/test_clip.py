import numpy as np
import pyarrow as pa
import pytest

from filters.clip import clip
from tests.filters.tables import embeddings, reasons


def table(cosines: list[float | None]) -> pa.Table:
    return pa.table({"clip_cos": pa.array(cosines, pa.float32())})


@pytest.mark.parametrize("threshold", [0.1, 0.28, 0.0, -0.05])
def test_at_the_threshold_is_kept_and_just_below_is_not(threshold: float) -> None:
    at = np.float32(threshold)
    rows = [
        float(at),
        float(np.nextafter(at, np.float32(-1))),
        float(np.nextafter(at, np.float32(1))),
        None,
        float("nan"),
    ]
    said = clip(threshold=threshold).decide(table(rows)).to_pylist()
    assert said == [None, "clip_low", None, "clip_missing", "clip_missing"]


def test_the_score_is_the_cosine_whatever_the_rounding_of_norms() -> None:
    rows = pa.table(
        {
            "image_emb": embeddings([[1, 0], [0.6, 0.8], [3, 4], None, [0, 0], [float("nan"), 1], [1, 0]]),
            "text_emb": embeddings([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [1, 0], None]),
        }
    )
    scored = clip(threshold=0.5).score(rows)["clip_cos"].to_pylist()
    assert scored[:3] == pytest.approx([1.0, 0.6, 0.6], abs=1e-3)
    assert scored[3:] == [None] * 4
    assert reasons(clip(threshold=0.7), rows) == [None, "clip_low", "clip_low", *["clip_missing"] * 4]


def test_a_stricter_threshold_never_adds_a_row() -> None:
    rows = table(np.linspace(-1, 1, 41).tolist())
    kept = [clip(threshold=t).decide(rows).null_count for t in (-1.0, 0.0, 0.1, 0.28, 1.0)]
    assert kept == sorted(kept, reverse=True)
