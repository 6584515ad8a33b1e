"""The group `tamis optout`: everything between "please remove my picture" and the proof that it is gone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.commands import optout_erase, optout_match, optout_papers, optout_requests

if TYPE_CHECKING:
    from pipeline.store import Store


def group(derived: "Sequence[Callable[[Store, frozenset[bytes]], list[str]]]" = ()) -> typer.Typer:
    """Return the group of commands; `derived` erase from what was made of the data set (see optout_erase)."""
    app = typer.Typer(no_args_is_help=True, help="Requests to be left out: take them in, carry them out, prove it.")
    optout_requests.mount(app)
    optout_match.mount(app)
    optout_papers.mount(app)
    optout_erase.mount(app, derived)
    return app
