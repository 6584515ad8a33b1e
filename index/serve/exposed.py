"""Which trained models saw a sample, as strangers may be told: the runs' names, no folder of this machine."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from index.serve.catalogue import Served


def seen(served: Served, uids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return uid (hex) → the checkpoints that saw it: `model`, `first_step`, `times`, or why it is `unknown`."""
    if served.checkpoints is None or not uids:
        return {}
    found = served.checkpoints(served.store, [bytes.fromhex(uid) for uid in uids])
    return {uid.hex(): [public(one) for one in all_] for uid, all_ in found.items()}


def public(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of one checkpoint without the path that leads to it."""
    place = PurePath(str(seen["checkpoint"]))
    if "exported" in seen:
        model = f"{PurePath(seen['exported']['of']).name}, step {seen['exported']['step']:,}, as it was handed out"
    elif place.parent.name == "checkpoints":
        model = f"{place.parent.parent.name}, step {int(place.name):,}"
    else:
        model = place.name  # a run of which nothing is known
    told = {name: seen[name] for name in ("first_step", "times", "copy") if name in seen}
    if "unknown" in seen:
        told["unknown"] = "its files cannot be read from here"
    return {"model": model, **told}


def said(seen: Mapping[str, Any]) -> str:
    """Return one checkpoint as a phrase."""
    if "unknown" in seen:
        return f"perhaps {seen['model']}: {seen['unknown']}"
    if seen["first_step"] is None:
        return f"{seen['model']} (its vector alone, for the scale of vectors)"
    times = "once" if seen["times"] == 1 else f"{seen['times']:,} times"
    return f"{seen['model']} (first at step {seen['first_step']:,}, {times})"
