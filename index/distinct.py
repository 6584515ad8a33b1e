"""Of each group of copies, only the first: what the copies' stage found, equal bytes, and vectors that all but agree."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.opened import F32, Ids, Opened
from pipeline.ids import faiss_id
from pipeline.stage import find

SAME_COS: Final = 0.995
"""Pictures at least this near count as one."""
_BLOCK: Final = 256


class Groups:
    """The groups of copies that a snapshot's `copies` stage found, by id; none where the stage did not run."""

    def __init__(self, opened: Opened) -> None:
        key = dict(opened.snapshot.reduces).get("copies")
        part = find(opened.store, "copies", key) if key is not None else None
        if part is None:
            self._ids, self._group = np.zeros(0, np.int64), np.zeros(0, np.int64)
            return
        rows = part.table(opened.store, columns=["uid", "group"])
        ids, group = (_ids(rows[name].to_pylist()) for name in ("uid", "group"))
        order = np.argsort(ids)
        self._ids, self._group = ids[order], group[order]

    def of(self, ids: Ids) -> Ids:
        """Return the group of each id, i64[N]: the id of the group's centre, and of a picture without copies its own."""
        if not len(self._ids):
            return ids
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._group[at], ids)


def _ids(uids: Sequence[bytes]) -> Ids:
    return np.array([faiss_id(uid) for uid in uids], np.int64)


def distinct(opened: Opened, groups: Groups, ids: Ids) -> NDArray[np.bool_]:
    """Tell of ids, the nearest first, which to keep so that no two are copies of each other, bool[N].

    A picture goes when one that stays before it is of its group, has its bytes, or a vector with cosine SAME_COS or more.
    """
    keep = np.zeros(len(ids), np.bool_)
    seen: set[Any] = set()
    kept: list[F32] = []
    for start, names in _blocks(opened, groups, ids):
        block = opened.vectors(ids[start : start + _BLOCK])
        near = np.zeros(len(block), np.bool_)
        if kept:
            near |= (block @ np.concatenate(kept).T >= SAME_COS).any(axis=1)
        same = block @ block.T >= SAME_COS
        mine: list[int] = []
        for at, name in enumerate(names):
            if near[at] or not seen.isdisjoint(name) or same[at, mine].any():
                continue
            mine.append(at)
            seen.update(name)
        keep[start + np.array(mine, np.int64)] = True
        kept.append(block[mine])
    return keep


def _blocks(opened: Opened, groups: Groups, ids: Ids) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield blocks of ids: where each begins, and what each of its pictures shares with its copies."""
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        names: list[tuple[Any, ...]] = [(group,) for group in groups.of(block).tolist()]
        if "sha256" in opened.columns:
            digests = opened.facts(block, ["sha256"])["sha256"].to_pylist()
            names = [name if digest is None else (*name, digest) for name, digest in zip(names, digests, strict=True)]
        yield start, names
