"""What a run is doing: a live table in a terminal, a line a second otherwise; metrics.jsonl and TensorBoard's files."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.store import Store

METRICS = "metrics.jsonl"


@dataclass
class Progress:
    """Shows and writes what a run measures; only the first process has one that is not quiet."""

    folder: Path
    first_step: int
    last_step: int
    quiet: bool = False
    write: bool = True
    log_steps: int = 10
    now: dict[str, Any] = field(default_factory=dict)
    _console: Console = field(default_factory=lambda: Console(stderr=True))
    _live: Live | None = None
    _board: Any = None
    _line_s: float = 0.0
    _mark: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> "Progress":
        self._mark = (time.monotonic(), 0)
        if self.write:
            forget_after(self.folder, self.first_step)
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.first_step + 1)
        if not self.quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._table)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        elif not self.quiet and self.now:
            self._print()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, images: int, **measured: float) -> None:
        """Note a step: `step` is how many are done, `images` how many pictures weighed in it."""
        began, before = self._mark
        total = before + images
        seconds = time.monotonic() - began
        self._mark = (began, total)
        rate = total / seconds if seconds else 0.0
        left_s = (self.last_step - step) * seconds / max(1, step - self.first_step)
        self.now |= {"step": step, **measured, "images_per_s": rate, "left_s": left_s}
        if step % self.log_steps == 0 or step == self.last_step:
            self.note(step, **measured, images_per_s=round(rate, 2))
        if self._live is None and not self.quiet and time.monotonic() - self._line_s >= 1.0:
            self._line_s = time.monotonic()
            self._print()

    def note(self, step: int, **measured: Any) -> None:
        """Write measurements of a step to metrics.jsonl and TensorBoard."""
        self.now |= measured
        if not self.write:
            return
        utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.folder / METRICS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step, "utc": utc, **measured}) + "\n")
        for name, value in measured.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def _print(self) -> None:
        print("  ".join(f"{name} {value}" for name, value in self._shown()), file=sys.stderr, flush=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in self._shown():
            table.add_row(name, value)
        return table

    def _shown(self) -> list[tuple[str, str]]:
        now = {name: value for name, value in self.now.items() if isinstance(value, int | float)}
        names = {
            "loss": "loss",
            "gradient_norm": "gradient",
            "lr": "lr",
            "validation_loss": "validation",
            "hidden": "hidden",
        }
        shown = [("step", f"{now.get('step', self.first_step):,}/{self.last_step:,}")]
        shown += [(said, f"{now[name]:.4g}") for name, said in names.items() if name in now]
        if "images_per_s" in now:
            shown += [("images/s", f"{now['images_per_s']:,.0f}"), ("left", _span(now["left_s"]))]
        return shown


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def forget_after(folder: Path, step: int) -> None:
    """Drop the measurements of steps that are trained anew, and a line that a kill cut off."""
    path = folder / METRICS
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    Store(str(folder.resolve())).write(METRICS, "".join(kept).encode())
