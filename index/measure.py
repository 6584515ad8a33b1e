"""Recall against exact search, on held-out questions: vectors of the other modality, and the same one's with themselves left out.

Equal vectors are common (a caption that stands under a thousand pictures): where more than ten are as near as the tenth, any ten
of them are right: recall goes by distance, not by id (as in ann-benchmarks, Aumüller et al. 2018, arXiv 1807.05614).
"""

import time
from collections.abc import Callable, Sequence
from functools import cache

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
SAME_COS = 1e-5
"""Cosines that differ by less are equal: more than float32 loses when the same product is computed in another order."""
Cosines = Callable[[int, Ids], F32]
"""From a question's number and ids to their cosines, f32[N]."""
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
        at = _drawn(ids, 2 * QUESTIONS)
        asked = [at[::2], at[1::2]] if len(at) > 1 else [at, at]
        files = Files(store)
        vectors = Vectors(files, snapshot, dimensions)
        other: Modality = "text" if modality == "image" else "image"
        self.across: F32 = vectors.rows(other, asked[0])
        self.within: F32 = vectors.rows(modality, asked[1])
        own = [int(ids[shard][row]) for shard, row in asked[1].tolist()]
        self._own = [-1] * len(self.across) + own  # of each question, who is not to be counted as an answer
        files.close()
        self._right: list[set[int]] = []
        self._least_cos: list[float | None] = []

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
        cos = np.concatenate([one[1] for one in answers], 1)
        for own, row, values in zip(self._own, ids, cos, strict=True):
            there = (row >= 0) & (row != own)
            order = np.argsort(-values[there], kind="stable")
            nearest, falling = row[there][order], values[there][order]
            self._right.append(set(nearest[:K].tolist()))
            is_tied = len(nearest) > K and falling[K] > falling[K - 1] - SAME_COS
            self._least_cos.append(float(falling[K - 1]) - SAME_COS if is_tied else None)
        return self

    @property
    def questions(self) -> F32:
        """Return the questions of both sorts, one after the other."""
        return np.concatenate([self.across, self.within])

    def mark(self, found: Sequence[Ids], cosines: Cosines) -> tuple[float, float]:
        """Return which share of the ten right ones was found, by `across` and by `within`.

        `cosines` is asked only where other ids are as near as the tenth right one.
        """
        hits = [self._share(number, ids, cosines) for number, ids in enumerate(found)]
        return float(np.mean(hits[: len(self.across)])), float(np.mean(hits[len(self.across) :]))

    def _share(self, number: int, ids: Ids, cosines: Cosines) -> float:
        right, least_cos = self._right[number], self._least_cos[number]
        if least_cos is None:
            return len(right.intersection(ids.tolist())) / max(1, len(right))
        near = ids[(cosines(number, ids) >= least_cos) & (ids != self._own[number])]
        return min(K, len(near)) / K


def _drawn(ids: Sequence[Ids], most: int) -> NDArray[np.int32]:
    """Draw places i32[N,2] of living rows, in order; what is held grows with the shards, not with the rows."""
    ends = np.cumsum([np.count_nonzero(one >= 0) for one in ids])
    rows = int(ends[-1])
    chosen = np.sort(np.random.default_rng(_SEED).choice(rows, min(most, rows), replace=False))
    shards = np.searchsorted(ends, chosen, side="right")
    living = {shard: np.flatnonzero(ids[shard] >= 0) for shard in np.unique(shards).tolist()}
    places = [(shard, living[shard][nth - ends[shard]]) for nth, shard in zip(chosen, shards.tolist(), strict=True)]
    return np.array(places, np.int32).reshape(-1, 2)


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
    more = 2  # one may be the question itself, and one more shows a tie
    answer = exactly([vectors.shard(modality, one) for one in at], ids, queries, K + more)
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
    """Return depth → recall@10. What is right and proposed ranks among the first ten, so only ties have to be compared for it."""
    blocks_of = range(0, len(queries), _TOGETHER)
    proposed = np.concatenate(
        [ranking.proposals(queries[low : low + _TOGETHER], nprobe, depths[-1]) for low in blocks_of]
    )

    @cache
    def of_all(number: int) -> F32:
        return ranking.cosines(proposed[number], queries[number])

    def cosines(number: int, ids: Ids) -> F32:
        return of_all(number)[: len(ids)]

    return {depth: exam.mark(list(proposed[:, :depth]), cosines) for depth in depths}


def _ms(ranking: Ranking, queries: F32, nprobe: int, depth: int) -> float:
    """Return the mean of single queries on one thread."""
    asked = queries[:: max(1, len(queries) // _TIMED)]
    began = time.perf_counter()
    for vector in asked:
        ranking.ranked(vector[None], K, nprobe, depth)
    return round(1e3 * (time.perf_counter() - began) / len(asked), 3)
