"""Collects what a reader yields."""

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.sightings import BATCH_ROWS, CAPTURE, SIGHTING, Counts, Item, ReadOptions

Reader = Callable[..., Iterator[Item]]


def collect(
    read: Reader, uri: Any, options: ReadOptions | None = None, **bounds: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Counts]:
    """Return (sightings, captures, counts) and check that batches are as promised and all are counted."""
    counts = Counts()
    rows: dict[str, list[dict[str, Any]]] = {"sightings": [], "captures": []}
    for kind, batch in read(str(uri), options=options or ReadOptions(), counts=counts, **bounds):
        assert batch.schema == {"sightings": SIGHTING, "captures": CAPTURE}[kind]
        assert 0 < batch.num_rows <= BATCH_ROWS
        rows[kind] += batch.to_pylist()
    assert (counts.sightings, counts.captures) == (len(rows["sightings"]), len(rows["captures"]))
    return rows["sightings"], rows["captures"], counts
