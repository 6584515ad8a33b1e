"""Which parts a data set is made of. New inputs become new parts; parts that are there stay as they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import extract, layout
from pipeline.config import Config
from pipeline.errors import FormatError
from pipeline.ids import stable_hash
from pipeline.inputs import Unit, read_options
from pipeline.partition import Buckets
from pipeline.run import Run
from pipeline.stage import Part, find, run
from pipeline.store import Store

_FOLDER = "batches"


@dataclass(frozen=True)
class Batch:
    """Units that were laid out together, after the batch `parent`."""

    parent: str
    extracts: Sequence[str]
    layouts: Sequence[str]

    @property
    def key(self) -> str:
        """Return the batch's name."""
        return stable_hash([self.parent, list(self.extracts), list(self.layouts)])


@dataclass(frozen=True)
class Plan:
    """All parts of the run, in order, and the facts of their extraction."""

    parts: Sequence[Part]  # candidates
    extracts: Sequence[Part]
    layouts: Sequence[Part]
    order: dict[str, int] = field(default_factory=dict)  # candidates key → position

    @property
    def policy_captures(self) -> Sequence[Part]:
        """Return the extracts that hold robots.txt or tdmrep.json files of the crawl itself."""
        return [part for part in self.extracts if part.facts.get("policies")]


def lay_out(run_: Run, units: Sequence[Unit]) -> Plan:
    """Read units that are new, lay their rows out in parts, and return all parts of the data set.

    Batches form a chain. The longest chain whose units are all still asked for is kept; the remaining units make one new
    batch, in which pairs of earlier batches count as duplicates. So adding an input costs what the input holds.
    """
    extracts = _extract(run_, units)
    root = _root(run_.config)
    chain = _chain(run_.store, root, {part.key for part in extracts})
    done = {key for batch in chain for key in batch.extracts}
    layouts: list[Part] = []
    for batch in chain:
        layouts += _load(run_, batch, [part for part in extracts if part.key in batch.extracts], layouts)
    fresh = [part for part in extracts if part.key not in done]
    if fresh:
        made = _lay_out(run_, fresh, layouts)
        parent = chain[-1].key if chain else root
        batch = Batch(parent, sorted(part.key for part in fresh), [part.key for part in made])
        run_.store.write(f"{_FOLDER}/{batch.key}.json", json.dumps(batch.__dict__, sort_keys=True).encode())
        layouts += made
    parts = [Part(**facts) for part in layouts for facts in part.facts["parts"]]
    return Plan(parts, extracts, layouts, {part.key: i for i, part in enumerate(parts)})


def _extract(run_: Run, units: Sequence[Unit]) -> list[Part]:
    run_.progress.expect("extract", len(units))
    options = read_options(run_.config)
    jobs = [(run_.store, unit, options) for unit in units]
    return run_.engine.map(_extract_unit, jobs, lambda part: run_.progress.finished("extract", part))


def _extract_unit(store: Store, unit: Unit, options: Any) -> Part:
    return run(store, extract.stage(unit, options))


def _lay_out(run_: Run, extracts: Sequence[Part], known: Sequence[Part]) -> list[Part]:
    config = run_.config.candidates
    counts = layout.domain_rows(run_.store, extracts)
    buckets = Buckets.plan(counts["dh"], counts["rows"], config.domain_share_frac)
    ordered = sorted(extracts, key=lambda part: part.key)
    run_.progress.expect("layout", buckets.count)
    args = (ordered, known, config.part_rows, config.domain_share_frac)
    jobs = [(run_.store, bucket, buckets, *args) for bucket in range(buckets.count)]
    return run_.engine.map(_lay_out_bucket, jobs, lambda part: run_.progress.finished("layout", part))


def _lay_out_bucket(
    store: Store,
    bucket: int,
    buckets: Buckets,
    extracts: Sequence[Part],
    known: Sequence[Part],
    part_rows: int,
    share: float,
) -> Part:
    return run(store, layout.stage(bucket, buckets, known, extracts, part_rows, share), extracts)


def _root(config: Config) -> str:
    """Return the name of the empty chain: other part sizes make other parts, so they start another chain."""
    return stable_hash(["root", config.candidates.part_rows, config.candidates.domain_share_frac])


def _chain(store: Store, root: str, units: set[str]) -> list[Batch]:
    """Return the longest chain of committed batches whose units are all in `units`."""
    children: dict[str, list[Batch]] = {}
    for name in store.names(_FOLDER):
        try:
            batch = Batch(**json.loads(store.read(name)))
        except (ValueError, TypeError) as error:
            raise FormatError(f"{store.uri(name)}: not a batch ({error}); delete it and run again") from error
        children.setdefault(batch.parent, []).append(batch)
    chain: list[Batch] = []
    while True:
        following = [b for b in children.get(chain[-1].key if chain else root, []) if set(b.extracts) <= units]
        if not following:
            return chain
        chain.append(max(following, key=lambda batch: (len(batch.extracts), batch.key)))


def _load(run_: Run, batch: Batch, extracts: Sequence[Part], before: Sequence[Part]) -> list[Part]:
    """Return the layouts of a batch; where one of its parts is gone, it is laid out again."""
    store = run_.store
    have = {
        name.rsplit("/", 1)[1].removesuffix(".json") for name in store.names("candidates") if name.endswith(".json")
    }
    found = [find(store, "layout", key) for key in batch.layouts]
    whole = [part for part in found if part is not None and {p["key"] for p in part.facts["parts"]} <= have]
    if len(whole) == len(batch.layouts):
        return whole
    for part in found:
        if part is not None and part not in whole:
            store.delete(part.record)
    return _lay_out(run_, extracts, before)
