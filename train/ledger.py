"""What was really fed, written by the loop: rows seen and slots skipped, as Roaring bitmaps (Lemire et al. 2016).

The order says what should have been fed; this is the independent witness, and the skips (samples that a tombstone hid at
that moment) are what the order cannot know. One file for the steps between two checkpoints.
"""

import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pyroaring import BitMap64

from pipeline.errors import FormatError, InvariantError
from pipeline.store import Store
from train.data import Batch
from train.manifest import Manifest
from train.order import Order

FOLDER = "ledger"
_SCALE = "scale.roaring"
_NAME = re.compile(r"([0-9]{9,})-([0-9]{9,})\.npz")


@dataclass
class Segment:
    """The steps [first, last) and what was fed in them: epoch → rows of the manifest, and the slots that weighed nothing."""

    first: int
    last: int
    seen: dict[int, BitMap64] = field(default_factory=dict)
    skips: BitMap64 = field(default_factory=BitMap64)

    def add(self, batch: Batch) -> None:
        """Note a batch."""
        shown = batch.weight > 0
        self.seen.setdefault(batch.epoch, BitMap64()).update(batch.row[shown].tolist())
        self.skips.update(batch.slot[(batch.row >= 0) & ~shown].tolist())
        self.last = batch.step + 1

    def merge(self, other: "Segment") -> None:
        """Add what another process fed in the same steps."""
        for epoch, rows in other.seen.items():
            self.seen.setdefault(epoch, BitMap64()).update(rows)
        self.skips.update(other.skips)

    def to_bytes(self) -> bytes:
        """Return the segment as a NumPy archive of serialised bitmaps, with its steps as JSON."""
        out = io.BytesIO()
        about = json.dumps({"first": self.first, "last": self.last}).encode()
        maps = {f"epoch_{epoch}": rows.serialize() for epoch, rows in sorted(self.seen.items())}
        raw = {"about": about, "skips": self.skips.serialize(), **maps}
        np.savez(out, allow_pickle=False, **{name: np.frombuffer(data, np.uint8) for name, data in raw.items()})
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "ledger") -> "Segment":
        """Read what `to_bytes` made; FormatError when it is something else."""
        try:
            with np.load(io.BytesIO(data)) as found:
                raw = {name: found[name].tobytes() for name in found.files}
            about = json.loads(raw.pop("about"))
            skips = BitMap64.deserialize(raw.pop("skips"))
            seen = {int(name.removeprefix("epoch_")): BitMap64.deserialize(one) for name, one in raw.items()}
            return cls(int(about["first"]), int(about["last"]), seen, skips)
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, BadZipFile, zlib.error) as error:
            raise FormatError(f"{where}: not a segment of a ledger, or a damaged one ({error})") from error


def write(run: Path, segment: Segment) -> None:
    """Keep a segment in a run's folder."""
    Store(str(run)).write(f"{FOLDER}/{segment.first:09d}-{segment.last:09d}.npz", segment.to_bytes())


def read(run: Path, until: int | None = None) -> Iterator[Segment]:
    """Yield a run's segments, those that end at or before a step."""
    for _, _, path in _files(run):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FormatError(f"{path}: cannot be read ({error}); restore ledger/ from a backup") from error
        segment = Segment.from_bytes(data, str(path))
        if until is None or segment.last <= until:
            yield segment


def _files(run: Path) -> list[tuple[int, int, Path]]:
    """Return first step, last step and path of a run's segments; what else lies there (a copy that somebody made) is none."""
    found = ((_NAME.fullmatch(path.name), path) for path in (run / FOLDER).glob("*.npz"))
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match is not None)


def write_scale(run: Path, rows: BitMap64) -> None:
    """Keep which rows the mean and deviation of a run's embeddings were taken from: all its checkpoints hold something of them."""
    Store(str(run)).write(f"{FOLDER}/{_SCALE}", rows.serialize())


def has_scale(run: Path) -> bool:
    """Tell whether it is known which rows those are."""
    return (run / FOLDER / _SCALE).is_file()


def scale(run: Path) -> BitMap64:
    """Return those rows; none where a run scales nothing. FormatError when the file is damaged."""
    path = run / FOLDER / _SCALE
    try:
        return BitMap64.deserialize(path.read_bytes()) if has_scale(run) else BitMap64()
    except (ValueError, IndexError, OSError) as error:
        raise FormatError(f"{path}: not a bitmap of rows, or a damaged one ({error})") from error


def drop_after(run: Path, step: int) -> None:
    """Remove the segments of steps that no checkpoint kept; they are trained anew."""
    for _, last, path in _files(run):
        if last > step:
            path.unlink()


def link(run: Path, step: int, folder: Path) -> None:
    """Keep in another folder what was fed before a step: the same files under a second name, copies on another disk."""
    files = [path for _, last, path in _files(run) if last <= step]
    (folder / FOLDER).mkdir()
    for path in [*files, *([run / FOLDER / _SCALE] if has_scale(run) else [])]:
        try:
            os.link(path, folder / FOLDER / path.name)
        except OSError:
            shutil.copyfile(path, folder / FOLDER / path.name)


def reach(run: Path) -> int:
    """Return the step up to which the ledger has every step, by the names of its files."""
    at = 0
    for first, last, _ in _files(run):
        at = last if first == at else at
    return at


def tallies(run: Path) -> dict[int, tuple[int, int]]:
    """Return step → how many samples were fed before it and how many were passed over, at the ends of the segments.

    InvariantError where steps are missing, FormatError where a segment is damaged.
    """
    at, fed, skipped = 0, 0, 0
    found = {0: (0, 0)}
    for segment in read(run):
        if segment.first != at:
            raise InvariantError(
                f"{run}: the ledger has nothing for steps {at:,} to {segment.first:,}; restore ledger/ from a backup"
            )
        at = segment.last
        fed, skipped = fed + sum(map(len, segment.seen.values())), skipped + len(segment.skips)
        found[at] = fed, skipped
    return found


def check(run: Path, manifest: Manifest, order: Order, until: int) -> int:
    """Compare what was fed up to a step with the order, and return the samples compared; InvariantError says where they differ."""
    compared, at = 0, 0
    current, plan = -1, None  # an epoch is sorted once, not once a step
    for segment in read(run, until):
        if segment.first != at:
            raise InvariantError(f"{run}: the ledger has nothing for steps {at:,} to {segment.first:,}")
        at = segment.last
        planned: dict[int, BitMap64] = {}
        for step in range(segment.first, segment.last):
            epoch, inside = divmod(step, order.batches)
            if plan is None or epoch != current:
                current, plan = epoch, order.epoch(epoch)
            slots = plan.slots(inside, manifest.rows)
            rows = manifest.number(slots.shard, slots.row)
            place = step * order.batch + np.arange(order.batch)
            fed = [
                row
                for row, slot in zip(rows.tolist(), place.tolist(), strict=True)
                if row >= 0 and slot not in segment.skips
            ]
            planned.setdefault(epoch, BitMap64()).update(fed)
            compared += len(fed)
        for epoch in planned.keys() | segment.seen.keys():
            odd = planned.get(epoch, BitMap64()) ^ segment.seen.get(epoch, BitMap64())
            if odd:
                raise InvariantError(
                    f"{run}: in epoch {epoch}, steps {segment.first:,} to {segment.last:,}, {len(odd):,} rows differ between "
                    f"the order and what was fed, the first being row {odd.min()}"
                )
    if at != until:
        raise InvariantError(f"{run}: the ledger ends at step {at:,}, the checkpoint at {until:,}")
    return compared
