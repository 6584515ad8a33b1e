"""An index is built of every kind, finds what exact search finds, is measured before it is published, and survives any stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import build as building
from index import kinds, segments
from index.build import BUILDING, build
from index.erase import erase
from index.opened import Opened
from index.record import IndexRecord, Options, files_below, read_record
from pipeline.engine import connect
from pipeline.errors import FormatError, InputError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.made_set import KINDS, Shard, publish_set, shards, small_kinds

ROWS = 2_400


@pytest.fixture(scope="session")
def made() -> list[Shard]:
    return shards(ROWS, 4)


@pytest.fixture
def store(tmp_path: Path, made: list[Shard]) -> Store:
    store = Store.open_url(str(tmp_path / "set"))
    publish_set(store, made)
    return store


def recall(opened: Opened, made: list[Shard], questions: Any, modality: str = "image") -> float:
    """Compare with exact search over the vectors that were published."""
    vectors = np.concatenate([getattr(shard, modality) for shard in made]).astype(np.float32)
    ids = np.concatenate([shard.ids for shard in made])
    questions = questions.astype(np.float32)
    right = [set(ids[np.argsort(-row)[:10]].tolist()) for row in questions @ vectors.T]
    found = opened.near(questions, 10, modality=modality)  # type: ignore[arg-type]
    return float(np.mean([len(a & set(b.ids.tolist())) / 10 for a, b in zip(right, found, strict=True)]))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_finds_what_was_asked_for(
    store: Store, made: list[Shard], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch, 10**6 if kind == "exact" else 500)
    record = build(store, require_latest(store), KINDS[kind])
    names = {"exact": "exact", "fast scan": "x4fsr", "whole vectors": "SQfp16", "bits on disk": "RaBitQ4"}
    assert names[kind] in record.kind
    assert record.rows == ROWS
    assert record.recall_frac >= KINDS[kind].recall_frac * (kind != "exact")
    opened = Opened(store, require_latest(store))
    others = shards(200, 1, seed=5)[0]
    for modality in ("image", "text"):
        for questions in (others.image, others.text, made[1].text[:100]):
            assert recall(opened, made, questions, modality) >= min(1.0, KINDS[kind].recall_frac) - 0.06
    for side in record.sides.values():
        if kind == "exact":
            assert side.curve == []
        else:
            assert side.curve[-1].nprobe == side.nprobe
            efforts = [(point.nprobe, min(point.across_frac, point.within_frac)) for point in side.curve]
            assert efforts == sorted(efforts)
            assert all(least < record.options.recall_frac for _, least in efforts[:-1])
            assert abs(side.segments[0].bytes / side.bytes - 1) < 0.4


def test_a_search_shows_exact_cosines_nearest_first_of_any_kind(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    build(store, require_latest(store), KINDS["bits on disk"])
    opened = Opened(store, require_latest(store))
    question = made[2].text[7].astype(np.float32)
    (found,) = opened.near(question[None], 50)
    assert np.array_equal(found.cos, np.sort(found.cos)[::-1])
    assert np.allclose(found.cos, opened.vectors(found.ids) @ question, atol=1e-6)


def test_a_recall_that_cannot_be_had_is_refused_and_the_error_says_what_to_ask_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    monkeypatch.setattr(kinds, "_DEPTHS", (20,))
    with pytest.raises(
        InputError, match=r"nothing was published. Ask for --recall 0\.\d+, or for --recall 0\.995 with --memory 1GB"
    ):
        build(store, require_latest(store), Options(recall_frac=1.0, memory_bytes=2 * 40_000))
    assert read_record(store, require_latest(store)) is None


@pytest.mark.parametrize("exact_rows", [500, 10**6])
def test_memory_that_cannot_be_had_is_refused_and_what_the_error_says_to_ask_for_is_enough(
    store: Store, exact_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch, exact_rows)
    with pytest.raises(InputError, match=r"cannot be searched in 0 MB: .*; nothing was published") as refused:
        build(store, require_latest(store), Options(memory_bytes=10_000, recall_frac=0.9))
    assert read_record(store, require_latest(store)) is None
    said = int(str(refused.value).rsplit("--memory ", 1)[1].removesuffix("MB"))
    assert build(store, require_latest(store), Options(memory_bytes=said * 10**6, recall_frac=0.9)).rows == ROWS


def test_the_same_options_build_nothing_and_others_replace_the_index(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    snapshot = require_latest(store)
    one = build(store, snapshot, KINDS["fast scan"])
    opened = Opened(store, snapshot)
    monkeypatch.setattr(building, "_side", None)  # any work would fail
    assert build(store, snapshot) == build(store, snapshot, KINDS["fast scan"]) == one
    monkeypatch.undo()
    small_kinds(monkeypatch)
    two = build(store, snapshot, KINDS["whole vectors"])
    assert two.kind != one.kind
    assert not opened.current()
    named = {f"index/000001/{name}" for name in (*two.sha256, "index.json")}
    assert set(files_below(store, "index/000001")) == named  # what is named no more is gone
    assert recall(opened, made, made[0].image[:50]) > 0.8  # who has it open goes on
    opened.close()


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[str]]:
    """Raise before the write of that number."""
    done: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("put", "write", "copy"):
            real = getattr(Store, name)

            def stopped(self: Store, *args: Any, real: Any = real) -> Any:
                if len(done) == at:
                    raise KeyboardInterrupt
                done.append(str(args[-1]))
                return real(self, *args)

            patch.setattr(Store, name, stopped)
        yield done


def test_a_build_that_is_stopped_before_any_of_its_writes_leaves_the_old_index_working_and_goes_on(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    monkeypatch.setattr("index.measure._BLOCK_ROWS", 700)
    snapshot = require_latest(store)
    old = build(store, snapshot, KINDS["whole vectors"])
    at, trained = 0, 0
    train = segments.train

    def counted(*args: Any) -> Any:
        nonlocal trained
        trained += 1
        return train(*args)

    monkeypatch.setattr(segments, "train", counted)
    while True:
        with stopping(monkeypatch, at):
            try:
                new = build(store, snapshot, KINDS["fast scan"])
                break
            except KeyboardInterrupt:
                assert read_record(store, snapshot) == old
                opened = Opened(store, snapshot)
                assert recall(opened, made, made[0].image[:20]) > 0.95
                opened.close()
        at += 1
    assert at >= 10
    assert 2 <= trained <= 4  # each again at most once: when it was stopped before what it learnt was stored
    assert new.rows == ROWS
    assert not store.folders(BUILDING)


def test_on_a_cluster_the_same_index_is_built(
    store: Store, made: list[Shard], scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    monkeypatch.setattr("index.measure._BLOCK_ROWS", 700)
    with connect(scheduler, None, None, 0) as engine:
        record = build(store, require_latest(store), KINDS["fast scan"], engine)
    opened = Opened(store, require_latest(store))
    assert record.rows == ROWS
    assert recall(opened, made, made[0].image[:100]) > 0.84


def test_blocks_that_wait_to_be_merged_hold_nobody_who_was_erased(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    with stopping(monkeypatch, 8), pytest.raises(KeyboardInterrupt):
        build(store, require_latest(store), KINDS["fast scan"])
    assert store.folders(BUILDING)
    assert erase(store, frozenset(made[0].uids[:1])) == []
    assert not [name for name in store.walk() if name.startswith("index/")]


def test_an_index_that_is_empty_or_of_an_earlier_version_is_told_of(store: Store, tmp_path: Path) -> None:
    snapshot = require_latest(store)
    with pytest.raises(InputError, match="has no index; run `tamis index sync`"):
        Opened(store, snapshot)
    store.write("index/000001/index.json", b'{"snapshot": 1, "kind": "exact", "rows": 1}')
    assert read_record(store, snapshot) is None
    record = build(store, snapshot)
    assert isinstance(record, IndexRecord)
    store.write("index/000001/index.json", b'{"format": 2, "snapshot": 1}')
    with pytest.raises(FormatError, match=r"index\.json: not the record of an index"):
        Opened(store, snapshot)
    empty = Store.open_url(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="is empty; nothing to index"):
        build(empty, publish_set(empty, []))
