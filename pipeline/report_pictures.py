"""The report's pictures: thumbnails of chosen rows, and the largest groups of copies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages import thumbnail
from pipeline.report_data import Facts
from pipeline.report_galleries import Row, row_of
from pipeline.report_rows import Way, way, wide
from pipeline.snapshot import Snapshot
from pipeline.stage import find
from pipeline.store import Store

GROUPS = 6
MEMBERS = 9  # shown of each group, the kept one included


@dataclass(frozen=True)
class Group:
    """A kept picture and some of its copies."""

    keeper: Row | None
    copies: Sequence[Row]
    size: int  # with the kept one

    @property
    def unseen(self) -> int:
        """Return how many copies are not shown."""
        return self.size - 1 - len(self.copies)


def thumbnails(store: Store, snapshot: Snapshot, rows: Iterable[Row]) -> dict[bytes, str]:
    """Return uid → data: URI of a small JPEG ("" where the picture cannot be read), opening each part once."""
    by_part: dict[int, dict[bytes, Row]] = {}
    for row in rows:
        by_part.setdefault(row.part, {})[row.uid] = row
    out: dict[bytes, str] = {}
    for number, members in sorted(by_part.items()):
        chosen = list(members.values())
        places = pa.Table.from_pylist([dict(row.place) for row in chosen])
        pictures = way(store, snapshot.parts[number]).files.pictures(store, places)
        out.update((row.uid, thumbnail(data)) for row, data in zip(chosen, pictures, strict=True))
    return out


def largest_groups(store: Store, facts: Facts) -> list[Group]:
    """Return the largest groups of copies with their first members; reads the decisions once more."""
    top = facts.groups.top(GROUPS)
    if not top:
        return []
    wanted = pa.array([uid for uid, _ in top], pa.binary(16))
    keepers: dict[bytes, Row] = {}
    copies: dict[bytes, list[Row]] = {uid: [] for uid, _ in top}
    for number, entry in enumerate(facts.snapshot.parts):
        decide = find(store, "decide", entry.stages["decide"][-1])
        if decide is None:
            continue
        told = decide.table(store, columns=["uid", "duplicate_of"])
        if not _concerned(told, wanted).num_rows:
            continue
        for row in _rows(store, way(store, entry), wanted):
            shown, of = row_of(row, number), row["duplicate_of"]
            if of is None:
                keepers[shown.uid] = shown
            else:
                copies[of] = sorted([*copies[of], shown], key=lambda r: r.uid)[: MEMBERS - 1]
    return [Group(keepers.get(uid), copies[uid], n + 1) for uid, (n,) in top]


def _concerned(table: pa.Table, wanted: pa.Array) -> pa.Table:
    return table.filter(
        pc.or_(pc.is_in(table["uid"], value_set=wanted), pc.is_in(table["duplicate_of"], value_set=wanted))
    )


def _rows(store: Store, part: Way, wanted: pa.Array) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _concerned(wide(store, part), wanted).to_pylist()
    return [row for row in rows if row["url"] is not None]  # an erased row has nothing to show
