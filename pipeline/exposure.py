"""What trained models saw: asked through this type, for `pipeline` does not know the trainer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.store import Store

Checkpoints = Callable[[Store, Sequence[bytes]], Mapping[bytes, list[dict[str, Any]]]]
"""uids → the checkpoints that saw each: `checkpoint`, `run`, `first_step`, `times`, `last_clean`, or why it is `unknown`.

Of an export, `checkpoint` is the folder it was written to, and `exported` says of which step, where and when.
"""


def told(seen: Mapping[str, Any]) -> str:
    """Return in words how a checkpoint saw a sample."""
    if "unknown" in seen:
        return f"perhaps {seen['checkpoint']}: {seen['unknown']}"
    how = f"its copy {seen['copy']}, " if "copy" in seen else ""
    if "exported" in seen:
        how = "an export of step {step:,} made on {host}, {utc}; ".format(**seen["exported"]) + how
    clean = seen["last_clean"] or "none, train from the start"
    if seen["first_step"] is None:
        return f"{seen['checkpoint']}, {how}its vector alone, for the scale of vectors; last clean: {clean}"
    often = "once" if seen["times"] == 1 else f"{seen['times']:,} times"
    return f"{seen['checkpoint']}, {how}first at step {seen['first_step']:,}, {often}; last clean: {clean}"
