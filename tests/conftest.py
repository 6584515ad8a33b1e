"""What every test gets: no model hub, no strangers' network, an S3 endpoint on demand."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import postgres

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("tamis", deadline=None)  # how long an example takes says more of the machine than of the code
settings.load_profile("tamis")
_connect = socket.socket.connect


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name packed bytes by their argument: gzip writes the time into them, and workers that collect in another second disagree."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that dials anything but this machine."""

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not (
            str(address[0]).startswith("127.") or address[0] in ("::1", "localhost", "0.0.0.0")
        ):
            raise AssertionError(f"a test dialled {address}")
        _connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real dask cluster of processes that keeps its model loaded: runs on it skip the start-up."""
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-nanny"]
    threads = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    here = [*worker, "--no-dashboard", "--local-directory", str(folder)]
    processes = [
        subprocess.Popen(command, env=threads, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in ([*dask, "--no-dashboard"], here)
    ]
    yield address
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 endpoint over real sockets, with the bucket `sets`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    os.environ.update(
        {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
        }
    )
    import boto3

    boto3.client("s3").create_bucket(Bucket="sets")
    yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL server, by the URL of its administrator."""
    with postgres.server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of a new, empty database on a real PostgreSQL server."""
    from sqlalchemy import create_engine

    name = f"tamis_{uuid.uuid4().hex}"
    admin = create_engine(
        postgres_server.replace("postgresql://", "postgresql+pg8000://") + "postgres", isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return postgres_server + name
