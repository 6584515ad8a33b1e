"""Clusterings: which lists a row stands in, and by how much it misses those it does not stand in."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SAMPLE_A_LIST = 40
PROBES = 12
"""Lists looked at for every row; further ones are never entered, however wide the margin."""
_ROWS = 8_192


@dataclass(frozen=True)
class Clustering:
    """Unit-norm centroids f32[K,D] of a spherical k-means."""

    centroids: F32

    @classmethod
    def train(cls, sample: F32, lists: int, seed: int) -> "Clustering":
        """Train on f32[S,D] unit-norm rows."""
        kmeans = faiss.Kmeans(
            sample.shape[1],
            min(lists, len(sample)),
            niter=4,
            seed=seed,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=SAMPLE_A_LIST,
        )
        kmeans.train(sample)
        return cls(np.asarray(kmeans.centroids, np.float32).reshape(-1, sample.shape[1]))

    @property
    def lists(self) -> int:
        """Return the number of lists."""
        return len(self.centroids)

    def nearest(self, vectors: F16 | F32) -> tuple[I64, F32]:
        """Return each row's nearest lists i64[N,P], home first, and how much farther than home each is, f32[N,P]."""
        index: Any = faiss.IndexFlatIP(self.centroids.shape[1])
        index.add(self.centroids)
        probes = min(PROBES, self.lists)
        near = np.empty((len(vectors), probes), np.int64)
        gap = np.empty((len(vectors), probes), np.float32)
        for start in range(0, len(vectors), _ROWS):
            cos, lists = index.search(vectors[start : start + _ROWS].astype(np.float32), probes)
            near[start : start + len(lists)] = lists
            gap[start : start + len(lists)] = cos[:, :1] - cos
        return near, gap


def list_count(rows: int) -> int:
    """Return how many lists so many rows are cut into: entering them costs rows × lists, comparing rows² ÷ lists."""
    return max(1, round(math.sqrt(rows)))


def needed_margin(one: tuple[I64, F32], two: tuple[I64, F32]) -> F32:
    """Return the smallest margin at which each pair meets in a list, f32[M]; infinite where none of the nearest lists do.

    A pair meets when one of its rows has the other's home among its lists within the margin.
    """
    out = np.full(len(one[0]), np.inf, np.float32)
    for (home, _), (near, gap) in ((one, two), (two, one)):
        hit = near == home[:, :1]
        met = hit.any(axis=1)
        out[met] = np.minimum(out[met], gap[hit])
    return out


def comparisons(near: I64, gap: F32, margin: float, lists: int, rows: int) -> float:
    """Estimate how many pairs a clustering compares among `rows` rows, from a sample's lists and gaps."""
    scale = rows / max(1, len(near))
    home = np.bincount(near[:, 0], minlength=lists) * scale
    all_ = np.bincount(near[gap <= margin], minlength=lists) * scale
    return float((home * (all_ - home / 2)).sum())
