"""Measure what copy detection finds: pictures of the data set itself, altered in known ways, against all that were drawn.

Every altered picture is a question: is its original found among the sample? Recall is the share found; precision the share
of the sample's pictures that were named which are the original (or show the same: pictures of the sample that verify
as copies of each other count as one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_spec import ModelSpec
from pipeline.config import CopiesConfig
from pipeline.copies_reduce import options_of
from pipeline.copies_rows import gather
from pipeline.dedup.bench_tasks import A_TASK, Answer, alike, ask, joined, same_pictures, see
from pipeline.dedup.survey import Chosen
from pipeline.dedup.transforms import TRANSFORMS
from pipeline.errors import InputError
from pipeline.near.plan import Recall
from pipeline.near.source import Spread
from pipeline.near.spill import Spill
from pipeline.report_rows import way
from pipeline.snapshot import Snapshot
from pipeline.store import Store
from pipeline.tombstones import read as read_tombstones

COSINES = (0.80, 0.85, 0.90, 0.95)
VERIFIED = "verified"
_CURVE = tuple(round(0.60 + 0.01 * step, 2) for step in range(40))


@dataclass(frozen=True)
class Counted:
    """What one means found of one transform's copies: of the altered pictures, and of the pictures it named."""

    recall: Recall
    precision: Recall


@dataclass(frozen=True)
class Measured:
    """Transform → means → what was counted; and the embedding's curve over cosines, all transforms together."""

    name: str
    snapshot: int
    model: str
    sample: int
    config: CopiesConfig
    cells: dict[str, dict[str, Counted]]
    curve: Sequence[tuple[float, float | None, float | None]]  # cosine, recall, precision

    @property
    def means(self) -> list[str]:
        """Return the names of the means, in order."""
        return list(next(iter(self.cells.values()), {}))

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""

        def told(share: Recall) -> dict[str, Any]:
            return {"found": share.found, "of": share.pairs, "frac": share.frac, "interval": share.interval}

        cells = {
            transform: {m: {"recall": told(c.recall), "precision": told(c.precision)} for m, c in row.items()}
            for transform, row in self.cells.items()
        }
        return {
            "snapshot": self.snapshot,
            "model": self.model,
            "sample": self.sample,
            "config": self.config.model_dump(mode="json"),
            "transforms": cells,
            "curve": [dict(zip(("cos", "recall", "precision"), point, strict=True)) for point in self.curve],
        }

    def table(self) -> str:
        """Return a table for the terminal: recall, and in the last line each means' precision over all."""
        means = self.means
        lines = [
            f"{self.sample:,} pictures of snapshot {self.snapshot:06d}, {self.model}; recall with its 95 % interval"
        ]
        lines.append(f"{'':<17}" + "".join(f"{name:>16}" for name in means))
        for transform, row in self.cells.items():
            lines.append(f"{transform:<17}" + "".join(f"{_cell(row[name].recall):>16}" for name in means))
        total = {name: added([row[name].precision for row in self.cells.values()]) for name in means}
        lines.append(f"{'precision, all':<17}" + "".join(f"{_cell(total[name]):>16}" for name in means))
        return "\n".join(lines)


def added(shares: Sequence[Recall]) -> Recall:
    """Add counts up."""
    return Recall(sum(share.found for share in shares), sum(share.pairs for share in shares))


def _cell(share: Recall) -> str:
    if share.frac is None:
        return "–"
    low, high = share.interval
    return f"{share.frac:.2f} {low:.2f}–{high:.2f}"


def measure(
    store: Store, snapshot: Snapshot, config: CopiesConfig, spread: Spread, spill: Spill, sample: int
) -> Measured:
    """Alter a sample of the snapshot's kept pictures, and count what each means finds. InputError where there are too few."""
    parts = [way(store, entry).files for entry in snapshot.parts]
    gone = Chosen.without(True, read_tombstones(store))
    looked = gather(store, parts, spread, spill.inner("rows"), gone)
    if looked is None or len(looked) < 2:
        raise InputError(f"{store.root}: fewer than two pictures are kept; there is nothing to tell apart")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(looked), min(sample, len(looked)), replace=False))
    clip = snapshot.config["clip"]
    spec = ModelSpec(clip["model"], clip["pretrained"], clip["precision"])
    pieces = [rows[at : at + A_TASK] for at in range(0, len(rows), A_TASK)]
    originals = joined(spread(see, [(looked.pictures, piece, spec) for piece in pieces]))
    options = options_of(config)
    same = same_pictures(
        spread(alike, [(looked.pictures, rows, piece, originals, options) for piece in pieces]), len(rows)
    )
    answers = spread(ask, [(looked.pictures, rows, piece, originals, options, spec) for piece in pieces])
    cells, curve = _counted([answer for some in answers for answer in some], same, config)
    return Measured(
        store.root.rstrip("/").rsplit("/", 1)[-1], snapshot.number, spec.model, len(rows), config, cells, curve
    )


def _counted(
    answers: Sequence[Answer], same: NDArray[np.bool_], config: CopiesConfig
) -> tuple[dict[str, dict[str, Counted]], list[tuple[float, float | None, float | None]]]:
    def count(mine: Sequence[Answer], named: Any) -> Counted:
        found = right = total = 0
        for answer in mine:
            hits = named(answer)
            found += bool((hits & same[answer.origin]).any())
            right += int((hits & same[answer.origin]).sum())
            total += int(hits.sum())
        return Counted(Recall(found, len(mine)), Recall(right, total))

    means: dict[str, Any] = {
        f"pHash ≤ {config.phash_bits}": lambda a: a.phash <= config.phash_bits,
        f"PDQ ≤ {config.pdq_bits}": lambda a: a.pdq <= config.pdq_bits,
        **{f"cos ≥ {least:.2f}": (lambda a, least=least: a.cos >= least) for least in COSINES},
        VERIFIED: lambda a: a.verified,
    }
    cells = {
        transform: {
            name: count([a for a in answers if a.transform == transform], named) for name, named in means.items()
        }
        for transform in TRANSFORMS
    }
    curve = []
    for least in _CURVE:
        counted = count(answers, lambda a, least=least: a.cos >= least)
        curve.append((least, counted.recall.frac, counted.precision.frac))
    return cells, curve
