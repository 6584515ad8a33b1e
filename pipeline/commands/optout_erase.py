"""`tamis optout apply` and `tamis optout verify`: erase what is hidden, and prove that it is gone."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, asked

if TYPE_CHECKING:
    from pipeline.erasure.apply import Applied
    from pipeline.erasure.prove import Proof
    from pipeline.store import Store

Again = Annotated[bool, typer.Option("--again", help="Erase also what was erased before, wherever it came back")]
OneRequest = Annotated[str | None, typer.Option("--request", help="One request; all that are erased when absent")]


def _print_applied(dataset: str, done: "Applied") -> None:
    if not done.uids:
        print("nothing waits to be erased")
        return
    written = f"{done.in_place_bytes / 1e6:,.1f} MB written in place, {done.table_bytes / 1e6:,.1f} MB as new files"
    print(f"erased {done.uids:,} samples in {done.seconds:.1f} s: {len(done.files()):,} files, {written}")
    for name, n in done.counts.items():
        print(f"  {name:<12}{n:>10,}")
    print(f"prove it: tamis optout verify {dataset}")


def _progress(quiet: bool) -> Callable[[str, int, int], None]:
    def show(what: str, done: int, total: int) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"\r{what} {done:,}/{total:,} files", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def _print_proof(dataset: str, store: "Store", proof: "Proof", hidden: int) -> None:
    scan = proof.scan
    if hidden:
        print(f"{hidden:,} requests are hidden and not erased, nothing of them is proved: tamis optout apply {dataset}")
    if not proof.closed and not proof.open:
        print("no request waits to be verified")
        return
    speed = scan.read_bytes / 1e6 / scan.seconds if scan.seconds else 0.0
    print(f"{scan.files:,} files, {scan.read_bytes / 1e6:,.1f} MB searched at {speed:,.0f} MB/s")
    for finding in proof.findings:
        print(f"FOUND  {finding.file}, {finding.place}: {finding.what}")
    for id_, name in zip(proof.closed, proof.reports, strict=True):
        print(f"closed {id_}: {store.uri(name)}")
    if proof.findings:
        print(
            f"erase what is left: tamis optout apply {dataset} --again; files that are no part of the data set are yours to delete"
        )


def verify(
    dataset: Dataset, request_id: OneRequest = None, registry_url: RegistryUrl = None, as_json: Json = False
) -> None:
    """Search every byte for what was erased, close and forget the requests, sign reports; 3 when something is left."""
    from pipeline.erasure.prove import verify as prove

    store, registry = asked(dataset, registry_url)
    proof = prove(store, registry, request_id, lambda what: None if as_json else print(what, file=sys.stderr))
    if as_json:
        scan = proof.scan
        facts = {"files": scan.files, "bytes": scan.read_bytes, "seconds": scan.seconds, "twins": sorted(scan.twins)}
        left = {id_: [finding.to_json() for finding in found] for id_, found in proof.open.items()}
        print(json.dumps({**facts, "closed": proof.closed, "findings": left, "reports": proof.reports}, indent=1))
    else:
        _print_proof(dataset, store, proof, registry.counts().get("tombstoned", 0))
    if proof.findings:
        raise typer.Exit(3)


def mount(app: typer.Typer, derived: "Sequence[Callable[[Store, frozenset[bytes]], list[str]]]" = ()) -> None:
    """Give an app the two verbs; `derived` erase from what was made of the data set and is not known here (the index)."""

    def apply(dataset: Dataset, again: Again = False, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
        """Erase what is hidden, in every store; run it again after any interruption."""
        from pipeline.erasure.apply import apply as run
        from pipeline.identify import take_up_lists

        store, registry = asked(dataset, registry_url)
        take_up_lists(store, registry)  # imported lists have not been looked for in the data set before
        done = run(store, registry, derived=derived, progress=_progress(as_json), again=again)
        if as_json:
            facts = {
                name: getattr(done, name) for name in ("uids", "counts", "in_place_bytes", "table_bytes", "seconds")
            }
            erasures = [erasure.number for erasure in done.erasures]
            print(json.dumps({**facts, "erasures": erasures, "files": done.files()}, indent=1))
        else:
            _print_applied(dataset, done)

    app.command("apply")(apply)
    app.command("verify")(verify)
