"""Which checkpoints saw a sample: computed from the order, with the skips that the ledger wrote. Runs are found by the register.

Membership is exact. What a sample changed in the weights is not said, nor what a pipeline that was fine-tuned had seen before.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pyroaring import BitMap64

from pipeline.errors import InvariantError, TamisError
from pipeline.store import Store
from pipeline.tombstones import Watch
from train import checkpoint, ledger
from train.handed_out import HandedOut, exports
from train.manifest import name
from train.order import Epoch
from train.run import Run, must_be_as_trained, open_run, registered


@dataclass
class Exposure:
    """What one run was shown, and when."""

    run: Run
    _epochs: dict[int, Epoch] = field(default_factory=dict)

    @cached_property
    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that exist."""
        return checkpoint.steps(self.run.folder)

    @cached_property
    def exports(self) -> list[HandedOut]:
        """Return what was exported of the run."""
        return exports(self.run.folder)

    @property
    def last(self) -> int:
        """Return the newest step whose weights somebody may have, 0 where there are none."""
        return max([*self.steps, *(one.step for one in self.exports)], default=0)

    @cached_property
    def _skips(self) -> BitMap64:
        found = BitMap64()
        for segment in ledger.read(self.run.folder):
            found.update(segment.skips)
        return found

    @cached_property
    def _scale(self) -> BitMap64:
        return ledger.scale(self.run.folder)

    def _epoch(self, number: int) -> Epoch:
        if number not in self._epochs:
            while len(self._epochs) >= 8:
                self._epochs.pop(next(iter(self._epochs)))
            self._epochs[number] = self.run.order.epoch(number)
        return self._epochs[number]

    def step_in(self, epoch: int, shard: int, row: int) -> int | None:
        """Return the step in which a row was fed in an epoch; None where it was hidden then."""
        order = self.run.order
        batch, slot = self._epoch(epoch).place(shard, row, self.run.shown.rows)
        step = epoch * order.batches + batch
        return None if step * order.batch + slot in self._skips else step

    def _skipped_in(self, epoch: int) -> bool:
        span = self.run.order.batches * self.run.order.batch
        return bool(self._skips.range_cardinality(epoch * span, (epoch + 1) * span))

    def times(self, until: int, shard: int, row: int) -> int:
        """Return how often a row was fed before a step. Whole epochs without a skip need no place: each row comes once."""
        whole, rest = divmod(until, self.run.order.batches)
        count = sum(
            1 if not self._skipped_in(epoch) else self.step_in(epoch, shard, row) is not None for epoch in range(whole)
        )
        last = self.step_in(whole, shard, row) if rest else None
        return count + (last is not None and last < until)

    def first_step(self, until: int, shard: int, row: int) -> int | None:
        """Return the first step before `until` in which a row was fed, or None."""
        for epoch in range(-(-until // self.run.order.batches)):
            step = self.step_in(epoch, shard, row)
            if step is not None:
                return step if step < until else None
        return None

    def of(self, uid: bytes) -> list[dict[str, Any]]:
        """Return the checkpoints and the exports that saw a sample, rising, with the newest checkpoint that did not."""
        place = self.run.shown.find(uid)
        if place is None:
            return []
        kept: list[tuple[int, dict[str, Any]]] = [
            (step, {"checkpoint": str(self.run.folder / checkpoint.name(step))}) for step in self.steps
        ]
        kept += [
            (one.step, {"checkpoint": one.folder, "exported": {"step": one.step, "host": one.host, "utc": one.utc}})
            for one in self.exports
        ]
        gone = [] if self.steps else self._gone(*place)
        found = self.seen(*place, self.last)
        if found is None:
            return gone
        first, clean = found
        shared = {
            "run": self.run.facts.id, "kind": self.run.facts.kind, "snapshot": self.run.facts.snapshot, "first_step": first,
            "last_clean": None if clean is None else str(self.run.folder / checkpoint.name(clean)),
        }  # fmt: skip
        return [
            {**where, **shared, "times": self.times(step, *place)}
            for step, where in kept
            if self.in_scale(*place) or (first is not None and step > first)
        ] + gone

    def _gone(self, shard: int, row: int) -> list[dict[str, Any]]:
        """Tell of a run whose checkpoints were removed: copies of them may live on."""
        reached = ledger.reach(self.run.folder)
        found = self.seen(shard, row, reached) if reached else None
        if found is None:
            return []
        why = "its checkpoints are gone; copies of them that were made hold it"
        return [{**_unknown(vars(self.run.facts) | {"folder": str(self.run.folder)}, why), "first_step": found[0]}]

    def seen(self, shard: int, row: int, until: int) -> tuple[int | None, int | None] | None:
        """Return the first step before `until` that fed a row (None: none did) and the newest checkpoint that holds nothing of it.

        None where nothing holds anything of it. Where the scale of the embeddings was taken from the row, all do.
        """
        first = self.first_step(until, shard, row)
        if self.in_scale(shard, row):
            return first, None
        return None if first is None else (first, max((step for step in self.steps if step <= first), default=None))

    def in_scale(self, shard: int, row: int) -> bool:
        """Tell whether the scale of the embeddings was taken from a row."""
        return int(self.run.shown.number(np.array([shard]), np.array([row]))[0]) in self._scale


def checkpoints(store: Store, uids: Sequence[bytes]) -> dict[bytes, list[dict[str, Any]]]:
    """Return for each uid the checkpoints of all registered runs that saw it; a run that is out of reach is told as unknown."""
    found: dict[bytes, list[dict[str, Any]]] = {uid: [] for uid in uids}
    for entry in registered(store):
        try:
            run = _reached(entry)
            told = {uid: Exposure(run).of(uid) for uid in uids} if run is not None else None
        except TamisError as error:
            told = {uid: [_unknown(entry, str(error))] for uid in uids}
        if told is None:
            why = (
                entry.get("damaged")
                or f"no run is there (looked from {socket.gethostname()}, registered by {entry['host']})"
            )
            told = {uid: [_unknown(entry, why)] for uid in uids}
        for uid in uids:
            found[uid] += told[uid]
    return found


def _reached(entry: dict[str, Any]) -> Run | None:
    folder = Path(entry["folder"])
    if not (folder / "run.json").exists():
        return None
    run = open_run(folder)
    if run.facts.id != entry["run"]:
        return None
    _must_be_known(run)
    return run


def _must_be_known(run: Run) -> None:
    """Refuse to speak of a run that is not as its newest checkpoint left it."""
    newest = checkpoint.last(run.folder)
    if newest is None:
        return
    must_be_as_trained(run, newest)
    if run.facts.kind in ("decoder", "prior") and not ledger.has_scale(run.folder):
        raise InvariantError(
            f"{run.folder}: it is not known any more whose vectors the scale was taken from (ledger/scale.roaring is gone); restore "
            "ledger/ from a backup"
        )


def _unknown(entry: dict[str, Any], why: str) -> dict[str, Any]:
    return {
        "checkpoint": entry["folder"], "run": entry.get("run") or entry["id"], "kind": entry["kind"], "snapshot": entry["snapshot"],
        "first_step": None, "times": None, "last_clean": None, "unknown": why,
    }  # fmt: skip


@dataclass(frozen=True)
class Tainted:
    """What a run was fed that must not be read any more."""

    rows: int
    first_step: int
    clean: int | None
    """Step of the newest checkpoint that saw none of it; None: there is none, and the run begins anew."""
    holders: list[str]
    """The checkpoints and the exports that hold something of it, rising."""


def tainted(run: Run) -> Tainted | None:
    """Return what of a run's samples is hidden or erased by now, or None where no checkpoint and no export saw any of it."""
    exposure = Exposure(run)
    _must_be_known(run)
    if not exposure.last:
        return None
    hidden = np.array([name(uid) for uid in sorted(Watch(run.store, 0).hidden())], np.uint64)
    rows = np.flatnonzero(np.isin(run.shown.names, hidden))
    places = [place for row in rows.tolist() if (place := run.shown.place_of(row)) is not None]
    places.sort(key=lambda place: int(np.flatnonzero(exposure._epoch(0).shard_order == place[0])[0]))
    found = [(place, seen) for place in places if (seen := exposure.seen(*place, exposure.last)) is not None]
    if not found:
        return None
    clean = [step for _, (_, step) in found]
    fed = min((first for _, (first, _) in found if first is not None), default=0)
    since = -1 if any(exposure.in_scale(*place) for place, _ in found) else fed
    holders = [
        *(str(run.folder / checkpoint.name(step)) for step in exposure.steps if step > since),
        *(f"{one.folder} (an export, on {one.host})" for one in exposure.exports if one.step > since),
    ]
    return Tainted(len(found), fed, None if None in clean else min(step for step in clean if step is not None), holders)
