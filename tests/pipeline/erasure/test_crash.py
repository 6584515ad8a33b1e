"""Stop an erasure at any moment: every reader reads, nothing erased is shown, and doing it again ends as if nothing was."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from index.erase import erase as erase_from_index
from pipeline import amendments
from pipeline.erasure import apply as module
from pipeline.erasure.apply import apply
from pipeline.erasure.needles import Needles
from pipeline.erasure.scan import Scan
from pipeline.errors import StorageError
from pipeline.snapshot import numbers, read
from pipeline.store import Store
from tests import erasing, shard_readers

Fresh = Callable[[str], Store]


class Stopped(BaseException):
    """The end of the process, as far as the data set can tell."""


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[str]]:
    """Stop at the n-th change of the disk: before it happens, and nothing happens afterwards. Yields the changes made."""
    made: list[str] = []
    calls = {"pwrite": os.pwrite, "link": os.link, "replace": Path.replace, "delete": Store.delete}

    def counted(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if len(made) >= at:
                raise Stopped
            made.append(name)
            return calls[name](*args, **kwargs)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", counted("pwrite"))
        patch.setattr(os, "link", counted("link"))
        patch.setattr(Path, "replace", counted("replace"))
        patch.setattr(Store, "delete", counted("delete"))
        patch.setattr(module, "_THREADS", 1)
        yield made


def gone_of(store: Store) -> list[bytes]:
    first = [bytes.fromhex(sample) for sample in erasing.shown(store, 2)]
    return [first[1], first[2], first[-1]]


def check_readers(store: Store, whole: dict[str, dict[str, bytes]], gone: list[bytes], *, every: bool = True) -> None:
    """All readers of all shards give the living samples with their bytes, and none an erased one that is half gone."""
    keys = {uid.hex() for uid in gone}
    for number in numbers(store):
        shown = erasing.shown(store, number)
        assert not keys & set(shown)
        for entry in read(store, number).shards:
            name = f"shards/{number:06d}/{entry.number:05d}.tar"
            path = store.local(name)
            assert path is not None
            living = {key: data for key, data in whole[name].items() if key not in keys}
            for reader in shard_readers.FAST if every else (shard_readers.read_ours,):
                found = reader(path)
                assert living.items() <= found.items() <= whole[name].items()


def pictures(store: Store) -> dict[str, dict[str, bytes]]:
    found = {}
    for number in numbers(store):
        for entry in read(store, number).shards:
            name = f"shards/{number:06d}/{entry.number:05d}.tar"
            path = store.local(name)
            assert path is not None
            found[name] = shard_readers.read_ours(path)
    return found


def prepared(fresh: Fresh) -> tuple[Store, list[bytes], Needles, dict[str, dict[str, bytes]]]:
    store = fresh("hidden")
    gone = gone_of(store)
    needles = erasing.needles(store, gone)
    whole = pictures(store)
    erasing.hide(store, gone)
    return store, gone, needles, whole


def _each_stop(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> int:
    hidden, gone, needles, whole = prepared(fresh)
    undisturbed = erasing.copy(Path(hidden.root), tmp_path / "undisturbed")
    with stopping(monkeypatch, 10**9) as made:
        apply(undisturbed, derived=[erase_from_index])
    expected, total = erasing.tree(Path(undisturbed.root)), len(made)
    for at in range(every // 2, total, every):
        store = erasing.copy(Path(hidden.root), tmp_path / f"stop{at}")
        with stopping(monkeypatch, at), pytest.raises(Stopped):
            apply(store, derived=[erase_from_index])
        check_readers(store, whole, gone, every=at % (3 * every) == every // 2)
        apply(store, derived=[erase_from_index])
        assert erasing.tree(Path(store.root)) == expected, at
        assert Scan(needles).run(store).findings == []
        subprocess.run(["rm", "-rf", store.root], check=True)
    assert erasing.problems(undisturbed) == []
    return total


def test_stopped_before_some_of_its_writes(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _each_stop(fresh, tmp_path, monkeypatch, every=15) > 50


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_stopped_before_each_of_its_writes(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _each_stop(fresh, tmp_path, monkeypatch, every=1) > 50


def _killed(fresh: Fresh, tmp_path: Path, kills: int, seed: int) -> int:
    """Kill real processes at random moments, again and again on one data set; return how many died before their end."""
    hidden, gone, needles, whole = prepared(fresh)
    undisturbed = erasing.copy(Path(hidden.root), tmp_path / "undisturbed")
    apply(undisturbed, derived=[erase_from_index])
    expected = erasing.tree(Path(undisturbed.root))
    rng = random.Random(seed)
    died = 0
    for number in range(kills):
        store = erasing.copy(Path(hidden.root), tmp_path / f"kill{number}")
        for _ in range(2):
            began = tmp_path / f"began{number}"
            process = subprocess.Popen([sys.executable, "-c", _ERASE.format(root=store.root, began=str(began))])
            while not began.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.25))
            process.send_signal(signal.SIGKILL)
            died += process.wait() == -signal.SIGKILL
            began.unlink(missing_ok=True)
            check_readers(store, whole, gone)
        apply(store, derived=[erase_from_index])
        assert erasing.tree(Path(store.root)) == expected
        assert Scan(needles).run(store).findings == []
        assert erasing.problems(store) == []
    return died


_ERASE = """
import pathlib
from index.erase import erase
from pipeline.erasure.apply import apply
from pipeline.store import Store
pathlib.Path({began!r}).touch()
apply(Store.open_url({root!r}), derived=[erase])
"""


def test_killed_at_random_moments(fresh: Fresh, tmp_path: Path) -> None:
    assert _killed(fresh, tmp_path, kills=2, seed=1) > 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_many_random_moments(fresh: Fresh, tmp_path: Path) -> None:
    assert _killed(fresh, tmp_path, kills=30, seed=2) > 10


def _is_full(store: Store) -> bool:
    told = ""
    try:
        apply(store, derived=[erase_from_index])
    except StorageError as error:
        told = str(error)
    assert not told or "the disk is full: free some room" in told
    return bool(told)


@pytest.mark.slow
def test_a_full_disk_is_explained_and_room_lets_it_finish(fresh: Fresh, tmp_path: Path) -> None:
    hidden, gone, needles, whole = prepared(fresh)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a small file system")
    try:
        store = erasing.copy(Path(hidden.root), small / "set")
        free, failed = os.statvfs(small), 0
        filler = small / "filler"
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
        while not store.exists(amendments.name(1)):  # each time there is a little more room, until it is enough
            os.truncate(filler, filler.stat().st_size - 16_384)
            failed += _is_full(store)
            check_readers(store, whole, gone)
        assert failed > 2
        assert Scan(needles).run(store).findings == []
        assert erasing.problems(store) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
