"""The report's numbers, gathered part by part in bounded memory: counts, histograms, and which rows to show."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.report_galleries import Galleries
from pipeline.report_rows import way, wide
from pipeline.snapshot import Snapshot
from pipeline.stage import Part, find
from pipeline.store import Store
from pipeline.tally import Tally, without

I64 = NDArray[np.int64]


def _zeros(*shape: int) -> I64:
    return np.zeros(shape, np.int64)


COS_EDGES = np.linspace(-1.0, 1.0, 401)
PX_EDGES = 2.0 ** (np.arange(0, 16 * 5 + 1) / 5)  # five steps an octave, 1 px to 65,536 px


@dataclass(frozen=True)
class Step:
    """One step of the funnel: what is left after it, and what was lost in it, by reason."""

    name: str
    about: str
    doing: str
    rows: int
    lost: Mapping[str, int]


@dataclass
class Work:
    """What a stage did, added up over its parts."""

    parts: int = 0
    rows: int = 0
    seconds: float = 0.0

    def add(self, part: Part) -> None:
        """Count a commit record."""
        self.parts, self.rows, self.seconds = self.parts + 1, self.rows + part.rows_in, self.seconds + part.seconds


@dataclass
class Facts:
    """All numbers of the report."""

    snapshot: Snapshot
    threshold: float
    read: Counter[str] = field(default_factory=Counter)  # what extraction saw: pages, images, …
    lost: list[Counter[str]] = field(default_factory=lambda: [Counter() for _ in range(5)])  # one a step
    left: list[int] = field(default_factory=lambda: [0] * 5)
    cosines: I64 = field(default_factory=lambda: _zeros(3, COS_EDGES.size - 1))  # kept, other reason, below
    sizes: I64 = field(default_factory=lambda: _zeros(2, PX_EDGES.size - 1, PX_EDGES.size - 1))  # looked at, kept
    domains: Tally[str] = field(default_factory=lambda: Tally(2))  # pairs, kept
    languages: Tally[str] = field(default_factory=lambda: Tally(2))
    formats: Tally[str] = field(default_factory=lambda: Tally(2))
    fetches: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    via: Counter[str] = field(default_factory=Counter)
    groups: Tally[bytes] = field(default_factory=lambda: Tally(1))  # kept member → its copies
    work: dict[str, Work] = field(default_factory=dict)
    stored_bytes: int = 0
    galleries: Galleries = field(init=False)

    def __post_init__(self) -> None:
        self.galleries = Galleries(self.threshold)

    def steps(self) -> list[Step]:
        """Return the funnel."""
        names = (
            ("Pictures with their texts, as found", "every <img> tag of the pages and every row of the lists", ""),
            ("Pairs", "different pictures and texts that may be used", "Reading the pages"),
            ("Worth fetching", "the text can describe a picture", "Reading the text"),
            ("Fetched", "a picture came, and could be decoded", "Fetching and decoding"),
            ("Looked at", "the model has seen picture and text", "Showing both to the model"),
            ("Kept", "packed into shards", "Judging the picture"),
        )
        rows = [self.snapshot.rows_in, *self.left]
        lost: list[Mapping[str, int]] = [{}, *self.lost]
        return [Step(*name, n, dict(by)) for name, n, by in zip(names, rows, lost, strict=True)]


def gather(store: Store, snapshot: Snapshot) -> Facts:
    """Read the snapshot's parts one by one and return the numbers."""
    facts = Facts(snapshot, float(snapshot.clip["threshold_cos"]))
    for part in _sources(store, snapshot):
        facts.work.setdefault(part.stage, Work()).add(part)
        counts = part.facts.get("counts", {}) if part.stage == "extract" else {}
        facts.read.update({name: n for name, n in counts.items() if isinstance(n, int)})
    late: Counter[str] = Counter()
    for number, entry in enumerate(snapshot.parts):
        found = way(store, entry)
        for record in found.records():
            facts.work.setdefault(record.stage.split("/", 1)[0], Work()).add(record)
            facts.read.update(record.facts.get("counts", {}))
        assert found.files.decide is not None
        late.update(found.files.decide.dropped)
        facts.stored_bytes += int(found.files.decide.facts.get("kept_bytes", 0))
        _add_part(facts, number, wide(store, found))
    facts.lost[0].update(without(snapshot.dropped, late))
    return facts


def _sources(store: Store, snapshot: Snapshot) -> Iterator[Part]:
    """Yield the records of extraction and layout; those of a hand-made snapshot may be missing."""
    for stage, keys in (("extract", snapshot.extracts), ("layout", snapshot.layouts)):
        for key in keys:
            part = find(store, stage, key)
            if part is not None:
                yield part


def _add_part(facts: Facts, number: int, table: pa.Table) -> None:
    steps = ("admitted", "fetched", "looked_at", "kept")
    masks = [np.ones(table.num_rows, np.bool_), *(table[name].to_numpy() for name in steps)]
    for i, mask in enumerate(masks):
        facts.left[i] += int(mask.sum())
        if i:
            gone = table.filter(pa.array(masks[i - 1] & ~mask))
            facts.lost[i].update(_counts(gone["reason"]))
    _add_fetches(facts, table)
    _add_pictures(facts, table.filter(table["looked_at"]))
    for tally, column in ((facts.domains, "domain"), (facts.languages, "language")):
        _add_names(tally, table, column)
    _add_names(facts.formats, table.filter(table["fetched"]), "format")
    for kept_uid, copies in _counts(table["duplicate_of"]).items():
        facts.groups.add(kept_uid, copies)
    facts.galleries.add(number, table)


def _counts(column: pa.ChunkedArray) -> dict[Any, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column.drop_null()).to_pylist()}


def _add_names(tally: Tally[str], table: pa.Table, column: str) -> None:
    kept = _counts(table.filter(table["kept"])[column])
    for name, n in _counts(table[column]).items():
        tally.add(name, n, kept.get(name, 0))


def _add_fetches(facts: Facts, table: pa.Table) -> None:
    came = table.filter(table["fetched"])
    failed = table.filter(pc.and_(table["admitted"], pc.invert(table["fetched"])))
    facts.fetches.update({"fetched": came.num_rows} | _counts(failed["reason"]))
    facts.statuses.update(_counts(table.filter(table["asked"])["http_status"]))
    facts.via.update(_counts(came["via"]))


def _add_pictures(facts: Facts, looked: pa.Table) -> None:
    kept = looked["kept"].to_numpy()
    cos = looked["clip_cos"].to_numpy().astype(np.float64)
    below = pc.fill_null(pc.equal(looked["reason"], "clip_low"), False).to_numpy()
    for i, mask in enumerate((kept, ~kept & ~below, below)):
        facts.cosines[i] += np.histogram(cos[mask & np.isfinite(cos)], COS_EDGES)[0]
    width, height = (pc.fill_null(looked[f"original_{side}_px"], 0).to_numpy() for side in ("width", "height"))
    for i, mask in enumerate((np.ones(len(kept), np.bool_), kept)):
        facts.sizes[i] += np.histogram2d(width[mask], height[mask], (PX_EDGES, PX_EDGES))[0].astype(np.int64)


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a nested configuration."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def balance(steps: Sequence[Step]) -> list[str]:
    """Return where the funnel does not add up; empty when every row that is gone has a reason."""
    wrong = []
    for before, step in pairwise(steps):
        lost = sum(step.lost.values())
        if before.rows != step.rows + lost:
            wrong.append(f"{step.name}: {before.rows:,} before, {step.rows:,} after, {lost:,} dropped with a reason")
    return wrong
