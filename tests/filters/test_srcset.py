import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.srcset import largest, parse_srcset


@pytest.mark.parametrize(
    ("value", "candidates"),
    [
        ("a.jpg 100w, b.jpg 200w", [("a.jpg", 100, 1.0), ("b.jpg", 200, 1.0)]),
        ("a.jpg, b.jpg 2x", [("a.jpg", 0, 1.0), ("b.jpg", 0, 2.0)]),
        ("a,b.jpg 1.5x", [("a,b.jpg", 0, 1.5)]),
        (" , a.jpg 100w 50h,,b.jpg", [("a.jpg", 100, 1.0), ("b.jpg", 0, 1.0)]),
        ("data:image/png;base64,AA== 1x, a.jpg 2x", [("a.jpg", 0, 2.0)]),
        ("a.jpg type(a, b) 2x, c.jpg", [("a.jpg", 0, 2.0), ("c.jpg", 0, 1.0)]),
        ("a.jpg nonsense", [("a.jpg", 0, 1.0)]),
        ("", []),
    ],
)
def test_candidates_are_split_as_the_standard_says(value: str, candidates: list[tuple[str, int, float]]) -> None:
    assert parse_srcset(value) == candidates


def test_width_goes_before_density_and_the_first_of_equals_wins() -> None:
    assert largest([("x.jpg", 0, 3.0), ("a.jpg", 10, 1.0), ("b.jpg", 10, 1.0)]) == ("a.jpg", 10, 1.0)
    assert largest([]) is None


@given(st.text(alphabet="a, ()1wx.\t", max_size=60))
def test_no_value_raises_or_hangs(value: str) -> None:
    parse_srcset(value)
