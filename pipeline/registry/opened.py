"""A request at the moment it is taken in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from pipeline.registry import clock, seal
from pipeline.registry.requests import Request
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

    def insert(self, connection: Connection) -> int:
        """Put it into the registry with a key of its own and the log's first entry on it; return its position."""
        key, position = seal.new_key(), advance_position(connection)
        received, due = self._times
        commitment = seal.commitment(seal.opening(key), self.kind, self.form)
        connection.execute(
            request.insert().values(
                id=self.id, position=position, kind=self.kind, digest=self.digest, key=key,
                sealed=seal.seal(key, self.secret, self.id), options=json.dumps(dict(self.options), sort_keys=True),
                source=self.source, state="received", commitment=commitment, received_utc=received, due_utc=due,
            )
        )  # fmt: skip
        said = {"kind": self.kind, "commitment": commitment.hex(), **self.options}
        step(connection, self.id, "received", {**said, "received": received, "due": due})
        return position
