"""Deadlines are calendar months in UTC (GDPR art. 12(3))."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline.errors import InputError
from pipeline.registry.clock import moment, months_on, text
from pipeline.registry.registry import Registry


@pytest.mark.parametrize(
    ("start", "months", "due"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),  # a leap year
        ("2028-01-29", 1, "2028-02-29"),
        ("2027-01-29", 1, "2027-02-28"),
        ("2028-02-29", 1, "2028-03-29"),
        ("2026-03-31", 1, "2026-04-30"),
        ("2026-12-31", 1, "2027-01-31"),
        ("2026-11-30", 3, "2027-02-28"),
        ("2026-12-01", 3, "2027-03-01"),
        ("2100-01-30", 1, "2100-02-28"),  # no leap year
    ],
)
def test_a_month_on_is_the_same_day_or_the_months_last(start: str, months: int, due: str) -> None:
    assert months_on(moment(start), months) == moment(due)


def test_times_are_stored_in_utc_whatever_their_zone() -> None:
    tokyo = datetime(2026, 2, 1, 8, 30, tzinfo=timezone(timedelta(hours=9)))
    assert text(tokyo) == "2026-01-31T23:30:00Z"
    assert moment("2026-01-31T23:30:00Z") == tokyo
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    with pytest.raises(ValueError, match="without a zone"):
        text(datetime(2026, 1, 1))
    with pytest.raises(InputError, match=r"'soon' is not a time; write it as 2026-01-31"):
        moment("soon")
    for edge in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"):
        with pytest.raises(InputError, match="is not a time"):
            moment(edge)
    with pytest.raises(InputError, match="is before 1900"):
        moment("0999-01-01")


def test_a_request_is_due_a_month_after_its_receipt_in_utc(registry: Registry) -> None:
    late = datetime(2026, 1, 31, 22, 0, tzinfo=timezone(timedelta(hours=-5)))  # 1 February in UTC
    assert registry.add("url", "https://a.example/1.jpg", received_utc=late).due_utc == "2026-03-01T03:00:00Z"
    request = registry.add("url", "https://a.example/2.jpg", received_utc=moment("2026-01-31T12:00:00Z"))
    assert request.due_utc == request.deadline_utc == "2026-02-28T12:00:00Z"
    assert not request.overdue(moment("2026-02-28T12:00:00Z"))
    assert request.overdue(moment("2026-02-28T12:00:01Z"))


def test_what_is_yet_to_come_cannot_have_been_received(registry: Registry) -> None:
    with pytest.raises(InputError, match="that is yet to come"):
        registry.add("url", "https://a.example/1.jpg", received_utc=datetime.now(UTC) + timedelta(days=2))


def test_an_extension_is_told_within_the_month_and_makes_three_in_all(registry: Registry) -> None:
    request = registry.add("domain", "artist.example", received_utc=moment("2025-11-30"))
    assert request.due_utc == "2025-12-30T00:00:00Z"
    with pytest.raises(InputError, match="was due on 2025-12-30T00:00:00Z: an extension must be told before that"):
        registry.extend(request.id, now=moment("2025-12-30T00:00:01Z"))
    extended = registry.extend(request.id, now=moment("2025-12-30"))
    assert extended.extension_notice_utc == "2025-12-30T00:00:00Z"
    assert extended.deadline_utc == extended.extended_due_utc == "2026-02-28T00:00:00Z"
    assert not extended.overdue(moment("2026-02-28"))
    assert extended.overdue(moment("2026-03-01"))
    with pytest.raises(InputError, match="was extended already, until 2026-02-28T00:00:00Z"):
        registry.extend(request.id, now=moment("2025-12-01"))


def test_what_is_over_has_no_deadline(registry: Registry) -> None:
    request = registry.add("domain", "artist.example", received_utc=moment("2025-11-30"))
    registry.advance(request.id, "withdrawn")
    assert not registry.get(request.id).overdue(moment("2026-06-01"))
    with pytest.raises(InputError, match="is withdrawn: there is no deadline to extend"):
        registry.extend(request.id, now=moment("2025-12-01"))
