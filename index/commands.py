"""The group `tamis index`: build it, keep it in step, check it."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import Dataset, Json

if TYPE_CHECKING:
    from index.record import IndexRecord
    from pipeline.engine import Engine
    from pipeline.snapshot import Snapshot
    from pipeline.store import Store

Scheduler = Annotated[str | None, typer.Option(help="Address of a running dask scheduler, tcp://…")]
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def group() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        no_args_is_help=True, help="The index of nearest neighbours: build it, keep it in step, check it."
    )
    app.command()(build)
    app.command()(sync)
    app.command()(verify)
    return app


def size_bytes(text: str) -> int:
    """Return what `4GB`, `500 MB` or `2GiB` means in bytes; BadParameter when it is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS or float(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no size; write 4GB, 500MB or 2GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def build(
    dataset: Dataset,
    memory: Annotated[
        str | None, typer.Option(help="What the opened index may hold in memory; 4GB when absent")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Share of the ten nearest that is found; 0.95 when absent")
    ] = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Build the index of the newest snapshot, measure it, and publish it where it finds as much as asked for."""
    from index.build import build as run
    from index.record import DEFAULT_MEMORY_BYTES, DEFAULT_RECALL_FRAC, Options, read_record

    options = Options(size_bytes(memory) if memory else DEFAULT_MEMORY_BYTES, recall or DEFAULT_RECALL_FRAC)
    with _held(dataset) as (store, snapshot):
        before = read_record(store, snapshot)
        with _cluster(snapshot, scheduler) as engine:
            record = run(store, snapshot, options, engine)
    _print(record, as_json, "is there already, as asked for" if record == before else "built")


def sync(dataset: Dataset, scheduler: Scheduler = None, as_json: Json = False) -> None:
    """Bring the index in step with the newest snapshot; costs what changed, and does nothing where nothing did."""
    from index.record import read_record
    from index.sync import sync as run

    with _held(dataset) as (store, snapshot):
        before = read_record(store, snapshot)
        with _cluster(snapshot, scheduler) as engine:
            record = run(store, snapshot, engine=engine)
    added = sum(
        one.rows for one in record.sides["image"].segments if one.name.startswith(f"image/{snapshot.folder}-added")
    )
    _print(
        record,
        as_json,
        "nothing to do" if record == before else f"in step, {added:,} vectors added" if added else "in step",
    )


def verify(dataset: Dataset, as_json: Json = False) -> None:
    """Re-read the index: digests, ids, whether samples find themselves, recall; exit code 3 when something is wrong."""
    from index.check import check
    from pipeline.snapshot import require_latest
    from pipeline.store import Store

    store = Store.open_url(dataset)
    found = check(store, require_latest(store))
    if as_json:
        told = {"files": found.files, "bytes": found.bytes, "recall": found.recall, "problems": found.problems}
        print(json.dumps({**found.record.told(), **told}, indent=1))
    else:
        print(f"{found.files:,} files, {found.bytes / 1e6:,.1f} MB read, {found.record.rows:,} samples")
        for modality, (across, within) in found.recall.items():
            print(f"{modality:<6} recall@10 {across:.3f} across, {within:.3f} within")
        for problem in found.problems:
            print(f"WRONG  {problem}")
        print(f"{len(found.problems)} problems" if found.problems else "everything is as promised")
    if found.problems:
        raise typer.Exit(3)


@contextmanager
def _held(dataset: str) -> "Iterator[tuple[Store, Snapshot]]":
    """Hold a data set for the time of a command; its newest snapshot is read under the lock."""
    from pipeline.lock import hold
    from pipeline.snapshot import require_latest
    from pipeline.store import Store

    store = Store.open_url(dataset)
    require_latest(store)  # explains where there is no data set, before a lock is made there
    with hold(store):
        store.sweep()  # drafts of a command that was killed: they hold rows, which may be asked to go
        yield store, require_latest(store)


@contextmanager
def _cluster(snapshot: "Snapshot", scheduler: str | None) -> "Iterator[Engine | None]":
    """Give a cluster where there is work for one: workers take longer to start than a small index to build."""
    from index.kinds import EXACT_ROWS

    if scheduler is None and snapshot.rows < EXACT_ROWS:
        yield None
        return
    from pipeline.engine import connect

    with connect(scheduler, None, None, retries=2) as engine:
        yield engine


def _print(record: "IndexRecord", as_json: bool, outcome: str) -> None:
    if as_json:
        print(json.dumps({**record.told(), "outcome": outcome}, indent=1))
        return
    print(f"snapshot {record.snapshot:06d}: {outcome}; {record.rows:,} samples, {record.dimensions} numbers each")
    for modality, side in record.sides.items():
        print(f"\n{modality:<6} {side.factory}: {side.why}")
        measured = sum(one.bytes for one in side.segments)
        print(f"       expected {_mb(side.bytes)}, measured {_mb(measured)} in {len(side.segments)} segment(s)")
        if not side.exact:
            print(f"       {'lists':>7} {'compared':>9} {'across':>7} {'within':>7} {'ms':>7}")
        for point in side.curve:
            mark = "  <- used" if point.nprobe == side.nprobe else ""
            print(
                f"       {point.nprobe:>7,} {point.depth:>9,} {point.across_frac:>7.3f} {point.within_frac:>7.3f} {point.ms:>7.2f}{mark}"
            )
    sys.stdout.flush()


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
