"""A blanked row keeps its uid and its place and nothing else; whatever a table is for, no value of it stays in the file."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.erasure.blank import FORMS, array_layout, blank_array, blank_table
from pipeline.errors import FormatError
from pipeline.schema import CANDIDATE, FETCH, MEMBER, REFUSED, SIGNAL
from pipeline.stage import PARQUET

SCHEMAS = {"candidates": CANDIDATE, "fetch": FETCH, "members": MEMBER, "refused": REFUSED, "signals": SIGNAL}


def full(schema: pa.Schema, rows: int) -> pa.Table:
    """Return a table with something in every cell."""
    columns = []
    for field in schema:
        if pa.types.is_fixed_size_binary(field.type):
            values: list[object] = [bytes([65 + row]) * field.type.byte_width for row in range(rows)]
        elif pa.types.is_string(field.type):
            values = [f"{field.name} of row {row:04d}" for row in range(rows)]
        elif pa.types.is_boolean(field.type):
            values = [True] * rows
        elif pa.types.is_nested(field.type):
            values = [None] * rows
        else:
            values = list(range(1, rows + 1))
        columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=schema)


@pytest.mark.parametrize("role", SCHEMAS)
def test_every_other_column_of_a_blank_row_is_null_and_every_other_row_is_as_it_was(role: str, tmp_path: Path) -> None:
    table = full(SCHEMAS[role], 9)
    pq.write_table(table, tmp_path / "before", row_group_size=4, **PARQUET)
    with (tmp_path / "before").open("rb") as source:
        blank_table(source, tmp_path / "after", [2, 7], role)
    file = pq.ParquetFile(tmp_path / "after")
    after, form = file.read(), FORMS[role]
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [4, 4, 1]
    assert after.schema == table.schema
    for at, (old, new) in enumerate(zip(table.to_pylist(), after.to_pylist(), strict=True)):
        if at not in (2, 7):
            assert new == old
            continue
        kept = {name: old[name] for name in (*form.keep, *form.fill) if name in old}
        assert new == dict.fromkeys(old) | kept | {name: value for name, value in form.say.items() if name in old}
    raw = (tmp_path / "after").read_bytes()
    gone = set(table.column_names) - {*form.keep, *form.fill}
    assert not [name for name in gone if f"{name} of row 0007".encode() in raw]


def test_a_fetched_row_says_that_it_was_erased_and_a_failed_one_keeps_its_reason(tmp_path: Path) -> None:
    rows = [
        {"uid": bytes([n]) * 16, "reason": reason, "sha256": b"s" * 32} for n, reason in enumerate([None, "dns", None])
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=FETCH), tmp_path / "before")
    with (tmp_path / "before").open("rb") as source:
        blank_table(source, tmp_path / "after", [0, 1], "fetch")
    after = pq.read_table(tmp_path / "after")
    assert after["reason"].to_pylist() == ["erased", "dns", None]
    assert after["transient"].to_pylist() == [False, False, None]


def test_blanking_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    pq.write_table(full(CANDIDATE, 50), tmp_path / "0", **PARQUET)
    for number in range(3):
        with (tmp_path / str(number)).open("rb") as source:
            blank_table(source, tmp_path / str(number + 1), [3, 4], "candidates")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "3").read_bytes()


@pytest.mark.parametrize("shape", [(5, 8), (5,), (5, 2, 3)])
def test_rows_of_an_array_become_zero_in_place(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(np.float16)
    np.save(tmp_path / "a.npy", array)
    width = array[0].nbytes
    assert blank_array(tmp_path / "a.npy", [4, 0, 1]) == 3 * width
    array[[0, 1, 4]] = 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(FormatError, match="nothing of it was erased"):
        array_layout(io.BytesIO(b"PAR1" * 100))
