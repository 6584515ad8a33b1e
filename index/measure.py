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
_TOGETHER = 64
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
        queries = self.questions
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

    @property
    def questions(self) -> F32:
        """Return the questions of both sorts, one after the other."""
        return np.concatenate([self.across, self.within])

    def _without_own(self, number: int, ids: Ids) -> list[int]:
        own = self._own[number - len(self.across)] if number >= len(self.across) else -1
        return [one for one in ids.tolist() if one != own][:K]

    def mark(self, found: Sequence[Ids]) -> tuple[float, float]:
        """Return which share of the ten right ones was found, by `across` and by `within`."""
        hits = [
            len(right.intersection(ids.tolist())) / max(1, len(right))
            for right, ids in zip(self._right, found, strict=True)
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

    Of each number of lists the smallest depth that reaches it is given, else the deepest. The index has one segment.
    """
    points: list[Probe] = []
    queries = exam.questions
    nprobe = 1
    while True:
        marks = _marks(ranking, exam, queries, nprobe, depths)
        depth = next((one for one in depths if min(marks[one]) >= recall_frac), depths[-1])
        across, within = marks[depth]
        points.append(Probe(nprobe, depth, round(across, 4), round(within, 4), _ms(ranking, queries, nprobe, depth)))
        if min(across, within) >= recall_frac or nprobe >= lists:
            return points
        nprobe = min(2 * nprobe, lists)


def _marks(
    ranking: Ranking, exam: Exam, queries: F32, nprobe: int, depths: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Return depth → recall@10. What is right and proposed ranks among the first ten, so nothing has to be compared for it."""
    blocks_of = range(0, len(queries), _TOGETHER)
    proposed = np.concatenate(
        [ranking.proposals(queries[low : low + _TOGETHER], nprobe, depths[-1])[0] for low in blocks_of]
    )
    return {depth: exam.mark(list(proposed[:, :depth])) for depth in depths}


def _ms(ranking: Ranking, queries: F32, nprobe: int, depth: int) -> float:
    """Return the mean of single queries on one thread."""
    asked = queries[:: max(1, len(queries) // _TIMED)]
    began = time.perf_counter()
    for vector in asked:
        ranking.ranked(vector[None], K, nprobe, depth)
    return round(1e3 * (time.perf_counter() - began) / len(asked), 3)
