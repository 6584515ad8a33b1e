"""The unit of work and its commit: a part goes through a stage once, and no row is lost without a reason."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import FormatError, InvariantError
from pipeline.ids import stable_hash
from pipeline.pieces import of_file
from pipeline.store import Store, explained

PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3}
IN_PLACE = ("tar", "npy")
"""Endings of the files that an erasure changes in place; the others are written anew."""


@dataclass(frozen=True)
class Part:
    """What a stage left behind for one part: the commit record, and the only thing passed between stages."""

    stage: str
    key: str
    rows_in: int
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason → rows
    files: Mapping[str, str] = field(default_factory=dict)  # suffix → sha256
    facts: Mapping[str, Any] = field(default_factory=dict)  # counts that a later step or the report needs
    inputs: Sequence[str] = ()  # keys of the parts it was made from
    seconds: float = 0.0
    pieces: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # suffix → digests of the pieces of tars and arrays

    def file(self, suffix: str) -> str:
        """Return the name in the store of one of the part's files; it carries a piece of the content's digest.

        So two executions of one task (a worker thought lost, a client killed) never write to each other's files.
        """
        return f"{self.stage}/{self.key}.{self.files[suffix][:8]}.{suffix}"

    @property
    def record(self) -> str:
        """Return the name of the commit record."""
        return f"{self.stage}/{self.key}.json"

    def to_json(self) -> bytes:
        """Return the record's bytes."""
        record = {name: value for name, value in self.__dict__.items() if value or name != "pieces"}
        return json.dumps(record, sort_keys=True, indent=1, default=list).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> "Part":
        """Read a record; FormatError names the file when it is damaged."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise FormatError(f"{where}: not a commit record ({error}); delete it and run again") from error

    def table(self, store: Store, suffix: str = "parquet", columns: Sequence[str] | None = None) -> pa.Table:
        """Read one of the part's Parquet files."""
        with store.open(self.file(suffix)) as handle:
            return pq.read_table(handle, columns=list(columns) if columns is not None else None)

    def open(self, store: Store, suffix: str) -> IO[bytes]:
        """Open one of the part's files for reading."""
        return store.open(self.file(suffix))


@dataclass
class Draft:
    """Where a stage writes: files in a scratch folder that get their names when the part is committed."""

    store: Store
    key: str
    inputs: Sequence[Part]
    folder: Path
    suffixes: list[str] = field(default_factory=list)

    def path(self, suffix: str) -> Path:
        """Return the path to write one of the part's files to."""
        if suffix not in self.suffixes:
            self.suffixes.append(suffix)
        return self.folder / suffix

    def table(self, table: pa.Table, suffix: str = "parquet", row_group_rows: int = 10_000) -> None:
        """Write a Parquet file."""
        pq.write_table(table, self.path(suffix), row_group_size=row_group_rows, **PARQUET)


@dataclass(frozen=True)
class Outcome:
    """What a stage says of its work: rows in, rows out, rows dropped per reason, facts."""

    rows_in: int
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A named step with the configuration its result depends on; `fn` fills a draft.

    The key of a part is a hash of name, version, config and the keys of its inputs; what the function needs but the
    result does not depend on (threads, devices, where to read) is bound into `fn`.
    """

    name: str
    fn: Callable[[Draft], Outcome]
    config: Mapping[str, Any]
    version: int = 1

    def key(self, inputs: Sequence[Part]) -> str:
        """Return the key that this stage gives the part made from `inputs`."""
        return stable_hash([self.name, self.version, dict(self.config), [part.key for part in inputs]])


def find(store: Store, stage: str, key: str) -> Part | None:
    """Return the committed part of that key, or None."""
    name = f"{stage}/{key}.json"
    try:
        return Part.from_json(store.read(name), store.uri(name))
    except FileNotFoundError:
        return None


def committed(store: Store, stage: str) -> Iterator[Part]:
    """Yield every committed part of a stage, in the order of the keys."""
    for name in store.names(stage):
        if name.endswith(".json"):
            part = find(store, stage, name.rsplit("/", 1)[1].removesuffix(".json"))
            if part is not None:  # a part that somebody removed between the listing and the look
                yield part


def run(store: Store, stage: Stage, inputs: Sequence[Part] = ()) -> Part:
    """Return the stage's part for these inputs, doing the work only if nobody has.

    InvariantError when rows went missing without a reason. Files come first, the record last: a crash in between costs
    this part's work and nothing else.
    """
    key = stage.key(inputs)
    done = find(store, stage.name, key)
    if done is not None:
        return done
    began = time.monotonic()
    with store.scratch() as folder:
        draft = Draft(store, key, inputs, folder)
        with explained(f"{stage.name} part {key}"):
            outcome = stage.fn(draft)
        check_conservation(stage.name, key, outcome)
        digests = {suffix: of_file(folder / suffix) for suffix in sorted(draft.suffixes)}
        part = Part(
            stage=stage.name,
            key=key,
            rows_in=outcome.rows_in,
            rows=outcome.rows,
            dropped=dict(sorted(outcome.dropped.items())),
            files={suffix: found.sha256 for suffix, found in digests.items()},
            facts=outcome.facts,
            inputs=[p.key for p in inputs],
            seconds=round(time.monotonic() - began, 3),
            pieces={suffix: found.pieces for suffix, found in digests.items() if suffix.endswith(IN_PLACE)},
        )
        for suffix in part.files:
            store.put(folder / suffix, part.file(suffix))
        if not store.create(part.record, part.to_json()):
            return _yield_to(store, part)
    return part


def _yield_to(store: Store, mine: Part) -> Part:
    """Return what another execution of the same task committed first, and remove our own files where they differ."""
    theirs = find(store, mine.stage, mine.key)
    assert theirs is not None
    kept = {theirs.file(suffix) for suffix in theirs.files}
    for name in {mine.file(suffix) for suffix in mine.files} - kept:
        store.delete(name)
    return theirs


def check_conservation(stage: str, key: str, outcome: Outcome | Part) -> None:
    """Raise InvariantError unless rows in = rows out + rows dropped."""
    dropped = sum(outcome.dropped.values())
    if outcome.rows_in != outcome.rows + dropped or min(outcome.dropped.values(), default=0) < 0:
        raise InvariantError(
            f"{stage} part {key}: {outcome.rows_in} rows in, but {outcome.rows} out and {dropped} dropped "
            f"({dict(outcome.dropped)}); please report this with the configuration"
        )


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a local file in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_stored(store: Store, name: str) -> str:
    """Return the SHA-256 of a stored file in hex."""
    with store.open(name) as handle:
        digest = hashlib.sha256()
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def count_reasons(reasons: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """Return how often each reason occurs, nulls (kept rows) left out."""
    counts = reasons.drop_null().value_counts()
    pairs = counts.to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}
