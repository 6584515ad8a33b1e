"""Pictures that a run keeps for people to look at, drawn from rows of the data set: which of them must go when somebody has gone.

What is drawn for a row is not its picture, but it is made from its vector or its caption, and a sheet of `quality` shows captions.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.store import Store, explained
from pipeline.tombstones import Watch
from train.grid import source
from train.manifest import name
from train.run import Run

RECORD: Final = "quality.json"
SHEET: Final = "quality.png"
"""What `tamis train quality` writes into a run's folder."""


def stale(run: Run) -> list[Path]:
    """Return the sheets in a run's folder for which somebody was drawn who is hidden or erased by now.

    A sheet of which it is not known who stands in it goes with anybody.
    """
    hidden = Watch(run.store, 0).hidden()
    found = sorted((run.folder / "samples").glob("*.png"))
    if found:
        batches = source(run)
        slots = batches.where(0)
        rows = batches.manifest.number(slots.shard, slots.row)
        drawn = batches.manifest.names[rows[rows >= 0]]
        found = found if np.isin(drawn, np.array([name(uid) for uid in hidden], np.uint64)).any() else []
    if hidden and (run.folder / SHEET).exists():
        uids = _uids(run.folder)
        found += [run.folder / SHEET] if uids is None or uids & hidden else []
    return found


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what `tamis train quality` measured of a run, or None where there is nothing that can be read."""
    try:
        told = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _uids(folder: Path) -> set[bytes] | None:
    """Return whose captions stand in the sheet of `tamis train quality`; None where that is not known."""
    try:
        return {bytes.fromhex(uid) for uid in (read_record(folder) or {})["sheet_uids"]}
    except (KeyError, TypeError, ValueError):
        return None


def remove_stale(run: Run) -> list[Path]:
    """Remove those sheets, and whose captions stood in one, and return which they were; StorageError where that cannot be."""
    gone, record = stale(run), read_record(run.folder)
    if run.folder / SHEET in gone and record is not None:  # first: a sheet of nobody known goes again
        kept = {name: value for name, value in record.items() if name != "sheet_uids"}
        Store(str(run.folder)).write(RECORD, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    for path in gone:
        with explained(f"removing {path}"):
            path.unlink(missing_ok=True)
    return gone
