"""The web application: routers inside, policies around them, the newest snapshot always."""

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final

from fastapi import FastAPI

from index.serve import api, clip_retrieval, errors, health
from index.serve.access_log import AccessLog
from index.serve.aesthetic import Tastes
from index.serve.batching import Searches
from index.serve.bodies import BodyLimits
from index.serve.catalogue import Catalogue
from index.serve.cors import ReadableByOthers
from index.serve.headers import SafeHeaders
from index.serve.hosts import KnownHosts
from index.serve.metrics import Metrics
from index.serve.openapi import name_datasets
from index.serve.overview import Overviews
from index.serve.pictures import Fetches
from index.serve.rates import RateLimit
from index.serve.reload import keep_newest
from index.serve.settings import Settings
from index.serve.state import State
from index.serve.warming import Models
from index.serve.work import Work

LOG = logging.getLogger("tamis.serve")
_OTHERS: Final = ("requests_api", "desk_api", "mine_pages", "pages")


def create_app(
    catalogue: Catalogue, settings: Settings | None = None, access_log: Callable[[str], None] | None = None
) -> FastAPI:
    """Return the server of some data sets; each line of the access log goes to `access_log`."""
    settings = settings or Settings()
    state = _state(catalogue, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watcher = asyncio.create_task(keep_newest(state))
        state.models.load(catalogue.all(), settings.warm)
        yield
        watcher.cancel()
        office = getattr(app.state, "office", None)  # made by the first request to it
        if office is not None:
            await asyncio.to_thread(office.jobs.wait)
        state.work.close()
        state.slow.close()
        catalogue.close()

    app = FastAPI(
        title=settings.title,
        version="1",
        description="Nearest neighbours of texts and pictures in image/text data sets, and requests of those who are in them.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from a CDN
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # /metrics is ours, and holds nothing of who asked
    )
    app.state.tamis = state
    errors.install(app)
    for router in (health.router, api.router, clip_retrieval.router):
        app.include_router(router)
    for name in _OTHERS:
        if importlib.util.find_spec(f"index.serve.{name}"):
            app.include_router(import_module(f"index.serve.{name}").router)
    name_datasets(app, catalogue.names)
    _wrap(app, state, access_log)
    return app


def _state(catalogue: Catalogue, settings: Settings) -> State:
    work = Work(settings.threads, settings.waiting, settings.work_s)
    searches = {one.name: Searches(one, work, settings.threads, settings.waiting) for one in catalogue.all()}
    return State(
        catalogue, settings, Metrics(), work, searches, Fetches(settings), Models(catalogue.all(), settings.model_s),
        Overviews(), Tastes(), Work(2, 32, 3 * settings.work_s, "tamis-slow"),
    )  # fmt: skip


def _wrap(app: FastAPI, state: State, access_log: Callable[[str], None] | None) -> None:
    """Put the policies around an app; the first that is added here is the innermost."""
    settings = state.settings
    app.add_middleware(errors.Faults)
    app.add_middleware(BodyLimits, settings.max_body_bytes, settings.body_s)
    app.add_middleware(RateLimit, settings.rate_per_s, settings.burst, settings.trust_proxy)
    app.add_middleware(ReadableByOthers, settings.allow_origins)
    app.add_middleware(KnownHosts, settings.answered_hosts)
    app.add_middleware(SafeHeaders)
    app.add_middleware(AccessLog, state.metrics, access_log)
