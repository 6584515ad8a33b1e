"""Collects pictures, their replies and fates, and lays them out on pages."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from filters.urls import canonical_url
from pipeline.demo.fate import JUDGED, Fate
from pipeline.demo.origin import Origin, Reply
from pipeline.demo.pages import Shown, page
from pipeline.demo.pictures import TYPES, Picture, pictures
from pipeline.errors import InputError

SITES = (
    "museum", "shop", "zoo", "kitchen", "garden", "harbour", "theatre",
    "school", "archive", "market", "forum", "library", "station", "studio",
)  # fmt: skip
"""Fourteen ordinary sites, so that none has a tenth of the pictures."""
HOSTILE_SITES = ("closed", "stormy", "slow", "rude", "trap")
"""Apart, so that a circuit breaker that opens for one of them costs no ordinary picture."""
LEAVING_SITE = "painter"
"""Its owner asks for the removal of everything on it, after the first ingest."""
PICTURES_PER_PAGE = 12
_BANK = 40
SMALLEST = 160
"""Pictures that a world needs for one of every kind."""


@dataclass
class Leaving:
    """Who asks for removal after the first ingest: a site's owner, the owner of one URL, and somebody who has a picture."""

    host: str
    url: str = ""
    picture: bytes = b""


class Builder:
    """A world in the making; everything random comes from one generator."""

    def __init__(self, origin: Origin, *, limit: int | None, seed: int) -> None:
        self.origin = origin
        self.rng = np.random.default_rng(seed)
        self.replies: dict[str, Reply] = {}
        self.fates: list[Fate] = []
        self.captured: list[str] = []
        self.leaving = Leaving(origin.bases.get(LEAVING_SITE, "").removeprefix("http://").rsplit(":", 1)[0])
        self._layout: dict[tuple[str, str], list[tuple[int, Shown]]] = {}
        self._heads: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
        self._numbers = count(1)
        self.pool = pictures(np.random.default_rng([seed, 1]), limit)
        if len(self.pool) < SMALLEST:
            raise InputError(f"a little web needs {SMALLEST} pictures, not {len(self.pool)}")
        self.bank = self.pool[:_BANK]

    def take(self) -> Picture:
        """Hand out a picture that no other URL shows."""
        return self.pool.pop()

    def any_picture(self) -> Picture:
        """Hand out a picture for a URL that is refused or dropped anyway."""
        return self.bank[int(self.rng.integers(_BANK))]

    def site(self) -> str:
        """Draw an ordinary site."""
        return SITES[int(self.rng.integers(len(SITES)))]

    def path(self, picture: Picture, folder: str = "pictures", suffix: str = "") -> str:
        """Make up an address for a picture."""
        plain = unicodedata.normalize("NFKD", picture.text).encode("ascii", "ignore").decode().lower()
        slug = re.sub("[^a-z0-9]+", "-", plain).strip("-")
        return f"/{folder}/{next(self._numbers):04d}-{slug}.{suffix or picture.suffix}"

    def head(self, group: str, html: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Give the pages of a group something to say in their HTML head or HTTP header."""
        self._heads[group] = (html, headers)

    def add(
        self,
        kind: str,
        where: str,
        text: str,
        reply: Reply | None,
        expected: Iterable[str | None] = JUDGED,
        *,
        group: str = "gallery",
        on: str | None = None,
        copy_of: str | None = None,
        max_requests: int | None = 1,
        leaves: bool = False,
    ) -> Fate:
        """Add a picture at `where` (site:/path, or a whole URL) to a page of the group, on the site `on` or its own."""
        site, _, path = where.partition(":")
        local = site in self.origin.bases
        address = self.origin.bases[site] + path if local else where
        # a data: or file: URL has no canonical form and is named as it stands
        url = canonical_url(address) or address
        if reply is not None:
            self.replies[url] = reply
        fate = Fate(url, text, kind, frozenset(expected), (), copy_of, max_requests, leaves)
        self.fates.append(fate)
        home = on or (site if site in (*SITES, LEAVING_SITE) else "museum")
        relative = local and home == site and self.rng.random() < 0.5
        self._show(len(self.fates) - 1, home, group, Shown(path if relative else address, text))
        return fate

    def show_again(self, fate: Fate) -> None:
        """Show the picture with the same text on a page of another site too."""
        self._show(self.fates.index(fate), self.site(), "elsewhere", Shown(fate.url, fate.text))

    def _show(self, index: int, site: str, group: str, shown: Shown) -> None:
        self._layout.setdefault((site, group), []).append((index, shown))

    def lay_out(self) -> list[str]:
        """Write the pages; return their URLs and note in each fate where it is shown."""
        urls: list[str] = []
        for (site, group), entries in self._layout.items():
            order = self.rng.permutation(len(entries)).tolist()
            html, headers = self._heads.get(group, ("", ()))
            for number, start in enumerate(range(0, len(order), PICTURES_PER_PAGE), 1):
                part = [entries[row] for row in order[start : start + PICTURES_PER_PAGE]]
                url = f"{self.origin.bases[site]}/{group}/{number}.html"
                body = page(
                    f"{site}: {group} {number}", [shown for _, shown in part], head=html, licensed=site in SITES[::3]
                )
                self.replies[url] = Reply(200, (("Content-Type", "text/html; charset=utf-8"), *headers), body)
                urls.append(url)
                for index, _ in part:
                    self.fates[index] = replace(self.fates[index], pages=(*self.fates[index].pages, url))
        return urls


def ok(picture: Picture, *headers: tuple[str, str]) -> Reply:
    """Serve a picture."""
    return Reply(200, (("Content-Type", TYPES[picture.suffix]), *headers), picture.data)
