"""Batches for training, read straight from the shards of a snapshot.

Global batch g is the same for any number of processes and loader workers: each process takes every `world`-th of its
samples, and a loader worker makes whole local batches. So a run is resumed by one number.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
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
from train.reading import ShardReader

Shaped = Callable[[NDArray[np.uint8], Bucket, int, int], NDArray[np.uint8]]
"""(Picture u8[H,W,3], shape, seed, slot) → the picture in that shape; what is random in it belongs to seed and slot."""

HIDDEN_EVERY_S = 0.25
"""How old the tombstones may be that a batch is compared with."""


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
        slots = self.where(step)
        mine = slice(self.rank, None, self.world)
        shard, row = slots.shard[mine], slots.row[mine]
        there = np.flatnonzero(shard >= 0)
        uid = np.zeros(len(shard), "S16")
        for at in there:
            uid[at] = self._reader.places(int(shard[at])).uids[row[at]]
        number = self.manifest.number(shard, row)
        self._must_be_as_begun(number[there], uid[there])
        hidden = self._watch.hidden()
        shown = np.array([at for at in there if uid[at].ljust(16, b"\0") not in hidden], np.int64)
        slot = step * self.order.batch + np.arange(self.rank, self.order.batch, self.world)
        pixels, gone = self._pixels(slots.bucket, shard, row, slot, shown, uid)
        shown = np.setdiff1d(shown, gone)
        captions = self._captions(shard, row, shown, uid) if self.captions else ()
        shown = shown if not self.captions else np.array([at for at in shown if captions[at] is not None], np.int64)
        image, text = (self._vectors(which, shard, row, shown) for which in ("img_emb", "text_emb"))
        shown = self._with_vectors(shown, image, text, uid)
        weight = np.zeros(len(shard), np.float32)
        weight[shown] = 1.0
        return Batch(
            step, step // self.order.batches, torch.from_numpy(slot), torch.from_numpy(number),
            uid, torch.from_numpy(pixels), torch.from_numpy(image), torch.from_numpy(text), torch.from_numpy(weight),
            len(there) - len(shown), tuple(one or "" for one in captions),
        )  # fmt: skip

    def _pixels(
        self, bucket: int, shard: NDArray[np.int64], row: NDArray[np.int64], slot: NDArray[np.int64],
        shown: NDArray[np.int64], uid: NDArray[np.bytes_],
    ) -> tuple[NDArray[np.uint8], list[int]]:  # fmt: skip
        """Return u8[B,3,H,W], zeros where nothing is shown, and which samples were erased while we looked."""
        if not self.pictures:
            return np.zeros((len(shard), 3, 0, 0), np.uint8), []
        shape = self.manifest.facts.buckets[bucket]
        pixels = np.zeros((len(shard), 3, shape.height_px, shape.width_px), np.uint8)
        gone = []
        found = self._reader.pictures(shard[shown].tolist(), row[shown].tolist())
        for at, data in zip(shown.tolist(), found, strict=True):
            if data is None:
                self._must_be_hidden(uid[at])
                gone.append(at)
                continue
            shaped = self.shaped or self._cut
            pixels[at] = shaped(decode_stored(data), shape, self.order.seed, int(slot[at])).transpose(2, 0, 1)
        return pixels, gone

    def _cut(self, picture: NDArray[np.uint8], shape: Bucket, seed: int, slot: int) -> NDArray[np.uint8]:
        across, down, turn = chances(seed, slot, "crop", 3)
        return fit(picture, shape, across, down, self.mirror and turn < 0.5, self._scratch)

    def _captions(
        self, shard: NDArray[np.int64], row: NDArray[np.int64], shown: NDArray[np.int64], uid: NDArray[np.bytes_]
    ) -> list[str | None]:
        """Return every sample's text; None where nothing is shown or it was erased while we looked."""
        texts: list[str | None] = [None] * len(shard)
        found = self._reader.captions(shard[shown].tolist(), row[shown].tolist())
        for at, text in zip(shown.tolist(), found, strict=True):
            if text is None:
                self._must_be_hidden(uid[at])
            texts[at] = text
        return texts

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

    def _with_vectors(
        self, shown: NDArray[np.int64], image: NDArray[np.float32], text: NDArray[np.float32], uid: NDArray[np.bytes_]
    ) -> NDArray[np.int64]:
        """Leave out samples whose vectors were wiped while we looked; there is no unit vector of zeros."""
        wiped = [at for at in shown.tolist() if not (image[at].any() and text[at].any())]
        for at in wiped:
            self._must_be_hidden(uid[at])
            image[at] = text[at] = 0
        return np.setdiff1d(shown, wiped)

    def _must_be_hidden(self, uid: bytes) -> None:
        named = uid.ljust(16, b"\0")
        if named not in Watch(self.store, 0).hidden():
            raise InvariantError(
                f"sample {named.hex()} of snapshot {self.manifest.facts.snapshot:06d} is missing from its shard or its vectors are, and "
                "no tombstone hides it; `tamis verify` tells what is wrong with the data set"
            )

    def _vectors(
        self, which: str, shard: NDArray[np.int64], row: NDArray[np.int64], shown: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        size = int(self._reader.width)
        vectors = np.zeros((len(shard), size), np.float32)
        if len(shown):
            vectors[shown] = self._reader.vectors(shard[shown].tolist(), row[shown].tolist(), which)
        return vectors


def chances(seed: int, slot: int, purpose: str, count: int) -> list[float]:
    """Return numbers in [0,1) that belong to a slot of a run and a purpose, whoever asks."""
    return [key(seed, slot, purpose, i) / 2**64 for i in range(count)]


def loader(batches: Batches, first_step: int, last_step: int, workers: int = 0, ahead: int = 4) -> Iterator[Batch]:
    """Yield the batches of steps [first, last) in order, made by so many worker processes, `ahead` of use each."""
    more: dict[str, Any] = {"prefetch_factor": ahead, "persistent_workers": False} if workers else {}
    found: DataLoader[Batch] = DataLoader(
        batches, batch_size=None, sampler=range(first_step, last_step), num_workers=workers,
        multiprocessing_context="spawn" if workers else None, worker_init_fn=_undisturbed if workers else None, **more,
    )  # fmt: skip
    yield from found


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
