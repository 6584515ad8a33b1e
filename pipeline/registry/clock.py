"""Deadlines as the GDPR counts them (art. 12(3)): calendar months, in UTC."""

import calendar
from datetime import UTC, datetime

from pipeline.errors import InputError

MONTHS = 1
_EARLIEST = 1900
EXTENDED_MONTHS = 3  # one and two further ones, told within the first


def now_utc() -> datetime:
    """Return the time, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def text(moment: datetime) -> str:
    """Return a time as the registry stores it: ISO 8601, UTC, `Z`."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(stored: str) -> datetime:
    """Read a time of the registry, or one that a person typed; InputError explains what cannot be read."""
    try:
        found = datetime.fromisoformat(stored)
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{stored!r} is not a time; write it as 2026-01-31 or 2026-01-31T12:00:00Z") from error
    if found.year < _EARLIEST:  # its text would not sort as the others do
        raise InputError(f"{stored!r} is before {_EARLIEST}")
    return found


def months_on(start: datetime, months: int) -> datetime:
    """Return the same day so many months later, or the month's last day where it has no such day (31 January + 1)."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last))
