"""Batches for training, read straight from the shards of a snapshot.

Global batch g is the same for any number of processes and loader workers: each process takes every `world`-th of its
samples, and a loader worker makes whole local batches. So a run is resumed by one number.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pipeline.errors import ConfigError, InputError, InvariantError
from pipeline.resize import Scratch
from pipeline.rows import decode_stored
from pipeline.store import Store
from pipeline.tombstones import Watch
from train.buckets import Bucket, fit
from train.manifest import Manifest
from train.order import Epoch, Order, Slots, key
from train.reading import Found, ShardReader, caption, picture

Shaped = Callable[[NDArray[np.uint8], Bucket, int, int], NDArray[np.uint8]]
"""(Picture u8[H,W,3], shape, seed, slot) → the picture in that shape; what is random in it belongs to seed and slot."""

HIDDEN_EVERY_S = 0.25
"""How old the tombstones may be that a batch is compared with."""
AHEAD = 2
"""Batches that are read before they are asked for where no worker does it, from object stores only."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a global batch; samples of weight 0 (hidden, or none left) are zeros and count for nothing."""

    step: int
    epoch: int
    slot: torch.Tensor
    """i64[B]: place in the run's sequence of samples, step × global batch + place in it: what randomness is keyed by."""
    row: torch.Tensor
    """i64[B]: number of the row in the manifest, -1 where there is none."""
    uid: NDArray[np.bytes_]
    """S16[B]; empty where there is none."""
    pixels: torch.Tensor
    """u8[B,3,H,W]"""
    image_emb: torch.Tensor
    """f32[B,D], unit norm; `text_emb` alike."""
    text_emb: torch.Tensor
    weight: torch.Tensor
    """f32[B]: 1, or 0 for what must not be learnt from."""
    hidden: int
    """Samples of the share that a tombstone hides."""
    captions: tuple[str, ...] = ()
    """Of every sample, empty where nothing is shown; read only when asked for."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        moved = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if torch.is_tensor(value)
        }
        return Batch(**{**vars(self), **moved})


@dataclass(frozen=True)
class Raw:
    """What was read of one process's share of a global batch, before anybody knows who is shown."""

    step: int
    bucket: int
    uid: NDArray[np.bytes_]
    """S16[B]; `number` as `Batch.row`."""
    number: NDArray[np.int64]
    at: NDArray[np.int64]
    """i64[N]: the samples, as places in the batch, that no tombstone hid when they were read; `found` is of them."""
    found: Found


@dataclass
class Batches(Dataset[Batch]):
    """Global batch number → this process's share of it."""

    store: Store
    manifest: Manifest
    order: Order
    rank: int = 0
    world: int = 1
    mirror: bool = True
    pictures: bool = True
    """False: `pixels` are u8[B,3,0,0], for models that learn from embeddings alone."""
    captions: bool = False
    shaped: Shaped | None = None
    """How a picture is brought to its shape; None: as the decoder's training wants it, cut at random."""
    _epochs: dict[int, Epoch] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.order.batch % self.world:
            raise ConfigError(f"a batch of {self.order.batch} cannot be shared among {self.world} processes evenly")
        if self.order.batches == 0:
            raise InputError("no sample to train on")

    def __reduce__(self) -> tuple[Any, ...]:
        """Give a worker process what was asked, without open files."""
        return Batches, tuple(getattr(self, one.name) for one in fields(self) if one.init)

    @cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self.store, self.manifest)

    @cached_property
    def _scratch(self) -> Scratch:
        return Scratch()

    @cached_property
    def _watch(self) -> Watch:
        return Watch(self.store, HIDDEN_EVERY_S)

    @property
    def embedding_dim(self) -> int:
        """Return the dimensions of the embeddings."""
        return self._reader.width

    def where(self, step: int) -> Slots:
        """Return where the samples of global batch `step` are."""
        epoch, inside = divmod(step, self.order.batches)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self.order.epoch(epoch)
        return self._epochs[epoch].slots(inside, self.manifest.rows)

    def __getitem__(self, step: int) -> Batch:
        return self.made(self.raw(step))

    def raw(self, step: int) -> Raw:
        """Read what a batch is made of."""
        slots = self.where(step)
        mine = slice(self.rank, None, self.world)
        shard, row = slots.shard[mine], slots.row[mine]
        there = np.flatnonzero(shard >= 0)
        uid = np.zeros(len(shard), "S16")
        for at in there:
            uid[at] = self._reader.places(int(shard[at])).uids[row[at]]
        number = self.manifest.number(shard, row)
        self._must_be_as_begun(number[there], uid[there])
        shown = there[self._shown(uid[there])]
        samples = self.pictures or self.captions
        found = self._reader.read(shard[shown].tolist(), row[shown].tolist(), samples=samples)
        return Raw(step, slots.bucket, uid, number, shown, found)

    def made(self, raw: Raw) -> Batch:
        """Make a batch of what was read; whom a tombstone hides by now is not shown, however long ago that was."""
        uid, count = raw.uid, len(raw.uid)
        left = np.flatnonzero(self._shown(uid[raw.at]))
        slot = raw.step * self.order.batch + np.arange(self.rank, self.order.batch, self.world)
        pixels, left = self._pixels(raw, left, slot)
        captions, left = self._captions(raw, left)
        image, text, left = self._vectors(raw, left)
        weight = np.zeros(count, np.float32)
        weight[raw.at[left]] = 1.0
        return Batch(
            raw.step, raw.step // self.order.batches, torch.from_numpy(slot), torch.from_numpy(raw.number),
            uid, torch.from_numpy(pixels), torch.from_numpy(image), torch.from_numpy(text), torch.from_numpy(weight),
            int((raw.number >= 0).sum()) - len(left), captions,
        )  # fmt: skip

    def _shown(self, uid: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Tell of S16[N] who may be shown now."""
        hidden = self._watch.hidden()
        return np.array([bytes(one).ljust(16, b"\0") not in hidden for one in uid], np.bool_)

    def _pixels(
        self, raw: Raw, left: NDArray[np.int64], slot: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return u8[B,3,H,W], zeros where nothing is shown, and which of the samples `left` were not erased while we looked."""
        if not self.pictures:
            return np.zeros((len(raw.uid), 3, 0, 0), np.uint8), left
        shape = self.manifest.facts.buckets[raw.bucket]
        pixels = np.zeros((len(raw.uid), 3, shape.height_px, shape.width_px), np.uint8)
        gone = []
        for i in left.tolist():
            data, at = picture(raw.found.samples[i]), raw.at[i]
            if data is None:
                self._must_be_hidden(raw.uid[at])
                gone.append(i)
                continue
            shaped = self.shaped or self._cut
            pixels[at] = shaped(decode_stored(data), shape, self.order.seed, int(slot[at])).transpose(2, 0, 1)
        return pixels, np.setdiff1d(left, gone)

    def _cut(self, picture: NDArray[np.uint8], shape: Bucket, seed: int, slot: int) -> NDArray[np.uint8]:
        across, down, turn = chances(seed, slot, "crop", 3)
        return fit(picture, shape, across, down, self.mirror and turn < 0.5, self._scratch)

    def _captions(self, raw: Raw, left: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return every sample's text, empty where nothing is shown, and which of the samples `left` were not erased while we looked."""
        if not self.captions:
            return (), left
        texts, gone = [""] * len(raw.uid), []
        for i in left.tolist():
            text, at = caption(raw.found.samples[i]), raw.at[i]
            if text is None:
                self._must_be_hidden(raw.uid[at])
                gone.append(i)
            texts[at] = text or ""
        return tuple(texts), np.setdiff1d(left, gone)

    def _must_be_as_begun(self, number: NDArray[np.int64], uid: NDArray[np.bytes_]) -> None:
        """Hold what was read against the rows that the run was begun with: what the ledger notes by number is then what was fed."""
        found = uid.view(">u8")[::2].astype(np.uint64)
        other = np.flatnonzero(found != self.manifest.names[number])
        if len(other):
            raise InvariantError(
                f"row {number[other[0]]:,} of snapshot {self.manifest.facts.snapshot:06d} is sample "
                f"{uid[other[0]].ljust(16, bytes(1)).hex()} now, another one than when this run was begun; `tamis verify` tells what is "
                "wrong with the data set"
            )

    def _vectors(
        self, raw: Raw, left: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return two f32[B,D], zeros where nothing is shown, and which of the samples `left` have vectors.

        Those of the others were wiped while we looked: there is no unit vector of zeros.
        """
        there = raw.found.image[left].any(1) & raw.found.text[left].any(1)
        for at in raw.at[left[~there]]:
            self._must_be_hidden(raw.uid[at])
        left = left[there]
        image, text = (np.zeros((len(raw.uid), raw.found.image.shape[1]), np.float32) for _ in range(2))
        image[raw.at[left]], text[raw.at[left]] = raw.found.image[left], raw.found.text[left]
        return image, text, left

    def _must_be_hidden(self, uid: bytes) -> None:
        named = uid.ljust(16, b"\0")
        if named not in Watch(self.store, 0).hidden():
            raise InvariantError(
                f"sample {named.hex()} of snapshot {self.manifest.facts.snapshot:06d} is missing from its shard or its vectors are, and "
                "no tombstone hides it; `tamis verify` tells what is wrong with the data set"
            )


def chances(seed: int, slot: int, purpose: str, count: int) -> list[float]:
    """Return numbers in [0,1) that belong to a slot of a run and a purpose, whoever asks."""
    return [key(seed, slot, purpose, i) / 2**64 for i in range(count)]


def loader(batches: Batches, first_step: int, last_step: int, workers: int = 0, ahead: int = 4) -> Iterator[Batch]:
    """Yield the batches of steps [first, last) in order, made by so many worker processes, `ahead` of use each.

    Without workers, those of an object store are read `AHEAD` of use.
    """
    if not workers and not batches.store.is_local:
        yield from _read_ahead(batches, range(first_step, last_step))
        return
    more: dict[str, Any] = {"prefetch_factor": ahead, "persistent_workers": False} if workers else {}
    found: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(first_step, last_step), num_workers=workers,
        multiprocessing_context="spawn" if workers else None, worker_init_fn=_undisturbed if workers else None, **more,
    )  # fmt: skip
    yield from found


def _read_ahead(batches: Batches, steps: range) -> Iterator[Batch]:
    """Yield batches that a thread reads while those before are used; who is hidden is asked again when one is handed out."""
    reading = replace(batches)  # with open files of its own
    thread = ThreadPoolExecutor(1, "tamis-read-ahead")
    try:
        coming = deque(thread.submit(reading.raw, step) for step in steps[:AHEAD])
        for later in range(AHEAD, AHEAD + len(steps)):
            raw = coming.popleft().result()
            coming.extend(thread.submit(reading.raw, step) for step in steps[later : later + 1])
            yield batches.made(raw)
    finally:
        thread.shutdown(cancel_futures=True)


def _undisturbed(_: int) -> None:
    """Let a worker process pass over the signals that a terminal or a service manager sends to all: the loop ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def same_encoder(clip: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """Refuse rows whose vectors another model made than the one a checkpoint learnt from."""
    mine, theirs = clip.get("weights_sha256"), recorded.get("weights_sha256")
    if mine != theirs:
        raise InputError(
            f"the data set's vectors were made by {clip.get('model')} (weights {mine}), the checkpoint "
            f"learnt from {recorded.get('model')} (weights {theirs}); vectors of different models cannot be mixed: "
            "embed the data set with that model, or train a new run"
        )
