"""Tables for a terminal: what was kept and why not, and what `tamis status` says."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.progress import stage_table
from pipeline.snapshot import Snapshot


def outcome_table(snapshot: Snapshot) -> Table:
    """Return the table of every reason with its rows and share."""
    return _reasons(snapshot.rows_in, snapshot.rows, snapshot.dropped, snapshot.number)


def _reasons(rows_in: int, rows: int, dropped: Mapping[str, int], number: int) -> Table:
    table = Table(
        title=f"snapshot {number:06d}: {rows_in:,} in, {rows:,} kept",
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("outcome")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    entries = [("kept", rows), *sorted(dropped.items(), key=lambda item: -item[1])]
    largest = max((n for _, n in entries), default=1) or 1
    for name, n in entries:
        colour = "green" if name == "kept" else "yellow"
        share = n / rows_in if rows_in else 0.0
        table.add_row(f"[{colour}]{name}[/]", f"{n:,}", f"{share:.1%}", f"[{colour}]{'█' * round(30 * n / largest)}[/]")
    return table


def print_status(found: Mapping[str, Any]) -> None:
    """Print what `pipeline.status.status` returned."""
    console = Console()
    run, crawl, snapshot = found["run"], found["crawl"], found["snapshot"]
    console.print(f"[bold]{found['dataset']}[/]", soft_wrap=True, highlight=False)
    if run:
        hint = {
            "killed": "; run the same `tamis ingest` again, finished parts are kept",
            "failed": "; see events.jsonl",
        }.get(run["state"], "")
        console.print(f"run: {run['state']}, started {run['started_utc']}{hint}", soft_wrap=True, highlight=False)
        console.print(stage_table(run["stages"], run["seconds"]))
    if crawl["images"]:
        console.print(
            f"crawl: {crawl['pages']:,} pages, {crawl['images']:,} img tags and list rows, "
            f"{crawl['long_enough']:,} with a text long enough, "
            f"{crawl['long_enough_in_crawl']:,} of them with the picture in the crawl",
            soft_wrap=True,
        )
    if snapshot is None:
        console.print("no snapshot published yet")
        return
    console.print(_reasons(snapshot["rows_in"], snapshot["rows"], snapshot["dropped"], snapshot["number"]))
