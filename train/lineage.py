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

from pipeline.errors import FormatError, InvariantError, TamisError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from pipeline.tombstones import Watch
from train import checkpoint, ledger
from train.handed_out import HandedOut, exports
from train.manifest import name
from train.order import Epoch
from train.progress import METRICS
from train.run import Run, must_be_as_trained, open_run, registered


@dataclass
class Exposure:
    """What one run was shown, and when; or what one of its exports had been shown, by the evidence that was noted with it."""

    run: Run
    export: HandedOut | None = None
    _epochs: dict[int, Epoch] = field(default_factory=dict)

    @cached_property
    def steps(self) -> list[int]:
        """Return the steps of the weights that are spoken of: the checkpoints that exist, or the export's."""
        return checkpoint.steps(self.run.folder) if self.export is None else [self.export.step]

    @cached_property
    def exports(self) -> list["Exposure"]:
        """Return what was exported of the run."""
        return [Exposure(self.run, one, self._epochs) for one in exports(self.run.folder)]

    @property
    def last(self) -> int:
        """Return the newest of the steps, 0 where there are none."""
        return self.steps[-1] if self.steps else 0

    @property
    def _evidence(self) -> Path:
        return self.run.folder if self.export is None else self.export.evidence

    def must_be_known(self) -> None:
        """Raise InvariantError or FormatError where nothing can be said: the run is not as its weights were made with."""
        if self.export is not None:
            self.export.must_be_sound()
            must_be_as_trained(self.run, self.export.step, self.export.evidence)
        elif self.steps:
            must_be_as_trained(self.run, self.last)
        else:  # nothing else is left to hold it against
            ledger.check(self.run.folder, self.run.shown, self.run.order, self._reached)
            if not self._reached and (self.run.folder / METRICS).exists():
                raise InvariantError(
                    f"{self.run.folder}: neither checkpoints nor a ledger are left, and it was trained"
                )
        fed = ledger.tallies(self._evidence)
        for step, folder in self._weights():
            cursor = checkpoint.read(folder)
            if (cursor.step, cursor.images_seen, cursor.skipped) != (step, *fed.get(step, ())):
                raise InvariantError(
                    f"{folder}: {cursor.images_seen:,} samples were fed and {cursor.skipped:,} passed over before step {cursor.step:,}, "
                    f"the ledger says otherwise ({fed.get(step)}): one of them is of another way that the run once took. Put "
                    "back what belongs to it, or take it away"
                )

    @cached_property
    def unknown(self) -> str | None:
        """Return why nothing can be said, or None where something can."""
        try:
            self.must_be_known()
        except TamisError as error:
            return str(error)
        return None

    def _weights(self) -> list[tuple[int, Path]]:
        """Return the weights that are spoken of: their step, and the folder with their cursor; FormatError where one has none."""
        if self.export is not None:
            return [(self.export.step, self.export.evidence)]
        whole = {self.run.folder / checkpoint.name(step): step for step in self.steps}
        for folder in sorted((self.run.folder / checkpoint.FOLDER).glob("[0-9]*/")):
            if folder not in whole:
                raise FormatError(
                    f"{folder}: a checkpoint without its cursor.json; put that back, or take the folder away"
                )
        return [(step, folder) for folder, step in whole.items()]

    @cached_property
    def _reached(self) -> int:
        return ledger.reach(self.run.folder)

    @cached_property
    def _skips(self) -> BitMap64:
        found = BitMap64()
        for segment in ledger.read(self._evidence):
            found.update(segment.skips)
        return found

    @cached_property
    def _scale(self) -> BitMap64:
        return ledger.scale(self._evidence)

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

    def in_scale(self, shard: int, row: int) -> bool:
        """Tell whether the scale of the embeddings was taken from a row: then all weights hold something of it."""
        return int(self.run.shown.number(np.array([shard]), np.array([row]))[0]) in self._scale

    def in_order(self, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return (shard, row) as they are fed in the first epoch, so that a window is laid out once."""
        at = {shard: number for number, shard in enumerate(self._epoch(0).shard_order.tolist())}
        return sorted(places, key=lambda place: at[place[0]])

    def holders(self, shard: int, row: int) -> list[int]:
        """Return the steps, rising, whose weights hold something of a row."""
        if self.in_scale(shard, row):
            return self.steps
        first = self.first_step(self.last, shard, row)
        return [step for step in self.steps if first is not None and step > first]

    def hold(self, places: list[tuple[int, int]]) -> tuple[set[int], set[tuple[int, int]], int | None]:
        """Return the steps whose weights hold something of any place, the places they hold, and the first step that fed one."""
        steps: set[int] = set()
        seen = set()
        for place in places:
            if held := self.holders(*place):
                steps.update(held)
                seen.add(place)
        fed = (self.first_step(self.last, *place) for place in seen)
        return steps, seen, min((step for step in fed if step is not None), default=None)

    @property
    def named(self) -> str:
        """Return an export for a person to find."""
        assert self.export is not None
        return f"{self.export.place} (an export of step {self.last:,} made on {self.export.host})"

    def of(self, uid: bytes) -> list[dict[str, Any]]:
        """Return the checkpoints, rising, and the exports that saw a sample, with the newest checkpoint that did not."""
        place = self.run.shown.find(uid)
        if place is None:
            return []
        held = self.holders(*place)
        clean = max((step for step in self.steps if step not in held), default=None)
        found = [self._told(step, place, clean) for step in held]
        for view in self.exports:  # each by its own evidence: a damaged one says nothing of the others
            if view.unknown is not None:
                found.append({**_unknown(self._entry(), view.unknown), **view._where(view.last)})
            else:
                found += [view._told(step, place, clean) for step in view.holders(*place)]
        return found + self.later(*place)

    def _told(self, step: int, place: tuple[int, int], clean: int | None) -> dict[str, Any]:
        """Return what is told of the weights of a step; `clean` is the newest checkpoint that holds nothing of the row."""
        facts = self.run.facts
        return {
            **self._where(step), "run": facts.id, "kind": facts.kind, "snapshot": facts.snapshot,
            "first_step": self.first_step(step, *place), "times": self.times(step, *place),
            "last_clean": None if clean is None else str(self.run.folder / checkpoint.name(clean)),
        }  # fmt: skip

    def _where(self, step: int) -> dict[str, Any]:
        if self.export is None:
            return {"checkpoint": str(self.run.folder / checkpoint.name(step))}
        told = {"step": step, "host": self.export.host, "utc": self.export.utc, "of": str(self.run.folder)}
        return {"checkpoint": self.export.place, "exported": told}

    def later(self, shard: int, row: int) -> list[dict[str, Any]]:
        """Tell of a row that was fed after the newest checkpoint that is there: those of later steps may live on as copies."""
        fed = self.first_step(self._reached, shard, row)
        if self._reached <= self.last or (fed is None and not self.in_scale(shard, row)):
            return []
        if self.steps and self.times(self._reached, shard, row) == self.times(self.last, shard, row):
            return []
        what = f"checkpoints after step {self.last:,}" if self.steps else "checkpoints"
        why = f"its {what} are gone, or were never finished; copies of them that were made hold it"
        return [{**_unknown(self._entry(), why), "first_step": fed}]

    def _entry(self) -> dict[str, Any]:
        return vars(self.run.facts) | {"folder": str(self.run.folder)}


def checkpoints(store: Store, uids: Sequence[bytes]) -> dict[bytes, list[dict[str, Any]]]:
    """Return for each uid the checkpoints of all registered runs that saw it; a run that is out of reach is told as unknown."""
    found: dict[bytes, list[dict[str, Any]]] = {uid: [] for uid in uids}
    for entry in registered(store):
        try:
            exposure = _opened(entry)
            told = {uid: exposure.of(uid) for uid in uids} if exposure is not None else None
        except TamisError as error:
            told = {uid: [_unknown(entry, str(error))] for uid in uids}
        except Exception as error:  # noqa: BLE001 - whatever is damaged in one run, the others answer
            why = f"{entry['folder']}: damaged in a way that nobody foresaw ({error!r})"
            told = {uid: [_unknown(entry, why)] for uid in uids}
        if told is None:
            why = (
                entry.get("damaged")
                or f"no run is there (looked from {socket.gethostname()}, registered by {entry['host']})"
            )
            told = {uid: [_unknown(entry, why)] for uid in uids}
        for uid in uids:
            found[uid] += told[uid]
    return found


def _opened(entry: dict[str, Any]) -> Exposure | None:
    folder = Path(entry["folder"])
    if not (folder / "run.json").exists():
        return None
    run = open_run(folder)
    if run.facts.id != entry["run"]:
        return None
    found = Exposure(run)
    found.must_be_known()
    return found


def _unknown(entry: dict[str, Any], why: str) -> dict[str, Any]:
    return {
        "checkpoint": entry["folder"], "run": entry.get("run") or entry["id"], "kind": entry["kind"], "snapshot": entry["snapshot"],
        "first_step": None, "times": None, "last_clean": None, "unknown": why,
    }  # fmt: skip


@dataclass(frozen=True)
class Tainted:
    """What a run was fed that must not be read any more."""

    rows: int
    first_step: int | None
    """The first step that fed any of it; None where only the scale of the embeddings was taken from it."""
    clean: int | None
    """Step of the newest checkpoint that saw none of it; None: there is none, and the run begins anew."""
    holders: list[str]
    """The checkpoints that hold something of it, rising."""
    exports: list[str]
    """The exports that do, or may."""


def tainted(run: Run) -> Tainted | None:
    """Return what of a run's samples is hidden or erased by now, or None where no checkpoint and no export saw any of it.

    InvariantError or FormatError where that cannot be said of the checkpoints.
    """
    exposure = Exposure(run)
    exposure.must_be_known()
    require_latest(run.store)  # where the data set is out of reach, nobody knows who is hidden
    hidden = np.array([name(uid) for uid in sorted(Watch(run.store, 0).hidden())], np.uint64)
    rows = np.flatnonzero(np.isin(run.shown.names, hidden))
    places = exposure.in_order([place for row in rows.tolist() if (place := run.shown.place_of(row)) is not None])
    dirty, seen, first = exposure.hold(places)
    handed: list[str] = []
    for view in exposure.exports if places else []:
        if view.unknown is not None:
            handed.append(f"{view.named}, perhaps: {view.unknown}")
            continue
        steps, theirs, early = view.hold(places)
        handed += [view.named] if steps else []
        seen |= theirs
        first = min((one for one in (first, early) if one is not None), default=None)
    if later := sum(bool(exposure.later(*place)) for place in places):
        handed.append(f"copies of checkpoints after step {exposure.last:,} that were moved away ({later:,} fed since)")
    if not dirty and not handed:
        return None
    clean = max((step for step in exposure.steps if step not in dirty), default=None)
    return Tainted(len(seen), first, clean, [str(run.folder / checkpoint.name(step)) for step in sorted(dirty)], handed)
