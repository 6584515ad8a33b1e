"""How long questions take, and what a process holds; for us and, under another Python, for the peer: numpy and nothing else."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def clocked(ask: Callable[[Any], Any], asked: Any, seconds: float) -> dict[str, float]:
    """Return p50 and p99 in ms of single questions, one after the other, and questions a second on two threads."""
    for one in asked[:100]:
        ask(one[None])
    timed = []
    for one in asked:
        began = time.perf_counter()
        ask(one[None])
        timed.append(1e3 * (time.perf_counter() - began))

    def go_on(thread: int) -> int:
        done, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            ask(asked[(thread * len(asked) // 2 + done) % len(asked)][None])
            done += 1
        return done

    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        total = sum(pool.map(go_on, range(2)))
        qps = total / (time.perf_counter() - began)
    return {"p50_ms": statistics.median(timed), "p99_ms": float(np.percentile(timed, 99)), "qps": qps}


def together(ask: Callable[[Any], Any], asked: Any, seconds: float) -> float:
    """Return questions a second when all are asked at once, again and again; how many threads answer is the library's."""
    ask(asked)
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        ask(asked)
        done += len(asked)
    return done / (time.perf_counter() - began)


def kilobytes(name: str) -> int:
    """Return a figure of this process's memory as the kernel tells it (VmRSS, VmHWM, RssAnon, RssFile)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def cpu_seconds() -> float:
    """Return the processor time that this process and its living descendants have used."""
    parent, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        pid = int(stat.parent.name)
        parent[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        mine += ticks.get(pid, 0)
        waiting += [one for one, above in parent.items() if above == pid]
    return mine / os.sysconf("SC_CLK_TCK")
