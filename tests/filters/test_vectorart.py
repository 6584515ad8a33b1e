import numpy as np
import pyarrow as pa
import pytest

from filters.vectorart import picture_stats, vectorart
from tests.filters.tables import reasons
from tests.planted import jpeg, openmoji


def score(picture: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> float:
    stats = {name: [value] for name, value in picture_stats(picture).items()}
    return float(vectorart().score(pa.table(stats))["vectorart_score"][0].as_py())


def noise(seed: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """A picture of soft shades and grain, as photographs are."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, 256)[:, None, None] * rng.random((1, 256, 1)) + rng.integers(0, 40, (256, 256, 3))
    return np.asarray(np.clip(ramp, 0, 255), np.uint8)


def test_stats_of_known_pictures_are_what_can_be_counted() -> None:
    flat = np.full((50, 80, 3), 120, np.uint8)
    assert picture_stats(flat) == {"picture_colours": 1.0, "picture_flat_frac": 1.0, "picture_edge_frac": 0.0}
    halves = flat.copy()
    halves[:, 40:] = 200
    found = picture_stats(halves)
    assert found["picture_colours"] == pytest.approx(2.0)
    assert found["picture_edge_frac"] == pytest.approx(2 / 80)
    assert found["picture_flat_frac"] == pytest.approx(78 / 80)


def test_drawings_score_high_even_as_jpeg_and_shaded_pictures_low() -> None:
    drawings = [openmoji(name) for name in ("1F600", "1F697", "1F408", "1F5FC")]
    assert min(score(d) for d in drawings) > 0.6
    assert min(score(jpeg(d, 75)) for d in drawings) > 0.4
    assert max(score(noise(seed)) for seed in range(3)) < 0.1


def test_a_picture_of_one_pixel_is_measured_too() -> None:
    assert picture_stats(np.zeros((1, 1, 3), np.uint8))["picture_flat_frac"] == 1.0


def test_the_decision_is_off_by_default_and_above_the_limit_when_asked() -> None:
    at = np.float32(0.6)
    below, above = np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(1))
    rows = pa.table(
        {"vectorart_score": pa.array([float(below), float(at), float(above), None, float("nan")], pa.float32())}
    )
    assert vectorart().decide(rows).to_pylist() == [None] * 5
    said = vectorart(max_score=0.6).decide(rows).to_pylist()
    assert said == [None, None, "vectorart", "vectorart_missing", "vectorart_missing"]


def test_missing_statistics_make_a_missing_score() -> None:
    columns = {
        "picture_colours": [None, 2.0],
        "picture_flat_frac": [0.5, float("nan")],
        "picture_edge_frac": [0.1, 0.1],
    }
    rows = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    assert reasons(vectorart(max_score=0.5), rows) == ["vectorart_missing"] * 2
