"""Check an index against its snapshot: digests, ids, whether samples find themselves, and the recall once more."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from index import segments
from index.facts import Facts
from index.mapped import Files
from index.measure import Exam, K
from index.opened import Opened
from index.query import Modality
from index.record import PLACES, IndexRecord, facts_name, folder, require_record
from index.writing import Ids
from pipeline.errors import FormatError
from pipeline.ids import faiss_id
from pipeline.pack import ERASED, shard_files
from pipeline.pieces import whole_stored
from pipeline.snapshot import Snapshot
from pipeline.store import Store

_SAMPLE: Final = 500
_LOST_FRAC: Final = 0.02
_NOISE_FRAC: Final = 0.6
"""How far a recall may lie under the one asked for before something is wrong, over the root of the questions: 0.03 of 400.

A question's own recall at ten is spread by about 0.15, and two sets of questions are compared, the build's and ours (after a
sync they are others): so that is nearly three standard errors.
"""


@dataclass
class Checked:
    """What one call of `check` found."""

    record: IndexRecord
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    recall: dict[Modality, tuple[float, float]] = field(default_factory=dict)  # across, within


def check(store: Store, snapshot: Snapshot) -> Checked:
    """Re-read an index; InputError where there is none, FormatError where its record is damaged."""
    found = Checked(require_record(store, snapshot))
    _digests(store, snapshot, found)
    try:
        _contents(store, snapshot, found)
    except FormatError as error:  # of a file whose bytes differ, mostly; what comes after it cannot be looked at
        found.problems.append(str(error))
    return found


def _contents(store: Store, snapshot: Snapshot, found: Checked) -> None:
    opened = Opened(store, snapshot)
    try:
        ids = _ids(store, snapshot, found)
        places = np.sort(np.concatenate([one[one >= 0] for one in ids])) if ids else np.empty(0, np.int64)
        for modality, side in opened.record.sides.items():
            _segments(store, snapshot, modality, places, found)
            if len(places):
                _themselves(opened, modality, places, found)
            if not side.exact and len(places):
                _recall(store, snapshot, opened, modality, ids, found)
    finally:
        opened.close()


def _digests(store: Store, snapshot: Snapshot, found: Checked) -> None:
    base = folder(snapshot)
    for name, sha256 in found.record.sha256.items():
        if not store.exists(f"{base}/{name}"):
            found.problems.append(f"{base}/{name}: missing; `tamis index build` makes it anew")
            continue
        found.files += 1
        found.bytes += store.size_bytes(f"{base}/{name}")
        if whole_stored(store, f"{base}/{name}") != sha256:
            found.problems.append(f"{base}/{name}: its bytes differ from index.json; `tamis index build` makes it anew")


def _ids(store: Store, snapshot: Snapshot, found: Checked) -> list[Ids]:
    """Compare the snapshot's own sidecars with facts and places; return each shard's ids, -1 for erased rows."""
    base, files = folder(snapshot), Files(store)
    truth = []
    for entry in snapshot.shards:
        with store.open(shard_files(snapshot.folder, entry.number)["parquet"]) as handle:
            table = pq.read_table(handle, columns=["key", "status"])
        living = pc.not_equal(table["status"], ERASED).to_pylist()
        keys = table["key"].to_pylist()
        ids = [faiss_id(bytes.fromhex(key)) if there else -1 for key, there in zip(keys, living, strict=True)]
        truth.append(np.array(ids, np.int64))
    facts = Facts(files, [f"{base}/{facts_name(entry.key)}" for entry in snapshot.shards]).ids()
    for entry, mine, theirs in zip(snapshot.shards, truth, facts, strict=True):
        if not np.array_equal(mine, theirs):
            found.problems.append(f"{base}/{facts_name(entry.key)}: its rows are not those of shard {entry.number:05d}")
    placed = files.values(f"{base}/{PLACES}", np.int64).reshape(2, -1)[0]
    every = np.sort(np.concatenate([np.empty(0, np.int64), *(one[one >= 0] for one in truth)]))
    if not np.array_equal(placed, every) or found.record.rows != len(every):
        found.problems.append(
            f"{base}: knows {len(placed):,} samples, the shards hold {len(every):,}; `tamis index build`"
        )
    files.close()
    return truth


def _segments(store: Store, snapshot: Snapshot, modality: Modality, places: Ids, found: Checked) -> None:
    """Every sample must be in a segment, and nobody who was erased."""
    base, files = folder(snapshot), Files(store)
    names = [one.name for one in found.record.sides[modality].segments]
    held = np.unique(np.concatenate([segments.ids_of(segments.read(files.path(f"{base}/{name}"))) for name in names]))
    missing = int(np.count_nonzero(~np.isin(places, held)))
    if missing:
        found.problems.append(f"{base}: {missing:,} samples are in no {modality} segment; `tamis index build`")
    erased = [faiss_id(bytes.fromhex(uid)) for one in found.record.erased for uid in one.uids]
    left = int(np.count_nonzero(np.isin(erased, held)))
    if left:
        found.problems.append(
            f"{base}: {left:,} erased samples are still in a {modality} segment; `tamis optout apply --again`"
        )
    files.close()


def _themselves(opened: Opened, modality: Modality, places: Ids, found: Checked) -> None:
    """A sample's own vector must find it; of equal vectors any may come first."""
    places = places[opened.having(places)]
    asked = np.sort(np.random.default_rng(0).permutation(places)[:_SAMPLE])
    vectors = opened.vectors(asked, modality)
    own = np.einsum("ij,ij->i", vectors, vectors)
    lost = sum(
        len(near.cos) == 0 or near.cos[0] < cos - 1e-3
        for near, cos in zip(opened.near(vectors, 1, modality=modality), own.tolist(), strict=True)
    )
    if lost > _LOST_FRAC * len(asked):
        found.problems.append(
            f"{folder(opened.snapshot)}: {lost} of {len(asked)} samples do not find themselves by their {modality} vectors"
        )


def _recall(
    store: Store, snapshot: Snapshot, opened: Opened, modality: Modality, ids: list[Ids], found: Checked
) -> None:
    exam = Exam(store, snapshot, modality, opened.record.dimensions, ids).answer(None)
    answers = opened.near(exam.across, K, modality=modality)
    answers += opened.near(exam.within, K + 1, modality=modality)  # one of them is itself
    found.recall[modality] = exam.mark([near.ids for near in answers], lambda number, _: answers[number].cos)
    least = min(found.recall[modality])
    if least < opened.record.options.recall_frac - _NOISE_FRAC / len(exam.across) ** 0.5:
        found.problems.append(
            f"{folder(snapshot)}: finds {least:.3f} of the nearest {modality} vectors, {opened.record.options.recall_frac} was asked for; "
            "`tamis index build` learns the vectors anew"
        )
