"""The report's section on requests counts them by kind, state, age and deadline, and tells nothing of what they say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser

from pipeline.registry.registry import Registry
from pipeline.report import build
from pipeline.report_requests import gather
from tests.small_dataset import Small
from tests.small_dataset import build as build_small

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build_small(tmp_path_factory.mktemp("sets") / "little-web", parts=1)


@pytest.fixture(scope="module")
def asked(small: Small) -> Registry:
    registry = Registry.open(small.store)
    for days, kind, value in (
        (40, "url", "https://secret.example/a.jpg"), (20, "url", "https://secret.example/b.jpg"), (3, "domain", "secret.example"),
        (2, "text", "Jane Roe"), (100, "host", "old.secret.example"),
    ):  # fmt: skip
        registry.add(kind, value, contact="jane@roe.example", received_utc=NOW - timedelta(days=days))
    refused = registry.add("url", "https://secret.example/c.jpg", received_utc=NOW)
    registry.advance(refused.id, "refused", reason="not_in_scope")
    return registry


def test_a_data_set_without_a_registry_has_no_such_section(tmp_path: Path) -> None:
    made = build_small(tmp_path / "set", parts=1)
    assert gather(made.store) is None
    page = build(made.store, tmp_path / "report.html").read_text()
    assert 'id="requests"' not in page
    assert not (tmp_path / "set/private").exists()


def test_requests_are_counted_by_kind_state_age_and_deadline(small: Small, asked: Registry) -> None:
    found = gather(small.store, NOW)
    assert found is not None
    assert (found.total, found.open, found.overdue, found.more_due) == (6, 5, 2, 0)
    assert list(found.kinds) == [
        ("url", 3, {"received": 2, "refused": 1}), ("domain", 1, {"received": 1}), ("host", 1, {"received": 1}),
        ("text", 1, {"received": 1}),
    ]  # fmt: skip
    assert list(found.states) == ["received", "refused"]
    assert list(found.ages) == [("up to a week", 2), ("up to a month", 1), ("up to three months", 1), ("older", 1)]
    assert [(due.kind, due.days < 0) for due in found.due] == [
        ("host", True),
        ("url", True),
        ("url", False),
        ("domain", False),
        ("text", False),
    ]
    assert found.due[0].due == "2026-04-07"  # 7 March and one month


def test_the_page_shows_counts_and_nothing_that_anybody_said(small: Small, asked: Registry, tmp_path: Path) -> None:
    page = build(small.store, tmp_path / "report.html").read_text()
    section = LexborHTMLParser(page).css_first("#requests")
    assert section is not None
    assert "6 requests to be left out" in section.text()
    assert "overdue" in section.text()
    assert len(section.css("tbody tr")) == 4 + 5
    assert [word for word in ("secret.example", "Jane", "roe.example") if word in page] == []
