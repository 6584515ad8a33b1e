"""The web pages and their static files: shells without any data in them, filled in the browser through the API."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

_TYPES: Final = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
}  # fmt: skip


@dataclass(frozen=True)
class StaticFile:
    """A file of ours, read once when the server starts: no request ever reaches the disk."""

    data: bytes
    content_type: str
    etag: str


class Pages:
    """What every page is made with: the frame, the server's title, the names of the data sets as they are now."""

    def __init__(self, names: Callable[[], Sequence[str]], title: str = "tamis") -> None:
        self.names, self.title = names, title
        self._environment = Environment(
            loader=PackageLoader("index.serve"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(
        self, template: str, *, dataset: str = "", here: str | None = None, status: int = 200, **facts: str
    ) -> HTMLResponse:
        """Return `templates/<template>` in the frame; a data set that is not served gives the page that says so (404).

        `here` is the last part of the path of the page in the navigation. `facts` are what the template itself asks for.
        """
        names = list(self.names())
        if dataset and dataset not in names:
            dataset, template, status, here = "", "missing.html", 404, None
        shown = self._environment.get_template(template).render(
            title=self.title, datasets=names, dataset=dataset, here=here, **facts
        )
        # a page is asked for again each time: it names the data sets, and an old one would load old scripts
        return HTMLResponse(shown, status, {"Cache-Control": "no-cache"})


def router(pages: Pages) -> APIRouter:
    """Return the routes of the search page, the page of a sample, the page about a data set, and of `/static/`."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    static = read_static()

    @routes.get("/")
    def first() -> Response:
        names = pages.names()
        return RedirectResponse(f"/d/{quote(names[0], safe='')}/") if names else pages.page("missing.html", status=404)

    @routes.get("/d/{name}/")
    def search(name: str) -> Response:
        return pages.page("search.html", dataset=name, here="")

    @routes.get("/d/{name}/about")
    def about(name: str) -> Response:
        return pages.page("about.html", dataset=name, here="about")

    @routes.get("/d/{name}/s/{uid}")
    def sample(name: str, uid: str) -> Response:
        return pages.page("sample.html", dataset=name, uid=uid)

    @routes.get("/static/{name}")
    def file(name: str, request: Request) -> Response:
        found = static.get(name)
        if found is None:
            return pages.page("missing.html", status=404)
        headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.data, media_type=found.content_type, headers=headers)

    return routes


def read_static() -> dict[str, StaticFile]:
    """Read every style sheet, script and drawing beside this module, by name."""
    found = {}
    for entry in files("index.serve").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if kind is not None:
            data = entry.read_bytes()
            found[entry.name] = StaticFile(data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')
    return found
