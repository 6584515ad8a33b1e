"""Claim: building costs time and memory as the rows do, searching costs less than that: 10⁴, 10⁵ and 10⁶ × 512, 10⁷ by extrapolation.

Each size is built, image and text, in a process of its own with all cores of the machine (no cluster); memory is that process's
peak, mapped pages of the vectors left out; search is the mean of single questions. `--most 100000` for a quick look.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from index.build import build
from index.opened import Opened
from index.record import Options
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.bench.clock import clocked, kilobytes
from tests.bench.vector_set import DIMENSIONS, publish_rows, questions

SIZES = (10_000, 100_000, 1_000_000)


def measure(root: str, pipe: Any) -> None:
    """Build, open and ask one data set."""
    store = Store.open_url(root)
    peak, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.1):
            peak = max(peak, kilobytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    record = build(store, require_latest(store), Options())
    seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    began = time.perf_counter()
    opened = Opened(store, require_latest(store))
    opening = time.perf_counter() - began
    found = clocked(lambda one: opened.near(one, 10), questions(), 3)
    told = {"kind": record.kind, "recall": record.recall_frac, "open_s": opening, **found}
    pipe.send({"seconds": seconds, "mb": peak / 1e3, **told})


def main() -> None:
    """Print one JSON line a size and quantity; `ratio` is how the cost grew over ten times the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=SIZES[-1])
    most = parser.parse_args().most
    spawn = multiprocessing.get_context("spawn")
    found: dict[int, dict[str, Any]] = {}
    for rows in (size for size in SIZES if size <= most):
        folder = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
        try:
            publish_rows(Store.open_url(str(folder)), rows)
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=measure, args=(str(folder), theirs))
            process.start()
            found[rows] = mine.recv()
            process.join()
        finally:
            shutil.rmtree(folder)
        _say(rows, found)


def _say(rows: int, found: dict[int, dict[str, Any]]) -> None:
    now, before = found[rows], found.get(rows // 10)
    what = f"{rows:,} × {DIMENSIONS}, image and text"
    for name, claim, unit, aim in (
        ("seconds", "build", "s", "≤ 12× for ten times the rows"), ("mb", "peak memory of a build", "MB", "≤ 12×"),
        ("p50_ms", "a search", "ms", "< 10×"),
    ):  # fmt: skip
        row = {"claim": f"{claim}, {what} ({now['kind']})", "unit": unit, "ours": round(now[name], 3), "peer": None}
        row |= {"ratio": round(now[name] / before[name], 2) if before else None, "aim": aim if before else ""}
        print(json.dumps(row, ensure_ascii=False), flush=True)
        growth = now[name] / before[name] if before else 0.0
        if rows == SIZES[-1] and growth > 1:  # of a search that became quicker nothing can be foretold
            row = {"claim": f"{claim}, 10,000,000 × {DIMENSIONS}, extrapolated by the last ten times", "unit": unit}
            row |= {"ours": round(now[name] * growth, 3), "peer": None, "ratio": None, "aim": ""}
            print(json.dumps(row, ensure_ascii=False), flush=True)
    row = {
        "claim": f"opening, {what}",
        "unit": "s",
        "ours": round(now["open_s"], 4),
        "peer": None,
        "ratio": None,
        "aim": "< 1 s",
    }
    print(json.dumps(row | {"recall": now["recall"]}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
