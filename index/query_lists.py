"""Lists of queries: JSON lines, CSV, Parquet or an array of embeddings, read in a stream; a bad line is told and stops no other."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index.conditions import Condition, parse
from index.query import Modality, Query, Term
from index.term_words import KINDS, from_row, number
from pipeline.errors import InputError

_BLOCK: Final = 256
_MOST_K: Final = 10_000


@dataclass(frozen=True)
class Asked:
    """One query of a list: the number of its line or row, its own name where it has one, and what is wrong with it, if anything."""

    number: int
    name: str | None
    query: Query | None
    error: str = ""


def read(path: Path, usual: Query) -> Iterator[Asked]:
    """Yield the queries of a list, by the ending of its name; what a query does not say is as in `usual`.

    .jsonl: objects as the HTTP API takes them, `{"terms": [{"text": …, "weight": …}], "k": …, "where": […]}`, or with the
    terms' values right in the object. .csv, .parquet: columns text, image (a file), url, uid, of which several are
    summed; `id` names the query. .npy: f16/f32[N,D]. InputError when the list as a whole cannot be read.
    """
    readers: Mapping[str, Callable[[Path, Query], Iterator[Asked]]] = {
        ".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".parquet": _parquet, ".npy": _npy,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a list of queries is one of {', '.join(readers)}")
    try:
        yield from reader(path, usual)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _jsonl(path: Path, usual: Query) -> Iterator[Asked]:
    with path.open(encoding="utf-8-sig") as lines:
        for at, line in enumerate(lines, 1):
            if line.strip():
                yield _asked(at, line, usual, lambda text: json.loads(text))


def _csv(path: Path, usual: Query) -> Iterator[Asked]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        asked = _asking(path, rows.fieldnames or [])
        for row in rows:
            yield _asked(rows.line_num, {name: row[name] for name in asked}, usual, lambda found: found)


def _parquet(path: Path, usual: Query) -> Iterator[Asked]:
    with pq.ParquetFile(path) as file:
        columns = _asking(path, file.schema_arrow.names)
        at = 0
        for batch in file.iter_batches(_BLOCK, columns=columns):
            for row in batch.to_pylist():
                at += 1
                yield _asked(at, row, usual, lambda found: found)


def _npy(path: Path, usual: Query) -> Iterator[Asked]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path}: not a NumPy array that can be read ({error})") from error
    if array.ndim != 2:
        raise InputError(f"{path}: {list(array.shape)} is not [queries, dimensions]")
    for at, vector in enumerate(array, 1):
        term = Term(embedding=tuple(np.asarray(vector, np.float32).tolist()))
        yield Asked(at, None, replace(usual, terms=(*usual.terms, term)))


def _asking(path: Path, columns: Iterable[str]) -> list[str]:
    """Return those of a table's columns that say something of a query; InputError when none of them asks for anything."""
    if not set(columns) & set(KINDS):
        raise InputError(f"{path}: has no column {', '.join(KINDS[:-1])} or {KINDS[-1]} to ask with")
    return [name for name in (*KINDS, "weight", "id") if name in set(columns)]


def _asked(at: int, raw: Any, usual: Query, plain: Callable[[Any], Any]) -> Asked:
    name = None
    try:
        row = plain(raw)
        if not isinstance(row, Mapping):
            raise InputError("not an object with the terms of a query")
        name = None if row.get("id") in (None, "") else str(row["id"])
        return Asked(at, name, query(row, usual))
    except (ValueError, RecursionError) as error:
        return Asked(at, name, None, f"not JSON ({error})")
    except InputError as error:
        return Asked(at, name, None, str(error))


def query(row: Mapping[str, Any], usual: Query) -> Query:
    """Return the query that a row or an object of a list asks; InputError says what is wrong with it."""
    inner = row.get("terms") or [row]
    if not isinstance(inner, list) or not all(isinstance(one, Mapping) for one in inner):
        raise InputError("terms is not a list of objects")
    terms = (*usual.terms, *(term for one in inner for term in from_row(one)))
    if not terms:
        raise InputError(f"nothing is asked for; give one of {', '.join(KINDS)}")
    changed: dict[str, Any] = {"terms": terms}
    if row.get("k") is not None:
        changed["k"] = int(number("k", row["k"]))
        if not 1 <= changed["k"] <= _MOST_K:
            raise InputError(f"k is {row['k']}; it may be 1 to {_MOST_K:,}")
    if row.get("least_cos") is not None:
        changed["least_cos"] = number("least_cos", row["least_cos"])
    if row.get("modality") is not None:
        if row["modality"] not in get_args(Modality):
            raise InputError(f"modality is {row['modality']!r}; it is one of {', '.join(get_args(Modality))}")
        changed["modality"] = row["modality"]
    if row.get("deduplicate") is not None:
        if not isinstance(row["deduplicate"], bool):
            raise InputError(f"deduplicate is {row['deduplicate']!r}; it is true or false")
        changed["deduplicate"] = row["deduplicate"]
    if row.get("where"):
        if not isinstance(row["where"], list):
            raise InputError(f"where is {row['where']!r}, which is no list of conditions")
        changed["where"] = (*usual.where, *(_condition(one) for one in row["where"]))
    return replace(usual, **changed)


def _condition(written: Any) -> Condition:
    if isinstance(written, str):
        return parse(written)
    try:
        column, op, value = str(written["column"]), str(written["op"]), written["value"]
    except (TypeError, KeyError) as error:
        raise InputError(f"{written!r} is no condition; write {{column, op, value}} or 'width>=256'") from error
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{column} is compared with {value!r}, which is neither text nor number")
    return Condition(column, op, value)
