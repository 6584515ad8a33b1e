"""A data set on an object store behind the server: searched, a removal obeyed, and asked for only where a receipt can be had."""

from pathlib import Path

import pytest

from index.build import build
from index.sync import sync
from pipeline import tombstones
from pipeline.registry import place
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.serving import COPIES, Running, drawn, running, uid, wait


@pytest.fixture
def remote(s3_endpoint: str, tmp_path: Path) -> Store:
    """The drawings in a bucket, their index built there."""
    local, away = drawn(tmp_path / "drawn"), Store.open_url(f"s3://sets/{tmp_path.name}")
    for name in local.walk():
        if not name.startswith("index/"):
            away.write(name, local.read(name))
    build(away, require_latest(away))
    return away


def found(server: Running, name: str) -> list[str]:
    answer = server.search(name, terms=[{"uid": uid(1)}], k=90)
    assert answer.status_code == 200, answer.text
    return [hit["uid"] for hit in answer.json()["hits"]]


def test_it_is_searched_and_shown_and_a_removal_is_obeyed(remote: Store) -> None:
    name = remote.root.rsplit("/", 1)[-1]
    assert sync(remote, require_latest(remote)).rows == 90
    with running(f"{name}={remote.root}") as server:
        assert uid(COPIES[1]) in found(server, name)
        picture = f"/api/v1/datasets/{name}/samples/{uid(COPIES[1])}/picture"
        assert server.client.get(picture).headers["content-type"] == "image/jpeg"
        gone = [bytes.fromhex(uid(COPIES[1]))]
        tombstones.publish(remote, tombstones.of_request(gone, ["p"], "r-1"))
        wait(lambda: uid(COPIES[1]) not in found(server, name), longest_s=5)
        wait(lambda: server.client.get(picture).status_code == 404, longest_s=5)


def test_a_request_is_filed_and_followed(remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(place.KEYS, str(tmp_path / "keys"))
    name, url = remote.root.rsplit("/", 1)[-1], f"sqlite:///{tmp_path}/away.sqlite"
    assert place.lacking(remote, url) is None
    with running(f"{name}={remote.root}", registry_url=url) as server:
        filed = server.client.post(f"/api/v1/datasets/{name}/requests", json={"domain": "painter.example"})
        assert filed.status_code == 201, filed.text
        secret = filed.json()["link"].rsplit("/", 1)[1]
        assert server.client.get(f"/api/v1/datasets/{name}/requests/{secret}").json()["id"] == filed.json()["id"]


def test_where_no_receipt_can_be_signed_nothing_is_filed(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(place.KEYS, raising=False)
    name, url = remote.root.rsplit("/", 1)[-1], f"sqlite:///{tmp_path}/away.sqlite"
    assert "name it in TAMIS_KEYS" in str(place.lacking(remote, url))
    with running(f"{name}={remote.root}", registry_url=url, trust_requests=True) as server:
        filed = server.client.post(f"/api/v1/datasets/{name}/requests", json={"uid": uid(3)})
        assert filed.status_code == 501
        assert "nothing was filed" in filed.json()["error"]
        assert uid(3) in found(server, name)
