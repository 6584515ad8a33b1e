"""`tamis optout`: answering whether something is in a data set, and settling what only looks alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, RequestId, asked

if TYPE_CHECKING:
    from pipeline.exposure import Checkpoints


def _confirm(checkpoints: "Checkpoints | None") -> Callable[..., None]:
    """Return the command; `checkpoints` tells which trained models saw a row, and is not known here (the trainer)."""

    def confirm(
        dataset: Dataset,
        url: Annotated[str | None, typer.Option(help="A picture's or a page's address")] = None,
        image: Annotated[Path | None, typer.Option(help="A picture's file; it is hashed here and kept nowhere")] = None,
        domain: Annotated[str | None, typer.Option(help="A registrable domain, with its subdomains")] = None,
        host: Annotated[str | None, typer.Option(help="One host")] = None,
        text: Annotated[str | None, typer.Option(help="A name or phrase in the texts, as whole words")] = None,
        uid: Annotated[str | None, typer.Option(help="One sample (32 hex digits)")] = None,
        sha256: Annotated[str | None, typer.Option(help="SHA-256 of the picture's file")] = None,
        md5: Annotated[str | None, typer.Option(help="MD5 of the picture's file")] = None,
        pdq: Annotated[str | None, typer.Option(help="PDQ hash of the picture (64 hex digits)")] = None,
        creator: Annotated[
            str | None, typer.Option(help="Creator or copyright notice in the picture's metadata")
        ] = None,
        registry_url: RegistryUrl = None,
        as_json: Json = False,
    ) -> None:
        """Answer whether something is in the data set: yes, no or unknown, with the rows, recipients, and what was searched."""
        given = {
            "url": url, "picture": image, "domain": domain, "host": host, "text": text, "uid": uid, "sha256": sha256, "md5": md5,
            "pdq": pdq, "creator": creator,
        }  # fmt: skip
        named = [(kind, value) for kind, value in given.items() if value is not None]
        if len(named) != 1:
            raise typer.BadParameter("ask for exactly one thing: --url, --image, --domain, …")
        from pipeline.confirm import confirm as answered
        from pipeline.picture_vector import recognised
        from pipeline.registry import place
        from pipeline.registry.registry import Registry
        from pipeline.store import Store

        kind, value = named[0]
        store = Store.open_url(dataset)
        registry = Registry.open(store, registry_url) if place.exists(store, registry_url) else None
        answer = answered(
            store,
            kind,
            recognised(store, value) if isinstance(value, Path) else value,
            registry,
            checkpoints=checkpoints,
        )
        if registry is not None:  # what was asked is not noted, only that it was, and what was said
            registry.append("confirm_answer", {"kind": kind, "found": answer["found"], "counts": answer["counts"]})
        print(json.dumps(answer, indent=1, ensure_ascii=False) if as_json else _in_words(answer))

    return confirm


def _in_words(answer: dict[str, Any]) -> str:
    counts, scope, derived = answer["counts"], answer["scope"], answer["derived"]
    lines = [f"found       {answer['found']}"]
    for row in answer["rows"]:
        inside = [name for name, reason in row["fates"].items() if reason is None]
        left_out = sorted({reason for reason in row["fates"].values() if reason is not None})
        where = (
            f"in snapshot {', '.join(inside)}"
            if inside
            else f"in no snapshot ({', '.join(left_out) or 'not judged yet'})"
        )
        lines.append(f"row         {row['uid']}  by {row['how']}, {where}{', hidden' if row['hidden'] else ''}")
        lines.append(f"            {row['url']}  {row['text']!r}")
    if (more := counts["rows"] - len(answer["rows"])) > 0:
        lines.append(f"            and {more:,} more rows")
    lines += [f"copy        {copy['uid']}" for copy in answer["copies"]]
    lines += [f"refused     {url} (its address is kept as evidence of a refusal)" for url in answer["refused"]]
    lines += [
        f"look-alike  {one['uid']}  cosine {one['cos']:.3f}; only a person can tell" for one in answer["look_alikes"]
    ]
    lines += [f"source      {name}: {rows:,} rows" for name, rows in answer["sources"].items()]
    lines += [f"derived     {name}" for kind in ("shards", "embeddings", "index") for name in derived[kind]]
    lines += [
        f"recipient   {one['recipient']} (release {one['release']}, {one['released_utc']})"
        for one in answer["releases"]
    ]
    from pipeline.exposure import told

    lines += [f"checkpoint  {one['uid']}  {told(one)}" for one in answer["checkpoints"]]
    lines += ["checkpoints none are recorded"] if not answer["checkpoints"] else []
    lines.append(
        f"searched    {scope['rows']:,} rows, {scope['pictures']:,} pictures, {len(scope['snapshots'])} snapshots"
    )
    if scope["missing"]:
        lines.append(f"            {len(scope['missing'])} parts are gone and could not be searched")
    if scope["recall"] == 1.0:
        lines.append("            such a name or digest is never missed within that")
    else:
        shares = ", ".join(f"{what} {share:g}" for what, share in scope["recall"]["picture"].items())
        lines.append("            the same file is never missed within that; of altered copies these shares are found:")
        lines.append(f"            {shares}")
        lines.append(f"            ({scope['recall']['measured_on']})")
    return "\n".join(lines)


def confirm_match(
    dataset: Dataset,
    request_id: RequestId,
    uids: Annotated[
        list[str] | None, typer.Argument(metavar="[UID]...", help="Proposals that do show the picture")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Confirm all that are still open")] = False,
    reject: Annotated[
        list[str] | None, typer.Option(metavar="UID", help="A proposal that does not; may be repeated")
    ] = None,
    reject_all: Annotated[
        bool, typer.Option("--reject-all", help="Reject all that are still open and not named")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page that shows the open proposals")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Show the pictures that look like a request's, and settle which of them are meant; what is confirmed is hidden at once."""
    from pipeline.identify import settle
    from pipeline.proposals import Proposal, proposals, write_page

    if all_ and reject_all:
        raise typer.BadParameter("either --all or --reject-all")
    store, registry = asked(dataset, registry_url)
    open_ = [match.uid for match in registry.matches(request_id, "proposed")]
    yes, no = [_uid(uid) for uid in uids or ()], [_uid(uid) for uid in reject or ()]
    rest = [uid for uid in open_ if uid not in (*yes, *no)]
    yes, no = yes + (rest if all_ else []), no + (rest if reject_all else [])
    if yes or no or not open_:
        settle(store, registry, request_id, confirm=yes, reject=no)
    shown: list[Proposal] = proposals(store, registry, request_id)
    state = registry.get(request_id).state
    if html is not None:
        write_page(html, request_id, shown)
    if as_json:
        print(json.dumps({"request": request_id, "state": state, "open": [one.to_json() for one in shown]}, indent=1))
        return
    for one in shown:
        print(f"{one.cos:6.3f}  {one.uid}  {one.text[:70]!r}  {one.url}")
    print(f"{request_id}: {state}; {len(shown)} proposals are open" + (f"; {html} shows them" if html else ""))


def accept(dataset: Dataset, request_id: RequestId, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
    """Take up what was filed on the web page: what it plainly means is hidden, and ingests obey it from now on."""
    from pipeline.held import accept as taken_up

    store, registry = asked(dataset, registry_url)
    taken_up(store, registry, request_id)
    registry.sign()
    request = registry.get(request_id)
    open_ = len(registry.matches(request_id, "proposed"))
    print(
        json.dumps(request.to_json(), indent=1)
        if as_json
        else f"{request_id}: {request.state}; {open_} proposals are open"
    )


def answer(
    dataset: Dataset,
    request_id: RequestId,
    uids: Annotated[list[str] | None, typer.Argument(metavar="[UID]...", help="Look-alikes that do show it")] = None,
    reject: Annotated[list[str] | None, typer.Option(metavar="UID", help="One that does not; may be repeated")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Answer a request of category gdpr15, which only asks, close it and forget who asked."""
    from pipeline.held import answer as answered

    store, registry = asked(dataset, registry_url)
    yes, no = [_uid(uid) for uid in uids or ()], [_uid(uid) for uid in reject or ()]
    said = answered(store, registry, request_id, confirm=yes, reject=no)
    registry.sign()
    print(json.dumps(said) if as_json else f"{request_id}: closed; {said.get('found', 'answered before')}")


def _uid(text: str) -> bytes:
    from pipeline.errors import InputError

    try:
        uid = bytes.fromhex(text)
    except ValueError:
        uid = b""
    if len(uid) != 16:
        raise InputError(f"{text!r} is no uid; 32 hex digits")
    return uid


def mount(app: typer.Typer, checkpoints: "Checkpoints | None" = None) -> None:
    """Add the verbs; `checkpoints` tells which trained models saw a row."""
    app.command("confirm")(_confirm(checkpoints))
    app.command("confirm-match")(confirm_match)
    app.command("accept")(accept)
    app.command("answer")(answer)
