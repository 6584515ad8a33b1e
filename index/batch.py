"""Answers to a list of queries, block by block: memory does not grow with the list."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from index.hits import Hit, as_json
from index.query import Query
from index.query_lists import Asked, read
from index.search import Searcher
from pipeline.errors import InputError, TamisError

BLOCK: Final = 256
_TOLD: Final = 20
_HITS: Final = 100_000
"""Hits held at a time, about."""


@dataclass(frozen=True)
class Answer:
    """What one query of a list found."""

    number: int
    name: str | None
    hits: list[Hit]
    error: str = ""


def answers(searcher: Searcher, asked: Iterable[Asked]) -> Iterator[Answer]:
    """Yield the answer to each query, in their order; one that cannot be answered says why and has no hits."""
    asked = iter(asked)
    held: list[Asked] = []
    while first := next(asked, None):
        size = BLOCK if first.query is None else max(1, min(BLOCK, _HITS // first.query.k))
        held = [first, *islice(asked, size - 1)]
        yield from _answered(searcher, held)


def _answered(searcher: Searcher, block: list[Asked]) -> Iterator[Answer]:
    good = [one.query for one in block if one.query is not None]
    try:
        found = iter(searcher.search_many(good, pictures=False))
    except TamisError:  # one of them: each by itself, so that it is known which
        yield from (_alone(searcher, one) for one in block)
        return
    for one in block:
        yield Answer(one.number, one.name, next(found) if one.query is not None else [], one.error)


def _alone(searcher: Searcher, one: Asked) -> Answer:
    if one.query is None:
        return Answer(one.number, one.name, [], one.error)
    try:
        return Answer(one.number, one.name, searcher.search(one.query, pictures=False))
    except TamisError as error:
        return Answer(one.number, one.name, [], str(error))


def write_jsonl(out: IO[str], found: Iterable[Answer]) -> Iterator[Answer]:
    """Write answers as JSON lines and pass them on."""
    for one in found:
        line: dict[str, Any] = {"query": one.number} | ({"id": one.name} if one.name is not None else {})
        line |= {"error": one.error} if one.error else {"hits": as_json(one.hits)}
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
        yield one


SCHEMA: Final = pa.schema(
    {
        "query": pa.int64(), "id": pa.string(), "rank": pa.int32(), "uid": pa.string(), "url": pa.string(), "caption": pa.string(),
        "cos": pa.float32(), "width": pa.int32(), "height": pa.int32(), "page_url": pa.string(), "domain": pa.string(),
        "clip_cos": pa.float32(), "error": pa.string(),
    }
)  # fmt: skip
"""Answers in Parquet: a row for each hit, and one with `error` for a query that could not be answered."""


def write_parquet(out: IO[bytes], found: Iterable[Answer]) -> Iterator[Answer]:
    """Write answers as Parquet, a row group for each block, and pass them on."""
    found = iter(found)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        while block := list(islice(found, BLOCK)):
            rows = [row for one in block for row in _rows(one)]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            yield from block


def _rows(one: Answer) -> Iterator[dict[str, Any]]:
    head = {"query": one.number, "id": one.name}
    if one.error:
        yield head | {"error": one.error}
    for rank, hit in enumerate(as_json(one.hits), 1):
        yield head | {"rank": rank} | hit


def answer_list(
    searcher: Searcher, usual: Query, queries: Path, out: Path | None, trouble: Callable[[int, str], None]
) -> tuple[int, int]:
    """Answer a list of queries into a file (.jsonl, .parquet) or to stdout; returns how many were asked, and how many not answered.

    The file gets its name when all is written. The first troubles and every thousandth are told.
    """
    found = answers(searcher, read(queries, usual))
    if out is None:
        return _count(write_jsonl(sys.stdout, found), trouble)
    if out.suffix.lower() not in (".jsonl", ".ndjson", ".parquet"):
        raise InputError(f"{out}: answers are written as .jsonl or .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    try:
        with part.open("wb") as handle:
            if out.suffix.lower() == ".parquet":
                counts = _count(write_parquet(handle, found), trouble)
            else:
                text = io.TextIOWrapper(handle, "utf-8")
                counts = _count(write_jsonl(text, found), trouble)
                text.detach()  # flushed, and left open
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return counts


def _count(found: Iterable[Answer], trouble: Callable[[int, str], None]) -> tuple[int, int]:
    asked = bad = 0
    for one in found:
        asked += 1
        if one.error:
            bad += 1
            if bad <= _TOLD or bad % 1000 == 0:
                trouble(one.number, one.error)
    return asked, bad
