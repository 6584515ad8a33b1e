"""What lies packed inside a file, told by how it begins and not by its name, and every file that a search has to open."""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from pipeline.store import Store

DAMAGED = (
    EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError, pa.ArrowException,
)  # fmt: skip
"""What a reader raises at bytes that are not what they begin like; RuntimeError is zipfile's at a password."""
DEEPEST = 3
"""Layers of packing that are opened: a packed file in an archive in an archive."""

_STREAMS: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x28\xb5\x2f\xfd", lambda handle: _spooled(pa.CompressedInputStream(handle, "zstd"))),
    (b"\x04\x22\x4d\x18", lambda handle: _spooled(pa.CompressedInputStream(handle, "lz4"))),
)


def inside(handle: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (what it is, a seekable handle) of each thing packed in a file; none where it is not packed. May raise `DAMAGED`."""
    handle.seek(0)
    head = handle.read(8)
    handle.seek(0)
    for magic, opened in _STREAMS:
        if head.startswith(magic):
            with cast(IO[bytes], opened(handle)) as unpacked:
                yield "unpacked", unpacked
            return
    if head.startswith(b"PK\3\4"):
        with zipfile.ZipFile(handle) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as unpacked:
                        yield f"member {member.filename}", unpacked


def _spooled(stream: Any) -> IO[bytes]:
    """Return a copy of a stream that can only be read forwards, so that it can be read twice."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return cast(IO[bytes], copy)


def every_file(store: Store) -> list[str]:
    """Return the names of all files of a data set, sorted: scratch files and what links lead to included.

    Pipes and devices are left out, they hold nothing and would keep a reader waiting.
    """
    root = store.local("")
    if root is None:
        return store.walk()
    names: list[str] = []
    been: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in been:  # links may lead in a circle
            folders.clear()
            continue
        been.add(real)
        paths = (Path(folder) / file for file in files)
        names += [path.relative_to(root).as_posix() for path in paths if _is_plain(path)]
    return sorted(names)


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # gone meanwhile, or a link to nothing
        return False
