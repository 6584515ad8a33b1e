"""What an index folder holds: its record, and the names of its files. The record is written last, so a folder without one is no index."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from index.query import Modality
from pipeline.errors import FormatError, InputError
from pipeline.snapshot import Snapshot, numbers, read
from pipeline.store import Store

FORMAT = 2
MODALITIES: Sequence[Modality] = ("image", "text")
PLACES = "places.npy"
DEFAULT_MEMORY_BYTES = 4_000_000_000
DEFAULT_RECALL_FRAC = 0.95


@dataclass(frozen=True)
class Options:
    """What was asked of an index; a later sync asks the same."""

    memory_bytes: int = DEFAULT_MEMORY_BYTES  # of both modalities together
    recall_frac: float = DEFAULT_RECALL_FRAC  # of the ten nearest, against exact search


@dataclass(frozen=True)
class Probe:
    """One point of the curve: effort → what is found of the ten nearest, and how long a query takes."""

    nprobe: int  # lists looked into
    depth: int  # proposals compared exactly
    across_frac: float  # recall@10 of the other modality's vectors
    within_frac: float  # recall@10 of the same modality's vectors, themselves left out
    ms: float  # mean of one query on one thread


@dataclass(frozen=True)
class Segment:
    """A FAISS file with the vectors it was made with, removed ones among them."""

    name: str  # in the index folder
    rows: int
    bytes: int
    wiped: int = 0  # erased: their codes are zero and their ids -1


@dataclass(frozen=True)
class Side:
    """The index of one modality: a base and what was added since."""

    factory: str
    segments: Sequence[Segment]
    why: str
    bytes: int  # expected of the base, by its kind
    nprobe: int = 0
    depth: int = 10  # for ten answers
    curve: Sequence[Probe] = ()

    @property
    def exact(self) -> bool:
        """Tell whether every vector is looked at."""
        return self.nprobe == 0


@dataclass(frozen=True)
class Erased:
    """Uids (hex) that were erased from here, and the files that held them."""

    files: Sequence[str]
    uids: Sequence[str]


@dataclass(frozen=True)
class IndexRecord:
    """What was built, for which snapshot."""

    snapshot: int
    shard_keys: Sequence[str]
    rows: int
    dimensions: int
    clip: Mapping[str, Any]
    options: Options
    sides: Mapping[Modality, Side]
    sha256: Mapping[str, str]  # name in the folder → digest
    erased: Sequence[Erased] = field(default_factory=list)
    format: int = FORMAT

    @property
    def kind(self) -> str:
        """Return the kind of the pictures' index, as people call it."""
        side = self.sides["image"]
        return "exact" if side.exact else f"{side.factory} nprobe={side.nprobe}"

    @property
    def recall_frac(self) -> float:
        """Return the lowest recall@10 that was measured at the probes in use; 1 where search is exact."""
        used = [point for side in self.sides.values() for point in side.curve if point.nprobe == side.nprobe]
        return min((min(point.across_frac, point.within_frac) for point in used), default=1.0)

    def told(self) -> dict[str, Any]:
        """Return what readers can use, as JSON values: without digests, keys and whom it held."""
        names = ("snapshot", "rows", "dimensions", "options", "sides")
        plain = {name: value for name, value in asdict(self).items() if name in names}
        return {**plain, "kind": self.kind, "recall_frac": self.recall_frac}

    def to_json(self) -> bytes:
        """Return the record's bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()


def parse(data: bytes, where: str) -> IndexRecord:
    """Read a record; FormatError names the file when it is damaged or of an earlier version."""
    try:
        raw = json.loads(data)
        if raw.get("format") != FORMAT:
            raise FormatError(f"{where}: an index of an earlier version; `tamis index sync` builds it anew")
        sides = {name: _side(side) for name, side in raw.pop("sides").items()}
        erased = [Erased(**one) for one in raw.pop("erased")]
        return IndexRecord(**{**raw, "options": Options(**raw["options"])}, sides=sides, erased=erased)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{where}: not the record of an index ({error}); delete it and run `tamis index sync`"
        ) from error


def _side(raw: dict[str, Any]) -> Side:
    segments = [Segment(**segment) for segment in raw.pop("segments")]
    curve = [Probe(**point) for point in raw.pop("curve")]
    return Side(segments=segments, curve=curve, **raw)


def folder(snapshot: Snapshot) -> str:
    """Return the folder of a snapshot's index."""
    return f"index/{snapshot.folder}"


def read_record(store: Store, snapshot: Snapshot) -> IndexRecord | None:
    """Return the committed record of a snapshot's index; None where there is none or one of an earlier version."""
    name = f"{folder(snapshot)}/index.json"
    try:
        data = store.read(name)
    except FileNotFoundError:
        return None
    return None if is_old(data) else parse(data, store.uri(name))


def require_record(store: Store, snapshot: Snapshot) -> IndexRecord:
    """Return the committed record of a snapshot's index; InputError where there is none."""
    record = read_record(store, snapshot)
    if record is None:
        raise InputError(f"{store.root}: snapshot {snapshot.folder} has no index; run `tamis index sync {store.root}`")
    return record


def is_old(data: bytes) -> bool:
    """Tell whether a record was written by a version whose files are laid out otherwise."""
    try:
        return isinstance(raw := json.loads(data), dict) and raw.get("format", 1) < FORMAT
    except ValueError:
        return False


def files_below(store: Store, base: str) -> list[str]:
    """Return the names of all files of an index folder, those of its folders too."""
    return [name for place in (base, *store.folders(base)) for name in store.names(place)]


def complete(store: Store, snapshot: Snapshot, record: IndexRecord) -> bool:
    """Tell whether every file that a record names is there; their bytes are not read."""
    base = folder(snapshot)
    return {f"{base}/{name}" for name in record.sha256} <= set(files_below(store, base))


def predecessor(store: Store, snapshot: Snapshot) -> tuple[Snapshot, IndexRecord] | None:
    """Return the newest earlier snapshot that has an index without missing files, and its record."""
    for number in reversed(numbers(store)):
        if number < snapshot.number:
            before = read(store, number)
            record = read_record(store, before)
            if record is not None and complete(store, before, record):
                return before, record
    return None


def commit(store: Store, base: str, record: IndexRecord, digests: Mapping[str, str]) -> IndexRecord:
    """Write the record with the digests of the folder's files, and return it."""
    record = replace(record, sha256=dict(sorted(digests.items())))
    name = f"{base}/index.json"
    store.write(name, record.to_json())
    return parse(record.to_json(), store.uri(name))


def facts_name(key: str) -> str:
    """Return the name in the folder of a shard's facts."""
    return f"facts/{key}.arrow"
