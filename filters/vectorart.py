"""Recognise simple vector art (clip art, icons, charts): the kind of picture that generative models memorise first."""

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.base import Filter, first_reason, numbers

READS = ("picture_colours", "picture_flat_frac", "picture_edge_frac")
_SIDE_PX = 256
_FLAT_LEVELS, _EDGE_LEVELS = 4, 48


def picture_stats(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """Measure a picture u8[H,W,3] RGB: effective colours, share of flat pixels, share of hard edges.

    `picture_colours` is 2 to the entropy (bits) of the colours in 16 steps a channel: the number of equally frequent
    colours that would be as varied, in [1, 4096]. A pixel is flat if its 3 × 3 surroundings span at most 4 levels in
    every channel (which JPEG leaves of a plain area), an edge if they span 48 or more.
    """
    scale = _SIDE_PX / max(rgb.shape[:2])
    if scale < 1:
        # nearest, since averaging would invent colours between two flat ones
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    count = cv2.calcHist([rgb], [0, 1, 2], None, [16, 16, 16], [0, 256] * 3).ravel()
    share = count[count > 0] / count.sum()
    kernel = np.ones((3, 3), np.uint8)
    red, green, blue = cv2.split(cv2.subtract(cv2.dilate(rgb, kernel), cv2.erode(rgb, kernel)))
    span = np.asarray(cv2.max(cv2.max(red, green), blue))
    return {
        "picture_colours": float(2.0 ** -(share * np.log2(share)).sum()),
        "picture_flat_frac": np.count_nonzero(span <= _FLAT_LEVELS) / span.size,
        "picture_edge_frac": np.count_nonzero(span >= _EDGE_LEVELS) / span.size,
    }


def _score(table: pa.Table) -> pa.Table:
    colours, flat, edge = (numbers(table, column) for column in READS)
    # few colours, and hardly a pixel that is neither flat nor an edge: what remains is shading and texture
    few = 1 - np.clip(np.log2(np.maximum(colours, 1)) / 8, 0, 1)
    plain = np.clip(flat + edge, 0, 1) * np.clip(flat / 0.5, 0, 1)
    return pa.table({"vectorart_score": pa.array(few * plain, type=pa.float32(), from_pandas=True)})


def vectorart(*, max_score: float | None = None) -> Filter:
    """Score how much a picture looks like simple vector art, in [0,1]; drop it above `max_score` (None: keep all)."""

    def decide(table: pa.Table) -> pa.Array:
        score = numbers(table, "vectorart_score")
        if max_score is None:
            return first_reason(len(table), [])
        return first_reason(
            len(table), [(np.isnan(score), "vectorart_missing"), (score > np.float32(max_score), "vectorart")]
        )

    return Filter("vectorart", READS, ("vectorart_missing", "vectorart"), _score, decide)
