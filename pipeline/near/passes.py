"""The tasks of a search: each reads some blocks of the source, or some lists that were put aside, and nothing else."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.near.bounds import SLACK_COS, bounded, cosines, dimensions_enough
from pipeline.near.clusters import Clustering
from pipeline.near.lists import Hits, list_pairs
from pipeline.near.plan import Plan, TruePairs, choose
from pipeline.near.source import F16, I64, Source
from pipeline.near.spill import Spill

_ROWS = 4_096
_MOST_TRUE = 64
"""True pairs kept of each sampled row, so that one crowd does not stand for all."""


class Look(NamedTuple):
    """The usable rows of a block: their numbers, and 64 bits that stand for each vector."""

    numbers: I64
    digests: NDArray[np.uint64]


def look(source: Source, block: int) -> Look:
    """Tell which rows have a usable vector, and which vectors are equal."""
    numbers, vectors = source.load(block)
    usable = np.zeros(len(vectors), np.bool_)
    for at in range(0, len(vectors), _ROWS):
        norms = np.linalg.norm(vectors[at : at + _ROWS].astype(np.float32), axis=1)
        usable[at : at + _ROWS] = np.isfinite(norms) & (norms > 0.5)
    rows = np.ascontiguousarray(vectors[usable])
    digests = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in rows)
    return Look(numbers[usable], np.frombuffer(digests, np.uint64))


def dimensions(source: Source) -> int:
    """Return the number of dimensions."""
    return int(source.load(0)[1].shape[1])


def _loaded(source: Source, group: Sequence[int], among: I64) -> Iterator[tuple[I64, F16]]:
    """Yield numbers and vectors of a group's rows that are among sorted numbers."""
    for block in group:
        numbers, vectors = source.load(block)
        at = np.searchsorted(among, numbers)
        mask = among[np.minimum(at, len(among) - 1)] == numbers
        yield numbers[mask], vectors[mask]


def _gathered(source: Source, group: Sequence[int], among: I64) -> tuple[I64, F16]:
    parts = list(_loaded(source, group, among))
    return np.concatenate([n for n, _ in parts]), np.concatenate([v for _, v in parts])


def pick(source: Source, group: Sequence[int], spill: Spill, name: str) -> tuple[I64, F16]:
    """Return the rows of a group that were drawn."""
    return _gathered(source, group, spill.read(name))


def brute_force(
    source: Source, group: Sequence[int], spill: Spill, name: str, before: Sequence[str], least_cos: float
) -> tuple[I64, F16]:
    """Compare sampled rows with every row of a group; the near ones as i64[M,2] (sampled, other) and f16[M,2,D].

    A pair of two sampled rows is told once, also where the other one was sampled `before`.
    """
    asked, vectors = np.asarray(spill.read(name)), np.asarray(spill.read(f"{name}_vectors"))
    told = np.concatenate([np.empty(0, np.int64), *(np.asarray(spill.read(one)) for one in before)])
    questions = vectors.astype(np.float32)
    kept = dimensions_enough(questions, least_cos)
    asked_bounds = bounded(questions, kept)
    found: list[tuple[I64, F16]] = []
    for numbers, rows in _loaded(source, group, spill.read("distinct")):
        for at in range(0, len(rows), _ROWS):
            block, names = rows[at : at + _ROWS], numbers[at : at + _ROWS]
            whole = block.astype(np.float32)
            candidates = np.flatnonzero(bounded(whole, kept) @ asked_bounds.T >= least_cos - SLACK_COS)
            other, question = np.divmod(candidates, len(asked))
            known = np.isin(names[other], told) | (np.isin(names[other], asked) & (names[other] <= asked[question]))
            other, question = other[~known], question[~known]
            near = cosines(whole, other, questions, question) >= np.float32(least_cos)
            other, question = other[near], question[near]
            pairs = np.stack([asked[question], names[other]], axis=1)
            found.append((pairs, np.stack([vectors[question], block[other]], axis=1)))
    width = vectors.shape[1]
    return (
        np.concatenate([np.empty((0, 2), np.int64), *(pairs for pairs, _ in found)]),
        np.concatenate([np.empty((0, 2, width), np.float16), *(pair for _, pair in found)]),
    )


def choose_plan(spill: Spill, rows: int, least_cos: float, target_recall: float, seed: int) -> Plan:
    """Choose from what was drawn and compared; the centroids are put aside for the tasks that follow."""
    pairs, vectors = np.asarray(spill.read("true_rows")), np.asarray(spill.read("true_vectors"))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, vectors = pairs[order], vectors[order]
    first = np.searchsorted(pairs[:, 0], pairs[:, 0])
    few = np.arange(len(pairs)) - first < _MOST_TRUE
    pairs, vectors = pairs[few], vectors[few]
    _, place = np.unique(pairs[:, 0], return_inverse=True)  # all pairs of a row are of one half
    truth = TruePairs(vectors[:, 0], vectors[:, 1], place % 2 == 1)
    plan = choose(
        np.asarray(spill.read("sampled_vectors")), truth, rows, least_cos, target_recall, seed, Clustering.train
    )
    for number, clustering in enumerate(plan.clusterings):
        spill.write(f"centroids-{number}", clustering.centroids)
    return plan


def put_all_aside(source: Source, group: Sequence[int], spill: Spill, part: int) -> I64:
    """Put a group's rows aside as one list; the list's bounds in the file."""
    numbers, vectors = _gathered(source, group, spill.read("distinct"))
    spill.write(f"0-{part}-rows", numbers * 2)
    spill.write(f"0-{part}-vectors", vectors)
    bounds = np.array([0, len(numbers)])
    spill.write(f"0-{part}-bounds", bounds)
    return bounds


def put_aside(source: Source, group: Sequence[int], spill: Spill, part: int, clustering: int, margin_cos: float) -> I64:
    """Put a group's rows aside sorted by list, once for every list they enter; the lists' bounds i64[K+1] in the file.

    With each row stands its number, doubled, and one more for those that are not at home in the list.
    """
    clusters = Clustering(np.asarray(spill.read(f"centroids-{clustering}")))
    numbers, vectors = _gathered(source, group, spill.read("distinct"))
    near, gap = clusters.nearest(vectors)
    enters = gap <= margin_cos
    enters[:, 0] = True
    row, probe = np.nonzero(enters)
    lists = near[row, probe]
    order = np.argsort(lists, kind="stable")
    row, probe, lists = row[order], probe[order], lists[order]
    spill.write(f"{clustering}-{part}-rows", numbers[row] * 2 + (probe > 0))
    spill.write(f"{clustering}-{part}-vectors", vectors[row])
    bounds = np.searchsorted(lists, np.arange(clusters.lists + 1))
    spill.write(f"{clustering}-{part}-bounds", bounds)
    return bounds


def compare(spill: Spill, clustering: int, parts: int, low: int, high: int, least_cos: float, most: int) -> Hits:
    """Find the near pairs within lists low…high, by row number."""
    pieces = [_piece(spill, clustering, part, low, high) for part in range(parts)]
    found: list[Hits] = []
    for number in range(high - low):
        parts_of_list = [(rows[slice(*b[number])], vectors[slice(*b[number])]) for b, rows, vectors in pieces]
        marked = np.concatenate([rows for rows, _ in parts_of_list])
        members = np.concatenate([vectors for _, vectors in parts_of_list])
        numbers, guest = marked >> 1, marked & 1
        order = np.lexsort((numbers, guest))
        home = int((guest == 0).sum())
        if home == 0 or len(order) < 2:
            continue
        hits = list_pairs(members[order], home, least_cos, most)
        numbers = numbers[order]
        found.append(Hits(numbers[hits.one], numbers[hits.two], hits.cos))
    return Hits.joined(found)


def _piece(spill: Spill, clustering: int, part: int, low: int, high: int) -> tuple[list[tuple[int, int]], I64, F16]:
    """Return a file's rows of some lists, with each list's bounds among them."""
    name = f"{clustering}-{part}"
    bounds = np.asarray(spill.read(f"{name}-bounds"))[low : high + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    inner = list(pairwise((bounds - first).tolist()))
    return inner, spill.rows(f"{name}-rows", first, last), spill.rows(f"{name}-vectors", first, last)
