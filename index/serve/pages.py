"""The web pages and their static files: shells without any data in them, filled in the browser through the API."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from index.serve.state import state_of

router = APIRouter(include_in_schema=False)
_TYPES: Final = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
}  # fmt: skip


@dataclass(frozen=True)
class StaticFile:
    """A file of ours, read once: no request ever names a path of the disk."""

    data: bytes
    content_type: str
    etag: str


def page(
    request: Request, template: str, *, dataset: str = "", here: str | None = None, status: int = 200, **facts: str
) -> HTMLResponse:
    """Return `templates/<template>` in the frame; a data set that is not served gives the page that says so (404).

    `here` is the last part of the page's path in the navigation; `facts` are what the template itself asks for.
    """
    state = state_of(request)
    names = state.catalogue.names
    if dataset and dataset not in names:
        dataset, template, status, here = "", "missing.html", 404, None
    shown = (
        _environment()
        .get_template(template)
        .render(title=state.settings.title, datasets=names, dataset=dataset, here=here, **facts)
    )
    # asked for again each time: a page names the data sets, and an old one would load scripts that have changed
    return HTMLResponse(shown, status, {"Cache-Control": "no-cache"})


@router.get("/")
def first(request: Request) -> Response:
    """Lead to the search of the data set that was named first."""
    names = state_of(request).catalogue.names
    return RedirectResponse(f"/d/{quote(names[0], safe='')}/") if names else page(request, "missing.html", status=404)


@router.get("/d/{name}")
def unslashed(name: str) -> Response:
    """Lead to the search of a data set."""
    return RedirectResponse(f"/d/{quote(name, safe='')}/")


@router.get("/d/{name}/")
def search(name: str, request: Request) -> Response:
    """Show the search of a data set."""
    return page(request, "search.html", dataset=name, here="")


@router.get("/d/{name}/about")
def about(name: str, request: Request) -> Response:
    """Show what a data set is made of."""
    return page(request, "about.html", dataset=name, here="about")


@router.get("/d/{name}/s/{uid}")
def sample(name: str, uid: str, request: Request) -> Response:
    """Show everything known of a sample; whether there is one, the API tells the page."""
    return page(request, "sample.html", dataset=name, uid=uid)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """Return one of our own files."""
    found = static_files().get(name)
    if found is None:
        return page(request, "missing.html", status=404)
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.content_type, headers=headers)


@cache
def static_files() -> dict[str, StaticFile]:
    """Return every style sheet, script and drawing of the pages, by name."""
    found = {}
    for entry in files("index.serve").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if kind is not None:
            data = entry.read_bytes()
            found[entry.name] = StaticFile(data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')
    return found


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("index.serve"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
