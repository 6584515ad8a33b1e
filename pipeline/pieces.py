"""Digests of a file and of its pieces, made in one reading, so that a change in place costs the pieces it touched."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.store import Store

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Digests:
    """SHA-256 of a file in hex, and of each of its pieces of PIECE_BYTES (the last may be shorter)."""

    sha256: str
    pieces: Sequence[str]


def of_handle(handle: IO[bytes]) -> Digests:
    """Return the digests of what is left to read of a file."""
    whole, pieces = hashlib.sha256(), []
    while block := _read_full(handle, PIECE_BYTES):
        whole.update(block)
        pieces.append(hashlib.sha256(block).hexdigest())
    return Digests(whole.hexdigest(), pieces)


def whole_file(path: Path) -> str:
    """Return the SHA-256 in hex of a local file of which nobody asks the pieces."""
    with path.open("rb", buffering=0) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def whole_stored(store: Store, name: str) -> str:
    """Return the SHA-256 in hex of a stored file of which nobody asks the pieces."""
    with store.open(name) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]


def of_file(path: Path) -> Digests:
    """Return the digests of a local file."""
    with path.open("rb", buffering=0) as handle:
        return of_handle(handle)


def of_stored(store: Store, name: str) -> Digests:
    """Return the digests of a stored file."""
    with store.open(name) as handle:
        return of_handle(handle)


def at(handle: IO[bytes], numbers: Iterable[int]) -> dict[int, str]:
    """Return the digests of some pieces of an open file."""
    found = {}
    for number in numbers:
        handle.seek(number * PIECE_BYTES)
        found[number] = hashlib.sha256(_read_full(handle, PIECE_BYTES)).hexdigest()
    return found


def touched(regions: Iterable[tuple[int, int]]) -> list[int]:
    """Return the numbers of the pieces that regions (offset, length) lie in, rising."""
    return sorted(
        {n for low, size in regions if size for n in range(low // PIECE_BYTES, (low + size - 1) // PIECE_BYTES + 1)}
    )


def root(pieces: Sequence[str]) -> str:
    """Return one digest that stands for a file of these pieces: SHA-256 over their digests in order."""
    return hashlib.sha256(b"".join(bytes.fromhex(piece) for piece in pieces)).hexdigest()


def overlaid(pieces: Sequence[str], changed: Mapping[int, str]) -> list[str]:
    """Return a file's piece digests with those of the changed pieces in their places."""
    return [changed.get(number, piece) for number, piece in enumerate(pieces)]


def _read_full(handle: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, or what there is before the end; raw files and streams may give less at a time."""
    first = handle.read(size) or b""
    if len(first) in (0, size):
        return first
    blocks, have = [first], len(first)
    while have < size and (block := handle.read(size - have)):
        blocks.append(block)
        have += len(block)
    return b"".join(blocks)
