"""Batches from real shards: the same for any number of processes and workers, hidden samples counted and never shown."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import InputError, InvariantError
from pipeline.pack import shard_files
from pipeline.snapshot import Snapshot, read, require_latest
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests import small_dataset
from tests.train.distinct import distinct
from train import data, manifest
from train.buckets import NONE, Bucket, buckets
from train.data import Batch, Batches, loader, same_encoder
from train.manifest import Manifest
from train.order import Order

SQUARE = (Bucket(32, 32),)


@pytest.fixture
def small(tmp_path: Path) -> small_dataset.Small:
    made = small_dataset.build(tmp_path / "set")
    distinct(made.store)
    return made


def batches(store: Store, rows: Manifest, batch: int = 16, rank: int = 0, world: int = 1) -> Batches:
    return Batches(store, rows, Order(rows.shards, seed=1, batch=batch, window=2), rank, world)


def made(small: small_dataset.Small, shapes: tuple[Bucket, ...] = SQUARE) -> Manifest:
    return manifest.make(small.store, small.snapshot, shapes)


def same(one: Batch, two: Batch) -> bool:
    tensors = [name for name, value in vars(one).items() if torch.is_tensor(value)]
    return (one.uid == two.uid).all() and all(torch.equal(getattr(one, name), getattr(two, name)) for name in tensors)


def test_an_epoch_shows_every_sample_of_the_snapshot_once_with_its_picture_and_vectors(
    small: small_dataset.Small,
) -> None:
    rows = made(small)
    source = batches(small.store, rows)
    epoch = [source[step] for step in range(source.order.batches)]
    seen = Counter(uid for one in epoch for uid, weight in zip(one.uid, one.weight, strict=True) if weight)
    assert len(seen) == small.snapshot.rows
    assert set(seen.values()) == {1}
    assert sum(int(one.weight.sum()) for one in epoch) == small.snapshot.rows
    for one in epoch:
        there = one.weight > 0
        assert one.pixels.shape == (16, 3, 32, 32)
        assert (one.pixels[there].float().std(dim=(1, 2, 3)) > 1).all()
        assert torch.allclose(one.image_emb[there].norm(dim=1), torch.ones(int(there.sum())), atol=0.01)
        assert not one.image_emb[~there].any()


def test_every_sample_has_the_vectors_of_its_own_row(small: small_dataset.Small) -> None:
    own: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for shard in small.snapshot.shards:
        paths = {role: Path(small.store.root) / name for role, name in shard_files("000001", shard.number).items()}
        keys = [bytes.fromhex(one) for one in pq.read_table(paths["parquet"])["key"].to_pylist()]
        own |= dict(zip(keys, zip(np.load(paths["img_emb"]), np.load(paths["text_emb"]), strict=True), strict=True))
    assert len({image.tobytes() for image, _ in own.values()}) == len(own) == small.snapshot.rows
    source = batches(small.store, made(small))
    for step in range(source.order.batches):
        batch = source[step]
        for at in np.flatnonzero(batch.weight.numpy()):
            image, text = own[bytes(batch.uid[at]).ljust(16, b"\0")]
            assert np.array_equal(batch.image_emb[at].numpy(), image.astype(np.float32))
            assert np.array_equal(batch.text_emb[at].numpy(), text.astype(np.float32))


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (2, 0), (8, 0), (8, 4)])
def test_processes_and_workers_change_nothing(pictures: Store, world: int, workers: int) -> None:
    rows = manifest.make(pictures, require_latest(pictures), buckets(32, max_aspect=2.0))
    alone = batches(pictures, rows)
    steps = range(3, 3 + alone.order.batches)
    whole = [alone[step] for step in steps]
    for rank in (world - 1,) if workers else range(world):  # workers take seconds to start
        found = loader(batches(pictures, rows, rank=rank, world=world), steps.start, steps.stop, workers)
        for one, mine in zip(whole, found, strict=True):
            tensors = {name: value[rank::world] for name, value in vars(one).items() if torch.is_tensor(value)}
            assert same(Batch(**{**vars(one), **tensors, "uid": one.uid[rank::world]}), mine)


def test_pictures_keep_their_shape_in_aspect_buckets(small: small_dataset.Small) -> None:
    shapes = buckets(32, max_aspect=2.0)
    source = batches(small.store, made(small, shapes), batch=8)
    found = {tuple(source[step].pixels.shape[2:]) for step in range(source.order.batches)}
    assert len(found) > 1
    assert found <= {(one.height_px, one.width_px) for one in shapes}


def test_a_hidden_sample_weighs_nothing_from_now_on_is_counted_and_takes_no_ones_place(
    small: small_dataset.Small,
) -> None:
    rows = made(small)
    source = batches(small.store, rows)
    before = [source[step] for step in range(source.order.batches)]
    gone = bytes(before[0].uid[3]).ljust(16, b"\0")
    publish(small.store, of_request([gone], [""], "r1"))
    after = batches(small.store, rows)
    now = [after[step] for step in range(after.order.batches)]
    assert sum(one.hidden for one in now) == 1
    assert sum(int(one.weight.sum()) for one in now) == small.snapshot.rows - 1
    assert not now[0].pixels[3].any()
    assert not now[0].image_emb[3].any()
    assert [list(one.uid) for one in now] == [list(one.uid) for one in before]
    assert all(map(same, before[1:], now[1:]))


def test_a_missing_member_without_a_tombstone_is_an_error_that_names_the_sample(small: small_dataset.Small) -> None:
    rows = made(small)
    source = batches(small.store, rows)
    shard, row = (int(one[0]) for one in (source.where(0).shard, source.where(0).row))
    tar = small.store.local(shard_files("000001", shard)["tar"])
    assert tar is not None
    places = source._reader.places(shard)
    data = bytearray(tar.read_bytes())
    start, size = int(places.offset[row]), int(places.size_bytes[row])
    data[start : start + size] = bytes(size)
    tar.write_bytes(data)
    with pytest.raises(InvariantError, match=bytes(places.uids[row]).ljust(16, b"\0").hex()):
        batches(small.store, rows)[0]


def wipe(store: Store, source: Batches, which: str) -> bytes:
    """Put zeros in place of the vector of the first sample, as an erasure does, and return its uid."""
    shard, row = (int(one[0]) for one in (source.where(0).shard, source.where(0).row))
    path = store.local(shard_files("000001", shard)[which])
    assert path is not None
    vectors = np.load(path)
    vectors[row] = 0
    np.save(path, vectors)
    return bytes(source._reader.places(shard).uids[row]).ljust(16, b"\0")


@pytest.mark.parametrize("which", ["img_emb", "text_emb"])
def test_a_wiped_vector_is_not_learnt_from_and_without_a_tombstone_an_error(
    small: small_dataset.Small, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made(small)
    uid = wipe(small.store, batches(small.store, rows), which)
    with pytest.raises(InvariantError, match=uid.hex()):
        batches(small.store, rows)[0]
    monkeypatch.setattr(data, "HIDDEN_EVERY_S", 1000)
    source = batches(small.store, rows)
    assert not source._watch.hidden()  # what it knows is older than the tombstone
    publish(small.store, of_request([uid], [""], "r1"))
    batch = source[0]
    assert (batch.weight.tolist(), batch.hidden) == ([0.0, *[1.0] * 15], 1)
    assert not batch.image_emb[0].any()
    assert not batch.text_emb[0].any()


def test_a_row_that_is_another_sample_than_when_the_run_was_begun_is_an_error(small: small_dataset.Small) -> None:
    rows = made(small)
    source = batches(small.store, rows)
    number = int(source[3].row[2])
    names = np.array(rows.names)
    names[number] += np.uint64(1)
    swapped = Batches(small.store, replace(rows, names=names), source.order)
    with pytest.raises(InvariantError, match=rf"row {number} of snapshot 000001 is sample .* another one than when"):
        list(loader(swapped, 0, swapped.order.batches))


def test_a_run_can_be_resumed_from_its_own_folder_when_the_snapshot_has_expired(
    small: small_dataset.Small, tmp_path: Path
) -> None:
    rows = made(small)
    manifest.write(rows, tmp_path / "run")
    again = manifest.read(tmp_path / "run")
    assert (again.facts, again.digest) == (rows.facts, rows.digest)
    assert again.digest is again.digest, "ten million rows are digested once"
    small.store.delete_folder("shards/000001")
    order = [Order(one.shards, 1, 16, 2) for one in (rows, again)]
    for step in range(order[0].batches):
        mine, theirs = (one.epoch(4).slots(step, rows.rows) for one in order)
        assert np.array_equal(mine.shard, theirs.shard)
        assert np.array_equal(mine.row, theirs.row)


def test_a_uid_is_found_where_it_is_shown(small: small_dataset.Small) -> None:
    rows = made(small)
    source = batches(small.store, rows)
    uid = bytes(source[2].uid[5]).ljust(16, b"\0")
    place = rows.find(uid)
    assert place is not None
    assert source.order.epoch(0).place(*place, rows.rows) == (2, 5)
    assert rows.find(b"\1" * 16) is None


def test_the_same_batches_come_from_an_object_store(small: small_dataset.Small, s3_endpoint: str) -> None:
    remote = Store.open_url("s3://sets/train-data")
    for name in small.store.walk():
        remote.write(name, small.store.read(name))
    far = manifest.make(remote, read(remote, 1), SQUARE)
    near = made(small)
    one, two = (batches(store, rows) for store, rows in ((small.store, near), (remote, far)))
    assert all(same(one[step], two[step]) for step in range(one.order.batches))


def test_vectors_of_another_encoder_are_refused_with_both_names(small: small_dataset.Small) -> None:
    rows = made(small)
    same_encoder(rows.facts.clip, rows.facts.clip)
    with pytest.raises(InputError, match="ViT-L-14"):
        same_encoder(rows.facts.clip, {"model": "ViT-L-14", "weights_sha256": "00"})


def test_an_empty_snapshot_says_that_there_is_nothing_to_train_on(small: small_dataset.Small) -> None:
    empty = Snapshot(**{**vars(small.snapshot), "shards": []})
    with pytest.raises(InputError, match="nothing to train on"):
        manifest.make(small.store, empty, SQUARE)


def test_rows_are_held_out_by_their_names_and_every_row_is_in_one_part(small: small_dataset.Small) -> None:
    rows = made(small)
    shown, held = rows.split(0.2, 1)
    assert ((shown.bucket == NONE) != (held.bucket == NONE)).all()
    assert shown.rows_shown + held.rows_shown == small.snapshot.rows
    assert 5 <= held.rows_shown <= 25
    assert shown.digest != held.digest != rows.digest
    assert rows.split(0.0, 1)[1].rows_shown == 0
    more = rows.split(0.4, 1)[1]
    assert (more.bucket[held.bucket != NONE] != NONE).all()


def test_captions_and_numbers_of_rows_come_with_a_batch_when_asked_for(small: small_dataset.Small) -> None:
    rows = made(small)
    order = Order(rows.shards, seed=1, batch=16, window=2)
    batch = Batches(small.store, rows, order, captions=True)[0]
    assert len(batch.captions) == 16
    assert all(batch.captions)
    assert [manifest.name(bytes(uid).ljust(16, b"\0")) for uid in batch.uid] == rows.names[batch.row.numpy()].tolist()
    assert Batches(small.store, rows, order)[0].captions == ()
