"""Losses that can be compared from step to step: on fixed rows with fixed times and noise, by the averaged weights."""

import math
from dataclasses import dataclass
from typing import Final

import torch

from train.data import Batches
from train.draws import Draws
from train.estimates import Estimate
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

    def measure(self) -> dict[str, float]:
        """Return the mean losses by name, over all processes."""
        return {name: found.value for name, found in self.estimates().items()}

    @torch.no_grad()
    def estimates(self) -> dict[str, Estimate]:
        """Return the mean losses by name with their errors over the rows, over all processes."""
        found = {}
        for name, batches in self.sources.items():
            sums = torch.zeros(3, dtype=torch.float64, device=self.world.device)
            size = batches.order.batch
            for step in range(min(batches.order.batches, -(-ROWS // size))):
                batch = batches[step]
                draws = Draws(batches.order.seed, batch.slot.tolist())
                losses = self.task.losses(self.task.module, batch.to(self.world.device), draws, plain=True)
                mine = losses.double()[(batch.weight > 0).to(losses.device)]
                sums += torch.stack([mine.sum(), mine.square().sum(), mine.new_tensor(len(mine))])
            total, squares, rows = self.world.sum(sums).tolist()
            if rows:
                spread = max(0.0, squares - total * total / rows) / max(1.0, rows - 1)
                found[name] = Estimate(total / rows, math.sqrt(spread / rows), int(rows))
        return found
