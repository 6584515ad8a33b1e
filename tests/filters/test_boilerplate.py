import pyarrow as pa
import pytest

from filters.boilerplate import boilerplate
from tests.filters.tables import reasons


@pytest.mark.parametrize(
    ("count", "domains", "reason"),
    [
        (1, 1, None),
        (49, 30, None),
        (50, 30, None),
        (51, 30, "text_boilerplate"),
        (9, 1, None),
        (10, 1, None),
        (11, 1, "text_repeated"),
        (20, 2, None),
        (21, 2, "text_repeated"),
        (51, 1, "text_boilerplate"),
        (None, 1, "boilerplate_missing"),
        (1, None, "boilerplate_missing"),
        (0, 1, "boilerplate_missing"),
        (1, 0, "boilerplate_missing"),
    ],
)
def test_fifty_pictures_in_all_and_ten_a_domain_are_the_limits(
    count: int | None, domains: int | None, reason: str | None
) -> None:
    rows = pa.table({"text_count": pa.array([count], pa.int64()), "text_domains": pa.array([domains], pa.int64())})
    assert reasons(boilerplate(max_pictures=50, max_pictures_per_domain=10), rows) == [reason]


def test_counts_that_are_not_numbers_are_missing() -> None:
    assert reasons(boilerplate(), pa.table({"text_count": [float("nan")], "text_domains": [1.0]})) == [
        "boilerplate_missing"
    ]
