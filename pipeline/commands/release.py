"""Who has what: lineage of a sample, the register of releases, notices to recipients, and the papers of the law."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, opened

if TYPE_CHECKING:
    from pipeline.exposure import Checkpoints


def _lineage(checkpoints: "Checkpoints | None") -> Callable[..., None]:
    """Return the command; `checkpoints` tells which trained models saw a sample, and is not known here (the trainer)."""

    def lineage(
        dataset: Dataset,
        url: Annotated[str | None, typer.Option(help="The picture's address")] = None,
        uid: Annotated[str | None, typer.Option(help="The sample's name (32 hex digits)")] = None,
        request: Annotated[str | None, typer.Option(help="A request: all that it means")] = None,
        sha256: Annotated[
            str | None, typer.Option(help="SHA-256 of the picture's file; reads that column of every fetch")
        ] = None,
        most: Annotated[int, typer.Option(min=1, help="Samples told in full")] = 100,
        registry_url: RegistryUrl = None,
        as_json: Json = False,
    ) -> None:
        """Tell where a sample is or was: parts, shards, snapshots, index, releases, checkpoints, removals."""
        from pipeline.disclosure.lineage import lineage as trace
        from pipeline.disclosure.lineage import registry_of
        from pipeline.store import Store

        given = {"url": url, "uid": uid, "request": request, "sha256": sha256}
        asked = [(kind, value) for kind, value in given.items() if value is not None]
        if len(asked) != 1:
            raise typer.BadParameter("give exactly one of --url, --uid, --request, --sha256")
        store = Store.open_url(dataset)
        found = trace(store, *asked[0], registry_of(store, registry_url), most, checkpoints).to_json()
        if as_json:
            print(json.dumps(found, indent=1, ensure_ascii=False))
            return
        for line in _told(found):
            print(line)

    return lineage


def _told(found: dict[str, Any]) -> list[str]:
    """Return the answer as lines for a terminal."""
    from pipeline import exposure

    lines = [f"{found['found']:,} samples"] if found["found"] != 1 else ["1 sample"]
    lines += [f"refused when the crawl was read: {row['reason']} ({row['source']})" for row in found["refused"]]
    for sample in found["samples"]:
        state = "erased" if sample["erased"] else "hidden" if sample["hidden"] else "in use"
        lines += ["", f"{sample['uid']}  {state}  {sample['url'] or ''}".rstrip()]
        for part in sample["parts"]:
            lines.append(f"  part      {part['file']} row {part['row']:,}")
            for got in part["fetches"]:
                where = (
                    f"{got['tar']} at {got['offset']:,}, {got['bytes']:,} bytes"
                    if got["tar"]
                    else f"nothing kept ({got['reason']})"
                )
                lines.append(f"  fetched   {where}")
            lines += [f"  vectors   {seen['files'][0]} row {seen['row']:,}" for seen in part["embeddings"]]
        lines += [f"  {_snapshot(place)}" for place in sample["snapshots"]]
        lines += [
            f"  release   {made['release']} (snapshot {made['snapshot']}) to {made['recipient']}"
            for made in sample["releases"]
        ]
        lines += [f"  seen by   {exposure.told(seen)}" for seen in sample["checkpoints"]]
        lines += [
            f"  tombstone {stone['file']}, {stone['request']}{', lifted' if stone['lifted'] else ''}"
            for stone in sample["tombstones"]
        ]
        lines += [f"  erasure   {erasure['file']}, {erasure['utc']}" for erasure in sample["erasures"]]
    if found["more"]:
        lines += ["", f"and {found['more']:,} more; --most tells more of them"]
    return [*lines, "", f"read {found['read']['files']:,} files, {found['read']['rows']:,} rows"]


def _snapshot(place: dict[str, Any]) -> str:
    shard = place["shard"]
    if shard is None:
        return f"snapshot  {place['number']:06d}: not in it ({place['reason']})"
    where = (
        f"at {shard['offset']:,}, {shard['bytes']:,} bytes"
        if shard["present"]
        else f"row {shard['row']:,}; the file has expired"
    )
    return f"snapshot  {place['number']:06d}: {shard['file']} {where}{', in the index' if place['index'] else ''}"


def release(
    dataset: Dataset,
    to: Annotated[str, typer.Option("--to", help="Name of the recipient")],
    contact: Annotated[str, typer.Option(help="Address that removals are told to")],
    purpose: Annotated[str, typer.Option(help="What the recipient gets it for")],
    snapshot: Annotated[int | None, typer.Option(help="Number of the snapshot; the newest when absent")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Register that somebody is given a snapshot, and write the release's manifest."""
    from pipeline.disclosure.releases import read_manifest, register

    store, registry = opened(dataset, registry_url)
    made = register(store, registry, to=to, contact=contact, purpose=purpose, number=snapshot)
    manifest = read_manifest(store, made)
    if as_json:
        print(
            json.dumps(vars(made) | {"manifest": made.manifest, "root": manifest["root"]}, indent=1, ensure_ascii=False)
        )
        return
    print(f"release    {made.id}")
    print(f"manifest   {store.uri(made.manifest)}")
    print(f"root       {manifest['root']}")
    print(
        f"give away  the {len(manifest['shards']):,} shards it lists, the manifest, README.md and croissant.json; never private/"
    )


def releases(dataset: Dataset, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
    """List the releases: who was given which snapshot, when and for what."""
    from pipeline.disclosure.lineage import registry_of
    from pipeline.disclosure.releases import releases as read
    from pipeline.store import Store

    registry = registry_of(Store.open_url(dataset), registry_url)
    found = read(registry) if registry is not None else []
    if as_json:
        print(json.dumps([vars(made) for made in found], indent=1, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("release", "snapshot", "date", "recipient", "purpose"):
        table.add_column(name, overflow="fold", no_wrap=name in ("release", "date"))
    for made in found:
        table.add_row(made.id, f"{made.snapshot:06d}", made.released_utc[:10], made.recipient, made.purpose)
    Console().print(table if found else "no releases")


def notices(
    dataset: Dataset,
    delivered: Annotated[
        str | None, typer.Option(metavar="NOTICE", help="Note that this notice reached its recipient")
    ] = None,
    acknowledged: Annotated[
        str | None, typer.Option(metavar="NOTICE", help="Note that the recipient confirmed it")
    ] = None,
    failed: Annotated[
        str | None, typer.Option(metavar="NOTICE", help="Note that the recipient could not be reached")
    ] = None,
    why: Annotated[str | None, typer.Option(help="Why not")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Write a notice for every recipient that holds erased samples, and the public feed of removals; tell how far they got."""
    from pipeline.disclosure import notices as told
    from pipeline.disclosure.removals import publish

    store, registry = opened(dataset, registry_url)
    marks = [
        (what, id_)
        for what, id_ in (("delivered", delivered), ("acknowledged", acknowledged), ("failed", failed))
        if id_
    ]
    for what, id_ in marks:
        told.mark(store, registry, id_, what, why)
    done = told.Written(report=told.report(store, registry)) if marks else told.write_notices(store, registry)
    feed = [] if marks else publish(store, registry.origin)
    if as_json:
        body = {
            "written": done.files,
            "rows": done.rows,
            "feed": feed,
            "notices": done.report,
            "summary": told.summary(done.report),
        }
        print(json.dumps(body, indent=1, ensure_ascii=False))
        return
    for line in done.report:
        print(
            f"{line['state']:<13}{store.uri(line['file'])}  →  {line['recipient']} <{line['contact']}>, {line['rows']:,} rows"
        )
    for name in feed:
        print(f"feed         {store.uri(name)}")
    print(told.summary(done.report))


def disclose(
    dataset: Dataset,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; the data set's own `disclosure/` when absent")
    ] = None,
    snapshot: Annotated[int | None, typer.Option(help="Number of the snapshot; the newest when absent")] = None,
    sme: Annotated[
        bool, typer.Option("--sme", help="List the domains that a small enterprise has to: 5 % or 1,000")
    ] = False,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Write the papers: Croissant metadata, the table of domains, the EU summary, the record of processing, the public notice."""
    from pipeline.disclosure.disclose import disclose as write
    from pipeline.disclosure.lineage import registry_of
    from pipeline.disclosure.papers import missing
    from pipeline.disclosure.releases import chosen
    from pipeline.store import Store

    store = Store.open_url(dataset)
    written, facts = write(store, chosen(store, snapshot), registry_of(store, registry_url), out, sme)
    absent = missing(facts)
    if as_json:
        print(json.dumps({"written": written, "missing": absent}, indent=1))
        return
    for name in written:
        print(name if out is not None else store.uri(name))
    if absent:
        print("missing in the configuration: " + ", ".join(absent))


def mount(app: typer.Typer, checkpoints: "Checkpoints | None" = None) -> None:
    """Add the commands; `checkpoints` tells which trained models saw a sample."""
    for verb in (_lineage(checkpoints), release, releases, notices, disclose):
        app.command()(verb)
