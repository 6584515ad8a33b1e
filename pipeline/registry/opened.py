"""A request at the moment it is taken in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from pipeline.registry import clock, seal
from pipeline.registry.requests import OPEN, WEB, Request
from pipeline.registry.rows import advance_position, step
from pipeline.registry.tables import request


@dataclass(frozen=True)
class Opened:
    """What a new request consists of."""

    id: str
    kind: str
    source: str
    options: Mapping[str, Any]
    secret: Mapping[str, Any]
    form: str | bytes  # what the log commits to
    digest: bytes | None
    received: datetime

    @property
    def _times(self) -> tuple[str, str]:
        return clock.text(self.received), clock.text(clock.months_on(self.received, clock.MONTHS))

    def request(self) -> Request:
        """Return it as it would be read from the registry, which does not keep it."""
        received, due = self._times
        return Request(
            id=self.id, position=0, kind=self.kind, digest=self.digest, options=self.options, source=self.source, state="received",
            reason=None, extension_notice_utc=None, extended_due_utc=None, forgotten=False, received_utc=received, due_utc=due,
        )  # fmt: skip

    def equal(self, connection: Connection) -> str | None:
        """Return the id of the open request of the same person for the same thing, if there is one."""
        if self.source == WEB:  # a second stranger who names the same must not get the first one's state and receipt
            return None
        same = {"kind": self.kind, "source": self.source, "options": self._options, "digest": self.digest}
        alike = (request.c[name] == value for name, value in same.items())
        found = select(request.c.id, request.c.key, request.c.sealed).where(request.c.state.in_(OPEN), *alike)
        for row in connection.execute(found):
            if row.key and seal.unseal(bytes(row.key), bytes(row.sealed), row.id)["contact"] == self.secret["contact"]:
                return str(row.id)
        return None

    @property
    def _options(self) -> str:
        return json.dumps(dict(self.options), sort_keys=True)

    def insert(self, connection: Connection) -> int:
        """Put it into the registry with a key of its own and the log's first entry on it; return its position."""
        key, position = seal.new_key(), advance_position(connection)
        received, due = self._times
        commitment = seal.commitment(seal.opening(key), self.kind, self.form)
        connection.execute(
            request.insert().values(
                id=self.id, position=position, kind=self.kind, digest=self.digest, key=key,
                sealed=seal.seal(key, self.secret, self.id), options=self._options,
                source=self.source, state="received", commitment=commitment, received_utc=received, due_utc=due,
            )
        )  # fmt: skip
        said = {"kind": self.kind, "commitment": commitment.hex(), **self.options}
        step(connection, self.id, "received", {**said, "received": received, "due": due})
        return position
