"""Requests that end before they are carried out, withdrawn or refused: what they hide comes back, what is erased does not."""

from dataclasses import dataclass

from pipeline import amendments, tombstones
from pipeline.erasure import plan
from pipeline.lock import hold
from pipeline.registry.registry import Registry
from pipeline.store import Store


@dataclass(frozen=True)
class Ended:
    """What the end of a request changed, in rows of the data set."""

    visible: int  # no longer hidden by it
    still_hidden: int  # of those, which another request hides as well
    erased: int  # stay erased, and stay away


def end(store: Store, registry: Registry, request_id: str, state: str, reason: str | None = None) -> Ended:
    """Bring a request to `withdrawn` or `refused`, lift its block on later ingests, and give back what it hid.

    Rows that are erased, or whose erasure has begun, stay hidden for good: their place in the data set is blank. What the person
    told is forgotten when they take it back; of a refusal it is kept, since they may complain. The state comes first; the same
    command again after a kill does the rest. DatasetBusy while a run or an erasure holds the data set.
    """
    with hold(store):
        registry.advance(request_id, state, reason=reason)
        hidden = [row for row in tombstones.read(store).table().to_pylist() if row["request"] == request_id]
        gone = amendments.read(store).uids | {uid for begun in plan.unfinished(store) for uid in begun.uids}
        mine = [row for row in hidden if row["uid"].hex() not in gone]
        if mine:
            uids, parts = [row["uid"] for row in mine], [row["part"] for row in mine]
            tombstones.publish(store, tombstones.of_request(uids, parts, request_id, lifted=True))
        others = {bytes(uid).ljust(16, b"\0") for uid in tombstones.read(store).uids()}
    if state == "withdrawn" and not registry.get(request_id).forgotten:
        registry.shred(request_id)
    lifted = {row["uid"] for row in mine}
    return Ended(len(lifted), len(lifted & others), len({row["uid"] for row in hidden} - lifted))
