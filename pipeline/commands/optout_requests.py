"""`tamis optout`: taking requests in, following them, and the papers on them."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, RequestId, asked, opened

if TYPE_CHECKING:
    from pipeline.registry.requests import Request
    from pipeline.store import Store

_VALUES = {
    "url": "A picture's or a page's address",
    "url_prefix": "Everything whose address begins so",
    "host": "Everything on one host",
    "domain": "Everything on a registrable domain and its subdomains",
    "uid": "One sample (32 hex digits)",
    "sha256": "SHA-256 of the picture's file",
    "md5": "MD5 of the picture's file",
    "pdq": "PDQ hash of the picture (64 hex digits)",
    "phash64": "64-bit perceptual hash (16 hex digits)",
    "text": "A name or phrase in the texts, as whole words",
    "creator": "Creator or copyright notice in the picture's own metadata",
}


def add(
    dataset: Dataset,
    url: Annotated[str | None, typer.Option(help=_VALUES["url"])] = None,
    url_prefix: Annotated[str | None, typer.Option(help=_VALUES["url_prefix"])] = None,
    host: Annotated[str | None, typer.Option(help=_VALUES["host"])] = None,
    domain: Annotated[str | None, typer.Option(help=_VALUES["domain"])] = None,
    uid: Annotated[str | None, typer.Option(help=_VALUES["uid"])] = None,
    sha256: Annotated[str | None, typer.Option(help=_VALUES["sha256"])] = None,
    md5: Annotated[str | None, typer.Option(help=_VALUES["md5"])] = None,
    pdq: Annotated[str | None, typer.Option(help=_VALUES["pdq"])] = None,
    phash64: Annotated[str | None, typer.Option("--phash", help=_VALUES["phash64"])] = None,
    text: Annotated[str | None, typer.Option(help=_VALUES["text"])] = None,
    creator: Annotated[str | None, typer.Option(help=_VALUES["creator"])] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture's file; its hashes are kept, the picture is not")
    ] = None,
    contact: Annotated[str | None, typer.Option(help="How to reach the person; sealed with the request's key")] = None,
    note: Annotated[str | None, typer.Option(help="What else the person said; sealed")] = None,
    category: Annotated[
        str, typer.Option(help="train, tdm, gdpr15 (only asks), gdpr17, gdpr21, copyright, dmca, csam, ncii")
    ] = "train",
    copies: Annotated[
        bool | None, typer.Option(help="Reach the picture's copies too (default: kinds that name a picture)")
    ] = None,
    distance: Annotated[
        int | None,
        typer.Option(min=1, max=63, help="Hamming radius of --pdq and --image (else 31) or --phash (else 0)"),
    ] = None,
    received: Annotated[str | None, typer.Option(help="When it arrived, where that was earlier (2026-01-31)")] = None,
    receipt: Annotated[Path | None, typer.Option(help="Write the receipt to this file")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Take a request in; what it plainly means is hidden at once, from searches, training and later ingests.

    Where a value, a contact or a note is `-`, it is read from standard input, a line each in that order.
    """
    from pipeline.picture_vector import recognised
    from pipeline.registry.clock import moment

    given = {
        "url": url, "url_prefix": url_prefix, "host": host, "domain": domain, "uid": uid, "sha256": sha256, "md5": md5, "pdq": pdq,
        "phash64": phash64, "text": text, "creator": creator, "picture": image,
    }  # fmt: skip
    kind, value = _one_named(given)
    value = value if isinstance(value, Path) else _typed(value)
    contact, note = (_typed(said) if said is not None else None for said in (contact, note))
    store, registry = opened(dataset, registry_url)
    registry.ready()
    request = registry.add(
        kind,
        recognised(store, value) if isinstance(value, Path) else value,
        contact=contact,
        note=note,
        category=category,
        copies=copies,
        distance=distance,
        received_utc=moment(received) if received else None,
    )
    from pipeline.commands.optout_papers import write_receipt
    from pipeline.identify import take_up

    take_up(store, registry, request.id)
    request = registry.get(request.id)
    registry.sign()
    if receipt is not None:
        write_receipt(registry, request.id, receipt)
    _print_taken(request, len(registry.matches(request.id)), receipt, as_json)
    _note_absence(store)


def _one_named(given: Mapping[str, str | Path | None]) -> tuple[str, str | Path]:
    """Return the one thing that was named."""
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != 1:
        raise typer.BadParameter("name exactly one thing: --url, --domain, --image, …")
    return named[0]


def _typed(value: str) -> str:
    """Return a value, read from stdin where it is `-`: arguments stay in the shell's history, and others see them in `ps`."""
    return sys.stdin.readline().strip() if value == "-" else value


def _note_absence(store: "Store") -> None:
    """Say where there is no data set yet: somebody may have mistyped the path, and a no would be kept where nobody looks."""
    if not store.names("snapshots") and not store.names("candidates"):
        print(f"note: no data set is at {store.root} yet; what is ingested there will obey this", file=sys.stderr)


def _print_taken(request: "Request", matches: int, receipt: Path | None, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**request.to_json(), "matches": matches}, indent=1))
        return
    print(f"request  {request.id}")
    print(f"due      {request.deadline_utc}")
    print(f"state    {request.state}: {_says(request, matches)}")
    if receipt is not None:
        print(f"receipt  {receipt}")


def _says(request: "Request", matches: int) -> str:
    rows = "1 row" if matches == 1 else f"{matches:,} rows"
    if request.asks:
        return "a question; `tamis optout answer` answers it"
    return {
        "proposed": f"{matches:,} pictures look alike; `tamis optout confirm-match` shows them to a person",
        "tombstoned": f"{rows} found and hidden; `tamis optout apply` erases them"
        if matches
        else "nothing of it is in the data set; later ingests obey it",
    }.get(request.state, "taken in; ingests obey it")


def import_(
    dataset: Dataset,
    file: Annotated[
        Path, typer.Argument(help="NDJSON, CSV, TSV, Parquet, or plain lines; .gz too; - is standard input")
    ],
    kind: Annotated[str | None, typer.Option(help="What plain lines are: url, domain, sha256, md5, pdq, …")] = None,
    source: Annotated[
        str, typer.Option(help="Who made the list; a withdrawn line takes back what the same source listed")
    ] = "list",
    category: Annotated[str, typer.Option(help="Category of lines that name none")] = "train",
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Take a list in: every later ingest obeys it, and `tamis optout apply` carries it out on what is there."""
    from pipeline.registry.imports import import_list

    store, registry = opened(dataset, registry_url)
    live = sys.stderr.isatty() and not as_json
    done = import_list(
        registry, file, source=source, kind=kind, category=category,
        on_batch=lambda lines: print(f"\r{lines:,} lines", end="", file=sys.stderr) if live else None,
    )  # fmt: skip
    registry.sign()
    if live:
        print(file=sys.stderr)
    _note_absence(store)
    if as_json:
        print(json.dumps(done.to_json(), indent=1))
        return
    again = (
        "; the same file was imported before, nothing to do" if done.again else "" if done.lines else "; it is empty"
    )
    counts = {"added": done.added, "known": done.known, "withdrawn": done.withdrawn, "bad": done.bad}
    print(f"{done.name}: {done.lines:,} lines, " + ", ".join(f"{n:,} {what}" for what, n in counts.items()) + again)
    for example in done.examples:
        print(f"  {example}")


def list_(
    dataset: Dataset,
    state: Annotated[
        str | None,
        typer.Option(
            help="Only those in this state: received, identified, proposed, confirmed, tombstoned, erased, closed, withdrawn, refused"
        ),
    ] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """List the requests with their states and deadlines; nothing personal is shown."""
    from pipeline.registry.requests import MOVES

    if state is not None and state not in MOVES:
        raise typer.BadParameter(f"one of {', '.join(MOVES)}", param_hint="--state")
    _, registry = asked(dataset, registry_url)
    _print_requests(list(registry.requests(state)), as_json)


def overdue(
    dataset: Dataset,
    at: Annotated[str | None, typer.Option(help="As of this day instead of now")] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """List the open requests whose deadline has passed; exit code 1 when there are any."""
    from pipeline.registry import clock

    _, registry = asked(dataset, registry_url)
    now = clock.moment(at) if at else clock.now_utc()
    late = [request for request in registry.requests() if request.overdue(now)]
    _print_requests(late, as_json)
    if late:
        raise typer.Exit(1)


def _print_requests(found: "list[Request]", as_json: bool) -> None:
    if as_json:
        print(json.dumps([request.to_json() for request in found], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    from pipeline.registry.clock import now_utc

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("request", "kind", "state", "received", "due"):
        table.add_column(name, no_wrap=True)
    for request in found:
        due = request.deadline_utc[:10]
        shown = f"[red]{due} overdue[/]" if request.overdue(now_utc()) else due
        table.add_row(request.id, request.kind, request.state, request.received_utc[:10], shown)
    Console().print(table if found else "no requests")


def show(
    dataset: Dataset,
    request_id: RequestId,
    secret: Annotated[bool, typer.Option("--secret", help="Show what the person told us, too")] = False,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Show one request: its way through the states, and the rows it means."""
    _, registry = asked(dataset, registry_url)
    request = registry.get(request_id)
    rows = [
        {"uid": m.uid.hex(), "how": m.how, "score": m.score, "state": m.state} for m in registry.matches(request_id)
    ]
    told = registry.secret(request_id) if secret else None
    if as_json:
        print(
            json.dumps(
                {**request.to_json(), "matches": rows, **({"told": told} if told else {})}, indent=1, ensure_ascii=False
            )
        )
        return
    print(f"{request.id}: {request.kind}, {request.state}, due {request.deadline_utc}")
    for state, utc, leaf in request.transitions:
        print(f"  {utc}  {state}  (log entry {leaf})")
    if told:
        print(f"told     {json.dumps(told, ensure_ascii=False)}")
    for row in rows[:50]:
        score = "" if row["score"] is None else f" {row['score']:.3f}"
        print(f"  {row['uid']}  {row['how']}{score}  {row['state']}")
    if len(rows) > 50:
        print(f"  … and {len(rows) - 50:,} more (--json lists all)")


def withdraw(dataset: Dataset, request_id: RequestId, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
    """Take a request back for the person: what is only hidden comes back, what is erased stays erased, the block is lifted."""
    _end(dataset, registry_url, request_id, "withdrawn", None, as_json)


def refuse(
    dataset: Dataset,
    request_id: RequestId,
    reason: Annotated[
        str,
        typer.Option(
            help="not_identifiable, identity_not_shown, not_in_scope, manifestly_unfounded, excessive, legal_obligation"
        ),
    ],
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Refuse a request with a reason, which the person must be told (GDPR art. 12(4))."""
    from pipeline.registry.requests import REFUSALS

    if reason not in REFUSALS:
        raise typer.BadParameter(f"one of {', '.join(REFUSALS)}", param_hint="--reason")
    _end(dataset, registry_url, request_id, "refused", reason, as_json)


def _end(
    dataset: str, registry_url: str | None, request_id: str, state: str, reason: str | None, as_json: bool
) -> None:
    from dataclasses import asdict

    from pipeline.erasure.ending import end

    store, registry = asked(dataset, registry_url)
    ended = end(store, registry, request_id, state, reason)
    registry.sign()
    request = registry.get(request_id)
    if as_json:
        print(json.dumps({**request.to_json(), "rows": asdict(ended)}, indent=1))
        return
    says = [f"refused: {reason}; tell the person why, and where to complain" if reason else "withdrawn"]
    says += [f"{_rows(ended.visible)} no longer hidden by it"] if ended.visible else []
    says += [f"{ended.still_hidden:,} of them hidden by another request"] if ended.still_hidden else []
    says += [f"{_rows(ended.erased)} erased, which cannot be undone"] if ended.erased else []
    print(f"{request.id}: {'; '.join(says)}; later ingests are free to take what it named")


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def extend(dataset: Dataset, request_id: RequestId, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
    """Extend the deadline by two months; the person must be told within the first (GDPR art. 12(3))."""
    _, registry = asked(dataset, registry_url)
    request = registry.extend(request_id)
    registry.sign()
    _told(request, f"now due {request.deadline_utc}; tell the person today, with the reason", as_json)


def _told(request: "Request", says: str, as_json: bool) -> None:
    print(json.dumps(request.to_json(), indent=1) if as_json else f"{request.id}: {request.state}; {says}")


def mount(app: typer.Typer) -> None:
    """Add the verbs."""
    for name, verb in (
        ("add", add), ("import", import_), ("list", list_), ("show", show), ("withdraw", withdraw), ("refuse", refuse),
        ("extend", extend), ("overdue", overdue),
    ):  # fmt: skip
        app.command(name)(verb)
