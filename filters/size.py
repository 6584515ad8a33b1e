"""Keep pictures that were large enough, and not too long and thin, before any resizing."""

import numpy as np
import pyarrow as pa

from filters.base import Filter, first_reason, no_score, numbers

READS = ("original_width_px", "original_height_px")


def size(*, min_px: int = 64, max_aspect: float = 3.0) -> Filter:
    """Drop pictures with a side below `min_px`, or with long side / short side above `max_aspect`."""

    def decide(table: pa.Table) -> pa.Array:
        width, height = numbers(table, READS[0]), numbers(table, READS[1])
        short, long = np.minimum(width, height), np.maximum(width, height)
        missing = ~(np.isfinite(short) & (short > 0))
        # compared by multiplication: 900×300 is exactly 3, whatever the division rounds to
        extreme = long > max_aspect * short
        return first_reason(
            len(table), [(missing, "size_missing"), (short < min_px, "size_small"), (extreme, "aspect_extreme")]
        )

    return Filter("size", READS, ("size_missing", "size_small", "aspect_extreme"), no_score, decide)
