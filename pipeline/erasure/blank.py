"""Blank rows: a row keeps its uid and its place, and everything that tells of the sample becomes null or zero.

So no count, key, record or snapshot changes. Tables are written anew as whole files: what a row held must not live on in
statistics or dictionaries.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.erasure.tar_erase import FileWriter
from pipeline.errors import FormatError
from pipeline.pack import ERASED
from pipeline.rows import blanked
from pipeline.stage import PARQUET

_NPY = re.compile(rb"'descr': '(?P<descr>[^']+)', 'fortran_order': False, 'shape': \((?P<shape>[\d, ]*)\)")


@dataclass(frozen=True)
class Form:
    """What a blanked row of a kind of table keeps, and what it says instead."""

    keep: Sequence[str]
    say: Mapping[str, Any] = field(default_factory=dict)  # column → value
    fill: Mapping[str, Any] = field(default_factory=dict)  # column → value where there was none


FORMS: Mapping[str, Form] = {
    "sightings": Form(("dh", "uh", "uid", "tags")),  # the file is sorted by the two hashes and read by them
    "captures": Form(("dh", "uh")),
    "refused": Form(("reason", "tags", "observed_utc")),
    "candidates": Form(("uid", "tags")),
    "texts": Form(("uid",)),
    # a reason that was there stays, or the record's counts would not be those of the rows; the place in the tar tells
    # a later erasure where erased blocks are
    "fetch": Form(("uid", "tar_offset", "tar_bytes"), {"transient": False}, {"reason": ERASED}),
    "signals": Form(()),
    "embed": Form(("uid",)),
    "scores": Form(("uid",)),
    "members": Form(("uid", "group"), {"eligible": False}),
    # embeddings and metadata of a shard are paired by position (clip-retrieval), so rows are blanked there and not dropped
    "sidecar": Form(("key", "shard_offset", "shard_bytes"), {"status": ERASED}),
    "metadata": Form(("key",)),
}


def blank_rows(table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]], form: Form) -> pa.Table:
    """Return a table with some of its rows blanked."""
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    gone = pa.array(mask)
    table = blanked(table, gone, (*form.keep, *form.say, *form.fill))
    for name, value in {**form.say, **form.fill}.items():
        at = table.schema.get_field_index(name)
        values, told = table[name].combine_chunks(), pa.scalar(value, table.schema.field(name).type)
        instead = pc.coalesce(values, told) if name in form.fill else told
        table = table.set_column(at, table.schema.field(name), pc.if_else(gone, instead, values))
    return table


def blank_table(source: IO[bytes], target: Path, rows: Sequence[int], role: str) -> None:
    """Write a Parquet file again with some rows blanked, with the row groups it had."""
    wanted = np.asarray(rows, np.int64)
    file = pq.ParquetFile(source)
    low = 0
    with pq.ParquetWriter(target, file.schema_arrow, **PARQUET) as out:
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group)
            here = wanted[(wanted >= low) & (wanted < low + table.num_rows)] - low
            out.write_table(blank_rows(table, here, FORMS[role]), row_group_size=max(1, table.num_rows))
            low += table.num_rows


def array_layout(handle: IO[bytes]) -> tuple[int, int]:
    """Return where the rows of a .npy file begin, and the bytes of one."""
    begin, width, _ = array_shape(handle)
    return begin, width


def array_shape(handle: IO[bytes]) -> tuple[int, int, int]:
    """Return where the rows of a .npy file begin, the bytes of one, and how many its header promises.

    numpy's own reader parses the header as Python, and CPython 3.11 fails at that now and then when threads do it side by
    side ("AST constructor recursion depth mismatch").
    """
    handle.seek(0)
    version = handle.read(8)
    length = int.from_bytes(handle.read(2 if version[6:7] == b"\1" else 4), "little")
    found = _NPY.search(handle.read(length))
    if not version.startswith(b"\x93NUMPY") or found is None:
        raise FormatError("not a .npy file with its rows one after the other; nothing of it was erased")
    sides = [int(side) for side in found["shape"].replace(b" ", b"").split(b",") if side]
    width = int(np.prod(sides[1:])) * np.dtype(found["descr"].decode()).itemsize
    return handle.tell(), width, sides[0] if sides else 1


def array_regions(handle: IO[bytes], rows: Sequence[int]) -> list[tuple[int, int]]:
    """Return where some rows of a .npy file are, as (offset, length) in bytes; neighbours are joined."""
    begin, width = array_layout(handle)
    regions: list[tuple[int, int]] = []
    for row in sorted(rows):
        offset = begin + row * width
        if regions and sum(regions[-1]) == offset:
            regions[-1] = (regions[-1][0], regions[-1][1] + width)
        else:
            regions.append((offset, width))
    return regions


def blank_array(path: Path, rows: Sequence[int]) -> int:
    """Overwrite rows of a local .npy file with zeros, in place and synced; return the bytes written."""
    with path.open("r+b", buffering=0) as handle:
        regions = array_regions(handle, rows)
        writer = FileWriter(handle.fileno())
        for offset, size in regions:
            writer.write(offset, bytes(size))
        writer.sync()
        return writer.written_bytes
