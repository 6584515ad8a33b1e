"""Batches from a real S3 endpoint: what they ask it for, and the reading ahead."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from moto.moto_server.werkzeug_app import MotoRequestHandler

from pipeline.errors import StorageError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from train import data, manifest, whole_files
from train.buckets import Bucket
from train.data import Batch, Batches, Raw, loader
from train.manifest import Manifest
from train.order import Order

BATCH = 16


@pytest.fixture
def rows(pictures: Store) -> Manifest:
    return manifest.make(pictures, require_latest(pictures), (Bucket(32, 32),))


@pytest.fixture
def far(pictures: Store, s3_endpoint: str, request: pytest.FixtureRequest) -> Store:
    """The shards and their vectors on the endpoint, one copy a test."""
    remote = Store.open_url(f"s3://sets/{request.node.name}")
    for name in pictures.walk():
        if name.startswith(("shards/", "embeddings/")):
            remote.write(name, pictures.read(name))
    return remote


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the endpoint is asked for from now on, as (path, range)."""
    found: list[tuple[str, str]] = []

    def log(self: MotoRequestHandler, *_: object) -> None:
        if self.command == "GET":
            found.append((self.path, self.headers.get("Range", "")))

    monkeypatch.setattr(MotoRequestHandler, "log_request", log)
    return found


def of(asked: list[tuple[str, str]], ending: str) -> list[tuple[str, str]]:
    return [one for one in asked if one[0].endswith(ending)]


def length_bytes(span: str) -> int:
    first, last = span.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1


def batches(store: Store, rows: Manifest, *, captions: bool = False) -> Batches:
    return Batches(store, rows, Order(rows.shards, seed=1, batch=BATCH, window=2), captions=captions)


def same(one: Batch, two: Batch) -> bool:
    tensors = [name for name, value in vars(one).items() if torch.is_tensor(value)]
    return (
        (one.uid == two.uid).all()
        and one.captions == two.captions
        and all(torch.equal(getattr(one, name), getattr(two, name)) for name in tensors)
    )


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def readers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("tamis-read-ahead")]


def test_a_sample_is_fetched_once_for_its_picture_and_its_text(
    far: Store, rows: Manifest, asked: list[tuple[str, str]]
) -> None:
    batch = batches(far, rows, captions=True)[0]
    assert all(batch.captions)
    assert batch.weight.sum() == BATCH
    spans = of(asked, ".tar")
    assert len(spans) == len(set(spans)) == BATCH


def test_vectors_are_fetched_row_by_row_until_their_whole_file_is_worth_it(
    far: Store, rows: Manifest, pictures: Store, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, source = batches(pictures, rows), batches(far, rows)
    row_bytes = 2 * source.embedding_dim
    monkeypatch.setattr(whole_files, "REQUEST_BYTES", 1)  # nothing is ever worth it
    assert same(near[0], source[0])
    spans = [length_bytes(span) for _, span in of(asked, ".npy")]
    assert sorted(spans) == [row_bytes] * 2 * BATCH + [1024] * 4, "a header of each of four files, and the rows"
    monkeypatch.setattr(whole_files, "REQUEST_BYTES", 10**6)
    asked.clear()
    assert all(same(near[step], source[step]) for step in range(1, source.order.batches))
    whole = [one for one in of(asked, ".npy") if length_bytes(one[1]) != row_bytes]
    assert len(whole) == len(set(whole)) == 4
    asked.clear()
    assert all(same(near[step], source[step]) for step in range(1, source.order.batches))
    assert not of(asked, ".npy")


def test_two_batches_are_read_ahead_and_no_more_and_all_are_as_they_were(
    far: Store, rows: Manifest, pictures: Store, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []  # to the thread, by whoever takes the batches
    submit = ThreadPoolExecutor.submit

    def told(self: ThreadPoolExecutor, read: Callable[[int], Raw], step: int) -> Any:
        given.append(step)
        return submit(self, read, step)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", told)
    near = batches(pictures, rows, captions=True)
    coming = loader(batches(far, rows, captions=True), 0, 9)
    assert same(next(coming), near[0])
    first = sum(int((near[step].row >= 0).sum()) for step in range(3))
    until(lambda: len(of(asked, ".tar")) >= first)
    assert (given, len(of(asked, ".tar"))) == ([0, 1, 2], first)
    assert [one.step for one in coming if same(one, near[one.step])] == list(range(1, 9))
    assert not readers()
    next(loader(near, 0, 9))
    assert not readers(), "there is nothing to wait for on a disk"


def test_who_is_hidden_after_a_batch_was_read_ahead_is_not_in_it(
    far: Store, rows: Manifest, pictures: Store, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "HIDDEN_EVERY_S", 0)  # asked at every batch
    near = batches(pictures, rows)
    gone = bytes(near[1].uid[3]).ljust(16, b"\0")
    coming = loader(batches(far, rows), 0, 9)
    assert next(coming).hidden == 0
    until(lambda: len(of(asked, ".tar")) >= sum(int((near[step].row >= 0).sum()) for step in range(3)))
    publish(far, of_request([gone], [""], "r1"))
    batch = next(coming)
    assert (batch.step, batch.hidden) == (1, 1)
    assert np.flatnonzero(batch.weight.numpy() == 0).tolist() == [3]
    assert not batch.pixels[3].any()
    assert not batch.image_emb[3].any()
    assert next(coming).hidden == 0


class Broken(Batches):
    def raw(self, step: int) -> Raw:
        if step == 3:
            raise StorageError("the line is dead")
        return super().raw(step)


def test_an_error_comes_with_its_batch_and_nothing_goes_on_reading(far: Store, rows: Manifest) -> None:
    coming = loader(Broken(far, rows, batches(far, rows).order), 0, 9)
    assert [next(coming).step for _ in range(3)] == [0, 1, 2]
    assert readers()
    with pytest.raises(StorageError, match="the line is dead"):
        next(coming)
    assert not readers()


def test_who_stops_taking_batches_leaves_no_thread(far: Store, rows: Manifest) -> None:
    def broken() -> None:
        for _ in loader(batches(far, rows), 0, 9):
            assert readers()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert not readers()
