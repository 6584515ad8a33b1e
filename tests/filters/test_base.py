import numpy as np
import pyarrow as pa

from filters.base import first_reason, no_score, numbers, vectors
from tests.filters.tables import embeddings


def test_the_first_reason_that_holds_is_given_and_null_where_none_does() -> None:
    one, two = np.array([True, False, True, False]), np.array([True, True, False, False])
    assert first_reason(4, [(one, "one"), (two, "two")]).to_pylist() == ["one", "two", "one", None]
    assert first_reason(2, []).to_pylist() == [None, None]
    assert first_reason(0, [(one[:0], "one")]).to_pylist() == []


def test_null_numbers_are_nan() -> None:
    table = pa.table({"n": pa.chunked_array([pa.array([1, None], pa.int32()), pa.array([3], pa.int32())])})
    np.testing.assert_array_equal(numbers(table, "n"), [1, np.nan, 3])


def test_vectors_survive_null_rows_null_elements_slices_and_chunks() -> None:
    column = embeddings([[1, 2], None, [3, 4], [5, 6]])
    holed = pa.array([[7.0, None]], pa.list_(pa.float16(), 2))
    table = pa.table({"v": pa.chunked_array([column, holed])}).slice(1)
    expected = [[np.nan, np.nan], [3, 4], [5, 6], [7, np.nan]]
    np.testing.assert_array_equal(vectors(table, "v"), expected)
    assert vectors(table.slice(0, 0), "v").shape == (0, 2)


def test_a_filter_without_a_score_keeps_the_number_of_rows() -> None:
    assert no_score(pa.table({"a": [1, 2, 3]})).num_rows == 3
