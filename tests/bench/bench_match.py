"""A stream of candidates against listed URLs and domains: ours, a Python set, and DuckDB's hash join, in one run.

10 million candidates (Parquet: uid, url, page_url, text, domain; ten pictures a domain and a page, as they lie in parts) against
100 million listed URLs and 1 million listed domains; one URL and one domain in a hundred is listed. Listed digests are drawn
like keyed digests are distributed, with those of the listed candidates among them. All read the same Parquet file on two cores.

Ours: `Suppression.urls` over address and domain, in two processes that map one copy of the lists; with `--pages` the whole of
`Suppression.names`, which looks at the page as well. Its memory is the peak of both processes' PSS together, so that a page they share
counts once. The set holds strings without scheme and `www.`; 100 million do not fit in 2 GB, so it is measured with as many as
do. DuckDB joins on the same strings, with 2 GB and two threads; without the domains. Rates are candidates a second, the
building of lists left out. Prints JSON lines. `--scale 0.02` for a look that takes half a minute.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from filters import removal, url_tags
from pipeline.registry.digests import TagWriter, Writer
from pipeline.registry.suppression import Suppression
from pipeline.registry.suppression_files import NEAR, SORTED

SEED, BATCH = bytes(range(32)), 10_000  # rows of a part
CANDIDATES, URLS, DOMAINS = 10_000_000, 100_000_000, 1_000_000
LIMIT_BYTES = 2_000_000_000


def candidate_table(start: int, rows: int) -> pa.Table:
    """Draw rows start… of the stream."""
    number = pa.array(np.arange(start, start + rows))
    site = pc.cast(pc.divide(number, 10), pa.string())
    name = pc.cast(number, pa.string())
    domain = pc.binary_join_element_wise("site", site, ".example", "")
    uid = np.random.default_rng(start).bytes(16 * rows)
    return pa.table(
        {
            "uid": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(uid)]),
            "url": pc.binary_join_element_wise("https://www.", domain, "/gallery/2026/picture-", name, ".jpg", ""),
            "page_url": pc.binary_join_element_wise("https://www.", domain, "/gallery/2026/index.html", ""),
            "text": pc.binary_join_element_wise("a picture with the number ", name, ""),
            "domain": domain,
        }
    )


def write_candidates(path: Path, rows: int) -> None:
    """Write the stream, a row group a batch."""
    writer = None
    for start in range(0, rows, BATCH):
        table = candidate_table(start, min(BATCH, rows - start))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def write_digests(folder: Path, kind: str, count: int, real: bytes) -> None:
    """Write `count` random digests, the real ones among them, in 256 pieces so that memory is bounded."""
    rng = np.random.default_rng(7)
    known = np.frombuffer(real, ">u8").reshape(-1, 2).astype(np.uint64)
    sizes = rng.multinomial(count - len(known), [1 / 256] * 256)
    writer = Writer(folder, kind, count)
    for first, size in enumerate(sizes.tolist()):
        drawn = rng.integers(0, 2**64, (size, 2), np.uint64)
        drawn[:, 0] = drawn[:, 0] >> np.uint64(8) | np.uint64(first) << np.uint64(56)
        piece = np.concatenate([drawn, known[known[:, 0] >> np.uint64(56) == first]])
        writer.add(piece[np.argsort(piece[:, 0])].astype(">u8").tobytes())
    writer.close()


def write_lists(folder: Path, candidates: int, urls: int, domains: int) -> dict[str, Any]:
    """Write the lists' files and return what `Suppression` must know of them."""
    listed = [
        f"https://www.site{n // 10}.example/gallery/2026/picture-{n}.jpg".encode() for n in range(0, candidates, 100)
    ]
    write_digests(folder, "url", urls, removal.url_digests(SEED, listed))
    tags, rng = TagWriter(folder, "url", urls), np.random.default_rng(8)
    tags.add(np.array([url_tags.tag(SEED, removal.url_key(url.decode())) for url in listed], np.uint32))
    for rows in [10**6] * (urls // 10**6) + [max(0, urls % 10**6 - len(listed))]:
        tags.add(rng.integers(1, 1 << url_tags.BITS, rows, np.uint32))
    tags.close()
    sites = range(0, candidates // 10, 100)
    names = b"".join(removal.digest(SEED, "domain", f"site{n + 7}.example") for n in sites)
    write_digests(folder, "domain", domains, names)
    counts = {**dict.fromkeys((*SORTED, *NEAR), 0), "url": urls, "domain": domains}
    return {"seed": SEED.hex(), "counts": counts, "lengths": {}}


def _matching(folder: Path, meta: dict[str, Any], path: Path, share: tuple[int, int], pages: bool, pipe: Any) -> None:
    """Match every n-th row group, and say how many rows and hits there were, and how long it took."""
    lists, stream = Suppression(folder, meta), pq.ParquetFile(path)
    first, step = share
    columns = ["uid", "url", "page_url", "text", "domain"] if pages else ["url", "domain"]
    pipe.send("ready")
    pipe.recv()
    start, cpu, rows, hits = time.perf_counter(), time.process_time(), 0, 0
    for group in range(first, stream.num_row_groups, step):
        table = stream.read_row_group(group, columns=columns, use_threads=False)
        found = lists.names(table) if pages else lists.urls(table["url"], table["domain"])
        rows, hits = rows + table.num_rows, hits + int(found.sum())
    pipe.send((rows, hits, time.process_time() - cpu, time.perf_counter() - start))


def memory_bytes(name: str, process: int | str = "self") -> int:
    """Return a figure of a process's memory; `Pss` counts a page that others map too by its share."""
    file = "smaps_rollup" if name == "Pss" else "status"
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def ours(folder: Path, meta: dict[str, Any], path: Path, pages: bool) -> dict[str, Any]:
    """Match with two processes."""
    spawn, workers = multiprocessing.get_context("spawn"), []
    for first in range(2):
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=_matching, args=(folder, meta, path, (first, 2), pages, theirs))
        process.start()
        workers.append((process, mine))
    for _, pipe in workers:
        pipe.recv()
    for _, pipe in workers:
        pipe.send("go")
    peak = 0
    while not all(pipe.poll(0.25) for _, pipe in workers):
        peak = max(peak, sum(memory_bytes("Pss", process.pid or 0) for process, _ in workers))
    done = [pipe.recv() for _, pipe in workers]
    for process, _ in workers:
        process.join()
    return {
        "rate": sum(rows for rows, *_ in done) / max(seconds for *_, seconds in done),
        "cpu_rate": sum(rows for rows, *_ in done) / sum(cpu for *_, cpu, _ in done),
        "hits": sum(hits for _, hits, *_ in done),
        "bytes": peak,
    }


def _with_a_set(path: Path, urls: int, pipe: Any) -> None:
    held: set[str] = set()
    base = memory_bytes("VmRSS")
    number = 0
    while number < urls and (number % 100_000 or memory_bytes("VmRSS") - base < LIMIT_BYTES * 0.9):
        held.add(f"site{number * 3 // 10}.example/gallery/2026/picture-{number * 3}.jpg")
        number += 1
    stream, rows, hits = pq.ParquetFile(path), 0, 0
    start, cpu = time.perf_counter(), time.process_time()
    for group in range(stream.num_row_groups):
        values = stream.read_row_group(group, columns=["url"])["url"].to_pylist()
        rows += len(values)
        hits += sum(url.partition("://")[2].removeprefix("www.") in held for url in values)
    rates = {"rate": rows / (time.perf_counter() - start), "cpu_rate": rows / (time.process_time() - cpu)}
    pipe.send({**rates, "urls": len(held), "bytes": memory_bytes("VmHWM")})


def _with_duckdb(path: Path, urls: int, folder: Path, pipe: Any) -> None:
    import duckdb

    db = duckdb.connect(str(folder / "listed.duckdb"))
    db.execute(f"SET memory_limit='{LIMIT_BYTES // 10**6}MB'; SET threads=2; SET temp_directory='{folder}/spill'")
    db.execute(
        "CREATE TABLE listed AS SELECT 'site' || (i * 3 // 10) || '.example/gallery/2026/picture-' || (i * 3) || '.jpg' AS key "
        f"FROM range({urls}) t(i)"
    )
    start, cpu = time.perf_counter(), time.process_time()
    count = db.execute(
        f"SELECT count(*) FROM (SELECT regexp_replace(url, '^https?://(www\\.)?', '') AS key FROM '{path}') "
        "SEMI JOIN listed USING (key)"
    ).fetchone()
    rows = pq.ParquetFile(path).metadata.num_rows
    assert count is not None
    rates = {"rate": rows / (time.perf_counter() - start), "cpu_rate": rows / (time.process_time() - cpu)}
    pipe.send({**rates, "bytes": memory_bytes("VmHWM"), "hits": count[0]})


def alone(work: Any, *args: Any) -> dict[str, Any]:
    """Run a peer in its own process, so that its memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(*args, theirs))
    process.start()
    found: dict[str, Any] = mine.recv()
    process.join()
    return found


def say(claim: str, mine: dict[str, Any], peer: dict[str, Any], aim: str) -> None:
    """Print a row in millions a second; `cpu` is millions a CPU-second, which other work on the machine disturbs less."""
    row = {"claim": claim, "ours": round(mine["rate"] / 1e6, 2), "peer": round(peer["rate"] / 1e6, 2)}
    row |= {"unit": "M candidates/s", "ratio": round(mine["rate"] / peer["rate"], 1), "aim": aim}
    for name, one in (("ours", mine), ("peer", peer)):
        row |= {f"{name}_cpu": round(one["cpu_rate"] / 1e6, 2), f"{name}_mb": one["bytes"] // 10**6}
    print(json.dumps(row, ensure_ascii=False), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--pages", action="store_true")
    asked = parser.parse_args()
    candidates, urls, domains = (int(n * asked.scale) for n in (CANDIDATES, URLS, DOMAINS))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "lists").mkdir()
        path = folder / "candidates.parquet"
        write_candidates(path, candidates)
        meta = write_lists(folder / "lists", candidates, urls, domains)
        mine = ours(folder / "lists", meta, path, asked.pages)
        expected = candidates // 100 + candidates // 100  # a URL in a hundred, a domain of ten in a hundred
        assert abs(mine["hits"] - expected) <= 10, (mine["hits"], expected)
        held = alone(_with_a_set, path, urls)
        joined = alone(_with_duckdb, path, urls, folder)
    claim = f"{candidates / 1e6:g} million candidates against {urls / 1e6:g} million listed URLs"
    fits = f"; the set holds {held['urls'] / 1e6:.3g} million"
    say(f"{claim}: a Python set{fits}", mine, held, "> 1×, ≥ 2 M/s, ≤ 2 GB")
    say(f"{claim}: DuckDB's hash join", mine, joined, "> 1×")


if __name__ == "__main__":
    main()
