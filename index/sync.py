"""Bring the index in step with a snapshot at the cost of what changed since the last one that has an index."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from index import segments
from index.build import build, fill, kind_of, width
from index.mapped import Files
from index.places import Places
from index.query import Modality
from index.record import (
    MODALITIES,
    IndexRecord,
    Options,
    Segment,
    Side,
    commit,
    complete,
    folder,
    predecessor,
    read_record,
)
from index.vectors import Vectors
from index.writing import Ids, carry, put, remove_strangers, write_facts, write_places
from pipeline.snapshot import Snapshot
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.engine import Engine

REBUILD_FRAC: Final = 0.2
"""Added and removed vectors, as a share of the base, from which on all is built anew: a search looks through every segment and
passes over the removed, so it slows down with their share, and centroids that were learnt without a fifth fit worse."""
_DELTAS: Final = 4


def sync(
    store: Store, snapshot: Snapshot, options: Options | None = None, engine: "Engine | None" = None
) -> IndexRecord:
    """Return the index of a snapshot, made from its predecessor's where that costs less; nothing is done where it is there.

    Files of unchanged shards and the base are carried over (links locally); vectors that are new or differ go into a small
    segment beside it; removed ids are forgotten by the table of places and so never found. Exact kinds are written anew, which
    takes less than a second. Other options than the predecessor's, another encoder, or too many changes mean `build`.
    """
    done = read_record(store, snapshot)
    if (
        done is not None
        and list(done.shard_keys) == [entry.key for entry in snapshot.shards]
        and options in (None, done.options)
    ):
        return done if complete(store, snapshot, done) else build(store, snapshot, options, engine)
    before = predecessor(store, snapshot)
    if before is None or not snapshot.shards:
        return build(store, snapshot, options, engine)
    options = options or before[1].options
    if not _grows(store, snapshot, before[1], options):
        return build(store, snapshot, options, engine)
    digests = write_facts(store, snapshot, before, engine)
    ids = write_places(store, snapshot, digests)
    rows = sum(int(np.count_nonzero(one >= 0)) for one in ids)
    fresh = _fresh(store, snapshot, before, ids)
    added = sum(int(np.count_nonzero(one >= 0)) for _, one in fresh)
    if any(_worn(side, added, rows) for side in before[1].sides.values()):
        return build(store, snapshot, options, engine)
    sides = {}
    for modality in MODALITIES:
        sides[modality] = _side(store, snapshot, before, modality, fresh, added, digests)
    record = replace(
        before[1],
        snapshot=snapshot.number,
        shard_keys=[entry.key for entry in snapshot.shards],
        rows=rows,
        sides=sides,
        erased=[],
    )
    record = commit(store, folder(snapshot), record, digests)
    remove_strangers(store, folder(snapshot), list(digests))
    return record


def _grows(store: Store, snapshot: Snapshot, record: IndexRecord, options: Options) -> bool:
    """Tell whether an index can be carried on: same encoder, same options, not exact."""
    same = {name: record.clip.get(name) for name in ("model", "pretrained", "weights_sha256")} == {
        name: snapshot.clip.get(name) for name in ("model", "pretrained", "weights_sha256")
    }
    exact = any(side.exact for side in record.sides.values())
    kind = kind_of(snapshot.rows, record.dimensions, options)
    return (
        same
        and not exact
        and kind.lists > 0
        and options == record.options
        and width(store, snapshot) == record.dimensions
    )


def _worn(side: Side, added: int, rows: int) -> bool:
    base, held = side.segments[0].rows, sum(one.rows for one in side.segments)
    removed = held + added - rows
    return held - base + added + removed > REBUILD_FRAC * base


def _fresh(
    store: Store, snapshot: Snapshot, before: tuple[Snapshot, IndexRecord], ids: Sequence[Ids]
) -> list[tuple[int, Ids]]:
    """Return of each changed shard its position and the ids whose vectors no segment has, -1 for the other rows."""
    old, record = before
    known = set(record.shard_keys)
    files = Files(store)
    places = Places.read(files, folder(old))
    then, now = Vectors(files, old, record.dimensions), Vectors(files, snapshot, record.dimensions)
    found = []
    for at, entry in enumerate(snapshot.shards):
        if entry.key in known:
            continue
        mine = ids[at].copy()
        had = np.flatnonzero((mine >= 0) & places.having(mine))
        was = places.of(mine[had])
        try:
            same = np.ones(len(had), np.bool_)
            for modality in MODALITIES:
                same &= (then.halves(modality, was) == now.shard(modality, at)[had]).all(axis=1)
            mine[had[same]] = -1
        except FileNotFoundError:  # the old vectors have expired: what is added twice is found once all the same
            pass
        found.append((at, mine))
    files.close()
    return found


def _side(
    store: Store,
    snapshot: Snapshot,
    before: tuple[Snapshot, IndexRecord],
    modality: Modality,
    fresh: Sequence[tuple[int, Ids]],
    added: int,
    digests: dict[str, str],
) -> Side:
    old, record = before
    side = record.sides[modality]
    kept = list(side.segments)
    if not added:
        _carry_all(store, before, snapshot, kept, digests)
        return side
    files = Files(store)
    base, deltas = kept[0], kept[1:]
    with store.scratch() as scratch:
        index = segments.emptied(files.path(f"{folder(old)}/{base.name}"))
        fill(store, snapshot, modality, record.dimensions, index, fresh)
        draft, rows, wiped = scratch / "delta", added, 0
        segments.write(index, draft)
        if len(deltas) >= _DELTAS:
            draft = _joined(files, old, base, deltas, draft, scratch / "joined")
            rows, wiped = rows + sum(one.rows for one in deltas), sum(one.wiped for one in deltas)
            deltas = []
        name = f"{modality}/{snapshot.folder}-added.faiss"
        new = Segment(name, rows, draft.stat().st_size, wiped)
        put(store, draft, folder(snapshot), name, digests)
    files.close()
    _carry_all(store, before, snapshot, [base, *deltas], digests)
    return replace(side, segments=[base, *deltas, new])


def _joined(files: Files, old: Snapshot, base: Segment, deltas: Sequence[Segment], new: Path, target: Path) -> Path:
    trained = segments.emptied(files.path(f"{folder(old)}/{base.name}"))
    segments.merge(trained, [*(files.path(f"{folder(old)}/{one.name}") for one in deltas), new], target)
    return target


def _carry_all(
    store: Store,
    before: tuple[Snapshot, IndexRecord],
    snapshot: Snapshot,
    kept: Sequence[Segment],
    digests: dict[str, str],
) -> None:
    for one in kept:
        carry(store, before, folder(snapshot), one.name, digests)
