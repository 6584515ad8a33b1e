"""The largest groups of copies, to be looked at: pictures that stand everywhere are those that models learn by heart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.copies_rows import Looked
from pipeline.near.source import Spread
from pipeline.pages import thumbnail
from pipeline.rows import PartFiles
from pipeline.store import Store

MEMBERS_SHOWN = 9
_COLUMNS = ["uid", "text", "url", "domain"]


@dataclass(frozen=True)
class Member:
    """A picture of a group, as it is shown."""

    uid: str
    url: str
    text: str
    domain: str
    px: int
    fate: str  # the reason that the data set has for dropping it, or "kept"
    stays: bool  # whether it stands for the group by the keep policy
    thumb: str  # data: URI


@dataclass(frozen=True)
class GroupShown:
    """A group with its first members, and on how many sites and with how many texts it stands."""

    size: int
    domains: int
    texts: int
    members: Sequence[Member]

    @property
    def unseen(self) -> int:
        """Return how many members are not shown."""
        return self.size - len(self.members)

    def to_json(self) -> dict[str, Any]:
        """Return it without pictures."""
        members = [{name: value for name, value in vars(m).items() if name != "thumb"} for m in self.members]
        return {"size": self.size, "domains": self.domains, "texts": self.texts, "members": members}


def largest(
    store: Store,
    parts: Sequence[PartFiles],
    looked: Looked,
    group: NDArray[np.int64],
    kept: pa.Array,
    reasons: pa.Array,
    spread: Spread,
    count: int,
) -> list[GroupShown]:
    """Return the largest groups (of equal ones those whose centre has the smallest uid), the kept member first."""
    centres, sizes = np.unique(group[group >= 0], return_counts=True)
    top = centres[np.lexsort((centres, -sizes))][:count]
    wanted = np.flatnonzero(np.isin(group, top))
    if not len(wanted):
        return []
    uids = looked.uids.take(pa.array(wanted))
    words = pa.concat_tables(spread(_words, [(store, part, uids) for part in parts])).combine_chunks()
    words = words.take(pc.index_in(uids, words["uid"].combine_chunks()))
    stands = pc.equal(kept.take(pa.array(wanted)), uids)
    stays = pc.fill_null(stands, False).to_numpy(zero_copy_only=False)
    facts = list(zip(words.to_pylist(), reasons.take(pa.array(wanted)).to_pylist(), strict=True))
    out = []
    with looked.pictures.reading() as read:
        for centre in top.tolist():
            mine = np.flatnonzero(group[wanted] == centre)
            mine = mine[np.lexsort((looked.rank[wanted[mine]], ~stays[mine]))]
            shown = []
            for at in mine[:MEMBERS_SHOWN].tolist():
                row, reason = facts[at]
                px, thumb = int(looked.px[wanted[at]]), thumbnail(read(int(wanted[at])))
                url, text, domain = (str(row[name] or "") for name in ("url", "text", "domain"))
                shown.append(Member(row["uid"].hex(), url, text, domain, px, reason or "kept", bool(stays[at]), thumb))
            told = [facts[at][0] for at in mine.tolist()]
            domains, texts = (len({row[name] for row in told}) for name in ("domain", "text"))
            out.append(GroupShown(len(mine), domains, texts, shown))
    return out


def _words(store: Store, part: PartFiles, uids: pa.Array) -> pa.Table:
    rows = part.candidates.table(store, columns=_COLUMNS)
    return rows.filter(pc.is_in(rows["uid"], value_set=uids)).combine_chunks()
