"""Forgetting on a real manual: an address, a phrase and a picture leave the gimp-help data set and do not come back."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.tiny import config, tamis

CORPORA = Path(os.environ.get("TAMIS_CORPORA", Path(__file__).parents[2] / ".corpora"))

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def told(*arguments: str | Path) -> Any:
    return json.loads(tamis(*arguments, "--json").stdout)


def kept(dataset: Path) -> list[dict[str, Any]]:
    newest = sorted((dataset / "shards").iterdir())[-1]
    return [row for path in sorted(newest.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_three_people_leave_a_real_data_set_and_stay_gone(tmp_path: Path, scheduler: str) -> None:
    crawl = sorted((CORPORA / "crawl").glob("gimp-en-0*.warc.gz"))
    if not crawl:
        pytest.skip(f"no gimp-en crawl below {CORPORA}; `make real` makes it")
    dataset = tmp_path / "set"
    settings: dict[str, dict[str, Any]] = {
        "candidates": {"part_rows": 10_000},
        "text": {"min_words": 3, "max_pictures": 50},
        "clip": {"threshold": -1.0},
        "pack": {"shard_samples": 10_000},
        "fetch": {
            "robots": False
        },  # the crawl was served from loopback and is gone; pictures come from the crawl itself
    }
    file = config(tmp_path / "gimp.toml", str(dataset), crawl, **settings)
    tamis("ingest", file, "--quiet", "--scheduler", scheduler)
    before = kept(dataset)
    words = before[len(before) // 2]["caption"].split()[:3]
    phrase, url = " ".join(words), before[0]["url"]
    picture = tmp_path / "theirs.png"
    picture.write_bytes(_file_of(before[-1]["url"]))
    requests = [
        told("optout", "add", dataset, option, value)
        for option, value in (("--url", url), ("--text", phrase), ("--image", picture))
    ]
    assert [request["state"] for request in requests[:2]] == ["tombstoned"] * 2
    assert all(request["matches"] >= 1 for request in requests)
    if requests[2]["state"] == "proposed":  # dialogs look alike to the model: a person says that these are other ones
        told("optout", "confirm-match", dataset, requests[2]["id"], "--reject-all")
    assert {request["state"] for request in told("optout", "list", dataset)} == {"tombstoned"}
    assert told("optout", "apply", dataset)["uids"] >= 3
    proof = told("optout", "verify", dataset)
    assert (proof["findings"], len(proof["closed"])) == ({}, 3)
    tamis("ingest", file, "--quiet", "--scheduler", scheduler)
    after = kept(dataset)
    assert {url, before[-1]["url"]}.isdisjoint(row["url"] for row in after)
    assert not [row["caption"] for row in after if phrase.casefold() in row["caption"].casefold()]
    assert len(before) - sum(request["matches"] for request in requests) <= len(after) < len(before)
    assert told("verify", dataset)["problems"] == []


def _file_of(url: str) -> bytes:
    path = url.split("/", 3)[3]
    return (CORPORA / "deb/gimp-help-en/usr/share/gimp/2.0/help" / path).read_bytes()
