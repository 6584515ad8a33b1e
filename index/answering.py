"""The nearest that qualify: neighbours without the hidden, the too far and the copies, asked for until there are enough."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import faiss
import numpy as np

from index.chosen import Chosen
from index.conditions import Condition
from index.distinct import distinct
from index.hidden import Hidden
from index.lease import Lent
from index.opened import F32, Found
from index.query import Query

_TOGETHER: Final = 16
"""From so many queries on FAISS may use all cores. One alone is its own thread's work: threads that search side by side would wait
for each other at FAISS's barrier (60 ms a search against 3 on two busy cores)."""
Ranked = Found
"""An answer: ids i64[K] and cosines f32[K], nearest first."""


def ranked(lent: Lent, hidden: Hidden, queries: Sequence[Query], vectors: F32) -> list[Ranked]:
    """Return the answers to queries whose vectors are f32[Q,D], each of min(k, what qualifies) ids.

    Conditions are pushed down; queries with the same ones are compared together. Whoever comes short because of what is
    left out is asked again for twice as many.
    """
    alike: dict[tuple[str, tuple[Condition, ...]], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        alike[query.modality, query.where].append(number)
    answers: dict[int, Ranked] = {}
    for (_, where), numbers in alike.items():
        among = lent.matching(where)
        most = lent.opened.rows if among is None else len(among)
        ask, pending = max(_first(queries[number]) for number in numbers), numbers
        while pending:
            ask = min(ask, most)
            got = _ask(lent, hidden, queries, vectors, pending, ask, among)
            answers |= {number: one for number, (one, _) in got.items()}
            pending = [number for number, (_, full) in got.items() if not full and ask < most]
            ask *= 2
    return [answers[number] for number in range(len(queries))]


def _first(query: Query) -> int:
    """Return how many neighbours to ask for at first: where copies matter, half of them may be some."""
    return (query.offset + query.k) * (2 if query.deduplicate else 1)


def _ask(
    lent: Lent,
    hidden: Hidden,
    queries: Sequence[Query],
    vectors: F32,
    numbers: Sequence[int],
    ask: int,
    among: Chosen | None,
) -> Mapping[int, tuple[Ranked, bool]]:
    """Return number of the query → its answer so far, and whether asking for more would not change it."""
    if ask == 0:
        return {number: (Ranked(np.zeros(0, np.int64), np.zeros(0, np.float32)), True) for number in numbers}
    modality = queries[numbers[0]].modality
    answers = {}
    faiss.omp_set_num_threads(1 if len(numbers) < _TOGETHER else os.cpu_count() or 1)
    found = lent.opened.near(vectors[list(numbers)], ask, modality=modality, among=among)
    for number, one in zip(numbers, found, strict=True):
        query = queries[number]
        shown = _shown(lent, hidden, one, query)
        below = query.least_cos is not None and len(one.cos) > 0 and float(one.cos[-1]) < query.least_cos
        full = below or len(one.ids) < ask or len(shown.ids) >= query.offset + query.k
        page = slice(query.offset, query.offset + query.k)
        answers[number] = (Ranked(shown.ids[page], shown.cos[page]), full)
    return answers


def _shown(lent: Lent, hidden: Hidden, found: Found, query: Query) -> Ranked:
    """Leave out what is hidden, too far, or a copy of something nearer."""
    keep = lent.opened.having(found.ids) & ~hidden.among(found.ids)
    if query.least_cos is not None:
        keep &= found.cos >= query.least_cos
    ids, cos = found.ids[keep], found.cos[keep]
    if query.deduplicate:
        first = distinct(lent.opened, lent.groups, ids)
        ids, cos = ids[first], cos[first]
    return Ranked(ids, cos)
