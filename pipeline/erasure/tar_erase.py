"""Erase samples inside a tar in place: their blocks become one comment that tar readers pass over, and nothing else moves.

A run of adjacent erased blocks goes through three steps, each synced for all runs of a file before the next one begins:

1. hide: its first header becomes that of a hidden member `.erased` as long as the run. One block, written at once: the
   samples under it are no members any more, whatever stands in their blocks.
2. wipe: everything behind that header is written over.
3. seal: the first header becomes that of a pax extended header (POSIX.1-2008, typeflag x) with one comment, or, where
   the tar ends behind the run, a block of zeros, since an extended header must not be the last thing in a tar.

Each step writes the same bytes however often it is done, so that a crash is mended by doing all of them again.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from pipeline.errors import FormatError

BLOCK_BYTES = 512
LONGEST_BYTES = 1 << 20
"""Longest extended header: readers in Go and libarchive refuse longer ones. Longer runs become several."""
HIDDEN = ".erased"
"""Name of the member that stands for a run while it is wiped: without a key, so that sample readers skip it."""

Region = tuple[int, int]
"""Offset and length in bytes, both multiples of 512."""

_PAX_NAME = "././@PaxHeader"
_RECORD = b"18 comment=erased\n"
_NO_BLOCK = bytes(BLOCK_BYTES)


class Writer(Protocol):
    """Where blocks are written: a file, or in tests something that keeps a log of what would be."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""

    def sync(self) -> None:
        """Make what was written so far durable."""


@dataclass
class FileWriter:
    """Writes into an open file and counts the bytes."""

    descriptor: int
    written_bytes: int = 0

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self.descriptor, view, offset)
            view, offset, self.written_bytes = view[done:], offset + done, self.written_bytes + done

    def sync(self) -> None:
        """Make what was written so far durable."""
        os.fsync(self.descriptor)


@dataclass(frozen=True)
class TarPlan:
    """What is to be done to one tar."""

    runs: Sequence[Region] = ()  # maximal, rising: what is erased now together with what it touches of earlier erasures
    renames: Mapping[int, str] = field(default_factory=dict)  # offset of a header → the member's new name

    def regions(self) -> list[Region]:
        """Return where bytes change."""
        return sorted([*self.runs, *((offset, BLOCK_BYTES) for offset in self.renames)])


def merged(new: Iterable[Region], old: Iterable[Region] = ()) -> list[Region]:
    """Return the maximal runs of adjacent regions that hold at least one new region."""
    fresh = set(new)
    runs: list[tuple[int, int, bool]] = []
    for offset, size in sorted(fresh | set(old)):
        if runs and runs[-1][0] + runs[-1][1] >= offset:
            low, have, is_new = runs[-1]
            runs[-1] = (low, max(have, offset + size - low), is_new or (offset, size) in fresh)
        else:
            runs.append((offset, size, (offset, size) in fresh))
    return [(low, size) for low, size, is_new in runs if is_new]


def erase(path: Path, plan: TarPlan) -> int:
    """Carry out a plan on a local tar, in place, and return the number of bytes written."""
    with path.open("r+b", buffering=0) as handle:
        writer = FileWriter(handle.fileno())
        write_steps(handle, writer, plan, path.name)
        return writer.written_bytes


def write_steps(tar: IO[bytes], writer: Writer, plan: TarPlan, name: str) -> None:
    """Do all steps; FormatError, before anything is written, when the plan does not fit the tar."""
    last = {run: _ends_after(tar, run, name) for run in plan.runs}
    renamed = {offset: _renamed(tar, offset, new, name) for offset, new in plan.renames.items()}
    for low, size in plan.runs:
        writer.write(low, header(HIDDEN, size - BLOCK_BYTES, b"0"))
    for offset, block in renamed.items():
        writer.write(offset, block)
    writer.sync()
    for run in plan.runs:
        for at, data in _body(run[1], last[run]):
            writer.write(run[0] + at, data)
    writer.sync()
    for run in plan.runs:
        writer.write(run[0], _first_block(run[1], last[run]))
    writer.sync()


def header(name: str, size_bytes: int, kind: bytes) -> bytes:
    """Return a ustar header (POSIX.1-1988) with nothing of clock or machine in it."""
    head = (
        name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size_bytes + b"00000000000\0"
    )
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * 32) + tail


def _ends_after(tar: IO[bytes], run: Region, name: str) -> bool:
    """Tell whether the tar ends behind a run."""
    low, size = run
    if low % BLOCK_BYTES or size % BLOCK_BYTES or size <= 0:
        raise FormatError(f"{name}: {size} bytes at {low} are no whole blocks of a tar; nothing of it was erased")
    tar.seek(low + size)
    block = tar.read(BLOCK_BYTES)
    if block and block != _NO_BLOCK and (len(block) != BLOCK_BYTES or block[257:262] != b"ustar"):
        raise FormatError(f"{name}: no member begins at {low + size}; nothing of it was erased")
    return not block.strip(b"\0")


def _pieces(size: int) -> Iterator[Region]:
    """Cut a run into extended headers of bounded length, an empty hidden member between two; yields (at, length)."""
    at = 0
    while size - at > LONGEST_BYTES:
        length = min(LONGEST_BYTES, size - at - 2 * BLOCK_BYTES)
        yield at, length
        at += length + BLOCK_BYTES
    yield at, size - at


def _first_block(size: int, is_last: bool) -> bytes:
    if is_last:
        return _NO_BLOCK
    _, length = next(_pieces(size))
    return header(_PAX_NAME, length - BLOCK_BYTES, b"x")


def _body(size: int, is_last: bool) -> Iterator[tuple[int, bytes]]:
    """Yield everything of a run behind its first block, as (position in the run, bytes), a piece at a time."""
    for at, length in _pieces(size):
        divider = b"" if at + length == size else header(HIDDEN, 0, b"0")
        if is_last:
            block = bytes(length + len(divider))
        else:
            record = _RECORD if length > BLOCK_BYTES else b""
            block = header(_PAX_NAME, length - BLOCK_BYTES, b"x") + record.ljust(length - BLOCK_BYTES, b"\0") + divider
        skip = 0 if at else BLOCK_BYTES
        if len(block) > skip:
            yield at + skip, block[skip:]


def _renamed(tar: IO[bytes], offset: int, new: str, name: str) -> bytes:
    """Return the header at an offset with another name in it."""
    tar.seek(offset)
    block = tar.read(BLOCK_BYTES)
    try:
        return header(new, int(block[124:135], 8), b"0")
    except ValueError:
        raise FormatError(f"{name}: no member begins at {offset}; nothing of it was erased") from None
