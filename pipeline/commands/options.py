"""Arguments that many commands share, and how a data set and its registry are opened for them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.registry.registry import Registry
    from pipeline.store import Store

Dataset = Annotated[str, typer.Argument(help="Folder or s3:// address of the data set")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout")]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry", help="URL of the registry's database; TAMIS_REGISTRY, or SQLite in the data set, when absent"
    ),
]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="Id of the request (r-…)")]


def asked(dataset: str, registry_url: str | None) -> "tuple[Store, Registry]":
    """Open a data set and the registry that it has; InputError where it has none, for none is made by asking."""
    from pipeline.errors import InputError
    from pipeline.registry import place
    from pipeline.store import Store

    if not place.exists(Store.open_url(dataset), registry_url):
        raise InputError(f"{dataset}: nobody has asked for anything here yet; `tamis optout add` takes a request in")
    return opened(dataset, registry_url)


def opened(dataset: str, registry_url: str | None) -> "tuple[Store, Registry]":
    """Open a data set and its registry, which the first request makes."""
    from pipeline.registry.registry import Registry
    from pipeline.store import Store

    store = Store.open_url(dataset)
    return store, Registry.open(store, registry_url)
