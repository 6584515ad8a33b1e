"""A tar that is erased in place can be read at every moment, by everybody, and never shows what is being erased."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.erasure import tar_erase
from pipeline.erasure.tar_erase import BLOCK_BYTES, Region, TarPlan, merged, write_steps
from pipeline.errors import FormatError
from pipeline.pack import member
from tests import shard_readers
from tests.shard_readers import Samples

SECRET = b"do-not-show-"


@dataclass
class Shard:
    """A tar of samples, and where each of them is."""

    path: Path
    keys: list[str]
    regions: dict[str, Region]
    pictures: Samples

    def plan(self, gone: Sequence[int], before: Sequence[int] = ()) -> TarPlan:
        new, old = ([self.regions[self.keys[i]] for i in which] for which in (gone, before))
        return TarPlan(merged(new, old))

    def living(self, *gone: int) -> Samples:
        return {key: self.pictures[key] for i, key in enumerate(self.keys) if i not in gone}


def write_shard(path: Path, count: int = 7, size: int = 1500) -> Shard:
    rng = random.Random(5)
    keys = [f"{rng.getrandbits(128):032x}" for _ in range(count)]
    regions, pictures, at = {}, {}, 0
    with path.open("wb") as out:
        for i, key in enumerate(keys):
            pictures[key] = SECRET + f"{i:04d}".encode() + rng.randbytes(size + 100 * i)
            data = member(f"{key}.jpg", pictures[key]) + member(f"{key}.txt", b"text " + key.encode())
            data += member(f"{key}.json", b'{"key": "%s"}' % key.encode())
            out.write(data)
            regions[key] = (at, len(data))
            at += len(data)
        out.write(bytes(2 * BLOCK_BYTES))
    return Shard(path, keys, regions, pictures)


@dataclass
class Log:
    """Notes the writes, in groups between two syncs, and carries them out."""

    path: Path
    groups: list[list[tuple[int, bytes]]] = field(default_factory=lambda: [[]])

    def write(self, offset: int, data: bytes) -> None:
        self.groups[-1].append((offset, data))

    def sync(self) -> None:
        self.groups.append([])


def log_of(shard: Shard, plan: TarPlan) -> list[list[tuple[int, bytes]]]:
    log = Log(shard.path)
    with shard.path.open("rb") as handle:
        write_steps(handle, log, plan, "shard")
    return [group for group in log.groups if group]


def states(shard: Shard, plan: TarPlan, copy: Path) -> Iterator[bool]:
    """Put the tar in `copy` into every state that a stop can leave; yields whether the first step is complete.

    Between two syncs the disk may have any of the writes: each prefix of a group, and each single one left out or alone.
    """
    groups = log_of(shard, plan)
    before = shard.path.read_bytes()
    for number, group in enumerate(groups):
        kept = [group[:n] for n in range(len(group) + 1)]
        kept += [[write] for write in group] + [[w for w in group if w is not write] for write in group]
        for some in kept:
            state = bytearray(before)
            for offset, data in some:
                state[offset : offset + len(data)] = data
            copy.write_bytes(state)
            yield number > 0 or len(some) == len(group)
        for offset, data in group:
            before = before[:offset] + data + before[offset + len(data) :]


CASES = {
    "one in the middle": ((2,), ()),
    "scattered": ((0, 3, 5), ()),
    "neighbours": ((1, 2, 3), ()),
    "the last": ((6,), ()),
    "the last three": ((4, 5, 6), ()),
    "all": (tuple(range(7)), ()),
    "after an erased one": ((3,), (2,)),
    "before an erased one": ((1,), (2,)),
    "between two erased ones": ((2,), (1, 3)),
    "before an erased end": ((4,), (5, 6)),
    "the end after an erased one": ((6,), (5,)),
}


@pytest.mark.parametrize("name", CASES)
def test_whenever_it_stops_every_reader_reads_and_none_shows_the_erased(name: str, tmp_path: Path) -> None:
    gone, old = CASES[name]
    shard = write_shard(tmp_path / "shard.tar")
    if old:
        tar_erase.erase(shard.path, shard.plan(old))
    copy = tmp_path / "copy.tar"
    count = 0
    for hidden in states(shard, shard.plan(gone, old), copy):
        for read in (*shard_readers.FAST, shard_readers.read_gnu_tar):
            shown = read(copy)
            assert shown.items() >= shard.living(*gone, *old).items(), (read.__name__, count)
            assert shown.items() <= shard.living(*old).items(), (read.__name__, count)
            if hidden:
                assert shown == shard.living(*gone, *old), (read.__name__, count)
        count += 1
    assert count >= 7


@pytest.mark.parametrize("name", ["scattered", "the last three", "between two erased ones"])
def test_hugging_face_datasets_reads_it_after_every_step(name: str, tmp_path: Path) -> None:
    gone, old = CASES[name]
    shard = write_shard(tmp_path / "shard.tar")
    if old:
        tar_erase.erase(shard.path, shard.plan(old))
    for group in log_of(shard, shard.plan(gone, old)):
        with shard.path.open("r+b") as handle:
            for offset, data in group:
                handle.seek(offset)
                handle.write(data)
        assert shard_readers.read_datasets(shard.path) == shard.living(*gone, *old)


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_moves_and_no_byte_of_the_erased_is_left(name: str, tmp_path: Path) -> None:
    gone, old = CASES[name]
    shard = write_shard(tmp_path / "shard.tar")
    whole = shard.path.read_bytes()
    if old:
        tar_erase.erase(shard.path, shard.plan(old))
    tar_erase.erase(shard.path, shard.plan(gone, old))
    after = shard.path.read_bytes()
    assert len(after) == len(whole)
    for i, key in enumerate(shard.keys):
        low, size = shard.regions[key]
        if i in (*gone, *old):
            assert key.encode() not in after
            assert shard.pictures[key][:40] not in after
            assert set(after[low + BLOCK_BYTES + 18 : low + size]) <= {0}
        else:
            assert after[low : low + size] == whole[low : low + size]


def test_doing_it_again_after_any_stop_ends_with_the_same_bytes(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.tar")
    tar_erase.erase(shard.path, shard.plan((2,)))
    plan = shard.plan((1, 3, 5, 6), (2,))
    copy = tmp_path / "copy.tar"
    found = set()
    for _ in states(shard, plan, copy):
        tar_erase.erase(copy, plan)
        found.add(copy.read_bytes())
    assert len(found) == 1


def test_a_run_longer_than_other_readers_take_becomes_several_headers(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.tar", count=12, size=300_000)
    gone = tuple(range(2, 10))
    copy = tmp_path / "copy.tar"
    plan = shard.plan(gone)
    assert plan.runs[0][1] > 2 * tar_erase.LONGEST_BYTES
    for hidden in states(shard, plan, copy):
        for read in (*shard_readers.FAST, shard_readers.read_gnu_tar):
            shown = read(copy)
            assert shown == shard.living(*gone) if hidden else shown.items() >= shard.living(*gone).items()
    tar_erase.erase(shard.path, plan)
    data, at, longest = shard.path.read_bytes(), 0, 0
    while data[at : at + 1] != b"\0":
        size = int(data[at + 124 : at + 135], 8)
        longest = max(longest, size) if data[at + 156 : at + 157] == b"x" else longest
        at += BLOCK_BYTES + size + -size % BLOCK_BYTES
    assert 0 < longest < 1 << 20
    assert SECRET + b"0002" not in data
    tar_erase.erase(shard.path, shard.plan((1,), gone))
    assert shard_readers.read_gnu_tar(shard.path) == shard.living(1, *gone)


def test_what_is_written_is_what_is_erased_and_two_headers_a_run(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.tar")
    plan = shard.plan((1, 4))
    assert tar_erase.erase(shard.path, plan) == sum(size for _, size in plan.runs) + 2 * BLOCK_BYTES


def test_a_picture_that_others_use_is_given_their_name(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.tar")
    low, _ = shard.regions[shard.keys[2]]
    new = "ab" * 16
    tar_erase.erase(shard.path, TarPlan((), {low: f"{new}.jpg"}))
    assert shard_readers.read_gnu_tar(shard.path) == shard.living(2) | {new: shard.pictures[shard.keys[2]]}


@pytest.mark.parametrize("shift", [lambda low, size: (low + 512, size), lambda low, size: (low, size - 100)])
def test_a_plan_for_another_tar_changes_nothing(tmp_path: Path, shift: Callable[[int, int], Region]) -> None:
    shard = write_shard(tmp_path / "shard.tar")
    before = shard.path.read_bytes()
    with pytest.raises(FormatError, match="nothing of it was erased"):
        tar_erase.erase(shard.path, TarPlan([shift(*shard.regions[shard.keys[2]])]))
    assert shard.path.read_bytes() == before


def test_runs_are_as_long_as_they_can_be_and_old_ones_alone_are_left_out() -> None:
    assert merged([(0, 2), (4, 2)], [(2, 2), (10, 2)]) == [(0, 6)]
    assert merged([], [(2, 2)]) == []
    assert merged([(2, 2)], [(4, 2), (0, 2)]) == [(0, 6)]
    assert merged(itertools.repeat((2, 2), 3)) == [(2, 2)]
