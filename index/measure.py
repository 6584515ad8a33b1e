"""Recall against exact search, on held-out questions: vectors of the other modality, and the same one's with themselves left out."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.mapped import Files
from index.query import Modality
from index.ranking import Ranking, exactly
from index.record import Probe
from index.vectors import Vectors
from index.writing import Ids, spread
from pipeline.engine import Engine
from pipeline.snapshot import Snapshot
from pipeline.store import Store

F32 = NDArray[np.float32]
K = 10
QUESTIONS = 400
"""Of each sort; recall@10 is then known to about half a percent."""
_TIMED = 50
_SEED = 7
_BLOCK_ROWS = 100_000


def blocks(snapshot: Snapshot) -> list[list[int]]:
    """Return the positions of the shards, in blocks of about 100,000 rows."""
    found: list[list[int]] = []
    rows = _BLOCK_ROWS
    for at, entry in enumerate(snapshot.shards):
        if rows >= _BLOCK_ROWS:
            found.append([])
            rows = 0
        found[-1].append(at)
        rows += entry.rows
    return found


class Exam:
    """Questions to one modality's index, with the right answers."""

    def __init__(
        self, store: Store, snapshot: Snapshot, modality: Modality, dimensions: int, ids: Sequence[Ids]
    ) -> None:
        self._snapshot, self._modality, self._dimensions = snapshot, modality, dimensions
        self._store, self._ids = store, ids
        at = np.concatenate(
            [np.stack([np.full(len(one), n), np.arange(len(one))], 1)[one >= 0] for n, one in enumerate(ids)]
        )
        chosen = np.random.default_rng(_SEED).permutation(len(at))[: 2 * QUESTIONS]
        asked = (
            np.array_split(at[np.sort(chosen)].astype(np.int32), 2)
            if len(chosen) > 1
            else [at[chosen].astype(np.int32)] * 2
        )
        files = Files(store)
        vectors = Vectors(files, snapshot, dimensions)
        other: Modality = "text" if modality == "image" else "image"
        self.across: F32 = vectors.rows(other, asked[0])
        self.within: F32 = vectors.rows(modality, asked[1])
        self._own = np.array([ids[shard][row] for shard, row in asked[1].tolist()], np.int64)
        files.close()
        self._right: list[set[int]] = []

    def answer(self, engine: Engine | None) -> "Exam":
        """Find the right answers by comparing every vector, block by block."""
        queries = np.concatenate([self.across, self.within])
        jobs = [
            (
                self._store,
                self._snapshot,
                self._modality,
                self._dimensions,
                block,
                [self._ids[at] for at in block],
                queries,
            )
            for block in blocks(self._snapshot)
        ]
        answers = spread(engine, _nearest, jobs)
        ids = np.concatenate([one[0] for one in answers], 1)
        order = np.argsort(-np.concatenate([one[1] for one in answers], 1), axis=1, kind="stable")
        best = np.take_along_axis(ids, order, 1)
        self._right = [set(self._without_own(number, row)) - {-1} for number, row in enumerate(best)]
        return self

    def _without_own(self, number: int, ids: Ids) -> list[int]:
        own = self._own[number - len(self.across)] if number >= len(self.across) else -1
        return [one for one in ids.tolist() if one != own][:K]

    def mark(self, found: Sequence[Ids]) -> tuple[float, float]:
        """Return recall@10 of the answers to `across` and then `within`."""
        hits = [
            len(right.intersection(self._without_own(number, ids))) / max(1, len(right))
            for number, (right, ids) in enumerate(zip(self._right, found, strict=True))
        ]
        return float(np.mean(hits[: len(self.across)])), float(np.mean(hits[len(self.across) :]))


def _nearest(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    dimensions: int,
    at: Sequence[int],
    ids: Sequence[Ids],
    queries: F32,
) -> tuple[Ids, F32]:
    files = Files(store)
    vectors = Vectors(files, snapshot, dimensions)
    answer = exactly([vectors.shard(modality, one) for one in at], ids, queries, K + 1)
    files.close()
    return answer


def curve(ranking: Ranking, exam: Exam, depths: Sequence[int], lists: int, recall_frac: float) -> list[Probe]:
    """Return the points of rising effort up to the first that reaches the recall on both sorts of questions, or to full probe.

    Of each number of lists the smallest depth that reaches it is given, else the deepest.
    """
    points: list[Probe] = []
    nprobe = 1
    while True:
        for depth in depths:
            point = _point(ranking, exam, nprobe, depth)
            enough = min(point.across_frac, point.within_frac) >= recall_frac
            if enough:
                break
        points.append(point)
        if enough or nprobe >= lists:
            return points
        nprobe = min(2 * nprobe, lists)


def _point(ranking: Ranking, exam: Exam, nprobe: int, depth: int) -> Probe:
    queries = np.concatenate([exam.across, exam.within])
    found = [one.ids for one in ranking.ranked(queries, K + 1, nprobe, depth)]
    across, within = exam.mark(found)
    began = time.perf_counter()
    for number in range(0, len(queries), max(1, len(queries) // _TIMED)):
        ranking.ranked(queries[number : number + 1], K, nprobe, depth)
    asked = len(range(0, len(queries), max(1, len(queries) // _TIMED)))
    return Probe(
        nprobe, depth, round(across, 4), round(within, 4), round(1e3 * (time.perf_counter() - began) / asked, 3)
    )
