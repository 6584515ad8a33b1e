"""Numbers that were measured on a few pictures, with what they may be on all: shares and means with their 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.shares import interval, more_than_chance

F64 = NDArray[np.float64]
_Z: Final = 1.959964


@dataclass(frozen=True)
class Share:
    """A share of trials with its 95 % interval (Wilson 1927)."""

    hits: int
    trials: int
    chance: float = 0.0
    """What guessing reaches."""

    @property
    def value(self) -> float:
        """Return the share, 0 to 1."""
        return self.hits / self.trials if self.trials else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Return the bounds of the interval."""
        return interval(self.hits, self.trials)

    @cached_property
    def least_hits(self) -> int:
        """Return the fewest hits that guessing reaches with at most 2.5 % probability (binomial, one-sided)."""
        return more_than_chance(self.trials, self.chance)

    @property
    def above_chance(self) -> bool:
        """Tell whether there are more hits than guessing explains."""
        return self.hits >= self.least_hits

    def told(self) -> dict[str, Any]:
        """Return the share as JSON."""
        low, high = self.interval
        return {
            "value": self.value, "low": low, "high": high, "hits": self.hits, "n": self.trials, "chance": self.chance,
        }  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A mean or a distance with its standard error, over `n` pictures."""

    value: float
    error: float
    n: int

    @classmethod
    def mean(cls, values: Sequence[float] | F64) -> "Estimate":
        """Return the mean of values; the error is none where there is one value or none at all."""
        found = np.asarray(values, np.float64)
        spread = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else float("nan")
        return cls(float(found.mean()) if len(found) else float("nan"), spread, len(found))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the bounds of the 95 % interval, by the normal distribution."""
        return self.value - _Z * self.error, self.value + _Z * self.error

    def told(self) -> dict[str, Any]:
        """Return the estimate as JSON."""
        low, high = self.interval
        return {"value": self.value, "low": low, "high": high, "n": self.n}
