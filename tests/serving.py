"""A real server on a real socket for the tests of `index.serve`: the fixtures, and a data set that needs no model."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from index.serve.app import create_app
from index.serve.catalogue import Catalogue
from index.serve.server import listen, server_of
from index.serve.settings import Settings
from pipeline.given_picture import read_rgb
from pipeline.store import Store
from tests.index.made import make, unit
from tests.small_dataset import draw, jpeg

ROWS = 90
DIMENSIONS = 16
SEEN = 45
COPIES = (0, 41, 77)
"""Three samples that are copies of one another."""


@dataclass
class Running:
    """A server that answers."""

    address: str
    """Without a slash at its end."""
    client: httpx.Client
    log: list[str] = field(default_factory=list)

    def search(self, name: str = "drawn", **body: Any) -> httpx.Response:
        """Ask a data set."""
        return self.client.post(f"/api/v1/datasets/{name}/search", json=body)


def vectors(seed: int = 0) -> Any:
    """Return the pictures' vectors, f32[ROWS,DIMENSIONS] of unit norm; COPIES have the same."""
    found = unit(ROWS, DIMENSIONS, seed)
    found[list(COPIES)] = found[COPIES[0]]
    return found


def drawn(folder: Path) -> Store:
    """Make a data set of drawings whose vectors are known, without a model."""
    return make(folder, vectors(), groups=[COPIES])


@contextmanager
def running(*datasets: str | Path, **settings: Any) -> Iterator[Running]:
    """Serve data sets on a free port, in a thread of this process, with the limits and protocol of `tamis serve`."""
    chosen = Settings(**{"port": 0, "rate_per_s": 0, "warm": False, "refresh_s": 0.1, **settings})
    log: list[str] = []
    listening = listen(chosen)
    server = server_of(create_app(Catalogue.open([str(one) for one in datasets]), chosen, log.append), chosen)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    wait(lambda: server.started)
    with httpx.Client(base_url=address, timeout=60) as client:
        yield Running(address, client, log)
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def wait(until: Callable[[], Any], longest_s: float = 30.0) -> None:
    """Wait until something is true; AssertionError when it does not become so."""
    end_s = time.monotonic() + longest_s
    while not until():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


def dial(address: str) -> socket.socket:
    """Return a connection to a server."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(address: str, data: bytes) -> bytes:
    """Send bytes over a socket of its own and return all that comes back until the server closes."""
    with dial(address) as found:
        found.sendall(data)
        answer = b""
        try:
            while piece := found.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the data set of drawings, for all who only look."""
    folder = tmp_path_factory.mktemp("serving") / "drawn"
    drawn(folder)
    return folder


@pytest.fixture(scope="session")
def server(drawn_set: Path) -> Iterator[Running]:
    """Give a server of `drawn` and of `again`, the same by another name."""
    with running(drawn_set, f"again={drawn_set}") as found:
        yield found


def uid(number: int) -> str:
    """Return the uid of a drawing."""
    from tests.index.made import facts

    return str(facts(number)["key"])


def direction(number: int) -> list[float]:
    """Return the vector of a drawing as JSON has it."""
    return [float(x) for x in np.asarray(vectors()[number])]


@pytest.fixture(scope="session")
def seen_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data set of drawings that the bundled model has really seen."""
    from pipeline.clip_model import load
    from pipeline.clip_spec import ModelSpec

    model = load(ModelSpec())
    image = model.images(np.stack([model.prepare(read_rgb(jpeg(number))) for number in range(SEEN)]))
    folder = tmp_path_factory.mktemp("serving") / "seen"
    make(
        folder,
        np.asarray(image, np.float32),
        np.asarray(model.texts([draw(number)[1] for number in range(SEEN)]), np.float32),
    )
    return folder
