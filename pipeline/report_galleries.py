"""Which rows of a snapshot the report shows, chosen part by part in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tally import Nearest

SHOWN = 12  # pictures in a gallery
_SPARE = 4  # times as many are remembered, since equal pictures are shown once


@dataclass(frozen=True)
class Row:
    """A row to show, and where its picture is."""

    uid: bytes
    url: str
    text: str
    domain: str
    cos: float
    width: int
    height: int
    sha256: bytes | None
    part: int  # position in the snapshot
    place: Mapping[str, Any]  # fetch_key, tar_offset, tar_bytes


class Galleries:
    """Which rows to show: some at random, those around the threshold, the best.

    Uids are hashes, so the smallest ones are a fair sample.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = np.float32(threshold)
        kinds = ("sample", "above", "below", "best")
        self.kinds: dict[str, Nearest[Row]] = {name: Nearest(SHOWN * _SPARE) for name in kinds}

    def add(self, number: int, table: pa.Table) -> None:
        """Offer a part's rows."""
        shown = table.filter(pc.and_(table["looked_at"], pc.is_valid(table["clip_cos"])))
        cos = shown["clip_cos"].to_numpy()
        kept = shown["kept"].to_numpy()
        low = pc.fill_null(pc.equal(shown["reason"], "clip_low"), False).to_numpy()
        self._offer("sample", number, shown, kept, np.zeros(len(cos)))
        self._offer("above", number, shown, kept, cos - self.threshold)
        self._offer("below", number, shown, low, self.threshold - cos)
        self._offer("best", number, shown, kept, -cos)

    def _offer(self, kind: str, number: int, rows: pa.Table, mask: NDArray[Any], key: NDArray[Any]) -> None:
        """Offer the rows of a mask with the smallest keys; rows come sorted by uid, and that order breaks ties."""
        at = np.flatnonzero(mask)
        at = at[np.argsort(key[at], kind="stable")][: SHOWN * _SPARE]
        found = [row_of(row, number) for row in rows.take(pa.array(at)).to_pylist()]
        self.kinds[kind].add((float(key[i]), row.uid.hex(), row) for i, row in zip(at, found, strict=True))

    def rows(self, kind: str, n: int = SHOWN) -> list[Row]:
        """Return the rows of a gallery, no picture and no text twice."""
        out: list[Row] = []
        seen: set[object] = set()
        for row in self.kinds[kind].values():
            if row.sha256 not in seen and row.text not in seen:
                seen |= {row.sha256 or row.uid, row.text}
                out.append(row)
        return out[:n]


def row_of(row: Mapping[str, Any], part: int) -> Row:
    """Return a row of the wide table as a row to show."""
    place = {name: row[name] for name in ("fetch_key", "tar_offset", "tar_bytes")}
    cos = row["clip_cos"] if row["clip_cos"] is not None else float("nan")
    width, height = row["original_width_px"] or 0, row["original_height_px"] or 0
    return Row(row["uid"], row["url"], row["text"], row["domain"], cos, width, height, row["sha256"], part, place)
