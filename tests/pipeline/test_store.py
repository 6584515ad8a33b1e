"""Files appear whole or not at all, locally and on an object store."""

import errno
import os
import threading
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.store import Store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store.open_url(str(tmp_path / "set"))
    request.getfixturevalue("s3_endpoint")
    return Store.open_url(f"s3://sets/{tmp_path.name}")


def test_what_is_written_is_read_back_listed_and_deleted(store: Store) -> None:
    store.write("a/one", b"1")
    store.write("a/two", b"22")
    store.write("a/deep/three", b"333")
    assert store.read("a/two") == b"22"
    assert store.names("a") == ["a/one", "a/two"]
    assert store.folders("a") == ["a/deep"]
    assert store.size_bytes("a/deep/three") == 3
    assert store.walk() == ["a/deep/three", "a/one", "a/two"]
    store.delete("a/one")
    store.delete("a/one")
    assert not store.exists("a/one")
    assert store.names("nowhere") == []
    store.delete_folder("a")
    assert store.walk() == []


def test_pieces_of_files_come_in_the_order_they_were_asked_for(store: Store) -> None:
    store.write("a/one", b"0123456789")
    store.write("two", b"abcdef")
    wanted = [("two", 2, 4), ("a/one", 0, 3), ("a/one", 5, 5), ("a/one", 8, 99), ("two", 0, 1)]
    assert store.ranges(wanted) == [b"cd", b"012", b"", b"89", b"a"]
    assert store.ranges([]) == []
    with pytest.raises(FileNotFoundError):
        store.ranges([("two", 0, 1), ("three", 0, 1)])


def test_of_many_creators_of_one_name_exactly_one_wins(store: Store) -> None:
    won: list[bytes] = []

    def create(data: bytes) -> None:
        if store.create("head", data):
            won.append(data)

    threads = [threading.Thread(target=create, args=(bytes([i]),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("head") == won[0]


def test_a_draft_is_moved_to_its_name(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "draft").write_bytes(b"x" * 100)
        store.put(folder / "draft", "parts/p.parquet")
        assert not (folder / "draft").exists()
    assert not folder.exists()
    assert store.walk() == ["parts/p.parquet"]


def test_a_copy_has_the_same_bytes_and_replaces_what_was_there(store: Store) -> None:
    store.write("old/a", b"new bytes")
    store.write("new/a", b"stale")
    store.copy("old/a", "new/a")
    assert store.read("new/a") == b"new bytes"


def test_names_that_leave_the_data_set_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="not a name inside"):
        store.read("../secret")
    with pytest.raises(ValueError, match="not a name inside"):
        store.write("/etc/passwd", b"")


def test_a_full_disk_is_explained_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open_url(str(tmp_path))
    store.write("a", b"before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full: free some room; then run the same command again"):
        store.write("a", b"after")
    assert store.read("a") == b"before"
    assert store.walk() == ["a"]


def test_sweeping_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    store = Store.open_url(str(tmp_path))
    (tmp_path / "tmp" / "123-abc").mkdir(parents=True)
    (tmp_path / "tmp" / "123-abc" / "draft").write_bytes(b"x")
    assert store.walk() == []
    store.sweep()
    assert not (tmp_path / "tmp").exists()
