"""Keep stored pictures on disk while they come in any order, and write them out as one tar in a given order."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pipeline.errors import StorageError

BLOCK_BYTES = 512
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Slot:
    """Say where in the spool a picture lies."""

    offset: int
    size_bytes: int


class Spool:
    """A nameless scratch file beside the tar that will be written; memory holds nothing of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._end = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        import tempfile

        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def add(self, data: bytes) -> Slot:
        """Store one picture; any thread may call this."""
        assert self._file is not None
        with self._lock:
            slot = Slot(self._end, len(data))
            self._end += len(data)
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self._file.fileno(), memoryview(data)[done:], slot.offset + done)
            except OSError as error:
                raise StorageError(
                    f"{self._folder}: pictures cannot be written ({error.strerror}): the disk is full: free some room"
                ) from error
        return slot

    def write_tar(self, path: Path, members: Iterable[tuple[str, Slot]]) -> list[int]:
        """Write (name, slot) members as a tar; return the offset of each member's bytes in it.

        The bytes depend on names, pictures and their order alone: no times, owners or modes of this machine.
        """
        assert self._file is not None
        offsets = []
        at = 0
        with path.open("wb", buffering=_COPY_BYTES) as tar:
            for name, slot in members:
                tar.write(header(name, slot.size_bytes))
                offsets.append(at + BLOCK_BYTES)
                data = os.pread(self._file.fileno(), slot.size_bytes, slot.offset)
                if len(data) != slot.size_bytes:
                    raise StorageError(f"{self._folder}: the spool lost {slot.size_bytes - len(data)} bytes of {name}")
                tar.write(data)
                padding = -slot.size_bytes % BLOCK_BYTES
                tar.write(bytes(padding))
                at += BLOCK_BYTES + slot.size_bytes + padding
            tar.write(bytes(2 * BLOCK_BYTES))
        return offsets


def header(name: str, size_bytes: int) -> bytes:
    """Return a ustar header (POSIX.1-1988) of a regular file, mode 0644, mtime 0, no owner."""
    raw = name.encode("ascii")
    if len(raw) > 100 or size_bytes >= 8**11:
        raise ValueError(f"{name} ({size_bytes} bytes) does not fit a ustar header")
    fields = b"%-100b0000644\x000000000\x000000000\x00%011o\x0000000000000\x00%8b0" % (raw, size_bytes, b"")
    block = bytearray(fields.replace(b" ", b"\0").ljust(BLOCK_BYTES, b"\0"))
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
