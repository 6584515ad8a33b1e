"""Build the index of a snapshot: facts and places of its rows, and for pictures and texts a FAISS index that is measured before use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index import kinds, segments
from index.mapped import Files
from index.measure import Exam, blocks, curve
from index.places import Places
from index.query import Modality
from index.ranking import Ranking
from index.record import (
    FORMAT,
    MODALITIES,
    IndexRecord,
    Options,
    Probe,
    Segment,
    Side,
    commit,
    folder,
    predecessor,
    read_record,
)
from index.vectors import Vectors
from index.writing import Ids, put, remove_strangers, spread, whole, write_facts, write_places
from pipeline.errors import InputError
from pipeline.ids import stable_hash
from pipeline.snapshot import Snapshot
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.engine import Engine

BUILDING = "index/building"
"""Where blocks wait to be merged; a build that was stopped goes on from them, and an erasure removes them."""
_SEED = 5


def build(
    store: Store, snapshot: Snapshot, options: Options | None = None, engine: "Engine | None" = None
) -> IndexRecord:
    """Build and commit the index of a snapshot; one that is there whole with the same options is returned as it is.

    Errors: InputError where a snapshot is empty, or where the memory or the recall asked for cannot be had; nothing is
    published then.
    """
    keys = [entry.key for entry in snapshot.shards]
    done = read_record(store, snapshot)
    same = done is not None and list(done.shard_keys) == keys and options in (None, done.options)
    if done is not None and same and whole(store, folder(snapshot), done):
        return done
    if not keys:
        raise InputError(f"snapshot {snapshot.folder} of {store.root} is empty; nothing to index")
    options = options or (done.options if done is not None else Options())
    digests = write_facts(store, snapshot, predecessor(store, snapshot), engine, reread=True)
    ids = write_places(store, snapshot, digests)
    dimensions = width(store, snapshot)
    sides = {}
    for modality in MODALITIES:
        sides[modality] = _side(store, snapshot, modality, dimensions, ids, options, engine, digests)
    rows = sum(int(np.count_nonzero(one >= 0)) for one in ids)
    record = IndexRecord(
        snapshot.number,
        keys,
        rows,
        dimensions,
        dict(snapshot.clip),
        options,
        sides,
        {},
        done.erased if done is not None else [],
    )
    record = commit(store, folder(snapshot), record, digests)
    remove_strangers(store, folder(snapshot), list(digests))
    store.delete_folder(BUILDING)
    return record


def width(store: Store, snapshot: Snapshot) -> int:
    """Return how many numbers a vector of the snapshot has."""
    files = Files(store)
    entry = snapshot.shards[0]
    values = len(Vectors(files, snapshot, 0).values("image", 0))
    files.close()
    return values // entry.rows


def kind_of(rows: int, dimensions: int, options: Options) -> kinds.Kind:
    """Return the kind for one of the two modalities, each of which has half of the memory."""
    return kinds.choose(rows, dimensions, options.memory_bytes // len(MODALITIES), options.recall_frac)


def _fits(store: Store, kind: kinds.Kind, rows: int, options: Options) -> None:
    needed = len(MODALITIES) * kind.memory_bytes
    if needed > options.memory_bytes:
        raise InputError(
            f"{store.root}: {rows:,} pictures and texts cannot be searched in {options.memory_bytes / 1e6:,.0f} MB: the smallest "
            f"kind, {kind.factory}, holds {needed / 1e6:,.1f} MB; nothing was published. Ask for --memory {-(-needed // 10**6)}MB"
        )


def _side(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    dimensions: int,
    ids: Sequence[Ids],
    options: Options,
    engine: "Engine | None",
    digests: dict[str, str],
) -> Side:
    rows = sum(int(np.count_nonzero(one >= 0)) for one in ids)
    kind = kind_of(rows, dimensions, options)
    _fits(store, kind, rows, options)
    name = f"{modality}/{snapshot.folder}-{stable_hash([kind.factory, list(kind.depth)], 8)}.faiss"
    with store.scratch() as scratch:
        draft = scratch / "index"
        if kind.lists == 0:
            _exact(store, snapshot, modality, dimensions, ids, draft)
        else:
            _inverted(store, snapshot, modality, dimensions, ids, kind, engine, scratch, draft)
        side = Side(kind.factory, [Segment(name, rows, draft.stat().st_size)], kind.why, kind.bytes)
        put(store, draft, folder(snapshot), name, digests)
    if kind.lists == 0:
        return side
    points = _measured(store, snapshot, side, modality, dimensions, ids, kind, options, engine)
    used = points[-1]
    return Side(side.factory, side.segments, side.why, side.bytes, used.nprobe, used.depth, points)


def _exact(
    store: Store, snapshot: Snapshot, modality: Modality, dimensions: int, ids: Sequence[Ids], draft: Path
) -> None:
    index = segments.train(kinds.EXACT, np.empty((0, dimensions), np.float32))
    fill(store, snapshot, modality, dimensions, index, list(enumerate(ids)))
    segments.write(index, draft)


def fill(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    dimensions: int,
    index: object,
    shards: Sequence[tuple[int, Ids]],
) -> None:
    """Add the vectors of some shards (position, ids of its rows, -1 for those to be left out) to an index."""
    files = Files(store)
    vectors = Vectors(files, snapshot, dimensions)
    for at, ids in shards:
        there = ids >= 0
        segments.add(index, vectors.shard(modality, at)[there].astype(np.float32), ids[there])
    files.close()


def _inverted(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    dimensions: int,
    ids: Sequence[Ids],
    kind: kinds.Kind,
    engine: "Engine | None",
    scratch: Path,
    draft: Path,
) -> None:
    """Train, fill blocks side by side, merge. What an earlier try has done is found by name."""
    keys = [entry.key for entry in snapshot.shards]
    base = f"{BUILDING}/{stable_hash([FORMAT, snapshot.number, keys, modality, kind.factory])}"
    trained = f"{base}/trained.faiss"
    if not store.exists(trained):
        sample = _sample(store, snapshot, modality, dimensions, ids, kind.lists * kinds.TRAIN_ROWS)
        segments.write(segments.train(kind.factory, sample), scratch / "trained")
        store.put(scratch / "trained", trained)
    jobs = []
    for number, block in enumerate(blocks(snapshot)):
        jobs.append(
            (
                store,
                snapshot,
                modality,
                dimensions,
                [(at, ids[at]) for at in block],
                trained,
                f"{base}/{number:05d}.faiss",
            )
        )
    done = spread(engine, _block, jobs)
    files = Files(store)
    segments.merge(segments.read_whole(files.path(trained)), [files.path(name) for name in done], draft)
    files.close()


def _sample(
    store: Store, snapshot: Snapshot, modality: Modality, dimensions: int, ids: Sequence[Ids], rows: int
) -> NDArray[np.float32]:
    """Return about so many vectors f32[N,D], from every shard its share."""
    living = sum(int(np.count_nonzero(one >= 0)) for one in ids)
    files = Files(store)
    vectors = Vectors(files, snapshot, dimensions)
    pieces = []
    for at, one in enumerate(ids):
        there = np.flatnonzero(one >= 0)
        count = min(len(there), -(-len(there) * rows // max(1, living)))
        chosen = np.sort(np.random.default_rng([_SEED, at]).choice(there, count, replace=False))
        pieces.append(vectors.shard(modality, at)[chosen].astype(np.float32))
    files.close()
    return np.concatenate(pieces)


def _block(
    store: Store,
    snapshot: Snapshot,
    modality: Modality,
    dimensions: int,
    shards: Sequence[tuple[int, Ids]],
    trained: str,
    name: str,
) -> str:
    if store.exists(name):
        return name
    files = Files(store)
    index = segments.read_whole(files.path(trained))
    files.close()
    fill(store, snapshot, modality, dimensions, index, shards)
    with store.scratch() as scratch:
        segments.write_block(index, scratch / "block")
        store.put(scratch / "block", name)
    return name


def _measured(
    store: Store,
    snapshot: Snapshot,
    side: Side,
    modality: Modality,
    dimensions: int,
    ids: Sequence[Ids],
    kind: kinds.Kind,
    options: Options,
    engine: "Engine | None",
) -> list[Probe]:
    """Return the curve up to the recall asked for; InputError says what to ask for where it cannot be had."""
    exam = Exam(store, snapshot, modality, dimensions, ids).answer(engine)
    files = Files(store)
    ranking = Ranking(
        files,
        folder(snapshot),
        side,
        modality,
        Places.read(files, folder(snapshot)),
        Vectors(files, snapshot, dimensions),
    )
    points = curve(ranking, exam, kind.depth, kind.lists, options.recall_frac)
    files.close()
    best = min(points[-1].across_frac, points[-1].within_frac)
    if best < options.recall_frac:
        whole = 4 * kinds.lossless_bytes(sum(len(one) for one in ids), dimensions)
        raise InputError(
            f"{store.root}: a recall of {options.recall_frac} cannot be had from {kind.factory}: looking into all {kind.lists:,} lists "
            f"finds {best} of the {modality} vectors; nothing was published. Ask for --recall {int(best * 100) / 100}, or for "
            f"--recall 0.995 with --memory {-(-whole // 10**9)}GB, where vectors are kept whole"
        )
    return points
