"""The nearest of one modality. Every cosine shown is that of the stored vectors: codes propose ids and the stored vectors rank them,
unless the codes are these very vectors (float16) and segments hold nothing else."""

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
from pipeline.errors import FormatError

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]
NARROW_ROWS = 20_000
"""Up to so many chosen ids all of them are compared: 20 ms for 512 numbers; an index would leave most of its lists unread."""
_PROPOSED_MOST = 2**19  # ids and cosines in memory at once: 6 MB
_COMPARED_MOST = 2**13  # stored vectors in memory at once: 16 MB of 512 numbers
_DEVICE_MOST = 2_048  # of proposals and lists, on a GPU
_SPARE = 4  # proposals beyond those asked for, as a removed row may be among them
_NONE = -2  # below every cosine
_STALE_COS = 1e-3  # float16 and the order of sums explain less
_LARGEST_COS = 1.01  # vectors have unit norm


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
        self._whole = all(segments.is_whole(index) for index, _ in self._opened)
        self._held = sum(one.rows - one.wiped for one in side.segments) == len(places.ids)  # segments hold nothing else
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
            stored = self._vectors.rows(self._modality, self._places.of(among.ids))
            return [
                found
                for block in _blocks(vectors, _PROPOSED_MOST // max(1, len(among)))
                for found in _of_few(block, stored, among.ids, k)
            ]
        k = min(k, len(self._places.ids) if among is None else len(among))
        nprobe, depth = self._effort(k, among)
        selector = None if among is None else among.selector
        return self._ranked(vectors, k, nprobe, depth, selector)

    def _effort(self, k: int, among: Chosen | None) -> tuple[int, int]:
        """Return the lists to look into and the proposals to take: measured for ten of all, so scaled for others.

        Of more answers the last lie in lists farther away; of few that are chosen as many have to be met. Codes that are whole
        vectors come in their order; of others three times as many are compared.
        """
        wider = math.sqrt(max(1.0, k / 10)) * (1.0 if among is None else len(self._places.ids) / len(among))
        depth = k + _SPARE if self._whole else max(self.side.depth, 3 * k)
        return math.ceil(self.side.nprobe * wider), depth

    def ranked(self, vectors: F32, k: int, nprobe: int, depth: int) -> list[Found]:
        """Return the at most k nearest with a given effort; what makes the curve."""
        return self._ranked(np.ascontiguousarray(vectors, np.float32), k, nprobe, depth, None)

    def _ranked(self, vectors: F32, k: int, nprobe: int, depth: int, selector: Any) -> list[Found]:
        """Return the at most k nearest of each vector, in blocks whose proposals fit in memory."""
        most = _PROPOSED_MOST if self._whole else _COMPARED_MOST
        blocks = _blocks(vectors, most // max(1, depth * len(self._opened)))
        return [found for block in blocks for found in self._block(block, k, nprobe, depth, selector)]

    def _block(self, vectors: F32, k: int, nprobe: int, depth: int, selector: Any) -> list[Found]:
        """Answer a block; those with too few proposals that count are asked again, four times as widely."""
        is_all = depth >= self._most and nprobe >= self._lists
        ids, cos = self._proposed(vectors, nprobe, depth, selector)
        if not (self._whole and self._held):
            ids, cos = self._compared(vectors, ids, cos)
        cos[ids < 0] = _NONE
        counts = np.count_nonzero(ids >= 0, axis=1).tolist()
        ids, cos = _first(ids, cos, k)
        if cos.size and cos[:, 0].max() > _LARGEST_COS:
            raise FormatError("an index whose codes are damaged; `tamis index build` makes it anew")
        found = [Found(ids[row, :count], cos[row, :count]) for row, count in enumerate(counts)]
        few = [row for row, count in enumerate(counts) if count < k and not is_all]
        if few:
            for row, one in zip(few, self._ranked(vectors[few], k, 4 * nprobe, 4 * depth, selector), strict=True):
                found[row] = one
        return found

    def _compared(self, vectors: F32, ids: Ids, cos: F32) -> tuple[Ids, F32]:
        """Return proposals with the stored vectors' cosines, each id once, -1 for what the snapshot does not hold.

        Of a row whose vector changed an older segment may still hold the old one. Where codes are whole vectors they tell: what a
        code says of the cosine is then not what the stored vector says, and the proposal does not count.
        """
        here = np.nonzero(self._places.having(ids))
        stored = self._vectors.rows(self._modality, self._places.of(ids[here]))
        true = np.vecdot(stored, vectors[here[0]])
        counts = np.abs(true - cos[here]) <= _STALE_COS if self._whole else np.ones(len(true), np.bool_)
        cos[here] = true
        kept = np.full(ids.shape, -1, np.int64)
        here = here[0][counts], here[1][counts]
        kept[here] = ids[here]
        order = np.argsort(kept, axis=1)
        rows = np.arange(len(kept))[:, None]
        kept, cos = kept[rows, order], cos[rows, order]
        kept[:, 1:][kept[:, 1:] == kept[:, :-1]] = -1
        return kept, cos

    def cosines(self, ids: Ids, vector: F32) -> F32:
        """Return the cosines f32[N] of ids to a vector f32[D]; -2 for an id that the snapshot does not hold."""
        there = self._places.having(ids)
        cos = np.full(len(ids), -2, np.float32)
        cos[there] = np.vecdot(self._vectors.rows(self._modality, self._places.of(ids[there])), vector)
        return cos

    def proposals(self, vectors: F32, nprobe: int, depth: int) -> Ids:
        """Return the ids that are proposed, i64[Q,P], segment by segment, in each the likeliest first, -1 where it knows no more."""
        return self._proposed(vectors, nprobe, depth, None)[0]

    def _proposed(self, vectors: F32, nprobe: int, depth: int, selector: Any) -> tuple[Ids, F32]:
        """Return what the segments propose, side by side: ids i64[Q,P], -1 for none, and what their codes say of the cosines."""
        found = []
        for number, (_, one) in enumerate(self._opened):
            k = min(depth, one.rows)
            if k:
                index, how = self._how(number, nprobe, k, selector)
                found.append(segments.search(index, vectors, k, how))
        if len(found) == 1:
            return found[0]
        ids = np.concatenate([np.empty((len(vectors), 0), np.int64), *(one for one, _ in found)], axis=1)
        cos = np.concatenate([np.empty((len(vectors), 0), np.float32), *(one for _, one in found)], axis=1)
        return ids, cos

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


def _blocks(vectors: F32, rows: int) -> list[F32]:
    return [vectors[low : low + max(1, rows)] for low in range(0, len(vectors), max(1, rows))]


def _of_few(vectors: F32, stored: F32, names: Ids, k: int) -> list[Found]:
    """Return the k nearest of all stored vectors f32[N,D], which have names."""
    cos = vectors @ stored.T
    ids, cos = _first(np.broadcast_to(names, cos.shape), cos, k)
    return [Found(*one) for one in zip(ids, cos, strict=True)]


def _first(ids: Ids, cos: F32, k: int) -> tuple[Ids, F32]:
    """Return the k of the greatest cosines in each row of ids and cosines [Q,P], equal ones by id."""
    if (cos[:, 1:] < cos[:, :-1]).all():  # as FAISS orders them
        return ids[:, :k], cos[:, :k]
    rows = np.arange(len(ids))[:, None]
    if k and ids.shape[1] > 4 * k:
        kept = np.argpartition(-cos, k, axis=1)[:, : 2 * k]
        ids, cos = ids[rows, kept], cos[rows, kept]
    order = np.lexsort((ids, -cos), axis=1)[:, :k]
    return ids[rows, order], cos[rows, order]


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
