"""Read every byte of a data set and look for what was erased: tables decoded and raw, tars, arrays, databases, the rest."""

import re
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.perceptual import PDQ_MAX_DISTANCE
from pipeline.erasure import columns
from pipeline.erasure.blank import array_layout
from pipeline.erasure.finder import Finder
from pipeline.erasure.needles import Needles
from pipeline.erasure.neighbourhood import NEAR_BYTES, Neighbourhood, within_member
from pipeline.erasure.unpack import DAMAGED, DEEPEST, every_file, inside
from pipeline.erasure.vocabulary import is_own
from pipeline.errors import FormatError, InputError, TamisError
from pipeline.pack import shard_files
from pipeline.picture_hashes import picture_hashes
from pipeline.schema import RIGHTS_TEXTS, UID
from pipeline.sniff import kind as format_of
from pipeline.stage import Part
from pipeline.store import Store

_BLOCK = 512
_MOST_PICTURE_BYTES = 64 << 20
_NO_PICTURES = ("unknown", "svg", "html")
_UIDS = re.compile(r"[0-9a-f]{32}")
_PERSONAL = frozenset(
    {
        "url",
        "text",
        "caption",
        "page_url",
        "final_url",
        "sha256",
        "md5",
        "phash64",
        "pdq256",
        *RIGHTS_TEXTS,
    }
)


@dataclass(frozen=True)
class Finding:
    """Something of the erased that is still there."""

    file: str
    place: str
    what: str
    subject: str  # the uid or, in hex, the string that was met: it is in memory only; "" where it concerns everybody

    def to_json(self) -> dict[str, str]:
        """Return it without what was met; names that are no UTF-8 are shown escaped."""
        file = self.file.encode("utf-8", "backslashreplace").decode()
        return {"file": file, "place": self.place, "what": self.what}


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
    _open: list[tuple[bytes, Finding, bytes, bytes]] = field(
        default_factory=list
    )  # hits that no row owns, with their neighbours
    _living: set[bytes] = field(default_factory=set)  # values that living rows have
    _within: Neighbourhood = field(default_factory=Neighbourhood)  # values that are parts of longer ones of living rows

    def run(self, store: Store, prefix: str = "") -> "Scan":
        """Read all files whose names begin with `prefix`."""
        began = time.monotonic()
        finder = Finder(sorted(self.needles.strings))
        for name in every_file(store):
            if name.startswith(prefix):
                self.files += 1
                with suppress(FileNotFoundError):  # logs and locks come and go
                    self.read_bytes += store.size_bytes(name)
                    with store.open(name) as handle:
                        _File(self, store, name, finder).read(handle)
        for string, finding, before, after in self._open:
            value = self.needles.values[string]
            if value not in self._living and not self._within.explains(value, before, after):
                self.findings.append(finding)
        for value in self._living:
            for kind in self.needles.strings.get(value, {"phash64"}):
                self.shared[kind] += 1
        self.seconds += round(time.monotonic() - began, 3)
        return self

    def hit(
        self, string: bytes, file: str, place: str, owner: str | None, before: bytes = b"", after: bytes = b""
    ) -> None:
        """Take in one place of a string.

        `owner` is the uid (hex) of the row or member it stands in, None where nobody owns it; `before` and `after` are what
        stands around it, of what is owned within its value alone.
        """
        what = ", ".join(sorted(self.needles.strings[string]))
        finding = Finding(file, place, what, string.hex())
        if owner in self.needles.uids:
            self.findings.append(finding)
        elif owner is None:
            if not is_own(string, self.needles.strings[string]):
                self._open.append((string, finding, before[-NEAR_BYTES:], after[:NEAR_BYTES]))
        elif before or after:
            self._within.add(self.needles.values[string], before, after)
        else:
            self._living.add(self.needles.values[string])


@dataclass
class _File:
    """One file under the scan."""

    scan: Scan
    store: Store
    name: str
    finder: Finder

    def read(self, handle: IO[bytes]) -> None:
        """Look for everything in it; what is damaged cannot be searched, and is a finding of everybody's."""
        for uid in set(_UIDS.findall(self.name)) & self.scan.needles.uids:
            self._found("its name", "a file that is called by an erased sample", uid)
        try:
            self._look(handle, "", 0)
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            self._found("damaged", f"could not be searched to its end ({error}): restore it, or delete it", "")

    def _found(self, place: str, what: str, subject: str) -> None:
        self.scan.findings.append(Finding(self.name, place, what, subject))

    def _look(self, handle: IO[bytes], where: str, depth: int) -> None:
        head = handle.read(_BLOCK)
        handle.seek(0)
        if self.name.endswith(".tar") and depth == 0:
            self._tar(handle)
            return
        if head.startswith(b"\x93NUMPY") and depth == 0:
            self._array(handle)
            return
        self._raw(handle, where)
        if head.startswith(b"PAR1"):
            self._table(handle, where)
        elif depth < DEEPEST:
            for what, inner in inside(handle):
                self._look(inner, f"{where}{what}, ", depth + 1)
        if format_of(head) not in _NO_PICTURES:
            self._loose_picture(handle, where)

    def _raw(self, handle: IO[bytes], where: str) -> None:
        for number, at, before, after in self.finder.find_around(handle, NEAR_BYTES):
            self.scan.hit(self.finder.strings[number], self.name, f"{where}byte {at}", None, before, after)

    def _loose_picture(self, handle: IO[bytes], where: str) -> None:
        """Compare a picture that lies about as a file with those that were erased."""
        handle.seek(0)
        data = handle.read(_MOST_PICTURE_BYTES)
        if not self.scan.needles.pdqs:
            return
        with suppress(InputError):
            pdq = np.frombuffer(bytes.fromhex(picture_hashes(data, self.name)["pdq"]), np.uint8)
            for erased in self.scan.needles.pdqs:
                if np.bitwise_count(np.frombuffer(erased, np.uint8) ^ pdq).sum() <= PDQ_MAX_DISTANCE:
                    self._found(f"{where}the picture", "a picture that looks like an erased one", erased.hex())

    def _table(self, handle: IO[bytes], where: str) -> None:
        handle.seek(0)
        file = pq.ParquetFile(handle)
        low = 0
        for group in range(file.metadata.num_row_groups):
            self._group(file.read_row_group(group), low, where)
            low += file.metadata.row_group(group).num_rows

    def _group(self, table: pa.Table, low: int, where: str) -> None:
        owners = _owners(table)
        erased = pc.is_in(owners, value_set=pa.array(sorted(self.scan.needles.uids), pa.string())) if owners else None
        for name in table.column_names:
            for column, begin in _chunks(table[name]):
                for hit in columns.hits(column, self.finder):
                    row = None if hit.row is None else begin + hit.row
                    owner = owners[row].as_py() if owners is not None and row is not None else None
                    place = (
                        f"{where}row {low + row}, {name}"
                        if row is not None
                        else f"{where}rows from {low + begin}, {name}"
                    )
                    self.scan.hit(hit.string, self.name, place, owner, hit.before, hit.after)
            if owners is not None and erased is not None and name in _PERSONAL:
                left = pc.and_(erased, pc.is_valid(table[name].combine_chunks()))
                for row in np.flatnonzero(left.to_numpy(zero_copy_only=False)).tolist():
                    self._found(f"{where}row {low + row}, {name}", "a row that is not blank", owners[row].as_py())
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

    def _array(self, handle: IO[bytes]) -> None:
        try:
            begin, width = array_layout(handle)
        except FormatError:
            begin = width = 0  # rows that lie otherwise are nobody's
        handle.seek(0)
        owners: list[str] | None = None
        for number, at, before, after in self.finder.find_around(handle, NEAR_BYTES):
            owners = _rows_of_array(self.store, self.name) if owners is None else owners
            row = (at - begin) // width if width else 0
            owner = owners[row] if width and 0 <= row < len(owners) else None
            around = (b"", b"") if owner else (before, after)
            self.scan.hit(self.finder.strings[number], self.name, f"row {row}", owner, *around)

    def _tar(self, handle: IO[bytes]) -> None:
        needles = self.scan.needles
        members = []
        for member in _members(handle):
            members.append(member)
            if member.stem in needles.uids:
                self._found(f"member {member.stem}.{member.extension}", "a member of an erased sample", member.stem)
            if needles.stored and member.size and member.extension not in ("txt", "json"):
                handle.seek(member.begin + _BLOCK)
                self._picture(member.stem, handle.read(member.size))
        begins = [member.begin for member in members]
        handle.seek(0)
        for number, at, before, after in self.finder.find_around(handle, NEAR_BYTES):
            string = self.finder.strings[number]
            here = members[bisect_right(begins, at) - 1] if members else _Member(0, "", "", 0)
            place = f"member {here.stem}.{here.extension}, byte {at}"
            if owner := here.stem or None:
                begin = at - here.begin - _BLOCK
                before, after = within_member(here.extension, before, after, begin, here.size - begin - len(string))
            self.scan.hit(string, self.name, place, owner, before, after)

    def _picture(self, stem: str, data: bytes) -> None:
        digest = sha256(data).hexdigest()
        if digest in self.scan.needles.stored:
            if stem in self.scan.needles.uids or not stem:
                self.scan.findings.append(Finding(self.name, f"member {stem}", "the stored picture", digest))
            else:
                self.scan.twins.add(stem)  # the same picture at another address, which nobody asked to erase


class _Member(NamedTuple):
    """A member of a tar."""

    begin: int
    stem: str  # the sample's uid; "" where it is no sample's
    extension: str
    size: int


def _chunks(column: pa.ChunkedArray) -> Iterator[tuple[pa.Array, int]]:
    """Yield the pieces of a column with the row each begins at."""
    begin = 0
    for chunk in column.chunks:
        yield chunk, begin
        begin += len(chunk)


def _owners(table: pa.Table) -> pa.Array | None:
    """Return the uid in hex of each row, where the table has them; other keys than ours own nothing."""
    if "key" in table.column_names and pa.types.is_string(table["key"].type):
        keys = table["key"].combine_chunks()
        return pc.if_else(pc.match_substring_regex(keys, r"^[0-9a-f]{32}$"), keys, None)
    if "uid" in table.column_names and table["uid"].type == UID:
        return pa.array([uid.hex() if uid is not None else None for uid in table["uid"].to_pylist()], pa.string())
    return None


def _members(handle: IO[bytes]) -> Iterator[_Member]:
    """Yield everything in a tar; what is hidden, no sample's, behind the end or no tar at all has no stem."""
    at = 0
    while header := handle.read(_BLOCK):
        size = _size(header)
        if header[257:262] != b"ustar" or size is None:  # zeros behind the end, or foreign
            yield _Member(at, "", "", 0)
            return
        stem, _, extension = header[:100].rstrip(b"\0").decode("utf-8", "replace").partition(".")
        yield _Member(at, stem if _UIDS.fullmatch(stem) else "", extension, size)
        at += _BLOCK + size + -size % _BLOCK
        handle.seek(at)


def _size(header: bytes) -> int | None:
    try:
        size = int(header[124:135], 8)
    except ValueError:
        return None
    return size if size >= 0 else None


def _rows_of_array(store: Store, name: str) -> list[str]:
    """Return the uids of an array's rows, from the table beside it; none where there is no such: then nobody owns it."""
    try:
        return _rows_beside(store, name)
    except (FileNotFoundError, TamisError, ValueError, KeyError, pa.ArrowException):
        return []


def _rows_beside(store: Store, name: str) -> list[str]:
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
