"""The group `tamis optout`: everything between "please remove my picture" and the proof that it is gone."""

import typer

from pipeline.commands import optout_match, optout_papers, optout_requests


def group() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(no_args_is_help=True, help="Requests to be left out: take them in, carry them out, prove it.")
    optout_requests.mount(app)
    optout_match.mount(app)
    optout_papers.mount(app)
    return app
