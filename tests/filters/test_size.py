import pyarrow as pa
import pytest

from filters.size import size
from tests.filters.tables import reasons


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (64, 64, None),
        (63, 64, "size_small"),
        (64, 63, "size_small"),
        (65, 64, None),
        (192, 64, None),
        (193, 64, "aspect_extreme"),
        (64, 193, "aspect_extreme"),
        (191, 64, None),
        (1, 5000, "size_small"),
        (None, 64, "size_missing"),
        (64, None, "size_missing"),
        (None, None, "size_missing"),
        (0, 64, "size_missing"),
        (-64, 64, "size_missing"),
    ],
)
def test_sides_of_64_and_three_to_one_are_the_limits(width: int | None, height: int | None, reason: str | None) -> None:
    columns = {"original_width_px": pa.array([width], pa.int32()), "original_height_px": pa.array([height], pa.int32())}
    assert reasons(size(min_px=64, max_aspect=3.0), pa.table(columns)) == [reason]


def test_a_size_that_is_not_a_number_is_missing() -> None:
    columns = {"original_width_px": [float("nan")], "original_height_px": [100.0]}
    assert reasons(size(), pa.table(columns)) == ["size_missing"]
