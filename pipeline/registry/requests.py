"""What a request is, the states it goes through, and which moves are legal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pipeline.errors import InputError
from pipeline.registry import clock

MOVES: Final[dict[str, tuple[str, ...]]] = {
    "received": ("identified", "refused", "withdrawn"),
    "identified": ("proposed", "tombstoned", "refused", "withdrawn"),
    "proposed": ("confirmed", "refused", "withdrawn"),
    "confirmed": ("proposed", "tombstoned", "refused", "withdrawn"),
    "tombstoned": ("erased", "withdrawn"),
    "erased": ("closed", "withdrawn"),
    "closed": ("withdrawn",),  # what is erased stays erased; the block on its return is lifted
    "withdrawn": (),
    "refused": (),
}
QUESTION: Final = "gdpr15"
"""Category of a request that asks whether something is in the data set (GDPR art. 15); it hides and blocks nothing."""
ANSWERED: Final[dict[str, tuple[str, ...]]] = {
    "received": ("identified", "refused", "withdrawn"),
    "identified": ("closed", "refused", "withdrawn"),
}
"""The moves of a question: it is answered, and that is its end."""
WEB: Final = "web"
"""Source of what strangers file on the page: nobody knows yet who they are."""
OPEN: Final = ("received", "identified", "proposed", "confirmed", "tombstoned", "erased")
REFUSALS: Final = (
    "not_identifiable",
    "identity_not_shown",
    "not_in_scope",
    "manifestly_unfounded",
    "excessive",
    "legal_obligation",
)
CATEGORIES: Final = ("train", "tdm", QUESTION, "gdpr17", "gdpr21", "copyright", "dmca", "csam", "ncii")


@dataclass(frozen=True)
class Request:
    """One request as the registry shows it; nothing personal in it."""

    id: str
    position: int
    kind: str
    digest: bytes | None
    options: Mapping[str, Any]
    source: str
    state: str
    reason: str | None
    received_utc: str
    due_utc: str
    extension_notice_utc: str | None
    extended_due_utc: str | None
    forgotten: bool  # whether the key of what the person told is destroyed
    transitions: tuple[tuple[str, str, int | None], ...] = ()  # state, time, log leaf

    @property
    def asks(self) -> bool:
        """Tell whether it only asks for confirmation."""
        return self.options.get("category") == QUESTION

    @property
    def waits(self) -> bool:
        """Tell whether it has no effect until an officer accepts it (see pipeline.held)."""
        return (self.asks or bool(self.options.get("held"))) and self.state in ("received", "identified")

    @property
    def deadline_utc(self) -> str:
        """Return until when it must be answered."""
        return self.extended_due_utc or self.due_utc

    def overdue(self, now: datetime) -> bool:
        """Tell whether it is still open after its deadline; erased and waiting for the verification counts as open."""
        return self.state in OPEN and clock.text(now) > self.deadline_utc

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        plain = {name: value for name, value in self.__dict__.items() if name not in ("digest", "transitions")}
        steps = [{"state": state, "utc": utc, "leaf": leaf} for state, utc, leaf in self.transitions]
        return {**plain, "options": dict(self.options), "deadline_utc": self.deadline_utc, "transitions": steps}


@dataclass(frozen=True)
class Match:
    """A row of the data set that a request means."""

    uid: bytes
    part: str  # key of the candidates part; "" for a refused row, which has no uid of its own
    how: str
    score: float | None = None  # distance in bits, or cosine
    state: str = "confirmed"  # proposed, confirmed, rejected
    secret: Mapping[str, Any] | None = None  # what the verifier looks for


def check_move(request: Request, state: str) -> None:
    """Raise InputError when the request cannot go to that state, with what is possible."""
    legal = ANSWERED.get(request.state, ()) if request.asks else MOVES[request.state]
    if state not in legal:
        possible = ", ".join(legal) or "nothing more"
        raise InputError(f"request {request.id} is {request.state}: it cannot become {state}; possible: {possible}")
