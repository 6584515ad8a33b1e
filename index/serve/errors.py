"""Troubles of the server, and how each is told to a client: a status and a sentence."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.serve.catalogue import UnknownDataset
from pipeline.errors import DatasetBusy, InputError, TamisError

LOG = logging.getLogger("tamis.serve")


class Overloaded(TamisError):
    """More work is waiting than the server takes on."""


class TooSlow(TamisError):
    """A piece of work was not done in time."""


class Closed(TamisError):
    """What was asked for cannot be done here, whoever asks and whenever."""


class NotHere(TamisError):
    """What a client named is not in the data set, or not shown any more: the two look the same."""


_STATUS: Mapping[type[TamisError], int] = {
    UnknownDataset: 404, NotHere: 404, Overloaded: 503, TooSlow: 503, Closed: 501, DatasetBusy: 409, InputError: 400,
}  # fmt: skip


def told(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as every client of the server is told it."""
    return JSONResponse({"error": sentence}, status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Have all errors of an app told the same way."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(TamisError, _of_tamis)


async def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return told(error.status_code, str(error.detail), error.headers)


async def _of_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return told(422, sentence_of(error.errors()))


def sentence_of(errors: Any) -> str:
    """Return the first three of pydantic's findings as a sentence; what the client sent is not repeated."""
    said = []
    for one in list(errors)[:3]:
        where = ".".join(str(step) for step in one["loc"] if step != "body") or "the body"
        said.append(f"{where[:120]}: {one['msg']}")
    return "; ".join(said)


async def _of_tamis(_: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:  # its words may hold paths of this machine
        LOG.error("%s: %s", type(error).__name__, error)
        return told(500, "the data set cannot be read just now; whoever runs the server finds the reason in its log")
    return told(status, str(error), {"Retry-After": "1"} if status == 503 else None)


class Faults:
    """Answer 500 in the house's form where the program itself fails, inside of what adds headers and counts."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except (ClientDisconnect, asyncio.CancelledError):
            raise
        except Exception:
            LOG.exception("a fault of the server")
            if started:  # half an answer cannot be taken back: cut the connection
                raise
            await told(500, "a fault of the server; whoever runs it finds it in its log")(scope, receive, send)
