"""`tamis serve`: search, and requests of those who are in it, for programs and people."""

import json
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import RegistryUrl

if TYPE_CHECKING:
    from index.serve.settings import Settings
    from pipeline.exposure import Checkpoints


def mount(app: typer.Typer, checkpoints: "Checkpoints | None" = None) -> None:
    """Add the verb to the command line; `checkpoints` tells which trained models saw a sample."""

    @app.command("serve")
    @wraps(_asked)
    def serve(**options: Any) -> None:
        _serve(*_asked(**options), checkpoints)


def _asked(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET…", help="Folders or s3:// addresses; NAME=PATH gives another name")
    ],
    host: Annotated[str, typer.Option(help="Address to bind to; 0.0.0.0 for everybody")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    title: Annotated[str, typer.Option(help="Name on the pages")] = "tamis",
    admin_token_file: Annotated[
        Path | None, typer.Option(help="File with the desk's token; TAMIS_DESK_TOKEN, or no desk, when absent")
    ] = None,
    trust_requests: Annotated[
        bool, typer.Option("--trust-requests", help="Requests from the web hide at once, without an officer's word")
    ] = False,
    trust_proxy: Annotated[
        bool, typer.Option("--trust-proxy", help="Behind a proxy: the client is X-Forwarded-For's last entry")
    ] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="Host header that is answered (repeat it)")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Web origin whose pages may call the search API (repeat it; * for all)")
    ] = None,
    fetch_from: Annotated[
        list[str] | None, typer.Option(help="Private host, address or network that `image_url` may name (repeat it)")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Requests a client may make per second; 0: any number")] = 50.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that search")] = 2,
    inline_pictures: Annotated[
        bool, typer.Option("--inline-pictures", help="clip-retrieval's API sends the stored pictures along (base64)")
    ] = False,
    access_log: Annotated[
        Path | None, typer.Option(help="File for one JSON line a request; stderr when absent")
    ] = None,
    registry: RegistryUrl = None,
) -> tuple[list[str], Any, Path | None]:
    """Serve data sets over HTTP: pages, a JSON API, and clip-retrieval's API."""
    from index.serve.settings import Settings

    settings = Settings(
        title=title, host=host, port=port, host_names=tuple(allow_host or ()), allow_origins=tuple(allow_origin or ()),
        trust_proxy=trust_proxy, desk_token=_token(admin_token_file), trust_requests=trust_requests,
        registry_url=registry, allow_hosts=tuple(fetch_from or ()), rate_per_s=rate, burst=4 * rate, threads=threads,
        inline_pictures=inline_pictures,
    )  # fmt: skip
    return datasets, settings, access_log


def _serve(
    datasets: list[str], settings: "Settings", access_log: Path | None, checkpoints: "Checkpoints | None"
) -> None:
    import logging

    from index.serve.app import create_app
    from index.serve.catalogue import Catalogue
    from index.serve.office import one_registry_each
    from index.serve.server import listen, run
    from pipeline.registry.place import lacking

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    catalogue = Catalogue.open(datasets, checkpoints=checkpoints)
    for one in catalogue.all():
        if wants := lacking(one.store, settings.registry_url):
            print(f"tamis: {one.name}: requests from the web cannot be taken: {wants}", file=sys.stderr)
    one_registry_each(catalogue.all(), settings.registry_url)
    listening = listen(settings)
    where = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{where}:{listening.getsockname()[1]}/"
    told = [{"name": one.name, "snapshot": one.searcher.snapshot.number} for one in catalogue.all()]
    print(json.dumps({"address": address, "datasets": told}), flush=True)
    stream = sys.stderr if access_log is None else access_log.open("a", encoding="utf-8", buffering=1)
    run(create_app(catalogue, settings, lambda line: print(line, file=stream)), settings, listening)


def _token(file: Path | None) -> str | None:
    """Return the desk's token, or None for no desk; a short one is refused, since it can be guessed."""
    import os

    from pipeline.errors import InputError

    try:
        token = os.environ.get("TAMIS_DESK_TOKEN") if file is None else file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"--admin-token-file: {error}") from error
    if token is not None and len(token) < 16:
        raise InputError("the desk's token is shorter than 16 characters; `openssl rand -base64 24` makes a good one")
    return token
