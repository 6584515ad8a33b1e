"""What a data set holds and what a run is doing, read from its files: any terminal may ask at any time."""

import json
from typing import Any

from pipeline.lock import is_held
from pipeline.progress import STATUS_FILE
from pipeline.snapshot import Snapshot, latest
from pipeline.stage import Part, find
from pipeline.store import Store


def status(store: Store) -> dict[str, Any]:
    """Return counts of the extraction, the newest snapshot, and the progress of the run that goes on or went last."""
    progress: dict[str, Any] = {}
    if store.exists(STATUS_FILE):
        progress = json.loads(store.read(STATUS_FILE))
    running = is_held(store)
    if progress.get("state") == "running" and not running:
        progress["state"] = "killed"
    snapshot = latest(store)
    return {
        "dataset": store.root,
        "running": running,
        "run": progress,
        "crawl": crawl_counts(store, snapshot),
        "snapshot": _summary(snapshot),
    }


def crawl_counts(store: Store, snapshot: Snapshot | None) -> dict[str, int]:
    """Return what extraction saw and what is left of it, counted per tag (before equal pairs are merged).

    `images`: img tags and list rows; `long_enough_in_crawl`: those whose text passes the length limits and whose picture the
    crawl itself holds.
    """
    totals = {"images": 0, "pages": 0, "records": 0, "bad_records": 0, "long_enough": 0, "long_enough_in_crawl": 0}
    for key in snapshot.extracts if snapshot else _records(store, "extract"):
        part = find(store, "extract", key)
        counts = part.facts["counts"] if part else {}
        for key in ("images", "pages", "records", "bad_records"):
            totals[key] += int(counts.get(key, 0))
    for admit in _admits(store, snapshot):
        totals["long_enough"] += int(admit.facts["tags_long_enough"])
        totals["long_enough_in_crawl"] += int(admit.facts["tags_long_enough_captured"])
    return totals


def _admits(store: Store, snapshot: Snapshot | None) -> list[Part]:
    if snapshot is None:
        return []
    keys = [key for entry in snapshot.parts for key in entry.stages.get("admit", ())]
    return [part for key in keys if (part := find(store, "admit", key)) is not None]


def _records(store: Store, stage: str) -> list[str]:
    return [n.rsplit("/", 1)[1].removesuffix(".json") for n in store.names(stage) if n.endswith(".json")]


def _summary(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "number": snapshot.number,
        "rows_in": snapshot.rows_in,
        "rows": snapshot.rows,
        "dropped": dict(snapshot.dropped),
        "parts": len(snapshot.parts),
        "shards": len(snapshot.shards),
        "clip": dict(snapshot.clip),
        "config_digest": snapshot.config_digest,
    }
