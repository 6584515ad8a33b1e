"""`tamis recheck`: ask the hosts again before a release."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl

if TYPE_CHECKING:
    from pipeline.recheck import Findings
    from pipeline.recheck_requests import Wanted


def mount(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(recheck)


def recheck(
    dataset: Dataset,
    sample: Annotated[
        int | None,
        typer.Option(
            min=0, help="Pictures of a host whose headers are looked at; absent: up to 100, all of a small host"
        ),
    ] = None,
    max_age_hours: Annotated[
        float, typer.Option(min=0, max=24, help="Answers younger than this are not asked for again")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what has changed and request nothing")] = False,
    registry: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Ask the newest snapshot's hosts again what they allow; what they deny by now becomes requests."""
    from pipeline import snapshot as snapshots
    from pipeline.recheck import recheck as run
    from pipeline.recheck_requests import ask_for, wanted
    from pipeline.registry.registry import Registry
    from pipeline.store import Store

    store = Store.open_url(dataset)
    found = run(store, snapshots.require_latest(store), sample=sample, max_age_s=max_age_hours * 3600)
    requests = wanted(found)
    made: list[dict[str, Any]] = []
    if requests and not dry_run:
        made = ask_for(Registry.open(store, registry), requests, found.snapshot)
    if as_json:
        print(json.dumps(_told(found, requests, made), indent=1, ensure_ascii=False))
    else:
        _print(found, requests, made, dry_run=dry_run)


def _told(found: "Findings", requests: "list[Wanted]", made: list[dict[str, Any]]) -> dict[str, Any]:
    entered = made or [{} for _ in requests]
    return {
        "snapshot": found.snapshot,
        "pairs": found.pairs,
        "sites": len(found.sites),
        "unreachable": found.unreachable,
        "headers": {"looked_at": found.looked_at, "gone": found.gone, "unanswered": found.unanswered},
        "changes": [change._asdict() for change in found.changes],
        "requests": [asdict(request) | entry for request, entry in zip(requests, entered, strict=True)],
    }


def _print(found: "Findings", requests: "list[Wanted]", made: list[dict[str, Any]], *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"snapshot {found.snapshot:06d}: {found.pairs:,} pairs, {len(found.sites):,} sites asked, {len(found.unreachable):,} "
        f"unreachable; headers of {found.looked_at:,} pictures, {found.gone:,} gone, {found.unanswered:,} without an answer",
        soft_wrap=True,
        highlight=False,
    )
    if found.changes:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("site", "mechanism", "use", "then", "now", "addresses"):
            table.add_column(name, justify="right" if name == "addresses" else "left")
        for change in found.changes:
            table.add_row(*(escape(word) for word in change[:5]), f"{change.addresses:,}")
        console.print(table)
    else:
        console.print("nobody has changed a word")
    for number, request in enumerate(requests):
        state = f"{made[number]['id']} {'new' if made[number]['new'] else 'known'}" if made else "not requested"
        what = f"{request.kind} {request.value}: {request.reason}, {request.pairs:,} pairs ({state})"
        console.print(escape(what), soft_wrap=True, highlight=False)
    if requests and not dry_run:
        console.print("`tamis optout apply` erases them; the next `tamis ingest` leaves them out", highlight=False)
