"""Small servers with a registry and a desk, for tests of requests: a data set that nobody else uses, and shorthands."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from index.build import build as build_index
from pipeline.registry.registry import Registry
from pipeline.store import Store
from tests.serving import Running, running, wait
from tests.small_dataset import build

TOKEN = "a token of the office, long enough"
DOMAIN = "museum.example"


@pytest.fixture(scope="session")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small data set with an index, to be copied by whoever changes it."""
    folder = tmp_path_factory.mktemp("office") / "museum"
    made = build(folder)
    build_index(made.store, made.snapshot)
    return folder


@dataclass
class Desk:
    """A server of the data sets `museum` and `other`, and what is on disk."""

    server: Running
    folder: Path

    @property
    def client(self) -> httpx.Client:
        """Return a client that is not signed in until it signs in."""
        return self.server.client

    @property
    def registry(self) -> Registry:
        """Return the registry of `museum` as another process sees it."""
        return Registry.open(Store.open_url(str(self.folder)))

    def mine(self, **named: Any) -> dict[str, Any]:
        """Ask whether something is in `museum`."""
        return self._json(self.client.post("/api/v1/datasets/museum/mine", json=named), 200)

    def file(self, **body: Any) -> dict[str, Any]:
        """File a request."""
        return self._json(self.client.post("/api/v1/datasets/museum/requests", json=body), 201)

    def followed(self, filed: dict[str, Any], name: str = "museum") -> httpx.Response:
        """Follow a request by its link."""
        return self.client.get(f"/api/v1/datasets/{name}/requests/{filed['link'].rsplit('/', 1)[1]}")

    def sign_in(self) -> None:
        """Sign the client in; its writes carry the CSRF token from now on."""
        told = self._json(self.client.post("/api/v1/desk/session", json={"token": TOKEN}), 200)
        self.client.headers["X-CSRF-Token"] = told["csrf"]

    def get(self, where: str, status: int = 200) -> dict[str, Any]:
        """Ask the desk of `museum`."""
        return self._json(self.client.get(f"/api/v1/desk/museum/{where}"), status)

    def post(self, where: str, body: dict[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
        """Have the desk of `museum` do something."""
        return self._json(self.client.post(f"/api/v1/desk/museum/{where}", json=body or {}), status)

    def job(self) -> dict[str, Any]:
        """Wait for the job that runs and return how it ended."""
        wait(lambda: self.get("job")["job"]["state"] != "running")
        found: dict[str, Any] = self.get("job")["job"]
        return found

    def found(self, uid: str) -> bool:
        """Tell whether a search shows a sample."""
        answer = self.client.get(f"/api/v1/datasets/museum/samples/{uid}/picture")
        assert answer.status_code in (200, 404)
        return answer.status_code == 200

    @staticmethod
    def _json(answer: httpx.Response, status: int) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def desk(museum: Path, folder: Path, **settings: Any) -> Iterator[Desk]:
    """Serve two copies of the data set."""
    sets = [shutil.copytree(museum, folder / name) for name in ("museum", "other")]
    with running(*sets, **{"desk_token": TOKEN, **settings}) as server:
        yield Desk(server, sets[0])


def kept(folder: Path, domain: str = DOMAIN) -> list[dict[str, Any]]:
    """Return the rows of a site that are in the data set."""
    rows = [row for file in sorted(folder.glob("shards/*/*.parquet")) for row in pq.read_table(file).to_pylist()]
    return [row for row in rows if row["domain"] == domain]
