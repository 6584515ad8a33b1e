"""`tamis dedup`: look for copies in a data set as it is, and show them; measure how many would be found."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.config import CopiesConfig
    from pipeline.dedup.survey import Survey
    from pipeline.near.source import Spread
    from pipeline.snapshot import Snapshot

_CHANGE = (
    "nothing was changed; `tamis ingest` drops copies in its own stage, by [copies] of the run's file: set what you "
    "chose here and run it again (nothing is fetched or embedded twice)"
)


def mount(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(dedup)


def dedup(
    dataset: Dataset,
    report: Annotated[Path | None, typer.Option(help="Write a page with the figures and the largest groups")] = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Measure instead, on altered pictures of this data set, what is found")
    ] = False,
    sample: Annotated[int, typer.Option(min=2, max=5_000, help="Pictures that --bench alters")] = 100,
    target_recall: Annotated[
        float | None, typer.Option(min=0.5, max=0.9999, help="Share of near embeddings to be found; the run's own")
    ] = None,
    neighbour_cos: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Cosine that proposes a pair; the run's own when absent")
    ] = None,
    semantic_cos: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Tell too what thinning at this cosine would remove")
    ] = None,
    in_shards: Annotated[
        bool, typer.Option("--in-shards", help="Look only at what is in the shards, not at what was dropped before")
    ] = False,
    scratch: Annotated[
        str | None,
        typer.Option(
            help="Folder or s3:// address, seen by all workers, for vectors put aside meanwhile; TMPDIR when absent"
        ),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running dask scheduler, tcp://…")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one a core when absent")] = None,
    as_json: Json = False,
) -> None:
    """Find the copies in the newest snapshot and say what they are; changes nothing."""
    from pipeline import snapshot as snapshots
    from pipeline.near.spill import spilled_locally
    from pipeline.store import Store

    store = Store.open_url(dataset)
    snapshot = snapshots.require_latest(store)
    config = _config(snapshot, target_recall, neighbour_cos, semantic_cos)
    with _spread(scheduler, workers) as spread, spilled_locally(scratch) as spill:
        if bench:
            from pipeline.dedup.bench import measure
            from pipeline.dedup.page import write_bench

            measured = measure(store, snapshot, config, spread, spill, sample)
            if report is not None:
                write_bench(report, measured)
            print(json.dumps(measured.to_json(), indent=1) if as_json else measured.table(), flush=True)
        else:
            from pipeline.dedup.page import write_survey
            from pipeline.dedup.survey import survey

            found = survey(store, snapshot, config, spread, spill, in_shards=in_shards)
            if report is not None:
                write_survey(report, found)
            _print(found, as_json=as_json)
    if report is not None and not as_json:
        print(f"wrote {report}")


def _config(
    snapshot: "Snapshot", target_recall: float | None, neighbour_cos: float | None, semantic_cos: float | None
) -> "CopiesConfig":
    """Return the run's own [copies] with what was asked for otherwise; keys of later versions have their defaults."""
    from pipeline.config import CopiesConfig

    asked = {"target_recall": target_recall, "neighbour_cos": neighbour_cos, "semantic_cos": semantic_cos}
    own: dict[str, Any] = dict(snapshot.config.get("copies", {}))
    return CopiesConfig(**{**own, **{name: value for name, value in asked.items() if value is not None}})


@contextmanager
def _spread(scheduler: str | None, workers: int | None) -> "Iterator[Spread]":
    from pipeline.engine import connect

    with connect(scheduler, workers, None, 2) as engine:
        yield engine.map


def _print(found: "Survey", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        return
    where = " in the shards" if found.in_shards else " looked at"
    dropped, largest = sum(found.sizes) - len(found.sizes), max(found.sizes, default=0)
    lines = [f"snapshot    {found.snapshot:06d}: {found.looked_at:,} pictures{where}"]
    lines.append(f"embeddings  {found.search.get('how', 'none')}{_recall(found.search.get('recall'))}")
    lines.append(f"pairs       {found.pairs:,} proposed, {found.verified:,} verified by pixels")
    lines += [
        f"  {means.name:<14} {means.proposed:>9,} proposed {means.verified:>9,} verified {means.alone:>9,} by it alone"
        for means in found.means
    ]
    lines.append(f"groups      {len(found.sizes):,} of {sum(found.sizes):,} pictures, the largest of {largest:,}")
    lines.append("            now " + (", ".join(f"{n:,} {fate}" for fate, n in found.fates.items()) or "none"))
    lines.append(
        f"copies      {dropped:,} are not the best of their group; {found.still_in:,} of them are in the shards"
    )
    if found.thinning is not None:
        ours, chains = (found.thinning[name] for name in ("semantic_near", "semantic_near_by_chains"))
        lines.append(f"thinning    at {found.config.semantic_cos:g} would drop {ours:,} more")
        lines.append(f"            (SemDeDup's rule, which compares with dropped pictures too: {chains:,})")
    print("\n".join([*lines, _CHANGE]))


def _recall(told: dict[str, Any] | None) -> str:
    """Say how much of the near pairs is found, where that was measured."""
    if not told or told["frac"] is None:
        return ""
    return (
        f"; finds {told['frac']:.1%} of near pairs ({told['low']:.1%} to {told['high']:.1%}, {told['pairs']:,} asked)"
    )
