"""What is random for a sample of a run: a function of (seed, slot, purpose), so it is the same for any number of processes.

Numbers are drawn on the CPU by counter-based Philox (Salmon et al. 2011), keyed afresh for every sample: no state to save.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from train.order import key


@dataclass(frozen=True)
class Draws:
    """The chances of some samples, by their slots."""

    seed: int
    slots: Sequence[int]

    def normal(self, purpose: str, *shape: int) -> torch.Tensor:
        """Return f32[B,*shape] of standard normals."""
        made = np.empty((len(self.slots), *shape), np.float32)
        for row, slot in zip(made, self.slots, strict=True):
            self._generator(slot, purpose).standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(made)

    def uniform(self, purpose: str) -> torch.Tensor:
        """Return f64[B] in [0,1)."""
        return torch.tensor([key(self.seed, slot, purpose) / 2**64 for slot in self.slots], dtype=torch.float64)

    def _generator(self, slot: int, purpose: str) -> np.random.Generator:
        words: NDArray[np.uint64] = np.array([key(self.seed, slot, purpose), slot], np.uint64)
        return np.random.Generator(np.random.Philox(key=words))


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Let torch's own generators (the CPU's and a device's) start from a seed, and give them back as they were."""
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield
