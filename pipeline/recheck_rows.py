"""What a snapshot keeps and what was heard of it when it was fetched, part by part: the side that a recheck compares with."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from filters.signal import Signal
from pipeline import tombstones
from pipeline.config import Config, parse
from pipeline.errors import FormatError
from pipeline.rejudge import stored_signals
from pipeline.snapshot import PartEntry, Snapshot
from pipeline.stage import Part, find
from pipeline.store import Store


@dataclass(frozen=True)
class KeptPart:
    """The kept rows of one part (uid, url, page_url), and the statements kept with them by URL."""

    rows: pa.Table
    heard: dict[str, list[Signal]]


def kept_parts(store: Store, snapshot: Snapshot) -> Iterator[KeptPart]:
    """Yield what the snapshot's parts keep, without what is hidden by tombstones or erased."""
    hidden = tombstones.read(store)
    for entry in snapshot.parts:
        decide = _part(store, "decide", entry.stages["decide"][-1])
        decided = decide.table(store, columns=["uid", "reason"])
        uids = decided.filter(pc.is_null(decided["reason"]))["uid"].combine_chunks()
        uids = uids.filter(pc.invert(hidden.mask(uids)))
        rows = _part(store, "candidates", entry.candidates).table(store, columns=["uid", "url", "page_url"])
        rows = rows.filter(pc.and_(pc.is_in(rows["uid"], value_set=uids), pc.is_valid(rows["url"]))).combine_chunks()
        yield KeptPart(rows, _heard(store, entry))


def config_of(snapshot: Snapshot, store: Store) -> Config:
    """Return the configuration that a snapshot was made with, machines and places aside."""
    said = {name: dict(value) if isinstance(value, dict) else value for name, value in snapshot.config.items()}
    if "signals" in said:
        said["signals"].pop("versions", None)
    return parse({**said, "dataset": store.root}, f"snapshot {snapshot.folder}")


def _heard(store: Store, entry: PartEntry) -> dict[str, list[Signal]]:
    heard: dict[str, list[Signal]] = {}
    for stage, keys in entry.stages.items():
        if stage.startswith("fetch/"):
            for key in keys:  # a later generation's word goes over an earlier's
                heard.update(stored_signals(_part(store, stage, key).table(store, "signals.parquet")))
    return heard


def _part(store: Store, stage: str, key: str) -> Part:
    part = find(store, stage, key)
    if part is None:
        raise FormatError(f"{store.uri(f'{stage}/{key}.json')}: the snapshot names it, and it is not there")
    return part
