"""`tamis demo`: builds the little web, crawls it, curates it, and holds what became of every picture against its fate."""

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.console import Console

from pipeline.config import Config, load
from pipeline.demo.crawl import crawl
from pipeline.demo.leaving import Derived, Left, leave
from pipeline.demo.origin import Origin
from pipeline.demo.verdict import Outcomes, Verdict, compare, describe
from pipeline.demo.world import build, config_toml, open_origin
from pipeline.errors import InputError
from pipeline.outcome import outcome_table
from pipeline.refusals import OPTED_OUT
from pipeline.report import Search
from pipeline.report import build as build_report
from pipeline.snapshot import Snapshot
from pipeline.stage import find
from pipeline.store import Store

QUERIES = ("a fruit to eat", "an animal with a tail", "something to drive or ride")
_MEMORY = "web.json"

Ingest = Callable[..., Snapshot]
Ask = Callable[[str, Sequence[str], int], list[Search]]


def run_demo(
    folder: Path,
    ingest: Ingest,
    ask: Ask,
    derived: Sequence[Derived],
    *,
    pictures: int | None = None,
    quiet: bool = False,
) -> bool:
    """Run the demo in a folder (again is fine) and return whether every fate came true.

    `ingest`, `ask` and `derived` (what is to be erased besides) come from above, where the index is known.
    """
    console = Console(quiet=quiet)
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / _MEMORY).exists():
        raise InputError(f"{folder} holds something else; name a new folder for the demo")
    folder.mkdir(parents=True, exist_ok=True)
    origin, began, new_web = _origin(folder)
    with origin:
        console.print("[bold]1[/] drawing a little web of real pictures, each with a known fate …")
        world = build(origin, pictures=pictures)
        origin.publish(world.replies)
        console.print(f"  {len(world.fates):,} pictures on {len(world.pages)} pages of {len(origin.hosts)} sites")
        console.print("[bold]2[/] crawling its pages into WARC …")
        if new_web:
            shutil.rmtree(folder / "crawl", ignore_errors=True)
            crawl(world.crawl_urls, folder / "crawl", date=began)
        for path in sorted((folder / "crawl").glob("*.warc.gz")):
            console.print(f"  {path}", soft_wrap=True, highlight=False)
        origin.take_requests()
        console.print("[bold]3[/] tamis ingest crawl.toml …")
        (folder / "crawl.toml").write_text(config_toml(folder, origin), encoding="utf-8")
        config = load(folder / "crawl.toml")
        snapshot = ingest(config, quiet=quiet)
        store = Store.open_url(config.dataset)
        verdict = compare(world.fates, outcomes(store, snapshot), origin.take_requests())
        console.print("[bold]4[/] a painter, the owner of one address and somebody with a picture ask to be left out …")
        left = leave(store, world.leaving, derived, folder / "receipt.json")
        console.print("[bold]5[/] the same crawl once more: what left does not come back …")
        later = ingest(config, quiet=quiet)
        fates = [fate.after_removal() for fate in world.fates]
        after = compare(fates, outcomes(store, later), origin.take_requests())
    report = folder / "report.html"
    build_report(store, report, searches=ask(config.dataset, QUERIES, 8))
    (folder / "verdict.json").write_text(json.dumps({**verdict.to_json(), "after_removal": after.to_json()}, indent=1))
    _print(console, config, (snapshot, later), (verdict, after), left)
    return verdict.ok and after.ok


def _origin(folder: Path) -> tuple[Origin, datetime, bool]:
    """Bind the port of the last time if it is free, and take its date and crawl, so that running again finds its work done."""
    remembered = folder / _MEMORY
    known: dict[str, Any] = json.loads(remembered.read_text()) if remembered.exists() else {"port": 0}
    try:
        origin = open_origin(known["port"])
    except OSError:
        origin = open_origin()
    new_web = origin.port != known["port"] or not (folder / "crawl").exists()
    if origin.port != known["port"]:
        known = {"port": origin.port, "date": datetime.now(UTC).replace(microsecond=0).isoformat()}
        remembered.write_text(json.dumps(known))
    return origin, datetime.fromisoformat(known["date"]), new_web


def outcomes(store: Store, snapshot: Snapshot) -> Outcomes:
    """Return what became of every pair: the decision, or the refusal at extraction (which keeps no text).

    A row that was erased no longer says which pair it was: its uid does.
    """
    found: dict[tuple[str, str], str | None] = {}
    for key in snapshot.extracts:
        part = find(store, "extract", key)
        assert part is not None
        for row in part.table(store, "refused.parquet").to_pylist():
            found[row["url"], ""] = row["reason"]
    for entry in snapshot.parts:
        candidates = find(store, "candidates", entry.candidates)
        decided = find(store, "decide", entry.stages["decide"][-1])
        assert candidates is not None
        assert decided is not None
        rows = candidates.table(store, columns=["uid", "url", "text"])
        decisions = decided.table(store, columns=["uid", "reason"])
        at = pc.index_in(rows["uid"].combine_chunks(), decisions["uid"].combine_chunks())
        reasons = decisions["reason"].combine_chunks().take(at)
        names = (rows[name].to_pylist() for name in ("uid", "url", "text"))
        for uid, url, text, reason in zip(*names, reasons.to_pylist(), strict=True):
            found[(url, text) if url is not None else (uid.hex(), "")] = reason
    return found


def _print(
    console: Console,
    config: Config,
    snapshots: tuple[Snapshot, Snapshot],
    verdicts: tuple[Verdict, Verdict],
    left: Left,
) -> None:
    """Show the tables: the first ingest's, who left, and what the second one says of it; then where everything is."""
    for shown in (verdicts[0].confusion(), verdicts[0].figures(), outcome_table(snapshots[0]), left.table()):
        console.print()
        console.print(shown)
    scan, applied = left.proof.scan, left.applied
    console.print(
        f"{applied.uids:,} samples erased from {len(applied.files()):,} files; {scan.files:,} files "
        f"({scan.read_bytes / 1e6:,.1f} MB) searched: nothing of them is left",
        highlight=False,
    )
    gone, was, now = snapshots[1].dropped.get(OPTED_OUT, 0), snapshots[0].rows, snapshots[1].rows
    console.print(f"ingested again: {gone:,} rows left out on request, {was:,} rows became {now:,}", highlight=False)
    console.print()
    console.print("[bold]the first receipt, checked offline[/]")
    console.print("  " + "\n  ".join(left.receipt_says()), highlight=False, markup=False, soft_wrap=True)
    console.print()
    violations = [*verdicts[0].violations, *verdicts[1].violations]
    if violations:
        console.print(f"[red bold]{len(violations)} fates did not come true[/]")
        console.print(describe(violations), soft_wrap=True, markup=False)
    for name, value in (
        ("report", str(left.receipt.with_name("report.html"))),
        ("receipt", str(left.receipt)),
        ("shards", f"{config.dataset}/shards/{snapshots[1].folder}/"),
        ("search", f'tamis search {config.dataset} --text "a red fruit" --html found.html'),
    ):
        console.print(f"[bold]{name:<8}[/] {value}", soft_wrap=True, highlight=False)
