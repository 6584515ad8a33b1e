"""What a run is doing: a live table in a terminal, a line a second otherwise, a file for `tamis status`, a log of events."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from threading import RLock
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.errors import StorageError
from pipeline.stage import Part
from pipeline.store import Store

STATUS_FILE = "progress.json"


@dataclass
class StageProgress:
    """How far one stage is."""

    total: int | None = None  # parts
    done: int = 0
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0  # work, summed over workers


class Progress:
    """Collects what stages report; shows it on stderr and writes it where `tamis status` looks."""

    def __init__(self, store: Store, quiet: bool = False) -> None:
        self.store = store
        self.stages: dict[str, StageProgress] = {}
        self.started = time.time()
        self.state = "running"
        self._every_s = 1.0 if store.is_local else 10.0
        self._last_file = self._last_line = 0.0
        self._lock = RLock()
        self._events: list[dict[str, Any]] = []
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._quiet = quiet

    def __enter__(self) -> "Progress":
        if not self._quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._table)
            self._live.start()
        self.event("run_started", pid=os.getpid())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.state = "finished" if kind is None else ("stopped" if kind is KeyboardInterrupt else "failed")
        self.event(f"run_{self.state}", error=str(error) if error else None)
        if self._live is not None:
            self._live.stop()
        elif not self._quiet:
            self._line()
        self._write()

    def expect(self, stage: str, parts: int) -> None:
        """Say that a stage has so many parts ahead (adds up)."""
        with self._lock:
            progress = self.stages.setdefault(stage, StageProgress())
            progress.total = (progress.total or 0) + parts
            self._tick()

    def done(self, stage: str, rows: int, dropped: Mapping[str, int] | None = None, seconds: float = 0.0) -> None:
        """Count one part of a stage as finished."""
        with self._lock:  # called from dask's threads too
            progress = self.stages.setdefault(stage, StageProgress())
            progress.done += 1
            progress.rows += rows
            progress.seconds += seconds
            for reason, n in (dropped or {}).items():
                progress.dropped[reason] = progress.dropped.get(reason, 0) + n
            self._tick()

    def finished(self, stage: str, part: Part) -> None:
        """Count a committed part as finished."""
        self.done(stage, part.rows, part.dropped, part.seconds)

    def event(self, name: str, **facts: Any) -> None:
        """Write one line of the event log."""
        line = json.dumps({"utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": name, **facts})
        path = self.store.local("events.jsonl")
        if path is None:
            self._events.append(json.loads(line))
            if name.startswith("run_") and name != "run_started":
                body = "".join(json.dumps(e) + "\n" for e in self._events)
                self.store.write(f"events/{int(self.started)}-{os.getpid()}.jsonl", body.encode())
            return
        with suppress(OSError), path.open("a", encoding="utf-8") as handle:  # a log that cannot be written stops no run
            handle.write(line + "\n")

    @contextmanager
    def step(self, stage: str) -> Iterator[None]:
        """Show a step of one part that reports nothing while it runs."""
        self.expect(stage, 1)
        began = time.monotonic()
        yield
        self.done(stage, 0, seconds=time.monotonic() - began)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._last_file >= self._every_s:
            self._last_file = now
            self._write()
        if self._live is None and not self._quiet and now - self._last_line >= 1.0:
            self._last_line = now
            self._line()

    def _write(self) -> None:
        body = {
            "state": self.state,
            "pid": os.getpid(),
            "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 1),
            "stages": {name: asdict(stage) for name, stage in self.stages.items()},
        }
        with suppress(StorageError):  # nor does a full disk here hide the error that says so
            self.store.write(STATUS_FILE, json.dumps(body, indent=1).encode())

    def _line(self) -> None:
        shown = [f"{name} {s.done}/{s.total if s.total is not None else '?'}" for name, s in self.stages.items()]
        print(f"[{time.time() - self.started:7.1f} s] " + "  ".join(shown), file=sys.stderr, flush=True)

    def _table(self) -> Table:
        with self._lock:
            return self._stage_table()

    def _stage_table(self) -> Table:
        return stage_table({name: asdict(stage) for name, stage in self.stages.items()}, time.time() - self.started)


def stage_table(stages: Mapping[str, Mapping[str, Any]], seconds: float) -> Table:
    """Return the table of stages that the live display and `tamis status` show."""
    table = Table(title=f"{seconds:.0f} s", title_justify="right", box=None, pad_edge=False, header_style="bold")
    for column, justify in (
        ("stage", "left"),
        ("parts", "right"),
        ("", "left"),
        ("rows", "right"),
        ("dropped", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, stage in stages.items():
        total = stage["total"]
        share = stage["done"] / total if total else 0.0
        bar = "[green]" + "━" * round(20 * share) + "[/green][dim]" + "━" * (20 - round(20 * share)) + "[/dim]"
        top = sorted(stage["dropped"].items(), key=lambda item: -item[1])[:3]
        dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in top)
        table.add_row(
            name, f"{stage['done']:,}/{total:,}" if total else f"{stage['done']:,}", bar, f"{stage['rows']:,}", dropped
        )
    return table
