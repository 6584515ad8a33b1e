"""One real ingest for all questions, and a copy of it in which people were told no, some were removed, and some were told."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.disclosure.releases import Release, register
from pipeline.registry.registry import Registry
from pipeline.snapshot import Snapshot, require_latest
from pipeline.store import Store
from tests.tiny import config, picture, tamis, write_crawl

PICTURES = 60
SITES = 6
CONTROLLER = {"name": "The Sieve Society", "contact": "optout@sieve.example", "purposes": "research on sieves"}


@dataclass(frozen=True)
class Made:
    """A data set and the file it was made with."""

    store: Store
    file: Path
    scheduler: str

    @property
    def root(self) -> Path:
        return Path(self.store.root)

    @property
    def snapshot(self) -> Snapshot:
        return require_latest(self.store)

    @property
    def registry(self) -> Registry:
        return Registry.open(self.store)

    def ingest(self) -> dict[str, Any]:
        done = tamis("ingest", self.file, "--quiet", "--json", "--scheduler", self.scheduler)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def sidecars(self, number: int = 1) -> Iterator[dict[str, Any]]:
        """Yield the sidecars' rows, each with its tar and its row there."""
        for path in sorted((self.root / f"shards/{number:06d}").glob("*.parquet")):
            for at, row in enumerate(pq.read_table(path).to_pylist()):
                yield {**row, "tar": path.with_suffix(".tar"), "at": at}


def url_of(number: int) -> str:
    """Return the address of a drawn picture."""
    return f"http://site{number % SITES}.example/p/{number}.jpg"


def text_of(number: int) -> str:
    """Return its text."""
    return picture(number)[1]


def make(base: Path, scheduler: str, **sections: dict[str, Any]) -> Made:
    crawl = write_crawl(base / "crawl", pictures=PICTURES, sites=SITES)
    file = config(base / "crawl.toml", str(base / "little-web"), crawl, controller=CONTROLLER, **sections)
    made = Made(Store.open_url(str(base / "little-web")), file, scheduler)
    assert made.ingest()["rows"] == PICTURES
    return made


@pytest.fixture(scope="package")
def plain(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Made:
    """A data set that nobody has asked anything of; tests only read it."""
    return make(tmp_path_factory.mktemp("plain"), scheduler)


@pytest.fixture
def fresh(plain: Made, tmp_path: Path) -> Made:
    """A copy of it to do things to."""
    shutil.copytree(plain.root, tmp_path / "set")
    file = tmp_path / "crawl.toml"
    file.write_text(plain.file.read_text().replace(str(plain.root), str(tmp_path / "set")))
    return Made(Store.open_url(str(tmp_path / "set")), file, plain.scheduler)


@dataclass(frozen=True)
class Told:
    """A data set that was given away, and of which a site and a picture were erased afterwards."""

    made: Made
    before: list[Release]  # the lab and the museum got it before the erasure
    after: Release  # a second release to the museum, after it
    domain_request: str
    picture_request: str
    erased: dict[str, str]  # uid → URL
    texts: dict[str, str]  # uid → text


@pytest.fixture(scope="package")
def told(plain: Made, tmp_path_factory: pytest.TempPathFactory) -> Told:
    from index.erase import erase
    from pipeline.erasure.apply import apply
    from pipeline.identify import take_up

    base = tmp_path_factory.mktemp("told")
    shutil.copytree(plain.root, base / "set")
    file = base / "crawl.toml"
    file.write_text(plain.file.read_text().replace(str(plain.root), str(base / "set")))
    made = Made(Store.open_url(str(base / "set")), file, plain.scheduler)
    who: dict[str, Any] = {"contact": "data@lab.example", "purpose": "a model of sieves"}
    before = [register(made.store, made.registry, to=name, **who) for name in ("The Lab", "The Museum")]
    rows = {row["key"]: row for row in made.sidecars()}
    domain = made.registry.add("domain", "site2.example", category="gdpr17")
    one = made.registry.add("url", url_of(7), category="ncii")
    for request in (domain, one):
        take_up(made.store, made.registry, request.id)
    apply(made.store, made.registry, derived=[erase])
    after = register(made.store, made.registry, to="The Museum", **who)
    gone = {n for n in range(PICTURES) if n % SITES == 2} | {7}
    erased = {key: row["url"] for key, row in rows.items() if row["url"] in {url_of(n) for n in gone}}
    assert len(erased) == PICTURES // SITES + 1
    texts = {key: rows[key]["caption"] for key in erased}
    return Told(made, before, after, domain.id, one.id, erased, texts)
