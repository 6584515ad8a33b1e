"""Columns of any Arrow type as the strings in them, with the row of each where a row has one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.erasure.finder import Finder

_PLAIN = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)


class CellHit(NamedTuple):
    """A string that was found in a cell."""

    row: int | None  # None: inside a list or map, whose rows are not the table's
    string: bytes
    before: bytes  # what stands around it in the cell
    after: bytes


def hits(column: pa.Array, finder: Finder) -> Iterator[CellHit]:
    """Yield the hits in a column: its buffer is searched as a whole."""
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        for number, at in finder.find(column.buffers()[1] or b""):
            string, inside = finder.strings[number], at % width
            if inside + len(string) <= width:
                cell = column[at // width - column.offset].as_py() or b""
                yield CellHit(at // width - column.offset, string, cell[:inside], cell[inside + len(string) :])
    elif any(is_kind(kind) for is_kind in _PLAIN):
        yield from _plain(column, finder)
    elif pa.types.is_dictionary(kind):
        yield from hits(column.dictionary_decode(), finder)
        yield from (hit._replace(row=None) for hit in hits(column.dictionary, finder))  # values that no row has, too
    elif pa.types.is_string_view(kind):
        yield from hits(column.cast(pa.large_string()), finder)
    elif pa.types.is_binary_view(kind):
        yield from hits(column.cast(pa.large_binary()), finder)
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from hits(field, finder)
    elif pa.types.is_map(kind):
        for field in (column.keys, column.items):
            yield from (hit._replace(row=None) for hit in hits(field, finder))
    elif pa.types.is_nested(kind):
        yield from (hit._replace(row=None) for hit in hits(pc.list_flatten(column), finder))


def _plain(column: pa.Array, finder: Finder) -> Iterator[CellHit]:
    _, offsets, data = column.buffers()
    if data is None or len(column) == 0:
        return
    large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    whole = np.frombuffer(offsets, np.int64 if large else np.int32)
    ends = whole[column.offset : column.offset + len(column) + 1]
    view = memoryview(data)
    for number, at in finder.find(data):
        row = int(np.searchsorted(ends, at, "right")) - 1
        string = finder.strings[number]
        if 0 <= row < len(column) and at + len(string) <= ends[row + 1]:
            yield CellHit(row, string, bytes(view[ends[row] : at]), bytes(view[at + len(string) : ends[row + 1]]))
