"""The group `tamis optout`: everything between "please remove my picture" and the proof that it is gone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.commands import optout_erase, optout_match, optout_papers, optout_requests

if TYPE_CHECKING:
    from pipeline.exposure import Checkpoints
    from pipeline.store import Store


def group(
    derived: "Sequence[Callable[[Store, frozenset[bytes]], list[str]]]" = (),
    checkpoints: "Checkpoints | None" = None,
) -> typer.Typer:
    """Return the group of commands; `derived` erase from what was made of the data set (see optout_erase).

    `checkpoints` tells which trained models saw a row.
    """
    app = typer.Typer(no_args_is_help=True, help="Requests to be left out: take them in, carry them out, prove it.")
    optout_requests.mount(app)
    optout_match.mount(app, checkpoints)
    optout_papers.mount(app)
    optout_erase.mount(app, derived)
    return app
