"""Checkpoints that are whole or absent: written beside their place, synced, then renamed."""

import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import FormatError, InputError
from pipeline.stage import sha256_file
from pipeline.store import explained, make_dirs

FOLDER = "checkpoints"
_DRAFT = "draft-"
_CURSOR = "cursor.json"


@dataclass(frozen=True)
class Cursor:
    """Where a checkpoint is: batches [0, step) of the run's order went into its weights."""

    step: int
    epoch: int
    batch: int
    seed: int
    order_version: int
    manifest_digest: str
    config_digest: str
    code_version: str
    clip: dict[str, Any]
    """The encoder of the embeddings it learnt from."""
    images_seen: int
    skipped: int
    """Samples that were hidden when their turn came."""
    ema_steps: int
    validation_loss: float | None = None
    parents: list[str] = field(default_factory=list)
    """Checkpoints or pipelines that the weights started from."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the checkpoint's other files, by their path in it."""


_CURSORS: Final = TypeAdapter(Cursor)


def name(step: int) -> str:
    """Return the name of a checkpoint's folder."""
    return f"{FOLDER}/{step:09d}"


def commit(run: Path, cursor: Cursor, fill: Callable[[Path], None]) -> Path:
    """Write a checkpoint with `fill` and publish it at once; one of that step which is there already stays."""
    final = run / name(cursor.step)
    if (final / _CURSOR).is_file():
        return final

    def whole(draft: Path) -> None:
        draft.mkdir(parents=True)
        fill(draft)
        files = {str(one.relative_to(draft)): sha256_file(one) for one in _files(draft)}
        (draft / _CURSOR).write_text(json.dumps(asdict(replace(cursor, files=files)), sort_keys=True, indent=1))

    go_on = "`tamis train … --resume` goes on from the checkpoint before"
    publish(final, final.parent / f"{_DRAFT}{uuid.uuid4().hex[:8]}", whole, go_on)
    return final


def publish(final: Path, draft: Path, fill: Callable[[Path], object], then: str = "run the same command again") -> None:
    """Let `fill` make a folder as a draft, and show it at once when it is whole and on the disk; nothing stays of one that failed."""
    with explained(f"writing {final}", then):
        make_dirs(final.parent)
        try:
            with _as_os_error():
                fill(draft)
            for path in draft.rglob("*"):
                _sync_one(path)
            _sync_one(draft)
            draft.rename(final)  # in place of an empty folder, where there is one
        except BaseException:  # a full disk above all: half a folder must not keep the room
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _sync_one(final.parent)


def must_be_new(out: Path) -> None:
    """Refuse to publish over something; InputError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; name a new folder")


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Let safetensors speak of a full disk as everybody does."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error ([0-9]+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def steps(run: Path) -> list[int]:
    """Return the steps of a run's checkpoints, rising."""
    found = (run / FOLDER).glob(f"*/{_CURSOR}")
    return sorted(int(path.parent.name) for path in found if re.fullmatch("[0-9]{9,}", path.parent.name))


def read(folder: Path) -> Cursor:
    """Read a checkpoint's cursor; InputError when the folder is none."""
    try:
        return _CURSORS.validate_json((folder / _CURSOR).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no checkpoint here ({_CURSOR} is missing)") from error
    except (ValueError, TypeError) as error:
        raise FormatError(f"{folder / _CURSOR}: not a checkpoint's cursor ({error})") from error


def sound(folder: Path, part: str = "") -> None:
    """Hold the files of a checkpoint, or of a folder in it, against the digests in its cursor; FormatError names one that differs."""
    for name_, digest in read(folder).files.items():
        path = folder / name_
        if not name_.startswith(part):
            continue
        if not path.is_file() or sha256_file(path) != digest:
            raise FormatError(
                f"{path}: {'damaged' if path.is_file() else 'gone'} since it was written; move {folder} away, and the same "
                "command goes on from the checkpoint before it"
            )


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


def copy(run: Path, step: int, other: Path) -> None:
    """Give another run the checkpoint of a step."""
    draft = other / FOLDER / f"{_DRAFT}{uuid.uuid4().hex[:8]}"
    publish(other / name(step), draft, lambda draft: shutil.copytree(run / name(step), draft))


def copy_cursor(run: Path, step: int, folder: Path) -> None:
    """Keep in another folder what a checkpoint says of itself."""
    shutil.copyfile(run / name(step) / _CURSOR, folder / _CURSOR)


def sweep(run: Path) -> None:
    """Remove drafts that killed runs left; call it only while holding the run."""
    for draft in (run / FOLDER).glob(f"{_DRAFT}*"):
        shutil.rmtree(draft)


def prune(run: Path, keep_last: int, keep_steps: int | None) -> None:
    """Remove checkpoints but the newest ones, those at multiples of `keep_steps`, and the one of the best validation loss."""
    have = steps(run)
    losses = [(read(run / name(step)).validation_loss, step) for step in have]
    judged = [(loss, step) for loss, step in losses if loss is not None and math.isfinite(loss)]
    kept = {*have[-keep_last:], *(step for step in have if keep_steps and step % keep_steps == 0)}
    kept |= {min(judged)[1]} if judged else set()
    for step in set(have) - kept:
        remove(run, step)


def remove(run: Path, step: int) -> None:
    """Remove a checkpoint: renamed first, so that a kill leaves no half of it."""
    away = run / FOLDER / f"{_DRAFT}{step}-{uuid.uuid4().hex[:8]}"
    (run / name(step)).rename(away)
    shutil.rmtree(away)


def save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Write an optimiser's moments as safetensors, by the number of the parameter."""
    state = optimizer.state_dict()["state"]
    save_file({f"{at}.{key}": value.contiguous() for at, one in state.items() for key, value in one.items()}, path)


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Give a new optimiser the moments that `save_optimizer` wrote."""
    held = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(path).items():
        at, _, what = key.partition(".")
        state.setdefault(int(at), {})[what] = value
    optimizer.load_state_dict({**held, "state": state})


def last(run: Path, until: int | None = None) -> int | None:
    """Return the newest checkpoint's step, at or before a step where given."""
    have: Sequence[int] = [step for step in steps(run) if until is None or step <= until]
    return have[-1] if have else None
