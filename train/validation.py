"""Losses that can be compared from step to step: on fixed rows with fixed times and noise, by the averaged weights."""

from dataclasses import dataclass
from typing import Final

import torch

from train.data import Batches
from train.draws import Draws
from train.order import Order, key
from train.run import Run
from train.sources import source
from train.tasks import Task
from train.world import World

ROWS: Final = 256
"""Rows of each kind that are measured, at most, about."""
BATCH: Final = 64
"""Not the run's: the same rows get the same noise for any usual number of processes."""


@dataclass
class Validation:
    """Held-out rows, and as many that are trained on: where the two losses part, rows are being memorised."""

    task: Task
    world: World
    sources: dict[str, Batches]

    @classmethod
    def of(cls, run: Run, task: Task, world: World) -> "Validation":
        """Prepare the measurement of a run; rows that a tombstone hides are left out whenever it is made."""
        parts = {"validation_loss": run.held, "seen_loss": run.shown}
        sources = {}
        batch = -(-BATCH // world.size) * world.size
        for name, rows in parts.items():
            if rows.rows_shown == 0 or run.held.rows_shown == 0:
                continue
            order = Order(rows.shards, key(run.config.data.seed, name), batch, run.config.data.window)
            sources[name] = source(run, rows, order, world, plain=True)
        return cls(task, world, sources)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the mean losses by name, over all processes."""
        found = {}
        for name, batches in self.sources.items():
            sums = torch.zeros(2, dtype=torch.float64, device=self.world.device)
            size = batches.order.batch
            for step in range(min(batches.order.batches, -(-ROWS // size))):
                batch = batches[step]
                draws = Draws(batches.order.seed, batch.slot.tolist())
                losses = self.task.losses(self.task.module, batch.to(self.world.device), draws, plain=True)
                sums += torch.stack([(losses * batch.weight.to(losses)).sum(), batch.weight.sum().to(losses)]).double()
            total, weight = self.world.sum(sums).tolist()
            if weight:
                found[name] = total / weight
        return found
