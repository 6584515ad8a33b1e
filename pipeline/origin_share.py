"""What one worker asked an origin that a redirect led to, every other may read: committed beside the other permissions.

An origin has one place a day in the data set (and one each ten minutes after a denial), so that all workers of a run, and a
run that is resumed, look for it in the same one. Whoever is about to ask says so there, and the others wait a little.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final

from pipeline.fetch_options import FetchOptions
from pipeline.ids import stable_hash
from pipeline.origin_policy import OriginPolicy, policies_table, read_policies
from pipeline.stage import Draft, Outcome, Part, Stage, find, run
from pipeline.store import Store

DAY_S: Final = 24 * 3600.0  # RFC 9309 §2.4
DENIAL_S: Final = 600.0  # a host that did not answer may answer soon
_FOLDER: Final = "permission"
_FILES: Final = 2  # version of the list of files that an origin is asked for
_MOST: Final = 2000  # origins that one process shares; of more, it alone remembers the rest
_PAUSE_S: Final = 0.1


def asker(options: FetchOptions) -> str:
    """Return what answers depend on beside the origin: by what name it is asked, for which files, and what may be dialled."""
    return stable_hash([options.user_agent, sorted(options.allow_hosts), sorted(options.policy.off), _FILES])


def clear(store: Store) -> None:
    """Remove what workers that died left standing; for the driver of a run, before its workers begin."""
    for name in store.names(_FOLDER):
        if name.endswith(".asking"):
            store.delete(name)


class OriginShare:
    """The answers of origins in a data set, as one kind of asker sees them; a host's earlier silence only if `denials`."""

    def __init__(self, store: Store, name: str, *, denials: bool = True, now: Callable[[], float] = time.time) -> None:
        self.store, self.asker, self.denials, self.now = store, name, denials, now
        self.committed = 0

    def known(self, origin: str) -> OriginPolicy | None:
        """Return what anybody heard of an origin, while it is fresh."""
        for stage in reversed(self._stages(origin)):  # after a day's first denial the newer word is in the other place
            part = find(self.store, _FOLDER, stage.key(()))
            if part is None or (part.facts["unreachable"] and not (self.denials and self._is_new(part))):
                continue
            return read_policies(self.store, [part], {origin})[origin]
        return None

    def claim(self, origin: str) -> bool:
        """Say that we are about to ask; False when somebody else said so."""
        return self.committed >= _MOST or self.store.create(self._claim(origin), b"")

    def publish(self, policy: OriginPolicy) -> OriginPolicy:
        """Commit an answer, and return it, or the one that was committed first."""
        if self.committed >= _MOST:
            return policy
        self.committed += 1
        day, slot = self._stages(policy.origin, policy)
        known = find(self.store, _FOLDER, day.key(()))
        part = run(self.store, day if known is None or not known.facts["unreachable"] else slot)
        return read_policies(self.store, [part], {policy.origin})[policy.origin]

    def release(self, origin: str) -> None:
        """Take back that we are about to ask."""
        self.store.delete(self._claim(origin))

    async def once(self, origin: str, ask: Callable[[], Awaitable[OriginPolicy]], *, wait_s: float) -> OriginPolicy:
        """Return an origin's answer, asking only where nobody has or is about to; waits for the latter at most `wait_s`."""
        until_s = time.monotonic() + wait_s
        while True:
            known = await asyncio.to_thread(self.known, origin)
            if known is not None:
                return known
            mine = await asyncio.to_thread(self.claim, origin)
            if mine or time.monotonic() >= until_s:
                break
            await asyncio.sleep(_PAUSE_S)
        try:
            return await asyncio.to_thread(self.publish, await ask())
        finally:
            if mine:
                self.release(origin)

    def _claim(self, origin: str) -> str:
        return f"{_FOLDER}/{stable_hash([origin, self.asker])}.asking"

    def _is_new(self, part: Part) -> bool:
        return self.now() - float(part.facts["asked_s"]) < DENIAL_S

    def _stages(self, origin: str, policy: OriginPolicy | None = None) -> tuple[Stage, Stage]:
        """Return the stages that hold an origin's answer: today's, and the one of these ten minutes."""
        now = self.now()

        def write(draft: Draft) -> Outcome:
            assert policy is not None
            draft.table(policies_table([policy]))
            silent = [origin] if policy.unreachable is not None else []
            facts = {"origins": [origin], "unreachable": silent, "asked_s": now, "asker": self.asker}
            return Outcome(1, 1, {}, facts)

        same: dict[str, Any] = {"origins": [origin], "asker": self.asker}
        periods = {"day": int(now // DAY_S)}, {"slot": int(now // DENIAL_S)}
        day, slot = (Stage(_FOLDER, write, same | period) for period in periods)
        return day, slot


@lru_cache(maxsize=4)
def share(store: Store, name: str, denials: bool) -> OriginShare:
    """Return this process's share of a data set, so that its bound holds for all parts."""
    return OriginShare(store, name, denials=denials)
