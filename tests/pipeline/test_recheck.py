"""A data set whose sites change their minds between ingest and release: who says no by now becomes a request."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.changing_web import Web
from tests.tiny import config, picture, tamis

CLOSED = b"User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n"
ONE_RESERVED = b'[{"location": "/p/21.jpg", "tdm-reservation": 1}]'


def ingest(tmp_path: Path, scheduler: str, rows: list[tuple[str, str]], **sections: dict[str, Any]) -> dict[str, Any]:
    links = tmp_path / "links.parquet"
    if not links.exists():
        pq.write_table(pa.table({"url": [r[0] for r in rows], "caption": [r[1] for r in rows]}), links)
    fetch = {"allow_hosts": ["127.0.0.1"], "retries": 0, "timeout_s": 5.0}
    file = config(
        tmp_path / "web.toml", str(tmp_path / "set"), [links], fetch=fetch, copies={"enabled": False}, **sections
    )
    out: dict[str, Any] = json.loads(tamis("ingest", file, "--scheduler", scheduler, "--quiet", "--json").stdout)
    return out


def recheck(tmp_path: Path, *more: str) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(tamis("recheck", tmp_path / "set", "--json", *more).stdout)
    return out


def told(found: dict[str, Any]) -> list[tuple[str, str, str, str, int]]:
    return [(r["kind"], r["value"], r["category"], r["reason"], r["pairs"]) for r in found["requests"]]


def test_what_sites_deny_by_now_becomes_requests_once_and_the_next_ingest_obeys_them(
    tmp_path: Path, scheduler: str
) -> None:
    with Web("training", "mining", "headers", "same", "down", "visits") as web:
        numbers: dict[str, Sequence[int]] = {
            "training": range(3),
            "mining": range(20, 23),
            "headers": range(30, 32),
            "same": [40],
        }
        numbers |= {"down": [50, 51], "visits": [60, 61]}
        rows = [(f"{web[name].url}/p/{n}.jpg", picture(n)[1]) for name, mine in numbers.items() for n in mine]
        assert ingest(tmp_path, scheduler, rows)["rows"] == len(rows) == 13

        quiet = recheck(tmp_path)
        assert (quiet["pairs"], quiet["changes"], quiet["requests"]) == (13, [], [])
        assert quiet["headers"] == {"looked_at": 13, "gone": 0, "unanswered": 0}
        assert all(site.asked["GET /robots.txt"] == 1 for site in web.sites.values()), "younger than 24 hours"
        assert not (tmp_path / "set/private").exists()

        web["training"].put("/robots.txt", CLOSED)
        web["mining"].put("/.well-known/tdmrep.json", ONE_RESERVED)
        web["headers"].headers["/p/30.jpg"] = {"X-Robots-Tag": "noai"}
        web["down"].put("/robots.txt", b"", 503)
        web["visits"].put("/robots.txt", b"User-agent: *\nDisallow: /p/60\n")
        expected = sorted(
            [
                ("url", f"{web['mining'].url}/p/21.jpg", "tdm", "tdm_reserved", 1),
                ("url", f"{web['headers'].url}/p/30.jpg", "train", "noai_header", 1),
                ("url", f"{web['visits'].url}/p/60.jpg", "train", "robots_disallow", 1),
                *(("url", f"{web['training'].url}/p/{n}.jpg", "train", "training_reserved", 1) for n in range(3)),
            ],
            key=lambda request: request[1],
        )
        for site in web.sites.values():
            site.asked.clear()
        dry = recheck(tmp_path, "--max-age-hours", "0", "--dry-run")
        assert told(dry) == expected
        assert not (tmp_path / "set/private").exists()
        first = recheck(tmp_path, "--max-age-hours", "0")
        assert told(first) == expected
        assert first["unreachable"] == [web["down"].url]
        assert first["headers"] == {"looked_at": 6, "gone": 0, "unanswered": 0}, "of 13: 5 denied, 2 not asked"
        assert all(entry["new"] and entry["state"] == "received" for entry in first["requests"])
        words = {
            (c["site"], c["mechanism"], c["category"], c["before"], c["after"]): c["addresses"]
            for c in first["changes"]
        }
        assert words == {
            (web["training"].url, "content-signal", "train", "-", "deny"): 3,
            (web["training"].url, "content-signal", "search", "-", "allow"): 3,
            (web["mining"].url, "tdmrep.json", "tdm", "-", "deny"): 1,
            (web["headers"].url, "x-robots-tag", "train", "-", "deny"): 1,
            (web["training"].url, "robots.txt", "crawl", "unknown", "allow"): 3,
            (web["visits"].url, "robots.txt", "crawl", "unknown", "deny"): 1,
        }
        assert not any(site.pictures_asked("GET") for site in web.sites.values()), "HEAD alone"

        again = recheck(tmp_path)
        assert [entry["id"] for entry in again["requests"]] == [entry["id"] for entry in first["requests"]]
        assert not any(entry["new"] for entry in again["requests"])

        out = ingest(tmp_path, scheduler, rows)
        assert out["dropped"] == {"opted_out_request": 6}
        assert out["rows"] == 7


@pytest.mark.slow
def test_a_site_that_closed_altogether_is_one_request_and_samples_bound_the_headers(
    tmp_path: Path, scheduler: str
) -> None:
    with Web("one") as web:
        rows = [(f"{web['one'].url}/p/{n}.jpg", picture(n)[1]) for n in range(6)]
        ingest(tmp_path, scheduler, rows)
        found = recheck(tmp_path, "--sample", "2")
        assert found["headers"]["looked_at"] == 2
        assert len(web["one"].pictures_asked("HEAD")) == 2
        web["one"].answers["/p/0.jpg"] = (404, {}, b"")
        assert recheck(tmp_path, "--sample", "1")["headers"] == {"looked_at": 0, "gone": 1, "unanswered": 0}
        web["one"].put("/robots.txt", b"User-agent: GPTBot\nDisallow: /\n")
        found = recheck(tmp_path, "--max-age-hours", "0")
    assert told(found) == [("host", "127.0.0.1", "train", "training_reserved", 6)]
    assert found["headers"]["looked_at"] == 0


@pytest.mark.slow
def test_another_policy_judges_what_was_heard_and_asks_only_for_what_it_may_judge_otherwise(
    tmp_path: Path, scheduler: str
) -> None:
    with Web("open", "proxy") as web:
        web["proxy"].put("/robots.txt", b"User-agent: GPTBot\nDisallow: /p/2\n")
        rows = [(f"{web['open'].url}/p/{n}.jpg", picture(n)[1]) for n in range(4)]
        rows += [(f"{web['proxy'].url}/p/{n}.jpg", picture(n)[1]) for n in (10, 20, 21)]
        out = ingest(tmp_path, scheduler, rows)
        assert (out["rows"], out["dropped"]) == (5, {"training_reserved": 2})
        assert web["proxy"].pictures_asked() == {"/p/10.jpg"}
        assert len(web["open"].pictures_asked()) == 4
        out = ingest(tmp_path, scheduler, rows, signals={"proxy_tokens": False})
        assert (out["rows"], out["dropped"]) == (7, {})
        assert web["proxy"].pictures_asked() == {"/p/20.jpg", "/p/21.jpg"}
        out = ingest(tmp_path, scheduler, rows)
        assert (out["rows"], out["dropped"]) == (5, {"training_reserved": 2})
        out = ingest(tmp_path, scheduler, rows, signals={"unknown": "drop"})
        assert (out["rows"], out["dropped"]) == (0, {"not_allowed": 5, "training_reserved": 2})
        assert not any(site.pictures_asked() - {f"/p/{n}.jpg" for n in range(20)} for site in web.sites.values())
    snapshot = json.loads(sorted((tmp_path / "set/snapshots").iterdir())[0].read_text())
    signals = snapshot["config"]["signals"]
    assert signals["deny"] == ["crawl", "tdm", "train", "train-genai"]
    assert set(signals["versions"]) == {"proxy_tokens", "aipref", "rsl"}


@pytest.mark.parametrize("asked", [True, False])
def test_the_pages_own_site_may_deny_a_picture_that_stands_elsewhere(
    tmp_path: Path, scheduler: str, asked: bool
) -> None:
    from warcio.warcwriter import WARCWriter

    from tests.tiny import _add

    with Web("page", "cdn") as web:
        web["page"].put("/robots.txt", CLOSED)
        crawl = tmp_path / "crawl.warc.gz"
        with crawl.open("wb") as handle:
            tags = "".join(f'<img src="{web["cdn"].url}/p/{n}.jpg" alt="{picture(n)[1]}">' for n in range(3))
            _add(WARCWriter(handle, gzip=True), f"{web['page'].url}/", "text/html", f"<body>{tags}</body>".encode())
        file = config(
            tmp_path / "web.toml",
            str(tmp_path / "set"),
            [crawl],
            fetch={"allow_hosts": ["127.0.0.1"]},
            copies={"enabled": False},
            signals={"page_origins": asked},
        )
        out = json.loads(tamis("ingest", file, "--scheduler", scheduler, "--quiet", "--json").stdout)
        assert out["dropped"] == ({"training_reserved": 3} if asked else {})
        assert len(web["cdn"].pictures_asked()) == (0 if asked else 3)
        assert web["page"].asked["GET /robots.txt"] == (1 if asked else 0)
    if asked:
        fetched = pa.concat_tables([pq.read_table(p) for p in (tmp_path / "set/fetch").rglob("*[0-9a-f].parquet")])
        assert {(row["via"], row["detail"].partition(": ")[0]) for row in fetched.to_pylist()} == {
            ("page", "the page's site")
        }
        signals = pa.concat_tables([pq.read_table(p) for p in (tmp_path / "set/fetch").rglob("*.signals.parquet")])
        denied = [row for row in signals.to_pylist() if row["value"] == "deny" and row["category"] == "train"]
        assert [(row["url"], row["mechanism"]) for row in denied] == [(f"{web['page'].url}/", "content-signal")]


def test_what_cannot_be_read_is_counted_and_held_where_it_may_be_a_no(tmp_path: Path, scheduler: str) -> None:
    with Web("sloppy", "broken") as web:
        web["sloppy"].put("/robots.txt", b"User-agent: *\nContent-Usage: Train-AI=n\nAllow: /\n")
        web["broken"].put("/ai.txt", b"", 500)
        rows = [
            (f"{web[name].url}/p/{n}.jpg", picture(n)[1]) for name, n in (("sloppy", 1), ("sloppy", 2), ("broken", 3))
        ]
        out = ingest(tmp_path, scheduler, rows)
        assert (out["rows"], out["dropped"]) == (1, {"signal_unclear": 2})
        out = ingest(tmp_path, scheduler, rows, signals={"unknown": "unclear"})
        assert (out["rows"], out["dropped"]) == (0, {"signal_unclear": 3})
    page = tmp_path / "report.html"
    tamis("report", tmp_path / "set", "--out", page, "--snapshot", "1")
    text = page.read_text()
    assert "aipref-robots statements cannot be read and look like a no" in text
    assert "ai.txt statement could not be got" in text
