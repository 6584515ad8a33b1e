"""A real server of a small data set and a real browser to look at it with; conftest files take the fixtures from here."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from warcio.warcwriter import WARCWriter

from tests import tiny

PICTURES = 70
SCRIPT = "<script>document.title='run'</script><img src=x onerror=alert(1)> & \"quoted\" text"
RIGHT_TO_LEFT = "دائرة حمراء على خلفية زرقاء \u202e olleh"
LONG = f"{'on-and-' * 30} " * 48
EMOJI = "🧑🏽‍🚀🧶 yarn and stars 🌟"
UNBROKEN = "W" * 4000
HOSTILE = tuple(
    f"{tiny.picture(n)[1]} {text}" for n, text in enumerate((SCRIPT, RIGHT_TO_LEFT, LONG, EMOJI, UNBROKEN), 5000)
)
"""Each begins with words on its picture, so that the model keeps it."""
THRESHOLD_COS = 0.1
expect.set_options(timeout=30_000)  # the first question of a server loads the model
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_HOST = "http://strangers.example"


def _hostile_crawl(path: Path) -> Path:
    """Write a crawl whose captions were made by somebody who means harm."""
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        tags = [f'<p><img src="/h/{n}.jpg" alt="{_escaped(text)}"></p>' for n, text in enumerate(HOSTILE)]
        body = f"<html lang=en><body>{''.join(tags)}</body></html>".encode()
        tiny._add(writer, f"{_HOST}/index.html", "text/html; charset=utf-8", body)
        for n in range(len(HOSTILE)):
            tiny._add(writer, f"{_HOST}/h/{n}.jpg", "image/jpeg", tiny.picture(5000 + n)[0])
    return path


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def make_dataset(folder: Path) -> Path:
    """Ingest drawn shapes and the hostile captions, as a user does; some 75 samples with an index."""
    crawl = [*tiny.write_crawl(folder / "crawl", PICTURES), _hostile_crawl(folder / "hostile.warc.gz")]
    text: dict[str, Any] = {"max_chars": 20_000}
    config = tiny.config(
        folder / "run.toml", str(folder / "shapes"), crawl, clip={"threshold": THRESHOLD_COS}, text=text
    )
    tiny.tamis("ingest", config, "--quiet")
    return folder / "shapes"


@dataclass(frozen=True)
class Serving:
    """A running `tamis serve`."""

    address: str
    """Ends without a slash."""
    process: subprocess.Popen[str]


@contextmanager
def serving(
    *datasets: str | Path, options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Iterator[Serving]:
    """Serve data sets with the command that users type, on a free port."""
    command = [sys.executable, "-m", "tamis", "serve", *map(str, datasets), "--port", "0", "--rate", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"tamis serve ended with {process.wait()}"
        yield Serving(json.loads(line)["address"].rstrip("/"), process)
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the data set of shapes; who changes it copies it first."""
    return make_dataset(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="session")
def served(shapes: Path) -> Iterator[Serving]:
    """Give a server of the data sets `shapes` and `again` (the same one by another name), for all who only look."""
    with serving(shapes, f"again={shapes}") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Give Debian's Chromium; of a module, not of the session: it runs an event loop in this thread as long as it lives."""
    if _CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium): browser tests are left out")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(context: BrowserContext, allowed: tuple[str, ...] = ()) -> Iterator[Page]:
    """Give a page whose every console error, exception and breach of the policy fails the test."""
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: _own(request.url, heard))
    yield page
    wrong = [text for text in heard if not any(part in text for part in allowed)]
    assert not wrong, wrong


def _own(url: str, heard: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        heard.append(f"the page asked a stranger: {url}")


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a watched page; its keywords are those of a browser context, and `allowed` errors."""
    managers: list[Any] = []
    contexts: list[BrowserContext] = []

    def opened(url: str = "", *, allowed: tuple[str, ...] = (), **options: Any) -> Page:
        contexts.append(
            chromium.new_context(**{"viewport": {"width": 1180, "height": 860}, "reduced_motion": "reduce", **options})
        )
        contexts[-1].set_default_timeout(20_000)
        managers.append(watched(contexts[-1], allowed))
        page: Page = managers[-1].__enter__()
        if url:
            page.goto(url)
        return page

    yield opened
    try:
        for manager in managers:
            manager.__exit__(None, None, None)
    finally:
        for context in contexts:
            context.close()


def serious(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core on a page as it is now."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} at {[node['target'] for node in one['nodes']][:4]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def too_wide(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide
