"""How sure a share is that was counted on a few trials."""


def interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927); (0, 1) of nothing counted."""
    from scipy.stats import binomtest  # half a second to import, for what is told at the end

    if not trials:
        return 0.0, 1.0
    found = binomtest(hits, trials).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def more_than_chance(trials: int, chance: float, tail_prob: float = 0.025) -> int:
    """Return the fewest hits that guessing reaches with at most `tail_prob` (binomial, one-sided); trials + 1: no count is enough."""
    from scipy.stats import binom

    return int(binom.isf(tail_prob, trials, chance)) + 1
