"""The nearest of one modality: segments propose ids, the stored vectors rank them, so that every cosine shown is exact."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index import segments
from index.chosen import Chosen
from index.mapped import Files
from index.places import Places
from index.query import Modality
from index.record import Side
from index.vectors import Vectors

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]
NARROW_ROWS = 20_000
"""Up to so many chosen ids all of them are compared: 20 ms for 512 numbers; an index would leave most of its lists unread."""
_TOGETHER = 64  # queries whose proposals are in memory at once
_DEVICE_MOST = 2_048  # of proposals and lists, on a GPU


@dataclass(frozen=True)
class Found:
    """The neighbours of one vector, nearest first: ids i64[K] and cosines f32[K]."""

    ids: Ids
    cos: F32


class Ranking:
    """The opened segments of one modality of a snapshot."""

    def __init__(
        self, files: Files, base: str, side: Side, modality: Modality, places: Places, vectors: Vectors
    ) -> None:
        self.side, self._modality, self._places, self._vectors = side, modality, places, vectors
        self._opened = [(segments.read(files.path(f"{base}/{one.name}")), one) for one in side.segments]
        self._devices = [segments.on_device(index) for index, _ in self._opened]
        self._lists = max((index.nlist for index, _ in self._opened if isinstance(index, faiss.IndexIVF)), default=0)
        self._most = max((one.rows for _, one in self._opened), default=0)
        self._parameters: dict[tuple[int, int, bool], tuple[Any, Any]] = {}

    def with_effort(self, nprobe: int, depth: int) -> "Ranking":
        """Return the same segments, to be asked with another effort."""
        other = copy(self)
        other.side = replace(self.side, nprobe=nprobe, depth=depth)
        return other

    def near(self, vectors: F32, k: int, among: Chosen | None = None) -> list[Found]:
        """Return for each vector f32[Q,D] its at most k nearest, among chosen ids where there are any."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if among is not None and len(among) <= NARROW_ROWS:
            return self._compared(vectors, k, among.ids)
        k = min(k, len(self._places.ids) if among is None else len(among))
        nprobe, depth = self._effort(k, among)
        selector = None if among is None else among.selector
        blocks = [vectors[low : low + _TOGETHER] for low in range(0, len(vectors), _TOGETHER)]
        return [found for block in blocks for found in self._ranked(block, k, nprobe, depth, selector)]

    def _effort(self, k: int, among: Chosen | None) -> tuple[int, int]:
        """Return the lists to look into and the proposals to take: measured for ten of all, so scaled for others.

        Of more answers the last lie in lists farther away; of few that are chosen as many have to be met.
        """
        wider = math.sqrt(max(1.0, k / 10)) * (1.0 if among is None else len(self._places.ids) / len(among))
        return math.ceil(self.side.nprobe * wider), max(self.side.depth, 3 * k)

    def ranked(self, vectors: F32, k: int, nprobe: int, depth: int) -> list[Found]:
        """Return the at most k nearest with a given effort; what makes the curve."""
        return self._ranked(np.ascontiguousarray(vectors, np.float32), k, nprobe, depth, None)

    def _ranked(self, vectors: F32, k: int, nprobe: int, depth: int, selector: Any) -> list[Found]:
        found: dict[int, Found] = {}
        waiting = list(range(len(vectors)))
        while waiting:
            whole = depth >= self._most and nprobe >= self._lists
            proposed = self.proposals(vectors[waiting], nprobe, depth, selector)
            rest = []
            for row, number in enumerate(waiting):
                ids, at = self._places.held(
                    _together([one[row] for one in proposed])
                )  # removed and erased rows drop out
                if len(ids) >= k or whole:
                    found[number] = _top(ids, np.vecdot(self._vectors.rows(self._modality, at), vectors[number]), k)
                else:
                    rest.append(number)
            waiting, nprobe, depth = rest, 4 * nprobe, 4 * depth
        return [found[number] for number in range(len(vectors))]

    def cosines(self, ids: Ids, vector: F32) -> F32:
        """Return the cosines f32[N] of ids to a vector f32[D]; -2 for an id that the snapshot does not hold."""
        there = self._places.having(ids)
        cos = np.full(len(ids), -2, np.float32)
        cos[there] = np.vecdot(self._vectors.rows(self._modality, self._places.of(ids[there])), vector)
        return cos

    def proposals(self, vectors: F32, nprobe: int, depth: int, selector: Any = None) -> list[Ids]:
        """Return what each segment proposes, i64[Q,depth], -1 where it knows no more."""
        found = []
        for number, (_, one) in enumerate(self._opened):
            k = min(depth, one.rows)
            if k:
                index, how = self._how(number, nprobe, k, selector)
                found.append(segments.search(index, vectors, k, how))
        return found

    def _how(self, number: int, nprobe: int, k: int, selector: Any) -> tuple[Any, Any]:
        """Return the index to ask, a segment's own or its copy on a GPU, and the parameters, which are kept: they cost a fifth
        of a search to make."""
        (index, one), device = self._opened[number], self._devices[number]
        if selector is not None:
            return index, segments.parameters(index, nprobe, selector)
        on_device = device is not None and not one.wiped and max(k, nprobe) <= _DEVICE_MOST
        key = number, nprobe, on_device
        if key not in self._parameters:
            chosen = device if on_device else index
            self._parameters[key] = chosen, segments.parameters(chosen, nprobe, wiped=one.wiped > 0)
        return self._parameters[key]

    def _compared(self, vectors: F32, k: int, among: Ids) -> list[Found]:
        stored = self._vectors.rows(self._modality, self._places.of(among))
        return [_top(among, stored @ vector, k) for vector in vectors]


def _together(proposed: Sequence[Ids]) -> Ids:
    """Return the ids that several segments propose, each once."""
    if len(proposed) == 1:
        return proposed[0]
    return np.unique(np.concatenate([np.empty(0, np.int64), *proposed]))


def _top(ids: Ids, cos: F32, k: int) -> Found:
    if len(ids) > 4 * k:
        kept = np.argpartition(-cos, k)[: 2 * k] if k else np.empty(0, np.int64)
        ids, cos = ids[kept], cos[kept]
    order = np.lexsort((ids, -cos))[:k]
    return Found(ids[order], cos[order])


def exactly(vectors: Sequence[NDArray[np.float16]], ids: Sequence[Ids], queries: F32, k: int) -> tuple[Ids, F32]:
    """Return the k nearest of all, ids i64[Q,K] and cosines f32[Q,K], by comparing every vector; rows of id -1 are left out."""
    best_ids = np.full((len(queries), k), -1, np.int64)
    best = np.full((len(queries), k), -2, np.float32)
    for shard, names in zip(vectors, ids, strict=True):
        cos = queries @ shard.astype(np.float32).T
        cos[:, names < 0] = -2
        better = cos > best[:, -1:]
        for row in np.flatnonzero(better.any(axis=1)).tolist():
            found = np.flatnonzero(better[row])
            values = np.concatenate([best[row], cos[row, found]])
            first = np.argsort(-values, kind="stable")[:k]
            best[row], best_ids[row] = values[first], np.concatenate([best_ids[row], names[found]])[first]
    return best_ids, best
