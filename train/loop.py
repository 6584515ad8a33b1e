"""The loop: batches in, weights out, and at any moment a checkpoint from which it goes on as if nothing had happened."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.errors import StorageError, TamisError
from pipeline.tombstones import Watch
from train import checkpoint, ledger, order
from train.checkpoint import Cursor
from train.compiling import compiled
from train.data import HIDDEN_EVERY_S, Batch, Batches, loader
from train.exported.sampling import half
from train.gradient import Gradient
from train.ledger import Segment
from train.optim import Averaged, adamw, lr_at, trained
from train.progress import Progress
from train.run import Run, renew
from train.settings import digest_of
from train.tasks import Task
from train.validation import Validation
from train.world import World, plain_attention

_NAMED = 32
"""Samples that an error names, at most."""
Sampler = Callable[[Task, Path, int], dict[str, float]]
"""Called with averaged weights, the run's folder and the step; draws samples and returns what it measured on them."""


@dataclass(frozen=True)
class Ahead:
    """What a step left to be looked at while the next one computes: the sums over all processes, and whose losses they are."""

    step: int
    batch: Batch
    sums: torch.Tensor
    """f64[4]: loss × weight, weight, hidden, wish to stop."""
    norm: torch.Tensor
    losses: torch.Tensor


@dataclass
class Loop:
    """A run under way in this process."""

    run: Run
    task: Task
    world: World
    batches: Batches
    progress: Progress
    sampler: Sampler | None = None
    step: int = 0
    images_seen: int = 0
    skipped: int = 0
    judged: dict[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        config = self.run.config
        self._watch = Watch(self.run.store, HIDDEN_EVERY_S)
        self.optimizer = adamw(self.task.module, config.optim)
        self.average = Averaged.of(self.task.module, config.optim.ema_decay)
        self.validation = Validation.of(self.run, self.task, self.world)
        self.autocast = (
            torch.autocast(self.world.device.type, torch.bfloat16)
            if half(config.run.precision, self.world.device)
            else nullcontext()
        )
        self.gradient = Gradient(
            self.world, config.data.seed, config.optim.batch, config.optim.micro_batch, self.autocast
        )
        module = compiled(self.task.module, config, quiet=self.progress.quiet)
        self.module = DistributedDataParallel(module, forward_sync_buffers=False) if self.world.size > 1 else module

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        checkpoint.sound(folder)
        cursor = checkpoint.read(folder)
        self.task.load(folder / "ema")
        self.average.restore(cursor.ema_steps)
        self.task.load(folder / "model")
        checkpoint.load_optimizer(self.optimizer, folder / "optimizer.safetensors")
        self.step, self.images_seen, self.skipped = cursor.step, cursor.images_seen, cursor.skipped

    def go(self) -> bool:
        """Train to the end; return False when somebody asked to stop. What is done by then is kept in a checkpoint."""
        config, last = self.run.config.run, self.run.config.optim.steps
        self.segment = Segment(self.step, self.step)
        ahead: Ahead | None = None
        self.task.module.train()
        for made in loader(self.batches, self.step, last, config.workers):
            batch = without(made, self._watch.hidden())  # it may have been made some batches ago
            now = self._step(batch)
            stopped = ahead is not None and self._look(ahead)
            ahead, self.step = now, batch.step + 1
            due = stopped or self.step == last or self.step % config.checkpoint_steps == 0
            if due or self.step % config.validate_steps == 0 or self.step % config.sample_steps == 0:
                stopped, ahead = self._look(ahead) or stopped, None  # nothing is measured or kept of weights gone wrong
                self._judge(sample=self.step % config.sample_steps == 0 or self.step == last)
            if due:
                self._keep()
            if stopped:
                return False
        return True

    def _step(self, batch: Batch) -> Ahead:
        """Do one step of the optimiser. A sample's share of the gradient is 1/batch, however many are left of the last batch."""
        config, device = self.run.config.optim, self.world.device
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(config, batch.step)
        with plain_attention(device):  # backwards too: recompute asks for attention again there
            each = self.gradient.add(self.task, self.module, batch)
        norm = nn.utils.clip_grad_norm_(trained(self.task.module), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.step()
        self.segment.add(batch)
        sums = torch.tensor(
            [0.0, float(batch.weight.sum()), float(batch.hidden), float(self.stop.is_set())], dtype=torch.float64
        )
        sums = sums.to(device, non_blocking=True)
        sums[0] = each.double().sum()
        return Ahead(batch.step, batch, self.world.sum(sums), norm, each)

    def _look(self, ahead: Ahead) -> bool:
        """Take a step's numbers in; TamisError when they are none. Return whether somebody wants to stop."""
        loss, weight, hidden, stop = ahead.sums.tolist()
        norm = float(ahead.norm)
        if not (abs(loss) < float("inf") and norm < float("inf")):  # NaN is not less than anything
            raise TamisError(self._trouble(ahead, loss, norm))
        self.images_seen += int(weight)
        self.skipped += int(hidden)
        lr = lr_at(self.run.config.optim, ahead.step)
        measured = {"loss": loss / weight if weight else 0.0, "gradient_norm": norm, "lr": lr, "hidden": self.skipped}
        self.progress.step(ahead.step + 1, int(weight), **measured)
        return bool(stop > 0)

    def _trouble(self, ahead: Ahead, loss: float, norm: float) -> str:
        bad = (~torch.isfinite(ahead.losses)).cpu().numpy()
        chosen = ahead.batch.uid[bad] if bad.any() else ahead.batch.uid[ahead.batch.weight.numpy() > 0]
        uids = ", ".join(bytes(uid).ljust(16, b"\0").hex() for uid in chosen[:_NAMED])
        uids += f" and {len(chosen) - _NAMED:,} more" if len(chosen) > _NAMED else ""
        whose = (
            "the losses that are not finite are those of"
            if bad.any()
            else "every loss of this process is finite; its batch was"
        )
        kept = checkpoint.last(self.run.folder)
        return (
            f"step {ahead.step:,}: loss {loss:g}, gradient norm {norm:g}; stopped before anything was kept of it. {whose} {uids}. "
            f"The newest checkpoint is {'none' if kept is None else self.run.folder / checkpoint.name(kept)}; look at the samples "
            '(`tamis search DATASET --uid …`), or go on from there with a lower optim.lr or run.precision = "float32" in a new run'
        )

    def _judge(self, sample: bool) -> None:
        self.task.module.eval()
        with self.average.used():
            with self.autocast:
                self.judged = self.validation.measure()
            if sample and self.world.first and self.sampler is not None:
                self.judged |= self.sampler(self.task, self.run.folder, self.step)
        self.task.module.train()
        if self.judged:
            self.progress.note(self.step, **self.judged)

    def _keep(self) -> None:
        """Write the ledger of what was fed since the last checkpoint, then the checkpoint."""
        fed = [Segment.from_bytes(one) for one in self.world.gather(self.segment.to_bytes())]
        if self.world.first:
            for other in fed[1:]:
                fed[0].merge(other)
            if fed[0].last > fed[0].first:
                ledger.write(self.run.folder, fed[0])
            checkpoint.commit(self.run.folder, self._cursor(), self._fill)
            checkpoint.prune(self.run.folder, self.run.config.run.keep_last, self.run.config.run.keep_steps)
            with suppress(OSError, StorageError):  # a pin holds for a week: one that could not be renewed stops nothing
                renew(self.run)
        self.world.wait()
        self.segment = Segment(self.step, self.step)

    def _fill(self, folder: Path) -> None:
        self.task.save(folder / "model")
        with self.average.used():
            self.task.save(folder / "ema")
        checkpoint.save_optimizer(self.optimizer, folder / "optimizer.safetensors")

    def _cursor(self) -> Cursor:
        run = self.run
        return Cursor(
            self.step, self.step // run.order.batches, run.order.batch, run.order.seed, order.VERSION, run.shown.digest,
            digest_of(run.facts.config), _version(), run.rows.facts.clip, self.images_seen, self.skipped, self.average.steps,
            self.judged.get("validation_loss"), run.facts.parents,
        )  # fmt: skip


def without(batch: Batch, hidden: frozenset[bytes]) -> Batch:
    """Return a batch in which hidden samples weigh nothing."""
    shown = np.flatnonzero(batch.weight.numpy() > 0)
    gone = [at for at in shown if bytes(batch.uid[at]).ljust(16, b"\0") in hidden]
    if not gone:
        return batch
    weight = batch.weight.clone()
    weight[torch.from_numpy(np.array(gone, np.int64))] = 0.0
    return replace(batch, weight=weight, hidden=batch.hidden + len(gone))


@contextmanager
def heeded(stop: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop after the step; the second one stops at once."""

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _version() -> str:
    try:
        return version("tamis")
    except PackageNotFoundError:
        return "unknown"
