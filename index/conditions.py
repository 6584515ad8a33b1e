"""What rows must satisfy: a column, an operator, a value."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError

OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=", "~")
"""`~` is "contains", without regard to case."""

ALIASES: Final = {"uid": "key", "text": "caption", "licence": "license", "language": "lang"}
"""Words people use → columns of a shard's sidecar."""

_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_WRITTEN: Final = re.compile(r"\s*(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_TRUTHS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Condition:
    """One test on one column of the facts; a missing value satisfies none, not even `!=`."""

    column: str
    op: str
    value: str | int | float | bool


def parse(written: str) -> Condition:
    """Read `COLUMN OPERATOR VALUE`, such as `width>=256`; the value stays text until a column's type is known."""
    found = _WRITTEN.fullmatch(written)
    if found is None:
        raise InputError(
            f"{written!r} is no condition; write a column, one of {' '.join(OPERATORS)}, and a value: width>=256"
        )
    return Condition(*found.groups())


def checked(where: Sequence[Condition], columns: Mapping[str, pa.DataType]) -> list[Condition]:
    """Return conditions with columns that exist and values of their types; InputError names what does not fit."""
    return [_checked(one, columns) for one in where]


def satisfied(table: pa.Table | pa.RecordBatch, where: Sequence[Condition]) -> NDArray[np.bool_]:
    """Tell of each row whether it satisfies all conditions, bool[N]; only the columns they name are looked at."""
    types = {one.name: one.type for one in table.schema}
    mask = np.ones(table.num_rows, np.bool_)
    for one in checked(where, types):
        true = _test(table[one.column], one)
        mask &= pc.fill_null(true, False).to_numpy(zero_copy_only=False) if table.num_rows else mask
    return mask


def _checked(one: Condition, columns: Mapping[str, pa.DataType]) -> Condition:
    if one.op not in OPERATORS:
        raise InputError(f"{one.op!r} is no operator; there are {' '.join(OPERATORS)}")
    name = one.column if one.column in columns else ALIASES.get(one.column, one.column)
    if name not in columns:
        known = [column for column in columns if column != "id"]
        near = get_close_matches(
            one.column, [*known, *(word for word, column in ALIASES.items() if column in columns)], 1
        )
        told = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise InputError(f"no column {one.column!r} here; {told}")
    if one.op == "~":
        if not _is_text(columns[name]):
            raise InputError(f"{name} holds no text, so that ~ (contains) means nothing; compare it with = < <= > >=")
        return Condition(name, one.op, str(one.value))
    return Condition(name, one.op, _value(one.value, name, columns[name]))


def _value(value: str | int | float | bool, column: str, kind: pa.DataType) -> str | int | float | bool:
    """Return a value as the column's type wants it."""
    if _is_text(kind):
        return str(value)
    if pa.types.is_boolean(kind):
        if str(value).lower() in _TRUTHS:
            return _TRUTHS[str(value).lower()]
        raise InputError(f"{column} is true or false, and {value!r} is neither")
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"{column} is {kind}, which cannot be compared")
    try:
        number = float(value)
        if math.isfinite(number):
            return int(number) if pa.types.is_integer(kind) and number.is_integer() else number
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{column} is a number, and {value!r} is none")


def _test(column: pa.ChunkedArray, one: Condition) -> pa.ChunkedArray:
    if one.op == "~":
        return pc.match_substring(column, one.value, ignore_case=True)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        # 0.3 asked of 32-bit numbers means the 32-bit number that is written 0.3
        return _COMPARE[one.op](column, pa.scalar(one.value, column.type))
    if pa.types.is_integer(column.type):
        if isinstance(one.value, int) and abs(one.value) < 2**63:
            return _COMPARE[one.op](column.cast(pa.int64(), safe=False), pa.scalar(one.value, pa.int64()))
        # a limit with a fraction, or larger than any integer type holds
        return _COMPARE[one.op](column.cast(pa.float64(), safe=False), float(one.value))
    return _COMPARE[one.op](column, pa.scalar(one.value, column.type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
