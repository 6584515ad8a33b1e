"""From tombstones to bytes that are gone, in every store of a data set; whatever stops it, the same command goes on."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import amendments, tombstones
from pipeline.amendments import Amendments, Change, Erasure
from pipeline.erasure import plan as plans
from pipeline.erasure.carry import Done, carry_out
from pipeline.erasure.parts import Wanted, find_all
from pipeline.erasure.plan import Plan
from pipeline.erasure.shards import find_shards
from pipeline.lock import hold
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.registry.registry import Registry

Derived = Callable[[Store, frozenset[bytes]], list[str]]
"""Erases uids from something that was made of the data set; returns the names of the files it wrote anew."""

REMAINS = (
    "Weights of models that were trained with the samples stay as they are; `tamis lineage` names the checkpoints.",
    "Centroids of IVF indexes and codebooks of PQ indexes are averages that were learnt with the samples; they stay.",
    "The crawl files (WARC, lists) are inputs of the data set and not part of it; their keeper has to be asked.",
    "Copies of the data set that others hold; each recipient of a release is told.",
)
_THREADS = 4


@dataclass
class Applied:
    """What was erased by one call."""

    erasures: list[Erasure] = field(default_factory=list)
    uids: int = 0
    in_place_bytes: int = 0
    table_bytes: int = 0
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Return what was erased, per store, over all erasures of the call."""
        total: Counter[str] = Counter()
        for erasure in self.erasures:
            total.update(erasure.counts)
        return dict(sorted(total.items()))

    def files(self) -> list[str]:
        """Return the names of all files that changed."""
        names = {name for erasure in self.erasures for change in erasure.changes for name in change.names}
        return sorted(names | {name for erasure in self.erasures for name in erasure.derived})


def apply(
    store: Store,
    registry: "Registry | None" = None,
    *,
    derived: Sequence[Derived] = (),
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
    again: bool = False,
) -> Applied:
    """Erase every hidden uid that no earlier call has erased (with `again`: every hidden uid).

    The plan is written down first, the record of the erasure last; in between, every step can be done again. Errors:
    DatasetBusy, StorageError; what is hidden stays hidden whatever happens here.
    """
    began = time.monotonic()
    applied = Applied()
    with hold(store):
        store.sweep()
        for plan in plans.unfinished(store):
            _finish(store, plan, derived, applied, progress)
        stones = tombstones.read(store)
        done = set() if again else {bytes.fromhex(uid) for uid in amendments.read(store).uids}
        pending = [row for row in stones.table().to_pylist() if row["uid"] not in done]
        refused = _refused(registry) if registry is not None else {}
        if pending or refused:
            if registry is not None:
                _remember(store, registry, pending)
            plan = _plan(store, pending, refused)
            plans.keep(store, plan)
            _finish(store, plan, derived, applied, progress)
        if registry is not None:
            _settle(store, registry, stones)
    applied.seconds = round(time.monotonic() - began, 3)
    return applied


def _remember(store: Store, registry: "Registry", rows: Sequence[Mapping[str, Any]]) -> None:
    """Seal what the proof will look for while it is still there."""
    from pipeline.erasure.needles import collect, seal_needles

    secrets = collect(store, {row["uid"] for row in rows}, {row["part"] for row in rows})
    for request in sorted({row["request"] for row in rows}):
        seal_needles(registry, request, secrets)


def _refused(registry: "Registry") -> dict[str, set[str]]:
    """Return request → addresses of rows that the page had refused already: they have no uid, only their evidence is kept."""
    found: dict[str, set[str]] = {}
    for request in registry.requests("tombstoned"):
        for match in registry.matches(request.id, "confirmed"):
            url = (match.secret or {}).get("url")
            if match.part == "" and url:
                found.setdefault(request.id, set()).add(url)
    return found


def _plan(store: Store, rows: Sequence[Mapping[str, Any]], refused: Mapping[str, set[str]]) -> Plan:
    parts: dict[bytes, set[str]] = {}
    for row in rows:
        parts.setdefault(row["uid"], set()).add(row["part"])
    uids = sorted(parts)
    wanted = Wanted(pa.array(uids, pa.binary(16)), {part for found in parts.values() for part in found if part})
    wanted.urls.update(url for urls in refused.values() for url in urls)
    found = find_all(store, wanted)
    find_shards(store, uids, found)
    return Plan(
        number=max((erasure.number for erasure in amendments.erasures(store)), default=0) + 1,
        utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        uids={uid.hex(): sorted(parts[uid]) for uid in uids},
        requests=sorted({row["request"] for row in rows} | set(refused)),
        tasks=found.tasks,
        counts=dict(sorted(found.counts.items())),
        removed=sorted(found.removed),
    )


def _finish(
    store: Store,
    plan: Plan,
    derived: Sequence[Derived],
    applied: Applied,
    progress: Callable[[str, int, int], None],
) -> None:
    """Carry out a plan, from its beginning wherever an earlier try was stopped, and commit the erasure."""
    done = {erasure.number: erasure for erasure in amendments.erasures(store)}
    if plan.number not in done:
        before = amendments.read(store)
        outcomes = _carry_out(store, plan, before, progress)
        for name in plan.removed:
            store.delete(name)
        rewritten: list[str] = []
        for erase in derived:
            rewritten += erase(store, frozenset(bytes.fromhex(uid) for uid in plan.uids))
        erasure = _erasure(plan, [outcome.change for outcome in outcomes], rewritten)
        amendments.commit(store, erasure)
        applied.erasures.append(erasure)
        applied.uids += len(plan.uids)
        applied.in_place_bytes += sum(outcome.in_place_bytes for outcome in outcomes)
        applied.table_bytes += sum(outcome.table_bytes for outcome in outcomes)
    store.delete(plans.name(plan.number))


def _carry_out(store: Store, plan: Plan, before: Amendments, progress: Callable[[str, int, int], None]) -> list[Done]:
    """Do all tasks, some side by side: they wait for the disk more than they compute."""
    outcomes = []
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = pool.map(lambda task: carry_out(store, task, before), plan.tasks)
        for number, outcome in enumerate(waiting, 1):
            outcomes.append(outcome)
            progress("erase", number, len(plan.tasks))
    return outcomes


def _erasure(plan: Plan, changes: Iterable[Change], derived: Sequence[str]) -> Erasure:
    by_origin: dict[str, Change] = {}
    for change in changes:  # on an object store, equal files under several names were changed one by one
        have = by_origin.get(change.origin)
        by_origin[change.origin] = change if have is None else replace(have, names=[*have.names, *change.names])
    ordered = [replace(by_origin[key], names=sorted(by_origin[key].names)) for key in sorted(by_origin)]
    return Erasure(
        number=plan.number,
        utc=plan.utc,
        requests=plan.requests,
        uids=sorted(plan.uids),
        changes=ordered,
        counts=plan.counts,
        derived=sorted(derived),
        removed=plan.removed,
        remains=REMAINS,
    )


def _settle(store: Store, registry: "Registry", stones: tombstones.Tombstones) -> None:
    """Move requests whose every uid is erased to `erased`, with a leaf that names the rewritten objects."""
    erasures = amendments.erasures(store)
    gone = {uid for erasure in erasures for uid in erasure.uids}
    of_request: dict[str, set[str]] = {}
    for row in stones.table().to_pylist():
        of_request.setdefault(row["request"], set()).add(row["uid"].hex())
    for request in list(registry.requests("tombstoned")):
        uids = of_request.get(request.id, set())
        if uids <= gone:
            mine = [erasure for erasure in erasures if uids & set(erasure.uids)]
            registry.advance(request.id, "erased", body=_body(mine, len(uids)))


def _body(erasures: Sequence[Erasure], uids: int) -> dict[str, Any]:
    """Return what the log says of an erasure: counts, and each rewritten object with what stood for it before and after."""
    counts: Counter[str] = Counter()
    for erasure in erasures:
        counts.update(erasure.counts)
    return {
        "rows": uids,
        "counts": dict(sorted(counts.items())),
        "erasures": {amendments.name(e.number): sha256(e.to_json()).hexdigest() for e in erasures},
        "objects": [[list(change.names), change.old, change.new] for e in erasures for change in e.changes],
        "derived": sorted({name for e in erasures for name in e.derived}),
    }
