"""Searching a real manual over HTTP: by words, by picture, by address, as clip-retrieval's client asks; and what is removed is gone."""

import base64
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.serving import running, wait
from tests.tiny import config, tamis

CORPORA = Path(os.environ.get("TAMIS_CORPORA", Path(__file__).parents[2] / ".corpora"))

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_a_real_data_set_is_searched_by_programs_and_forgets_within_a_second(tmp_path: Path, scheduler: str) -> None:
    crawl = sorted((CORPORA / "crawl").glob("gimp-en-0*.warc.gz"))
    if not crawl:
        pytest.skip(f"no gimp-en crawl below {CORPORA}; `make real` makes it")
    dataset = tmp_path / "gimp"
    settings: dict[str, dict[str, Any]] = {
        "text": {"min_words": 3, "max_pictures": 50},
        "clip": {"threshold": -1.0},
        "fetch": {"robots": False},  # the crawl was served from loopback and is gone
    }
    file = config(tmp_path / "gimp.toml", str(dataset), crawl, **settings)
    tamis("ingest", file, "--quiet", "--scheduler", scheduler)
    assert "everything is as promised" in tamis("index", "verify", dataset).stdout
    rows = [
        row for path in sorted((dataset / "shards/000001").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    row = max(rows, key=lambda one: one["width"] * one["height"])
    with running(dataset) as server:
        found = server.search("gimp", terms=[{"text": "a dialog with buttons"}], k=30).json()
        assert len(found["hits"]) == 30
        assert [hit["cos"] for hit in found["hits"]] == sorted((hit["cos"] for hit in found["hits"]), reverse=True)
        alike = server.search("gimp", terms=[{"url": row["url"]}], k=3).json()["hits"]
        assert alike[0]["uid"] == row["key"]
        picture = server.client.get(alike[0]["picture"]).content
        asked = {
            "text": None, "image": base64.b64encode(picture).decode(), "image_url": None, "embedding_input": None,
            "modality": "image", "num_images": 5, "indice_name": "gimp", "num_result_ids": 5, "use_mclip": False,
            "deduplicate": True, "use_safety_model": False, "use_violence_detector": False, "aesthetic_score": 0,
            "aesthetic_weight": 0.0,
        }  # fmt: skip
        answer = server.client.post("/knn-service", json=asked).json()
        assert len(answer) == 5
        assert row["url"] in {one["url"] for one in answer[:3]}
        tamis("optout", "add", dataset, "--url", row["url"])
        wait(lambda: server.search("gimp", terms=[{"url": row["url"]}], k=1).status_code == 400, longest_s=1)
        assert row["url"] not in server.client.post("/knn-service", json=asked).text
        assert server.client.get(alike[0]["picture"]).status_code == 404
