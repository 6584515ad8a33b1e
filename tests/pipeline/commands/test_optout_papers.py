"""`tamis optout` papers: receipts that anyone checks offline, the log's heads, and a person's own data."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.tables import leaf
from pipeline.store import Store
from tests.tiny import tamis

URL = "https://www.artist.example/holiday/jane.jpg"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def registry(dataset: Path) -> Registry:
    return Registry.open(Store.open_url(str(dataset)))


def said(*args: str | Path) -> Any:
    return json.loads(tamis("optout", *args, "--json").stdout)


def test_a_receipt_is_checked_where_the_data_set_is_not(dataset: Path, registry: Registry, tmp_path: Path) -> None:
    request, out = registry.add("url", URL), tmp_path / "receipt.json"
    assert tamis("optout", "receipt", dataset, request.id, "--out", out).stdout == f"{out}\n"
    key = said("log", dataset)["public_key"]
    dataset.rename(tmp_path / "away")
    shown = tamis("optout", "check-receipt", out, "--value", URL, "--key", key).stdout.splitlines()
    assert shown[0].startswith("holds  the head of 1 entries of tamis/")
    assert shown[0].endswith("is signed by the key you gave")
    assert shown[-1] == "holds  what was asked is that url"
    assert len(said("check-receipt", out)) == 2
    other = tamis("optout", "check-receipt", out, "--value", "https://b.example/", check=False)
    assert (other.returncode, other.stdout) == (3, "")
    held = json.loads(out.read_text())
    out.write_text(json.dumps({**held, "due_utc": "2099-01-01T00:00:00Z"}))
    changed = tamis("optout", "check-receipt", out, check=False)
    assert changed.returncode == 3
    assert "it was changed" in changed.stderr
    out.write_text("{")
    broken = tamis("optout", "check-receipt", out, check=False)
    assert broken.returncode == 1
    assert "not JSON" in broken.stderr


def test_a_later_head_is_shown_to_have_grown_out_of_a_receipt(
    dataset: Path, registry: Registry, tmp_path: Path
) -> None:
    request, out, head = registry.add("url", URL), tmp_path / "receipt.json", tmp_path / "head.json"
    tamis("optout", "receipt", dataset, request.id, "--out", out)
    for number in range(5):
        registry.add("url", f"https://b.example/{number}.jpg")
    head.write_text(tamis("optout", "log", dataset, "--since", "1", "--json").stdout)
    shown = tamis("optout", "check-receipt", out, "--later", head).stdout
    assert "holds  the log of 6 entries begins with the 1 of the receipt" in shown
    plain = tamis("optout", "log", dataset, "--since", "1").stdout
    assert plain.count("proof  ") == len(json.loads(head.read_text())["consistency"])
    assert plain.endswith("every entry and every signed head is as it was written\n")


def test_a_changed_log_ends_with_3(dataset: Path, registry: Registry) -> None:
    registry.add("url", URL)
    registry.sign()
    with place.writing(registry.engine) as connection:
        connection.execute(update(leaf).values(entry="{}"))
    done = tamis("optout", "log", dataset, check=False)
    assert done.returncode == 3
    assert "WRONG  leaf 0 is not what was hashed" in done.stdout


def test_a_person_gets_their_own_data_and_the_lists_go_out_as_digests(dataset: Path, registry: Registry) -> None:
    request = registry.add("url", URL, contact="jane@mail.example", note="please")
    registry.add("domain", "b.example")
    facts = {"url": URL, "text": "Jane at the sea"}
    registry.add_matches(request.id, [Match(b"\1" * 16, "part", "url", None, "confirmed", facts)])
    rows = [json.loads(line) for line in tamis("optout", "export", dataset).stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["url", "domain"]
    assert "jane" not in json.dumps(rows).lower()
    (own,) = [
        json.loads(line) for line in tamis("optout", "export", dataset, "--request", request.id).stdout.splitlines()
    ]
    assert own["told"] == {"value": URL, "contact": "jane@mail.example", "note": "please"}
    assert own["matches"] == [{"uid": "01" * 16, "how": "url", "state": "confirmed", "row": facts}]
    entries = [json.loads(line) for line in tamis("optout", "export", dataset, "--entries").stdout.splitlines()]
    assert [(entry["kind"], len(entry["digest"]), entry["active"]) for entry in entries] == [
        ("domain", 32, True), ("url", 32, True),
    ]  # fmt: skip
    registry.shred(request.id)
    (forgotten,) = [
        json.loads(line) for line in tamis("optout", "export", dataset, "--request", request.id).stdout.splitlines()
    ]
    assert (forgotten["told"], forgotten["matches"][0]["row"]) == ({}, None)


def test_a_picture_opens_its_receipt_and_a_receipt_that_cannot_be_written_says_so(
    dataset: Path, registry: Registry, tmp_path: Path
) -> None:
    import hashlib

    (tmp_path / "jane.jpg").write_bytes(b"these bytes")
    request = registry.add("picture", {"sha256": hashlib.sha256(b"these bytes").hexdigest()})
    tamis("optout", "receipt", dataset, request.id, "--out", tmp_path / "receipt.json")
    shown = tamis("optout", "check-receipt", tmp_path / "receipt.json", "--image", tmp_path / "jane.jpg").stdout
    assert "holds  what was asked is that picture" in shown
    failed = tamis("optout", "receipt", dataset, request.id, "--out", tmp_path / "jane.jpg" / "x.json", check=False)
    assert failed.returncode == 1
    assert "the request is taken in, `tamis optout receipt` writes its receipt elsewhere" in failed.stderr
