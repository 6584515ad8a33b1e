"""What an officer does with one request: each move is a POST that may be repeated, and stands in the log."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from index.serve import desk_view
from index.serve.catalogue import Served
from index.serve.desk_access import ERRORS, Chosen, Here, RequestId, Work, having
from index.serve.office import Office
from index.serve.state import State
from pipeline import held
from pipeline.erasure.ending import end
from pipeline.identify import settle
from pipeline.registry.registry import Registry

router = APIRouter(tags=["desk"], responses=ERRORS)
Uid = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Decision(_Sent):
    """Which look-alikes show what was asked for, and which do not."""

    uids: Annotated[list[Uid], Field(max_length=10_000)] = []
    all: bool = False
    """All that are still open and not named otherwise."""


class Answer(_Sent):
    """The look-alikes that show what was asked about, and those that do not."""

    confirm: Annotated[list[Uid], Field(max_length=1_000)] = []
    reject: Annotated[list[Uid], Field(max_length=1_000)] = []


class Refusal(_Sent):
    """Why a request is refused."""

    reason: Literal[
        "not_identifiable",
        "identity_not_shown",
        "not_in_scope",
        "manifestly_unfounded",
        "excessive",
        "legal_obligation",
    ]


async def _moved(
    change: Callable[[Served, Registry, str, Any], object],
    served: Served,
    state: State,
    office: Office,
    request_id: str,
    body: object = None,
) -> dict[str, Any]:
    """Carry out an officer's word on a request, sign the log, and show how it stands then."""

    def work() -> dict[str, Any]:
        registry = having(served, office, request_id)
        said = change(served, registry, request_id, body)
        registry.sign()
        found = desk_view.detail(served, registry, request_id, 0)
        return {**found, "said": said} if said is not None else found

    return await state.slow.run(work)


def _accept(served: Served, registry: Registry, id_: str, _: None) -> None:
    held.accept(served.store, registry, id_)


def _settle(served: Served, registry: Registry, id_: str, body: tuple[Decision, bool]) -> None:
    decision, shows = body
    if registry.get(id_).waits:
        held.accept(served.store, registry, id_)
    named = [bytes.fromhex(uid) for uid in decision.uids]
    open_ = [match.uid for match in registry.matches(id_, "proposed")]
    chosen = [*named, *(uid for uid in open_ if decision.all and uid not in named)]
    settle(served.store, registry, id_, **{"confirm" if shows else "reject": chosen})


def _answer(served: Served, registry: Registry, id_: str, body: Answer) -> dict[str, Any]:
    yes, no = ([bytes.fromhex(uid) for uid in uids] for uids in (body.confirm, body.reject))
    return held.answer(served.store, registry, id_, confirm=yes, reject=no)


def _refuse(served: Served, registry: Registry, id_: str, body: Refusal) -> None:
    end(served.store, registry, id_, "refused", body.reason)


def _extend(_: Served, registry: Registry, id_: str, __: None) -> None:
    if registry.get(id_).extended_due_utc is None:
        registry.extend(id_)


def _withdraw(served: Served, registry: Registry, id_: str, _: None) -> None:
    end(served.store, registry, id_, "withdrawn")


@router.post("/{name}/requests/{id}/accept", response_model=dict[str, Any])
async def accept(request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Take up a request that waits: what it plainly means is hidden at once."""
    return await _moved(_accept, served, state, office, request_id)


@router.post("/{name}/requests/{id}/confirm", response_model=dict[str, Any])
async def confirm(body: Decision, request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Accept a request and say which look-alikes are meant; they are hidden at once."""
    return await _moved(_settle, served, state, office, request_id, (body, True))


@router.post("/{name}/requests/{id}/reject", response_model=dict[str, Any])
async def reject(body: Decision, request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Accept a request and say which look-alikes are not meant."""
    return await _moved(_settle, served, state, office, request_id, (body, False))


@router.post("/{name}/requests/{id}/answer", response_model=dict[str, Any])
async def answer(body: Answer, request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Answer a request that only asks; it is closed and forgotten."""
    return await _moved(_answer, served, state, office, request_id, body)


@router.post("/{name}/requests/{id}/refuse", response_model=dict[str, Any])
async def refuse(body: Refusal, request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Refuse a request with its reason, which the person must be told."""
    return await _moved(_refuse, served, state, office, request_id, body)


@router.post("/{name}/requests/{id}/extend", response_model=dict[str, Any])
async def extend(request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Extend the deadline by two months, of which the person must be told within the first."""
    return await _moved(_extend, served, state, office, request_id)


@router.post("/{name}/requests/{id}/withdraw", response_model=dict[str, Any])
async def withdraw(request_id: RequestId, served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Take a request back for the person; what is only hidden comes back."""
    return await _moved(_withdraw, served, state, office, request_id)
