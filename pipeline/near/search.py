"""All near pairs of a source: look at every block, choose a plan by measuring, put rows aside by list, compare list by list.

What is held at once is a block, or the lists of one task; of every row only its number, a hash of its vector and two flags
stay. Rows with equal vectors are searched once. Nothing depends on blocks, tasks or workers: samples are drawn by row
number, lists are sorted by it, and a pair's cosine is computed from the two rows alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.near import passes
from pipeline.near.clusters import SAMPLE_A_LIST, list_count
from pipeline.near.lists import Hits, unordered
from pipeline.near.plan import Plan
from pipeline.near.source import F16, I64, Source, Spread, here
from pipeline.near.spill import Spill, spilled_locally

Pairs = I64
_TRUTH_PRODUCTS = 100_000_000
"""Rows × sampled rows that are compared to measure recall, about."""
_MOST_TRUTH_PRODUCTS = 1_000_000_000
_TRUTH_ROWS = (512, 8_192)
_ENOUGH_PAIRS = 400
"""Near pairs to choose and measure by: more rows are sampled until there are so many, or sampling costs too much."""
_GROUP_ROWS = 65_536
_TASK_BYTES = 64_000_000


@dataclass(frozen=True)
class NearOptions:
    """What near means, and how surely it is found."""

    least_cos: float
    target_recall: float = 0.99
    """Share of the near pairs to be found; measured on a sample against brute force."""
    exact_rows: int = 50_000
    """Up to so many distinct vectors every pair is compared."""
    max_per_row: int = 64
    """Neighbours of a row that are kept, the nearest ones, counted in each list that it is at home in."""
    seed: int = 0


@dataclass(frozen=True)
class Near:
    """Near pairs i64[M,2] of distinct vectors, smaller number first, sorted, with their cosine."""

    pairs: Pairs
    cos: NDArray[np.float32]
    same: I64
    """i64[N]: the first row with an equal vector (itself, for most); -1 for rows that were not searched."""
    plan: Plan = field(default_factory=Plan)


def near_pairs(
    source: Source,
    options: NearOptions,
    *,
    wanted: NDArray[np.bool_] | None = None,
    spread: Spread = here,
    spill: Spill | None = None,
) -> Near:
    """Find the pairs of unit-norm rows with a cosine of at least `options.least_cos`.

    `wanted` bool[N] leaves rows out. Rows that are not finite or zero are near nothing. Without a `spill` rows are put
    aside in the system's folder for such.
    """
    if spill is None:
        with spilled_locally() as local:
            return near_pairs(source, options, wanted=wanted, spread=spread, spill=local)
    blocks = range(len(source.block_rows))
    same = _first_equal(spread(passes.look, [(source, block) for block in blocks]), sum(source.block_rows), wanted)
    distinct = np.flatnonzero(same == np.arange(len(same)))
    if len(distinct) < 2:
        return Near(np.empty((0, 2), np.int64), np.empty(0, np.float32), same)
    groups = _groups(source.block_rows)
    if len(distinct) <= options.exact_rows:
        plan, count = Plan(), 1
        spill.write("distinct", distinct)
        bounds = [spread(passes.put_all_aside, [(source, group, spill, i) for i, group in enumerate(groups)])]
    else:
        plan = _plan(source, options, distinct, groups, spread, spill)
        count = len(plan.clusterings)
        bounds = [
            spread(
                passes.put_aside,
                [(source, group, spill, i, c, plan.margin_cos) for i, group in enumerate(groups)],
            )
            for c in range(count)
        ]
    tasks = [
        (spill, clustering, len(groups), low, high, options.least_cos, options.max_per_row)
        for clustering in range(count)
        for low, high in _ranges(bounds[clustering], source)
    ]
    return _merged(spread(passes.compare, tasks), same, plan)


def _first_equal(looks: Sequence[passes.Look], rows: int, wanted: NDArray[np.bool_] | None) -> I64:
    """Give every row the first wanted row with its vector, -1 where it has no usable one or is not wanted."""
    same = np.full(rows, -1, np.int64)
    if not looks:
        return same
    numbers = np.concatenate([look.numbers for look in looks])
    digests = np.concatenate([look.digests for look in looks])
    if wanted is not None:
        kept = wanted[numbers]
        numbers, digests = numbers[kept], digests[kept]
    order = np.lexsort((numbers, digests))
    numbers, digests = numbers[order], digests[order]
    first = np.flatnonzero(np.r_[True, digests[1:] != digests[:-1]]) if len(digests) else np.empty(0, np.int64)
    same[numbers] = np.repeat(numbers[first], np.diff(np.append(first, len(numbers))))
    return same


def _groups(block_rows: Sequence[int]) -> list[list[int]]:
    """Put blocks together for a task, so that a list's rows lie in few files."""
    groups: list[list[int]] = []
    held = _GROUP_ROWS
    for block, rows in enumerate(block_rows):
        if held + rows > _GROUP_ROWS:
            groups.append([])
            held = 0
        groups[-1].append(block)
        held += rows
    return groups


def _plan(
    source: Source, options: NearOptions, distinct: I64, groups: list[list[int]], spread: Spread, spill: Spill
) -> Plan:
    rng = np.random.default_rng(options.seed)
    spill.write("distinct", distinct)
    _put_sample_aside(
        "sampled", _drawn(rng, distinct, SAMPLE_A_LIST * list_count(len(distinct))), source, groups, spread, spill
    )
    order = rng.permutation(distinct)
    asked = int(np.clip(_TRUTH_PRODUCTS // len(distinct), *_TRUTH_ROWS))
    most = max(asked, min(_TRUTH_ROWS[1], _MOST_TRUTH_PRODUCTS // len(distinct)))
    truth: list[tuple[I64, F16]] = []
    names: list[str] = []
    low, high = 0, min(asked, len(order))
    while low < high:
        names.append(f"asked-{len(names)}")
        _put_sample_aside(names[-1], np.sort(order[low:high]), source, groups, spread, spill)
        tasks = [(source, group, spill, names[-1], names[:-1], options.least_cos) for group in groups]
        truth += spread(passes.brute_force, tasks)
        pairs = max(1, sum(len(rows) for rows, _ in truth))
        wanted = high if pairs >= _ENOUGH_PAIRS else max(2 * high, round(1.2 * high * _ENOUGH_PAIRS / pairs))
        low, high = high, min(wanted, most, len(order))
    spill.write("true_rows", np.concatenate([rows for rows, _ in truth]))
    spill.write("true_vectors", np.concatenate([vectors for _, vectors in truth]))
    arguments = (spill, len(distinct), options.least_cos, options.target_recall, options.seed)
    return spread(passes.choose_plan, [arguments])[0]


def _put_sample_aside(
    name: str, numbers: I64, source: Source, groups: list[list[int]], spread: Spread, spill: Spill
) -> None:
    """Put the vectors of drawn rows aside, in the order of their numbers."""
    spill.write(name, numbers)
    parts = spread(passes.pick, [(source, group, spill, name) for group in groups])
    order = np.argsort(np.concatenate([found for found, _ in parts]))
    spill.write(f"{name}_vectors", np.concatenate([vectors for _, vectors in parts])[order])


def _drawn(rng: np.random.Generator, rows: I64, count: int) -> I64:
    return np.sort(rng.choice(rows, size=min(count, len(rows)), replace=False))


def _ranges(bounds: Sequence[I64], source: Source) -> list[tuple[int, int]]:
    """Cut the lists into ranges whose rows fit into a task."""
    row_bytes = 2 * passes.dimensions(source)
    sizes = np.sum([np.diff(one) for one in bounds], axis=0) * row_bytes
    ranges: list[tuple[int, int]] = []
    low, held = 0, 0
    for number, size in enumerate(sizes.tolist()):
        if held and held + size > _TASK_BYTES:
            ranges.append((low, number))
            low, held = number, 0
        held += size
    return [*ranges, (low, len(sizes))]


def _merged(found: Sequence[Hits], same: I64, plan: Plan) -> Near:
    """Put the lists' pairs together, each once."""
    hits = unordered(Hits.joined(list(found)))
    return Near(np.stack([hits.one, hits.two], axis=1), hits.cos, same, plan)
