"""Who may be asked for pictures, and for what use: each origin's small files, read once a run and kept for 24 hours."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import pyarrow as pa

from pipeline import judging
from pipeline.capture import read_capture
from pipeline.errors import FormatError
from pipeline.fetch import FetchOptions
from pipeline.origin_share import asker, clear
from pipeline.permission import OriginPolicy, captured_policies, fetch_policies, policies_table, read_policies
from pipeline.run import Run
from pipeline.stage import Draft, Outcome, Part, Stage, committed, run
from pipeline.store import Store
from pipeline.tasks import Admitted

_MAX_AGE_S = 24 * 3600.0  # RFC 9309 §2.4
_MAX_AGE_UNREACHABLE_S = 600.0  # a host that did not answer may answer soon
_ORIGINS = 64


class Book:
    """Remembers which committed table holds the statements of which origin."""

    def __init__(self, run_: Run) -> None:
        self.run = run_
        self.now = time.time()
        self.dialled: dict[str, Part] = {}
        self.captured: dict[str, Part] = {}
        self.asker = asker(judging.fetch_options(run_.config))
        clear(run_.store)
        for part in _recent(run_.store, self.now, self.asker, _MAX_AGE_S):
            stale = run_.retry_transient or self.now - part.facts["asked_s"] > _MAX_AGE_UNREACHABLE_S
            known = set(part.facts["origins"]) - (set(part.facts["unreachable"]) if stale else set())
            self.dialled.update(dict.fromkeys(known, part))

    def ask(self, admitted: Sequence[Admitted], captures: Sequence[Part]) -> None:
        """Ask every origin of these parts that has not been asked in the last 24 hours."""
        config = self.run.config
        if not config.fetch.robots:
            return
        fresh = sorted({o for item in admitted for o in item.origins} - self.dialled.keys())
        batches = [fresh[i : i + _ORIGINS] for i in range(0, len(fresh), _ORIGINS)]
        self.run.progress.expect("permission", len(batches))
        options = judging.fetch_options(config)
        jobs = [(self.run.store, batch, options, self.now, self.asker) for batch in batches]
        for part in self.run.engine.map(_ask, jobs, lambda part: self.run.progress.finished("permission", part)):
            self.dialled.update(dict.fromkeys(part.facts["origins"], part))
        self._read_captured({o for item in admitted for o in item.captured} - self.captured.keys(), captures)

    def _read_captured(self, origins: set[str], captures: Sequence[Part]) -> None:
        if not origins or not captures:
            return
        token = self.run.config.fetch.user_agent_token
        part = run(
            self.run.store,
            Stage("permission", lambda draft: _captured(draft, captures, token), {"kind": "captured", "token": token}),
            captures,
        )
        self.captured.update(dict.fromkeys(origins, part))

    def for_part(self, item: Admitted) -> list[Part]:
        """Return the tables that speak of the part's origins; what was asked now goes over what the crawl recorded."""
        found = [self.captured[o] for o in item.captured if o in self.captured]
        found += [self.dialled[o] for o in item.origins if o in self.dialled]
        return list({part.key: part for part in found}.values())


def ask_again(
    store: Store, origins: AbstractSet[str], options: FetchOptions, max_age_s: float = _MAX_AGE_S
) -> dict[str, OriginPolicy]:
    """Return what origins state now, asking those whose answer is older than `max_age_s`; here, not on a cluster."""
    now, name = time.time(), asker(options)
    parts = [part for part in _recent(store, now, name, max_age_s) if not origins.isdisjoint(part.facts["origins"])]
    stale = {
        o for part in parts if now - part.facts["asked_s"] > _MAX_AGE_UNREACHABLE_S for o in part.facts["unreachable"]
    }
    fresh = sorted(origins - ({o for part in parts for o in part.facts["origins"]} - stale))
    parts += [_ask(store, fresh[i : i + _ORIGINS], options, now, name) for i in range(0, len(fresh), _ORIGINS)]
    return read_policies(store, parts, origins)


def _recent(store: Store, now: float, asker: str, max_age_s: float) -> list[Part]:
    """Return the tables asked for lately by a run that called itself the same and might dial the same."""
    mine = (part for part in committed(store, "permission") if part.facts.get("asker") == asker)
    return sorted(
        (part for part in mine if now - part.facts["asked_s"] < max_age_s),
        key=lambda part: float(part.facts["asked_s"]),
    )


def _ask(store: Store, origins: list[str], options: FetchOptions, now: float, asker: str) -> Part:
    def ask(draft: Draft) -> Outcome:
        policies = fetch_policies(origins, options=options)
        draft.table(policies_table(policies))
        silent = sorted(policy.origin for policy in policies if policy.unreachable is not None)
        facts = {"origins": origins, "unreachable": silent, "asked_s": now, "asker": asker}
        return Outcome(len(origins), len(origins), {}, facts)

    return run(store, Stage("permission", ask, {"origins": origins, "asked_s": now, "asker": asker}))


def _captured(draft: Draft, captures: Sequence[Part], token: str = "*") -> Outcome:  # noqa: S107 (a name)
    rows = pa.concat_tables([part.table(draft.store, "policies.parquet") for part in captures]).sort_by(
        [("url", "ascending"), ("capture_uri", "ascending"), ("capture_offset", "ascending")]
    )
    bodies: dict[str, tuple[Sequence[tuple[str, str]], bytes]] = {}
    broken: dict[str, str] = {}
    for row in rows.to_pylist():
        url, place = row["url"], (row["capture_uri"], row["capture_offset"], row["capture_bytes"])
        if url in bodies:
            continue
        try:
            bodies[url] = read_capture(row["capture_kind"], *place, url=url)
        except FormatError as error:  # another record of the same file may be whole
            broken.setdefault(url, str(error))
    unread = {url: why for url, why in broken.items() if url not in bodies}
    policies = captured_policies(list(bodies.items()), unread, token)
    draft.table(policies_table(policies))
    return Outcome(len(policies), len(policies))
