"""The papers say what the records say: sums agree, loaders read them, what is unknown is named and never made up."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import ControllerConfig
from pipeline.disclosure.disclose import disclose
from pipeline.disclosure.domains import Domains
from pipeline.disclosure.facts import gather
from pipeline.disclosure.papers import eu_summary, page, ropa
from tests.pipeline.disclosure.conftest import CONTROLLER, PICTURES, SITES, Made, Told
from tests.tiny import picture, tamis


@pytest.fixture(scope="module")
def papers(plain: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("papers")
    disclose(plain.store, plain.snapshot, None, out)
    return out


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_domains_sum_up_to_the_snapshot(plain: Made, papers: Path) -> None:
    rows = list(csv.DictReader((papers / "domains.csv").open()))
    sizes = Counter[str]()
    for number in range(PICTURES):
        sizes[f"site{number % SITES}.example"] += len(picture(number)[0])
    assert {row["registrable_domain"]: int(row["bytes"]) for row in rows} == sizes
    assert sum(int(row["items"]) for row in rows) == plain.snapshot.rows == PICTURES
    assert sum(int(row["bytes"]) for row in rows) == sizes.total()
    assert [int(row["bytes"]) for row in rows] == sorted(sizes.values(), reverse=True)
    assert float(rows[-1]["cum_share"]) == 1.0
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("domains", "tenth", "sme"), [(0, 0, 0), (1, 1, 1), (10, 1, 1), (11, 2, 1), (100, 10, 5), (40_000, 4000, 1000)]
)
def test_a_tenth_of_the_domains_is_listed_and_less_for_small_enterprises(domains: int, tenth: int, sme: int) -> None:
    ones = pa.array([1] * domains, pa.int64())
    table = pa.table(
        {"domain": pa.array([str(i) for i in range(domains)]), "items": ones, "bytes": ones, "reserved": ones}
    )
    found = Domains(table)
    assert (found.top(), found.top(sme=True)) == (tenth, sme)
    assert sum(1 for _ in found.csv(found.top())) == tenth + 1


def test_domains_that_said_no_are_counted_where_something_of_them_was_kept_and_named_nowhere_else(
    told: Told, tmp_path: Path
) -> None:
    shutil.copytree(told.made.root, tmp_path / "set")
    made = Made(type(told.made.store)(str(tmp_path / "set")), tmp_path / "crawl.toml", told.made.scheduler)
    made.file.write_text(told.made.file.read_text().replace(str(told.made.root), str(tmp_path / "set")))
    before = gather(made.store, made.snapshot, made.registry)
    assert (before.domains.items, before.domains.removed) == (PICTURES - len(told.erased), len(told.erased))
    found = made.ingest()
    assert found["rows"] == PICTURES - len(told.erased)
    facts = gather(made.store, made.snapshot, made.registry)
    assert (facts.domains.items, facts.domains.removed) == (found["rows"], 0)
    assert facts.refused == {"opted_out_request": len(told.erased)}
    assert (facts.erased, facts.requests) == (len(told.erased), {"erased": 2})
    names = facts.domains.table["domain"].to_pylist()
    assert "site2.example" not in names
    assert len(names) == SITES - 1
    for template in ("eu_summary.md.html", "notice.md.html"):
        assert "site2" not in page(template, facts, summary=eu_summary(facts))


def test_croissant_is_valid_and_loads_every_pair(fresh: Made) -> None:
    import mlcroissant as mlc

    disclose(fresh.store, fresh.snapshot, None)
    path = fresh.root / "croissant.json"
    told = _json(path)
    assert told["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    dataset = mlc.Dataset(jsonld=str(path))
    assert list(dataset.metadata.ctx.issues.errors) == []
    loaded = {
        row["pairs/key"].decode(): (row["pairs/url"].decode(), row["pairs/caption"].decode(), row["pairs/width"])
        for row in dataset.records("pairs")
    }
    assert loaded == {row["key"]: (row["url"], row["caption"], row["width"]) for row in fresh.sidecars()}


def test_croissant_tells_the_responsible_ai_facts(fresh: Made, papers: Path) -> None:
    import mlcroissant as mlc

    metadata = mlc.Dataset(jsonld=str(papers / "croissant.json")).metadata
    assert metadata.data_collection_type == ["Web Scraping"]
    assert len(metadata.data_collection_timeframe) == 2
    assert "removals/feed.ndjson" in metadata.data_release_maintenance_plan
    assert "robots.txt (RFC 9309)" in metadata.data_collection
    assert metadata.data_use_cases == [CONTROLLER["purposes"]]
    assert metadata.creators[0].name == CONTROLLER["name"]
    assert fresh.snapshot.clip["model"] in " ".join(metadata.data_preprocessing_protocol)
    assert metadata.date_published is not None


def test_the_record_of_processing_lists_recipients_and_names_what_is_missing(told: Told) -> None:
    record = ropa(gather(told.made.store, told.made.snapshot, told.made.registry))
    assert record["controller"]["name"] == CONTROLLER["name"]
    assert {name: len(made) for name, made in record["recipients"].items()} == {"The Lab": 1, "The Museum": 2}
    assert record["missing"] == [
        f"controller.{name}" for name in ("dpo", "authority", "legal_basis", "retention", "transfers")
    ]
    assert record["erased_samples"] == len(told.erased)
    assert record["transfers"] is None


def test_the_summary_follows_the_template_and_makes_nothing_up(plain: Made, papers: Path) -> None:
    summary = _json(papers / "eu_summary.json")
    assert [name.split()[0] for name in summary] == ["1", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3", "missing"]
    crawled = summary["2.3 crawled content"]
    assert crawled["inputs"] == {"warc": 2}
    assert (crawled["domains"]["all"], crawled["domains"]["listed"]) == (SITES, 1)
    assert summary["missing"] == []
    listed = list(csv.DictReader((papers / "eu_domains.csv").open()))
    assert [row["registrable_domain"] for row in listed] == crawled["domains"]["largest"]
    assert crawled["domains"]["share_of_bytes"] == pytest.approx(float(listed[0]["share"]), abs=1e-6)
    text = (papers / "eu_summary.md").read_text()
    assert CONTROLLER["name"] in text
    assert "Missing" not in text
    nobody = replace(gather(plain.store, plain.snapshot, None), controller=dict.fromkeys(ControllerConfig.model_fields))
    assert eu_summary(nobody)["missing"] == ["controller.name", "controller.purposes"]
    assert "`controller.name`" in page("eu_summary.md.html", nobody, summary=eu_summary(nobody))
    assert "**missing** (`controller.legal_basis`)" in page("notice.md.html", nobody)


def test_the_notice_says_whom_to_ask_and_how_many_have_it(told: Told, papers: Path) -> None:
    facts = gather(told.made.store, told.made.snapshot, told.made.registry)
    notice = page("notice.md.html", facts)
    assert f"| write to | {CONTROLLER['contact']} |" in notice
    assert "3 releases to 2 recipients" in notice
    assert notice.splitlines()[2].startswith(f"{PICTURES - len(told.erased)} pictures")
    assert f"{len(told.erased)} samples were erased" in notice
    assert "No release has been given to anybody so far." in (papers / "notice.md").read_text()


def test_the_command_writes_into_the_data_set_and_says_what_is_missing(fresh: Made) -> None:
    done = tamis("disclose", fresh.root).stdout
    assert {path.name for path in (fresh.root / "disclosure").iterdir()} == {
        "domains.csv", "eu_domains.csv", "eu_summary.json", "eu_summary.md", "ropa.json", "notice.md",
    }  # fmt: skip
    assert (fresh.root / "croissant.json").exists()
    assert "missing in the configuration: controller.dpo, controller.authority, controller.legal_basis" in done
    assert not (fresh.root / "private").exists()
    tamis("verify", fresh.root)
    told = json.loads(tamis("disclose", fresh.root, "--out", fresh.root.parent / "out", "--sme", "--json").stdout)
    assert len(told["written"]) == 7
