"""Behave towards one host: few requests at once, waits it asks for, pauses that grow, and an end when it is down."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

BACKOFF_S = 0.5
MAX_BACKOFF_S = 20.0


class HostClosed(Exception):
    """Say that a host is not asked now: its breaker is open, or it wants a pause longer than the URL's deadline."""


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Read Retry-After (RFC 9110 §10.2.3), seconds or a date; None when absent or unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def backoff_s(attempt: int, spread: Callable[[], float] = random.random) -> float:
    """Return a pause before try `attempt` + 1: doubling, with half of it at random so that retries do not meet."""
    return min(MAX_BACKOFF_S, BACKOFF_S * 2.0**attempt) * (0.5 + 0.5 * spread())


@dataclass(slots=True)
class Host:
    """Remember how one host fares."""

    slots: asyncio.Semaphore
    failures: int = 0  # in a row
    closed_until_s: float = 0.0  # loop time
    paused_until_s: float = 0.0
    trying: bool = False  # one request may test a host whose breaker was open
    last: str = ""


@dataclass(slots=True)
class Politeness:
    """Hold all hosts of one client. Times are the event loop's."""

    host_concurrency: int
    breaker_failures: int
    breaker_s: float
    _hosts: dict[str, Host] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        """Return what is known of a host, host name and port."""
        found = self._hosts.get(name)
        if found is None:
            found = self._hosts[name] = Host(asyncio.Semaphore(self.host_concurrency))
        return found

    @asynccontextmanager
    async def turn(self, name: str, deadline_s: float) -> AsyncIterator[Host]:
        """Wait for one of the host's slots and for pauses it asked for; HostClosed if it is not to be asked."""
        host = self.host(name)
        async with host.slots:
            loop = asyncio.get_running_loop()
            self._check(name, host, loop.time())
            pause_s = host.paused_until_s - loop.time()
            if pause_s > 0:
                if host.paused_until_s >= deadline_s:
                    raise HostClosed(f"{name} asked for a pause of {pause_s:.0f} s more")
                await asyncio.sleep(pause_s)
                self._check(name, host, loop.time())
            testing = host.failures >= self.breaker_failures
            host.trying = host.trying or testing
            try:
                yield host
            finally:
                if testing:
                    host.trying = False

    def _check(self, name: str, host: Host, now_s: float) -> None:
        if host.failures >= self.breaker_failures and (host.trying or now_s < host.closed_until_s):
            raise HostClosed(f"{name} failed {host.failures} times in a row, last: {host.last}")

    def worked(self, host: Host) -> None:
        """Note an answer that shows the host in order."""
        host.failures = 0

    def failed(self, host: Host, reason: str, pause_s: float | None) -> None:
        """Note a transient failure, and the pause the host asked for."""
        now_s = asyncio.get_running_loop().time()
        host.last = reason
        if pause_s:  # who names a time is not down
            host.paused_until_s = max(host.paused_until_s, now_s + pause_s)
            return
        host.failures += 1
        if host.failures >= self.breaker_failures:
            host.closed_until_s = now_s + self.breaker_s
