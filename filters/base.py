"""What a filter is: a dear score that is kept, and a cheap decision that can be redone.

`score` is given the columns in `reads` and nothing else. `decide` is given the scores next to `reads`, but every filter
of this package decides from its scores alone when it has any: a new threshold need not read embeddings again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Filter:
    """A named pair of score and decision over the columns it declares."""

    name: str
    """Prefix of every column it writes."""
    reads: tuple[str, ...]
    """The only columns it is given."""
    reasons: tuple[str, ...]
    """Closed vocabulary of what `decide` may say."""
    score: Callable[[pa.Table], pa.Table]
    """Dear; row-aligned; kept."""
    decide: Callable[[pa.Table], pa.Array]
    """Cheap; one nullable string per row, null = keep."""
    version: int = 1


def no_score(table: pa.Table) -> pa.Table:
    """Score nothing: a table of no columns and as many rows, for filters that decide from facts already known."""
    return table.select([])


def numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    """Read a numeric column as float64[N], null as NaN."""
    values = pc.cast(table[column], pa.float64())
    filled: NDArray[np.float64] = pc.fill_null(values, float("nan")).to_numpy()
    return filled


def vectors(table: pa.Table, column: str) -> NDArray[np.float32]:
    """Read a FixedSizeList<float16>[D] column as f32[N,D]; a null row or element becomes NaN."""
    array = table[column].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], type=array.type)
    width = array.type.list_size
    # `.values` ignores the slice and keeps the slots of null rows, which is what makes the reshape right
    flat = array.values.slice(array.offset * width, len(array) * width)
    # float16 is read as it is and nulls are set by hand: Arrow has no fill_null kernel for half floats
    out = np.array(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(array), width)
    if flat.null_count:
        out[flat.is_null().to_numpy(zero_copy_only=False).reshape(len(array), width)] = np.nan
    if array.null_count:
        out[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return out


def first_reason(rows: int, cases: Sequence[tuple[Mask, str]]) -> pa.Array:
    """Give each row the first reason whose mask holds, null where none does."""
    code = np.full(rows, -1, dtype=np.int32)
    for at, (mask, _) in enumerate(cases):
        code[(code < 0) & mask] = at
    names = pa.array([reason for _, reason in cases], type=pa.string())
    return names.take(pa.array(code, mask=code < 0))
