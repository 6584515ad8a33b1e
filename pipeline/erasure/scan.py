"""Read every byte of a data set and look for what was erased: tables decoded and raw, tars, arrays, databases, the rest."""

import gzip
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.perceptual import PDQ_MAX_DISTANCE
from pipeline.erasure.blank import array_layout
from pipeline.erasure.finder import Finder
from pipeline.erasure.needles import Needles
from pipeline.erasure.vocabulary import is_own
from pipeline.pack import shard_files
from pipeline.stage import Part
from pipeline.store import Store

_BLOCK = 512
_PERSONAL = (
    "url",
    "text",
    "caption",
    "page_url",
    "final_url",
    "sha256",
    "md5",
    "phash64",
    "pdq256",
    "creator",
    "copyright",
)


@dataclass(frozen=True)
class Finding:
    """Something of the erased that is still there."""

    file: str
    place: str
    what: str
    subject: str  # the uid or, in hex, the string that was met: it is in memory only

    def to_json(self) -> dict[str, str]:
        """Return it without what was met."""
        return {"file": self.file, "place": self.place, "what": self.what}


@dataclass
class Scan:
    """What was read, and what was found. A value that a living row has as well is no trace of the erased one."""

    needles: Needles
    files: int = 0
    read_bytes: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    shared: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # kind → values that living rows have too
    twins: set[str] = field(default_factory=set)  # living uids whose pictures look like an erased one
    _open: list[tuple[bytes, Finding]] = field(default_factory=list)  # hits that no row owns
    _living: set[bytes] = field(default_factory=set)  # values that living rows have

    def run(self, store: Store, prefix: str = "") -> "Scan":
        """Read all files whose names begin with `prefix`."""
        began = time.monotonic()
        finder = Finder(sorted(self.needles.strings))
        for name in store.walk():
            if name.startswith(prefix):
                self.files += 1
                with suppress(FileNotFoundError):  # logs and locks come and go
                    self.read_bytes += store.size_bytes(name)
                    _File(self, store, name, finder).read()
        for string, finding in self._open:
            if self.needles.values[string] not in self._living:
                self.findings.append(finding)
        for value in self._living:
            for kind in self.needles.strings.get(value, {"phash64"}):
                self.shared[kind] += 1
        self.seconds += round(time.monotonic() - began, 3)
        return self

    def hit(self, string: bytes, file: str, place: str, owner: str | None, *, owned: bool) -> None:
        """Take in one place of a string; `owner` is the uid (hex) of the row or member it stands in, where one owns it."""
        what = ", ".join(sorted(self.needles.strings[string]))
        if owned and owner is not None and owner not in self.needles.uids:
            self._living.add(self.needles.values[string])
        elif owned and owner is not None:
            self.findings.append(Finding(file, place, what, string.hex()))
        elif not is_own(string, self.needles.strings[string]):
            self._open.append((string, Finding(file, place, what, string.hex())))


@dataclass
class _File:
    """One file under the scan."""

    scan: Scan
    store: Store
    name: str
    finder: Finder

    def read(self) -> None:
        """Look for everything in it."""
        if self.name.endswith(".tar"):
            self._tar()
        elif self.name.endswith(".npy"):
            self._array()
        else:
            with self.store.open(self.name) as handle:
                self._raw(handle, "")
            if self.name.endswith(".parquet"):
                self._table()
            elif self.name.endswith(".gz"):
                with self.store.open(self.name) as handle, gzip.open(handle) as unpacked, suppress(OSError, EOFError):
                    self._raw(cast(IO[bytes], unpacked), "unpacked, ")

    def _raw(self, handle: IO[bytes], where: str) -> None:
        for number, at in self.finder.find_in(handle):
            self.scan.hit(self.finder.strings[number], self.name, f"{where}byte {at}", None, owned=False)

    def _table(self) -> None:
        with self.store.open(self.name) as handle:
            file = pq.ParquetFile(handle)
            low = 0
            for group in range(file.metadata.num_row_groups):
                self._group(file.read_row_group(group), low)
                low += file.metadata.row_group(group).num_rows

    def _group(self, table: pa.Table, low: int) -> None:
        owners = _owners(table)
        erased = pc.is_in(owners, value_set=pa.array(sorted(self.scan.needles.uids), pa.string())) if owners else None
        for name in table.column_names:
            column = table[name].combine_chunks()
            for row, string in _hits(column, self.finder):
                owner = owners[row].as_py() if owners is not None else None
                self.scan.hit(string, self.name, f"row {low + row}, {name}", owner, owned=owners is not None)
            if owners is not None and erased is not None and name in _PERSONAL:
                left = pc.and_(erased, pc.is_valid(column))
                for row in np.flatnonzero(left.to_numpy(zero_copy_only=False)).tolist():
                    place, owner = f"row {low + row}, {name}", owners[row].as_py()
                    self.scan.findings.append(Finding(self.name, place, "a row that is not blank", owner))
        if owners is not None and "pdq256" in table.column_names:
            self._twins(table["pdq256"].combine_chunks(), owners)

    def _twins(self, hashes: pa.Array, owners: pa.Array) -> None:
        wanted = [np.frombuffer(pdq, np.uint8) for pdq in self.scan.needles.pdqs]
        there = pc.is_valid(hashes)
        values = [v if isinstance(v, bytes) else bytes.fromhex(v) for v in hashes.filter(there).to_pylist()]
        if not wanted or not values:
            return
        rows = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        names = np.array(owners.filter(there).to_pylist())
        for pdq in wanted:
            near = np.bitwise_count(rows ^ pdq).sum(axis=1) <= PDQ_MAX_DISTANCE
            self.scan.twins |= set(names[near].tolist()) - self.scan.needles.uids

    def _array(self) -> None:
        with self.store.open(self.name) as handle:
            _, width = array_layout(handle)
            owners: list[str] | None = None
            for number, at in self.finder.find_in(handle):
                owners = _rows_of_array(self.store, self.name) if owners is None else owners
                row = at // max(1, width)
                owner = owners[row] if row < len(owners) else None
                self.scan.hit(self.finder.strings[number], self.name, f"row {row}", owner, owned=owner is not None)

    def _tar(self) -> None:
        needles = self.scan.needles
        begins, stems, extensions = [], [], []
        with self.store.open(self.name) as handle:
            for offset, stem, extension, size in _members(handle):
                begins.append(offset)
                stems.append(stem)
                extensions.append(extension)
                if stem in needles.uids:
                    place = f"member {stem}.{extension}"
                    self.scan.findings.append(Finding(self.name, place, "a member of an erased sample", stem))
                if needles.stored and size and extension not in ("txt", "json"):
                    handle.seek(offset + _BLOCK)
                    self._picture(stem, handle.read(size))
            handle.seek(0)
            for number, at in self.finder.find_in(handle):
                which = bisect_right(begins, at) - 1
                stem, extension = (stems[which], extensions[which]) if which >= 0 else ("", "")
                place = f"member {stem}.{extension}, byte {at}"
                self.scan.hit(self.finder.strings[number], self.name, place, stem or None, owned=bool(stem))

    def _picture(self, stem: str, data: bytes) -> None:
        digest = sha256(data).hexdigest()
        if digest in self.scan.needles.stored:
            if stem in self.scan.needles.uids or not stem:
                self.scan.findings.append(Finding(self.name, f"member {stem}", "the stored picture", digest))
            else:
                self.scan.twins.add(stem)  # the same picture at another address, which nobody asked to erase


def _owners(table: pa.Table) -> pa.Array | None:
    """Return the uid in hex of each row, where the table has them."""
    if "key" in table.column_names and pa.types.is_string(table["key"].type):
        return table["key"].combine_chunks()
    if "uid" in table.column_names:
        return pa.array([uid.hex() if uid is not None else None for uid in table["uid"].to_pylist()], pa.string())
    return None


def _hits(column: pa.Array, finder: Finder) -> Iterator[tuple[int, bytes]]:
    """Yield (row, string) of the hits in a column of text or bytes: its buffer is searched as a whole."""
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        for number, at in finder.find(column.buffers()[1] or b""):
            if at % width + len(finder.strings[number]) <= width:
                yield at // width - column.offset, finder.strings[number]
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        _, offsets, data = column.buffers()
        if data is None:
            return
        whole = np.frombuffer(offsets, np.int64 if pa.types.is_large_string(kind) else np.int32)
        ends = whole[column.offset : column.offset + len(column) + 1]
        for number, at in finder.find(data):
            row = int(np.searchsorted(ends, at, "right")) - 1
            string = finder.strings[number]
            if 0 <= row < len(column) and at + len(string) <= ends[row + 1]:
                yield row, string


def _members(handle: IO[bytes]) -> Iterator[tuple[int, str, str, int]]:
    """Yield (offset, stem, extension, bytes) of everything in a tar; what is hidden or behind the end has no stem."""
    at = 0
    while header := handle.read(_BLOCK):
        if header[257:262] != b"ustar":  # zeros behind the end
            yield at, "", "", 0
            return
        size = int(header[124:135], 8)
        stem, _, extension = header[:100].rstrip(b"\0").decode("utf-8", "replace").partition(".")
        yield at, stem, extension, size
        at += _BLOCK + size + -size % _BLOCK
        handle.seek(at)


def _rows_of_array(store: Store, name: str) -> list[str]:
    """Return the uids of an array's rows, from the table beside it; none where there is no such."""
    stage, _, file = name.partition("/")
    if stage == "embed":
        record = f"{stage}/{file.split('.', 1)[0]}.json"
        part = Part.from_json(store.read(record), record)
        return [uid.hex() for uid in part.table(store, columns=["uid"])["uid"].to_pylist()]
    if stage == "embeddings":
        folder, number = file.split("/")[0], int(file.rsplit("_", 1)[1].removesuffix(".npy"))
        with store.open(shard_files(folder, number)["parquet"]) as handle:
            keys: list[str] = pq.read_table(handle, columns=["key"])["key"].to_pylist()
        return keys
    return []
