"""The duplicate stage over a data set as it is: which pictures are copies, what is kept of them, and what is left to do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.copies import representatives
from pipeline.config import CopiesConfig
from pipeline.copies import HOW, Copies
from pipeline.copies_choice import thinned
from pipeline.copies_reduce import find_copies, options_of, plan_facts, semantic_pairs, semantic_table
from pipeline.copies_rows import Looked, gather
from pipeline.dedup.groups import GroupShown, largest
from pipeline.near.source import Spread
from pipeline.near.spill import Spill
from pipeline.report_rows import way
from pipeline.rows import PartFiles
from pipeline.schema import MEMBER
from pipeline.snapshot import Snapshot
from pipeline.store import Store
from pipeline.tombstones import Tombstones
from pipeline.tombstones import read as read_tombstones

COPY, SEMANTIC = "duplicate_of", "semantic_near"
_NAMES = {
    "sha256": "equal bytes",
    "phash64": "pHash",
    "pdq256": "PDQ",
    "embedding": "embedding",
    "neighbour": "a common copy",
}


@dataclass(frozen=True)
class Means:
    """What one means contributed."""

    name: str
    proposed: int
    verified: int
    alone: int  # verified pairs that no other means proposed


@dataclass(frozen=True)
class Survey:
    """What was found; counts are of pictures unless they say otherwise."""

    name: str
    snapshot: int
    looked_at: int
    in_shards: bool  # whether only what is in the shards was looked at
    config: CopiesConfig
    search: Mapping[str, Any]
    means: Sequence[Means]
    pairs: int
    verified: int
    sizes: Sequence[int] = ()  # members of each group, falling
    fates: Mapping[str, int] = field(default_factory=dict)  # of the groups' members, as the data set has it
    still_in: int = 0  # members in the shards that another member would stand for
    thinning: Mapping[str, int] | None = None
    largest: Sequence[GroupShown] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures without pictures."""
        out = {name: value for name, value in vars(self).items() if name not in ("config", "means", "largest")}
        out["config"] = self.config.model_dump(mode="json")
        out["sizes"] = {str(size): n for size, n in sorted(Counter(self.sizes).items())}
        out["means"] = [vars(means) for means in self.means]
        out["largest"] = [group.to_json() for group in self.largest]
        return out


@dataclass(frozen=True)
class Chosen:
    """The uids of a part that are looked at: all but hidden ones, or those in the shards."""

    in_shards: bool
    hidden: pa.Array

    @classmethod
    def without(cls, in_shards: bool, gone: Tombstones) -> "Chosen":
        """Leave out what is hidden."""
        hidden = [bytes(uid).ljust(16, b"\0") for uid in gone.uids()]
        return cls(in_shards, pa.array(hidden, pa.binary(16)))

    def __call__(self, store: Store, part: PartFiles) -> pa.Array:
        """Return them."""
        assert part.decide is not None
        rows = part.decide.table(store, columns=["uid", "reason"])
        if self.in_shards:
            rows = rows.filter(pc.is_null(rows["reason"]))
        uids = rows["uid"].combine_chunks()
        return uids.filter(pc.invert(pc.is_in(uids, value_set=self.hidden)))


def survey(
    store: Store,
    snapshot: Snapshot,
    config: CopiesConfig,
    spread: Spread,
    spill: Spill,
    *,
    in_shards: bool = False,
    groups_shown: int = 24,
) -> Survey:
    """Look for copies among the pictures of a snapshot; hidden ones are left out. Nothing is written to the data set."""
    parts = [way(store, entry).files for entry in snapshot.parts]
    chosen = Chosen.without(in_shards, read_tombstones(store))
    looked = gather(store, parts, spread, spill.inner("rows"), chosen)
    name = store.root.rstrip("/").rsplit("/", 1)[-1]
    if looked is None:
        return Survey(name, snapshot.number, 0, in_shards, config, {}, [], 0, 0)
    found = find_copies(looked, options_of(config), spread, spill.inner("search"))
    members, reasons = _members(store, parts, looked, found, spread)
    kept = representatives(_numbered(members))["kept"].combine_chunks()
    in_group = found.group >= 0
    loses = pc.fill_null(pc.not_equal(kept, members["uid"].combine_chunks()), False).to_numpy(zero_copy_only=False)
    sizes = np.sort(np.unique(found.group[in_group], return_counts=True)[1])[::-1]
    sure = found.score >= config.min_agreement
    thinning = None
    near = semantic_pairs(looked, config, spread, spill.inner("semantic"))
    if near is not None:
        alive = pc.and_(members["eligible"], pa.array(~loses))
        _, thinning = thinned(members, alive, semantic_table(looked.uids, near))
    return Survey(
        name,
        snapshot.number,
        len(looked),
        in_shards,
        config,
        plan_facts(found.plan),
        _means(found, sure),
        len(found.pairs),
        int(sure.sum()),
        sizes.tolist(),
        dict(Counter(reason or "kept" for reason in reasons.filter(pa.array(in_group)).to_pylist()).most_common()),
        int((loses & pc.is_null(reasons).to_numpy(zero_copy_only=False)).sum()),
        thinning,
        largest(store, parts, looked, found.group, kept, reasons, spread, groups_shown),
    )


def _members(
    store: Store, parts: Sequence[PartFiles], looked: Looked, found: Copies, spread: Spread
) -> tuple[pa.Table, pa.Array]:
    """Return every row as MEMBER, and the reason that the data set has for each."""
    tables = spread(_standing, [(store, part) for part in parts])
    rows = pa.concat_tables(tables).combine_chunks()
    at = pc.index_in(looked.uids, rows["uid"].combine_chunks())
    reason, cosine = (rows[name].combine_chunks().take(at) for name in ("reason", "clip_cos"))
    columns = [
        looked.uids,
        looked.uids.take(pa.array(found.group, mask=found.group < 0)),
        pa.array(looked.px.astype(np.int64)),
        pc.fill_null(cosine, 0.0),
        pc.or_(pc.is_null(reason), pc.is_in(reason, value_set=pa.array([COPY, SEMANTIC]))),
        pa.array(np.zeros(len(looked), np.bool_)),
    ]
    return pa.table(columns, schema=MEMBER), reason


def _standing(store: Store, part: PartFiles) -> pa.Table:
    """Return what the data set decided of a part's rows, and their cosines."""
    assert part.decide is not None
    assert part.scores is not None
    rows = part.decide.table(store, columns=["uid", "reason"])
    scores = part.scores.table(store, columns=["uid", "clip_cos"])
    at = pc.index_in(rows["uid"].combine_chunks(), scores["uid"].combine_chunks())
    cosine = pc.cast(scores["clip_cos"].combine_chunks().take(at), pa.float32())
    return rows.append_column("clip_cos", cosine).combine_chunks()


def _numbered(members: pa.Table) -> pa.Table:
    codes = members["group"].combine_chunks().dictionary_encode().indices
    return members.set_column(members.schema.get_field_index("group"), "group", pc.cast(codes, pa.int64()))


def _means(found: Copies, sure: NDArray[np.bool_]) -> list[Means]:
    out = []
    for bit, name in enumerate(HOW):
        mine = (found.means >> bit & 1) > 0
        alone = found.means == 1 << bit
        out.append(Means(_NAMES[name], int(mine.sum()), int((mine & sure).sum()), int((alone & sure).sum())))
    return out
