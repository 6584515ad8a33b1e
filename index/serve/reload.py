"""Follow the data sets: a newer snapshot is opened beside the old one and takes its place between two requests."""

import asyncio
import logging

from index.serve.catalogue import Served
from index.serve.state import State
from pipeline.errors import TamisError

LOG = logging.getLogger("tamis.serve")


async def keep_newest(state: State) -> None:
    """Look for newer snapshots until cancelled; one that cannot be opened leaves the old one in place."""
    while True:
        await asyncio.sleep(state.settings.refresh_s)
        for served in state.catalogue.all():
            outcome = await asyncio.to_thread(_refresh, served)
            if outcome:
                state.metrics.reloads.labels(served.name, outcome).inc()


def _refresh(served: Served) -> str:
    try:
        return "newer" if served.searcher.refresh() else ""
    except (TamisError, OSError, RuntimeError, ValueError, MemoryError) as error:
        # FAISS tells of a broken file by RuntimeError, Arrow by ValueError; whatever is let through here ends the watching for good
        LOG.error("%s: a newer snapshot cannot be opened, the old one is served on: %s", served.name, error)
        return "failed"
