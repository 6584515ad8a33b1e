"""Claim: facts of a hundred scattered ids in less than a millisecond, from disk, with little memory, cheap to change.

Decides how facts are kept: Arrow files in mapped memory (ours, `index.facts` behind `index.places`), against Parquet by row
groups, SQLite and DuckDB with the same rows in the same order. `--rows` makes it smaller. Memory is what the process holds
itself (RssAnon) and, beside it, pages of mapped files, which the kernel takes back when it needs them.
"""

import argparse
import json
import multiprocessing
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from index.conditions import Condition
from index.facts import Facts, write
from index.mapped import Files
from index.places import Places
from pipeline.stage import PARQUET
from pipeline.store import Store

SHARD_ROWS = 10_000
ROUNDS = 40
TEXTS = (
    "key",
    "url",
    "caption",
    "page_url",
    "domain",
    "source",
    "license",
    "sha256",
    "md5",
    "pdq256",
    "creator",
    "copyright",
)
NUMBERS = ("width", "height", "original_width", "original_height", "clip_cos", "shard_offset", "shard_bytes")
SHOWN = ["key", "url", "caption", "width", "height", "clip_cos", "page_url", "domain"]


def shard(number: int) -> pa.Table:
    """Return the facts of a made-up shard: nineteen columns beside the id, about 600 bytes a row."""
    rng = np.random.default_rng(number)
    names = [f"{number * SHARD_ROWS + row:032x}" for row in range(SHARD_ROWS)]
    columns: dict[str, Any] = {"id": pa.array(rng.integers(0, 2**62, SHARD_ROWS))}
    for column in TEXTS:
        columns[column] = [f"{column} of https://www.example.org/{name}" for name in names]
    columns["domain"] = [f"site{n}.example" for n in rng.integers(0, 1_000, SHARD_ROWS)]
    for column in NUMBERS:
        columns[column] = rng.integers(0, 2_000, SHARD_ROWS)
    return pa.table(columns)


class OfArrow:
    """Ours."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.store = Store.open_url(str(folder / "arrow"))
        self.files = Files(self.store)
        self.facts = Facts(self.files, [f"{n}.arrow" for n in range(rows // SHARD_ROWS)])
        self.places = Places.read(self.files, ".")

    def get(self, ids: Any) -> int:
        """Return how many rows were got."""
        return int(self.facts.rows(self.places.of(ids), ids, SHOWN).num_rows)

    def matching(self) -> int:
        """Count the rows that satisfy two conditions."""
        return len(self.facts.matching([Condition("width", "<", 100), Condition("domain", "=", "site7.example")]))

    def change(self, table: pa.Table) -> None:
        """Write the rows of one shard anew."""
        with self.store.scratch() as scratch:
            write(table, scratch / "facts")
            self.store.put(scratch / "facts", "0.arrow")


class OfParquet:
    """A file a shard, a footer read once, a row group of a thousand rows read for each id."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.files = [pq.ParquetFile(folder / f"{n}.parquet", memory_map=True) for n in range(rows // SHARD_ROWS)]
        self.places = Places.read(Files(Store.open_url(str(folder / "arrow"))), ".")

    def get(self, ids: Any) -> int:
        """Return how many rows were got."""
        groups: dict[tuple[int, int], list[int]] = {}
        for at, row in self.places.of(ids).tolist():
            groups.setdefault((at, row // 1_000), []).append(row % 1_000)
        found = [self.files[at].read_row_group(group, SHOWN).take(rows) for (at, group), rows in groups.items()]
        return int(pa.concat_tables(found).num_rows)

    def matching(self) -> int:
        """Count the rows that satisfy two conditions."""
        total = 0
        for file in self.files:
            table = file.read(["id", "width", "domain"])
            both = pc.and_(pc.less(table["width"], 100), pc.equal(table["domain"], "site7.example"))
            total += table.filter(both).num_rows
        return total

    def change(self, table: pa.Table) -> None:
        """Write the rows of one shard anew."""
        pq.write_table(table, self.folder / "0.parquet", row_group_size=1_000, **PARQUET)


class OfSqlite:
    """One table with the id as its rowid."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.base = sqlite3.connect(folder / "facts.sqlite")

    def get(self, ids: Any) -> int:
        """Return how many rows were got."""
        asked = ids.tolist()
        marks = ",".join("?" * len(asked))
        return len(
            self.base.execute(f"SELECT id, {', '.join(SHOWN)} FROM facts WHERE id IN ({marks})", asked).fetchall()
        )

    def matching(self) -> int:
        """Count the rows that satisfy two conditions."""
        return len(self.base.execute("SELECT id FROM facts WHERE width < 100 AND domain = 'site7.example'").fetchall())

    def change(self, table: pa.Table) -> None:
        """Delete the rows of one shard and write them anew."""
        with self.base:
            self.base.executemany("DELETE FROM facts WHERE id = ?", [(one,) for one in table["id"].to_pylist()])
            insert(self.base, table)


class OfDuckdb:
    """One table with an index on the id, one thread."""

    def __init__(self, folder: Path, rows: int) -> None:
        import duckdb

        self.base = duckdb.connect(str(folder / "facts.duckdb"))
        self.base.execute("SET threads=1")

    def get(self, ids: Any) -> int:
        """Return how many rows were got."""
        listed = ",".join(map(str, ids.tolist()))
        return int(
            self.base.execute(f"SELECT id, {', '.join(SHOWN)} FROM facts WHERE id IN ({listed})")
            .to_arrow_table()
            .num_rows
        )

    def matching(self) -> int:
        """Count the rows that satisfy two conditions."""
        return len(self.base.execute("SELECT id FROM facts WHERE width < 100 AND domain = 'site7.example'").fetchall())

    def change(self, table: pa.Table) -> None:
        """Delete the rows of one shard and write them anew."""
        self.base.register("fresh", table)
        self.base.execute("DELETE FROM facts WHERE id IN (SELECT id FROM fresh)")
        self.base.execute("INSERT INTO facts SELECT * FROM fresh")
        self.base.execute("CHECKPOINT")


KINDS: dict[str, Callable[[Path, int], Any]] = {
    "Arrow, mapped": OfArrow, "Parquet row groups": OfParquet, "SQLite": OfSqlite, "DuckDB": OfDuckdb,
}  # fmt: skip


def insert(base: sqlite3.Connection, table: pa.Table) -> None:
    """Insert rows into SQLite."""
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    base.executemany(f"INSERT INTO facts VALUES ({','.join('?' * table.num_columns)})", rows)


def generate(folder: Path, rows: int) -> None:
    """Write the same rows in all four ways."""
    import duckdb

    (folder / "arrow").mkdir()
    lite, duck = sqlite3.connect(folder / "facts.sqlite"), duckdb.connect(str(folder / "facts.duckdb"))
    ids = []
    for number in range(rows // SHARD_ROWS):
        table = shard(number)
        ids.append(table["id"].to_numpy())
        write(table, folder / "arrow" / f"{number}.arrow")
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=1_000, **PARQUET)
        duck.register("fresh", table)
        if number == 0:
            kinds = [
                "INTEGER PRIMARY KEY" if n == "id" else "TEXT" if n in TEXTS else "REAL" for n in table.column_names
            ]
            lite.execute(
                f"CREATE TABLE facts ({', '.join(map(' '.join, zip(table.column_names, kinds, strict=True)))})"
            )
            duck.execute("CREATE TABLE facts AS SELECT * FROM fresh")
        else:
            duck.execute("INSERT INTO facts SELECT * FROM fresh")
        with lite:
            insert(lite, table)
    duck.execute("CREATE UNIQUE INDEX by_id ON facts (id)")
    duck.close()
    lite.close()
    Places.of_shards(ids).write(folder / "arrow" / "places.npy")


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def measure(kind: str, folder: Path, rows: int, pipe: Any) -> None:
    """Measure one way in a process of its own; the files' pages are in the kernel's cache for all alike."""
    own = _kilobytes("RssAnon")
    opened = KINDS[kind](folder, rows)
    places = Places.read(Files(Store.open_url(str(folder / "arrow"))), ".")
    rng = np.random.default_rng(3)
    timed = []
    for _ in range(ROUNDS):
        asked = rng.choice(places.ids, 100, replace=False)
        began = time.perf_counter()
        assert opened.get(asked) == 100
        timed.append(1e3 * (time.perf_counter() - began))
    filtered = []
    for _ in range(5):
        began = time.perf_counter()
        count = opened.matching()
        filtered.append(1e3 * (time.perf_counter() - began))
    memory = {"mb": (_kilobytes("RssAnon") - own) / 1e3, "mapped_mb": _kilobytes("RssFile") / 1e3}
    table = shard(0)
    began = time.perf_counter()
    opened.change(table)
    changed = 1e3 * (time.perf_counter() - began)
    pipe.send(
        {
            "get": statistics.median(timed),
            "filter": statistics.median(filtered),
            "change": changed,
            "count": count,
            **memory,
        }
    )


def alone(kind: str, folder: Path, rows: int) -> dict[str, Any]:
    """Run one measurement in its own process."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=measure, args=(kind, folder, rows, theirs))
    process.start()
    found: dict[str, Any] = mine.recv()
    process.join()
    return found


def main() -> None:
    """Print one JSON line a claim and peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
    try:
        generate(folder, rows)
        found = {kind: alone(kind, folder, rows) for kind in KINDS}
    finally:
        shutil.rmtree(folder)
    ours = found.pop("Arrow, mapped")
    for kind, peer in found.items():
        assert peer["count"] == ours["count"]
        for name, what, unit, aim in (
            ("get", "facts of 100 scattered ids", "ms", "< 1 ms"), ("filter", "ids that satisfy two conditions", "ms", ""),
            ("change", "10,000 rows written anew", "ms", ""), ("mb", "memory of its own", "MB", ""),
        ):  # fmt: skip
            row = {"claim": f"{what} of {rows / 1e6:g} million, Arrow in mapped memory against {kind}", "unit": unit}
            row |= {
                "ours": round(ours[name], 3),
                "peer": round(peer[name], 3),
                "ratio": round(peer[name] / max(ours[name], 1e-3), 1),
            }
            print(json.dumps(row | {"aim": aim, "mapped_mb": round(ours["mapped_mb"])}), flush=True)


if __name__ == "__main__":
    main()
