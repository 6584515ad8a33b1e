"""The report's figures as JSON, gathered once a snapshot."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.serve.catalogue import Served
from pipeline import amendments
from pipeline.reasons import meaning
from pipeline.report_data import COS_EDGES, PX_EDGES, Facts, gather
from pipeline.snapshot import Snapshot
from pipeline.tally import Tally

_TOP = 30


class Overviews:
    """Each data set's figures of the snapshot that is served; the removals are counted anew each time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}

    def get(self, served: Served) -> dict[str, Any]:
        """Return the figures; the first who asks waits until every part was read."""
        snapshot = served.searcher.snapshot
        with self._lock:
            number, figures = self._known.get(served.name, (-1, {}))
            if number != snapshot.number:
                figures = _figures(snapshot, gather(served.store, snapshot))
                self._known[served.name] = snapshot.number, figures
        erased = sum(len(one.uids) for one in amendments.erasures(served.store))
        return figures | {"hidden": len(served.hidden()), "erased": erased, "index": about_index(served)}


def about_index(served: Served) -> dict[str, Any]:
    """Return what the index's record says that a reader can use."""
    return served.searcher.opened.record.told()


def _figures(snapshot: Snapshot, facts: Facts) -> dict[str, Any]:
    steps = facts.steps()
    return {
        "snapshot": snapshot.number,
        "rows_in": snapshot.rows_in,
        "rows": snapshot.rows,
        "stored_bytes": facts.stored_bytes,
        "model": str(snapshot.clip.get("model", "")),
        "weights_sha256": snapshot.clip.get("weights_sha256"),
        "threshold_cos": facts.threshold,
        "refusals": dict(snapshot.refusals),
        "funnel": [{**one.__dict__, "lost": dict(one.lost)} for one in steps],
        "reasons": {reason: meaning(reason) for one in steps for reason in one.lost},
        "cosines": _bars(COS_EDGES, facts.cosines, ("kept", "other_reason", "below_threshold")),
        "sizes_px": _grid(facts.sizes),
        "domains": _top(facts.domains),
        "languages": _top(facts.languages),
        "formats": _top(facts.formats),
        "fetches": dict(facts.fetches.most_common()),
        "http_statuses": {str(status): rows for status, rows in facts.statuses.most_common()},
        "read": dict(facts.read),
        "copies": {"groups": len(facts.groups.rows), "copies": facts.groups.totals[0]},
    }


def _top(tally: Tally[str]) -> list[dict[str, Any]]:
    return [{"name": name, "rows": rows, "kept": kept} for name, (rows, kept) in tally.top(_TOP, by=1)]


def _bars(edges: NDArray[np.float64], counts: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """Return a histogram, cut to where anything is: edges has one number more than each list of counts."""
    filled = np.flatnonzero(counts.sum(axis=0))
    low, high = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    rows: Mapping[str, list[int]] = {name: row[low:high].tolist() for name, row in zip(names, counts, strict=True)}
    return {"edges": edges[low : high + 1].round(6).tolist(), **rows}


def _grid(sizes: NDArray[np.int64]) -> dict[str, Any]:
    """Return the filled cells of the sizes, as [width from, height from, looked at, kept]; a cell is a fifth of an octave."""
    looked, kept = sizes
    cells = [
        [round(float(PX_EDGES[x]), 2), round(float(PX_EDGES[y]), 2), int(looked[x, y]), int(kept[x, y])]
        for x, y in np.argwhere(looked).tolist()
    ]
    return {"cell_octave_frac": 0.2, "cells": cells}
