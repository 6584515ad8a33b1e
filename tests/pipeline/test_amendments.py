"""What a file is expected to hold: its record's digest, and what erasures made of it since."""

import io
import random
from pathlib import Path

import pytest

from pipeline import amendments, pieces
from pipeline.amendments import Change, Erasure
from pipeline.errors import CommitConflict, FormatError
from pipeline.pieces import PIECE_BYTES
from pipeline.stage import Draft, Outcome, Part, Stage, find, run
from pipeline.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_url(str(tmp_path / "set"))


def erasure(number: int, *changes: Change) -> Erasure:
    return Erasure(number, "2026-11-24T00:00:00Z", ["r-1"], ["ab" * 16], changes, {"samples": 1}, [])


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7])
def test_pieces_and_the_whole_are_digested_in_one_reading(size: int) -> None:
    data = random.Random(size).randbytes(size)
    found = pieces.of_handle(io.BytesIO(data))
    parts = [data[at : at + PIECE_BYTES] for at in range(0, size, PIECE_BYTES)]
    assert found.pieces == [pieces.of_handle(io.BytesIO(part)).sha256 for part in parts]
    assert pieces.at(io.BytesIO(data), range(len(parts))) == dict(enumerate(found.pieces))


def test_a_region_touches_the_pieces_it_lies_in() -> None:
    at = PIECE_BYTES
    assert pieces.touched([(0, 1), (at - 1, 2), (5 * at, at), (9 * at, 0)]) == [0, 1, 5]


def test_stages_keep_the_pieces_of_tars_and_arrays_alone(store: Store) -> None:
    def write(draft: Draft) -> Outcome:
        for suffix in ("tar", "img.npy", "parquet"):
            draft.path(suffix).write_bytes(suffix.encode() * PIECE_BYTES)
        return Outcome(1, 1)

    part = run(store, Stage("embed", write, {}))
    assert {suffix: len(found) for suffix, found in part.pieces.items()} == {"tar": 3, "img.npy": 7}
    assert find(store, "embed", part.key) == part
    without = Part("embed", "k", 1, 1)
    assert b"pieces" not in without.to_json()


def test_expected_is_the_record_until_an_erasure_says_otherwise(store: Store) -> None:
    before = bytes(PIECE_BYTES) + b"secret" + bytes(PIECE_BYTES)
    after = before.replace(b"secret", bytes(6))
    known = pieces.of_handle(io.BytesIO(before))
    store.write("f", before)
    assert amendments.read(store).agrees(store, "f", known.sha256, known.pieces)
    changed = {1: pieces.of_handle(io.BytesIO(after)).pieces[1]}
    amendments.commit(store, erasure(1, Change(known.sha256, ["f"], known.sha256, "root", pieces=changed)))
    amended = amendments.read(store)
    assert not amended.agrees(store, "f", known.sha256, known.pieces)  # what was erased must not be there again
    store.write("f", after)
    assert amended.agrees(store, "f", known.sha256, known.pieces)
    assert not amended.agrees(store, "f", known.sha256, None)
    store.write("f", after[:-1] + b"x")
    assert not amended.agrees(store, "f", known.sha256, known.pieces)
    digest = pieces.of_stored(store, "f").sha256
    amendments.commit(store, erasure(2, Change(known.sha256, ["f"], "root", digest, sha256=digest)))
    assert amendments.read(store).agrees(store, "f", known.sha256, None)
    assert amendments.read(store).stands_for(known.sha256) == digest
    assert amendments.read(store).stands_for("other") == "other"
    assert amendments.read(store).newest == 2


def test_an_erasure_is_written_once(store: Store) -> None:
    one = erasure(1, Change("a", ["f"], "a", "b", sha256="b"))
    amendments.commit(store, one)
    amendments.commit(store, one)
    assert [found.to_json() for found in amendments.erasures(store)] == [one.to_json()]
    with pytest.raises(CommitConflict, match="another run wrote this erasure"):
        amendments.commit(store, erasure(1))


def test_a_damaged_record_of_an_erasure_is_named(store: Store) -> None:
    store.write("erasures/00000001.json", b"{}")
    with pytest.raises(FormatError, match=r"erasures/00000001\.json: not the record of an erasure"):
        amendments.read(store)
