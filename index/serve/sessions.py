"""Who may work at the desk: one token for the office, a cookie for the browser, and a second secret for every write."""

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from fastapi import HTTPException, Request
from starlette.responses import Response

LOG = logging.getLogger("tamis.serve")
COOKIE: Final = "tamis_desk"
CSRF_HEADER: Final = "X-CSRF-Token"
IDLE_S: Final = 30 * 60
"""A session ends when nothing was done for so long,"""
WHOLE_S: Final = 8 * 3600
"""and in any case after a working day."""
_MOST: Final = 1_000  # sessions at once; the oldest ends for the next one
_SLOW_S: Final = 1.0
_FAILURES: Final = 10
_WINDOW_S: Final = 60.0


@dataclass
class Session:
    """One signed-in browser."""

    csrf: str
    began_s: float
    seen_s: float


class Sessions:
    """Sessions live in memory, under the digests of their cookies: a restart signs everybody out."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = None if token is None else _digest(token)
        self._clock = clock
        self._open: dict[bytes, Session] = {}
        self._failed_s: list[float] = []

    @property
    def exists(self) -> bool:
        """Tell whether there is a desk at all."""
        return self._token is not None

    async def sign_in(self, token: str) -> tuple[str, Session]:
        """Return a fresh cookie and its session.

        A wrong token is answered 401 after a second; after 10 of them within a minute, 429 for everybody. The right token is
        compared in constant time, and let in even then: nobody can lock the office out.
        """
        now_s = self._clock()
        if self._token is not None and hmac.compare_digest(_digest(token), self._token):
            self._end_old(now_s)
            cookie, session = secrets.token_urlsafe(32), Session(secrets.token_urlsafe(32), now_s, now_s)
            self._open[_digest(cookie)] = session
            return cookie, session
        self._failed_s = [at_s for at_s in self._failed_s if now_s - at_s < _WINDOW_S]
        LOG.warning("a wrong token was tried at the desk, the %dth within a minute", len(self._failed_s) + 1)
        if len(self._failed_s) >= _FAILURES:
            raise HTTPException(429, "too many wrong tokens; wait a minute", {"Retry-After": str(int(_WINDOW_S))})
        self._failed_s.append(now_s)
        await asyncio.sleep(_SLOW_S)
        raise HTTPException(401, "that is not the desk's token")

    def _end_old(self, now_s: float) -> None:
        self._open = {key: one for key, one in self._open.items() if _lives(one, now_s)}
        while len(self._open) >= _MOST:
            self._open.pop(next(iter(self._open)))

    def of(self, request: Request) -> Session:
        """Return the session of a request; 404 without a desk, 401 without a session."""
        if not self.exists:
            raise HTTPException(404, "there is no desk here")
        found = self.known(request)
        if found is None:
            raise HTTPException(401, "sign in at the desk first")
        return found

    def known(self, request: Request) -> Session | None:
        """Return the session of a request, if it has one that lives; it lives on from now."""
        now_s, found = self._clock(), self._open.get(_digest(request.cookies.get(COOKIE, "")))
        if found is None or not _lives(found, now_s):
            return None
        found.seen_s = now_s
        return found

    def writing(self, request: Request) -> Session:
        """Return the session of a request that changes something; 403 where the CSRF token is missing or another's."""
        found = self.of(request)
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(_digest(sent), _digest(found.csrf)):
            raise HTTPException(403, f"the header {CSRF_HEADER} is missing or stale; load the page again")
        return found

    def sign_out(self, request: Request) -> None:
        """End the session of a request."""
        self._open.pop(_digest(request.cookies.get(COOKIE, "")), None)


def set_cookie(response: Response, request: Request, cookie: str) -> None:
    """Give a browser its cookie: no script reads it, no other site sends it, and over https nothing else carries it."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=WHOLE_S,
        path="/api/v1/desk",
        httponly=True,
        samesite="strict",
        secure=_is_https(request),
    )


def drop_cookie(response: Response, request: Request) -> None:
    """Take it back."""
    response.delete_cookie(COOKIE, path="/api/v1/desk", httponly=True, samesite="strict", secure=_is_https(request))


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def _lives(session: Session, now_s: float) -> bool:
    return now_s - session.seen_s < IDLE_S and now_s - session.began_s < WHOLE_S


def _digest(text: str) -> bytes:
    """Return 32 bytes to compare: of equal length whatever was sent."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
