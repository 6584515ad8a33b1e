"""The API as it says of itself, and against hundreds of strange requests made from that."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from index.serve.app import create_app
from index.serve.catalogue import Catalogue
from tests.serving import Running, running


def test_every_operation_is_described_with_its_errors(server: Running) -> None:
    told = server.client.get("/api/v1/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    paths = told["paths"]
    for path in (
        "/api/v1/datasets/{name}/search",
        "/knn-service",
        "/metadata",
        "/indices-list",
        "/metrics",
        "/healthz",
    ):
        for operation in paths[path].values():
            assert operation.get("description") or operation.get("summary"), path
            assert "200" in operation["responses"]
    assert "examples" in told["components"]["schemas"]["SearchBody"]
    names = next(one for one in paths["/api/v1/datasets/{name}/search"]["post"]["parameters"] if one["name"] == "name")
    assert names["schema"]["enum"] == ["drawn", "again"]
    assert "429" in paths["/knn-service"]["post"]["responses"]


def test_the_description_does_not_change_from_start_to_start(server: Running, drawn_set: Path) -> None:
    catalogue = Catalogue.open([str(drawn_set)])
    assert (
        create_app(catalogue).openapi()["paths"].keys()
        == server.client.get("/api/v1/openapi.json").json()["paths"].keys()
    )
    catalogue.close()


@pytest.mark.slow
def test_no_request_made_from_the_description_is_the_servers_fault(seen_set: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    with running(seen_set, warm=True, model_s=250.0, work_s=100.0) as found:
        run = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{found.address}/api/v1/openapi.json",
            "--checks",
            checks,
        ]
        run += ["--max-examples", "30", "--phases", "examples,coverage,fuzzing", "--request-timeout", "100"]
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-5000:]
        statuses = {json.loads(line)["status"] for line in found.log}
    assert statuses >= {200, 400, 404, 422}
