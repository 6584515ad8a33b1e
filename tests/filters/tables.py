"""Shared by the filters' tests: tables of columns, and what a filter says of each row."""

import numpy as np
import pyarrow as pa

from filters.base import Filter


def embeddings(rows: list[list[float] | None]) -> pa.Array:
    """Make a FixedSizeList<float16> column."""
    width = next(len(row) for row in rows if row is not None)
    filled = [[0.0] * width if row is None else row for row in rows]
    flat = pa.array(np.asarray(filled, np.float16).reshape(-1))
    mask = pa.array([row is None for row in rows])
    return pa.FixedSizeListArray.from_arrays(flat, width, mask=mask)


def reasons(filter_: Filter, table: pa.Table) -> list[str | None]:
    """Score, decide from scores and the columns read, and check the contract on the way."""
    seen = table.select(list(filter_.reads))
    scores = filter_.score(seen)
    assert scores.num_rows == table.num_rows
    assert all(name.startswith(filter_.name) for name in scores.column_names)
    for name in scores.column_names:
        seen = seen.append_column(name, scores[name])
    decided = filter_.decide(seen)
    assert decided.type == pa.string()
    assert len(decided) == table.num_rows
    said: list[str | None] = decided.to_pylist()
    assert {reason for reason in said if reason is not None} <= set(filter_.reasons)
    return said
